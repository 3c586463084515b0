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
cdef void probe_write_guest_rsp(ulong value) noexcept nogil
cdef void probe_write_guest_rip(ulong value) noexcept nogil
cdef ulong probe_read_guest_rip() noexcept nogil
cdef u32 probe_read_exit_reason() noexcept nogil
cdef void vmx_update_msr_bitmap(kvm_vcpu_t *vcpu) noexcept nogil
cdef void dump_vmcs() noexcept nogil
cdef int hardware_enable() noexcept nogil
cdef void hardware_disable() noexcept nogil
