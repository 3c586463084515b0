# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx.c
from kvm_vmx.abi.linux cimport module_t
from kvm_vmx.abi.types cimport u16, u32, u64, ulong
from kvm_vmx.l1.kvm_host cimport kvm_vcpu_t

cdef module_t vmx_module
cdef void declare_module() noexcept nogil
cdef bint enable_evmcs_is_on() noexcept nogil

# Functions that may be called by name from outside.
cdef u16 call_vmcs_read16(ulong field) noexcept nogil
cdef u32 call_vmcs_read32(ulong field) noexcept nogil
cdef u64 call_vmcs_read64(ulong field) noexcept nogil
cdef ulong call_vmcs_readl(ulong field) noexcept nogil
cdef void call_vmcs_write16(ulong field, u16 value) noexcept nogil
cdef void call_vmcs_write32(ulong field, u32 value) noexcept nogil
cdef void call_vmcs_write64(ulong field, u64 value) noexcept nogil
cdef void call_vmcs_writel(ulong field, ulong value) noexcept nogil
cdef void call_vmcs_clear_bits(ulong field, u32 mask) noexcept nogil
cdef void call_vmcs_set_bits(ulong field, u32 mask) noexcept nogil
cdef ulong call_kvm_read_cr4_bits(kvm_vcpu_t *vcpu, ulong mask) noexcept nogil
cdef void probe_write_guest_rsp(ulong value) noexcept nogil
cdef void probe_write_guest_rip(ulong value) noexcept nogil
cdef ulong probe_read_guest_rip() noexcept nogil
cdef u32 probe_read_exit_reason() noexcept nogil
cdef void probe_vmcs_load(void *vmcs) noexcept nogil
cdef u32 config_word(unsigned int n) noexcept nogil
cdef void vmx_update_msr_bitmap(kvm_vcpu_t *vcpu) noexcept nogil
cdef void dump_vmcs() noexcept nogil
cdef int hardware_enable() noexcept nogil
cdef void hardware_disable() noexcept nogil

# Loops of n accesses each, in vmx_bench.pxi.
cdef extern from *:
    ctypedef void bench_loop

cdef bench_loop bench_write16(ulong n) noexcept nogil
cdef bench_loop bench_c_write16(ulong n) noexcept nogil
cdef bench_loop bench_write32(ulong n) noexcept nogil
cdef bench_loop bench_c_write32(ulong n) noexcept nogil
cdef bench_loop bench_write64(ulong n) noexcept nogil
cdef bench_loop bench_c_write64(ulong n) noexcept nogil
cdef bench_loop bench_writel(ulong n) noexcept nogil
cdef bench_loop bench_c_writel(ulong n) noexcept nogil
cdef bench_loop bench_write_rip(ulong n) noexcept nogil
cdef bench_loop bench_c_write_rip(ulong n) noexcept nogil
cdef bench_loop bench_clear_bits(ulong n) noexcept nogil
cdef bench_loop bench_c_clear_bits(ulong n) noexcept nogil
cdef bench_loop bench_set_bits(ulong n) noexcept nogil
cdef bench_loop bench_c_set_bits(ulong n) noexcept nogil
cdef bench_loop bench_read16(ulong n) noexcept nogil
cdef bench_loop bench_c_read16(ulong n) noexcept nogil
cdef bench_loop bench_read32(ulong n) noexcept nogil
cdef bench_loop bench_c_read32(ulong n) noexcept nogil
cdef bench_loop bench_read64(ulong n) noexcept nogil
cdef bench_loop bench_c_read64(ulong n) noexcept nogil
cdef bench_loop bench_readl(ulong n) noexcept nogil
cdef bench_loop bench_c_readl(ulong n) noexcept nogil
cdef bench_loop bench_again_write16(ulong n) noexcept nogil
cdef bench_loop bench_again_write32(ulong n) noexcept nogil
cdef bench_loop bench_again_write64(ulong n) noexcept nogil
cdef bench_loop bench_again_writel(ulong n) noexcept nogil
cdef bench_loop bench_again_write_rip(ulong n) noexcept nogil
cdef bench_loop bench_again_clear_bits(ulong n) noexcept nogil
cdef bench_loop bench_again_set_bits(ulong n) noexcept nogil
cdef bench_loop bench_again_read16(ulong n) noexcept nogil
cdef bench_loop bench_again_read32(ulong n) noexcept nogil
cdef bench_loop bench_again_read64(ulong n) noexcept nogil
cdef bench_loop bench_again_readl(ulong n) noexcept nogil
cdef bench_loop bench_store(ulong n) noexcept nogil
cdef bench_loop bench_store_again(ulong n) noexcept nogil
cdef bench_loop bench_store_moved(ulong n) noexcept nogil
cdef bench_loop bench_store_key(ulong n) noexcept nogil
cdef bench_loop bench_store_flag(ulong n) noexcept nogil
cdef bench_loop bench_chain(ulong n) noexcept nogil
cdef int bench_flip_key(ulong n) noexcept nogil
cdef bench_loop bench_rsp_test(ulong n) noexcept nogil
cdef bench_loop bench_rsp_test_again(ulong n) noexcept nogil
cdef bench_loop bench_rsp_key(ulong n) noexcept nogil
cdef bench_loop bench_rsp_poke(ulong n) noexcept nogil
cdef void bench_entry_test(ulong n, ulong moved) noexcept nogil
cdef void bench_entry_test_again(ulong n, ulong moved) noexcept nogil
cdef void bench_entry_key(ulong n, ulong moved) noexcept nogil
cdef void bench_entry_poke(ulong n, ulong moved) noexcept nogil
