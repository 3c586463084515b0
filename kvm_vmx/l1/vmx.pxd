# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx.c
from kvm_vmx.abi.linux cimport module_t
from kvm_vmx.abi.types cimport gva_t, u16, u32, u64, ulong
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

# What kvm_x86_ops and kvm_vmx_exit_handlers reach, as far as numbers and a vCPU are enough.
cdef int cpu_has_kvm_support() noexcept nogil
cdef int vmx_disabled_by_bios() noexcept nogil
cdef void vmx_prepare_switch_to_guest(kvm_vcpu_t *vcpu) noexcept nogil
cdef void update_exception_bitmap(kvm_vcpu_t *vcpu) noexcept nogil
cdef int vmx_get_cpl(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_decache_cr0_guest_bits(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_decache_cr3(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_decache_cr4_guest_bits(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_set_cr0(kvm_vcpu_t *vcpu, ulong cr0) noexcept nogil
cdef void vmx_set_cr3(kvm_vcpu_t *vcpu, ulong cr3) noexcept nogil
cdef int vmx_set_cr4(kvm_vcpu_t *vcpu, ulong cr4) noexcept nogil
cdef void vmx_set_efer(kvm_vcpu_t *vcpu, u64 efer) noexcept nogil
cdef u64 vmx_get_dr6(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_set_dr6(kvm_vcpu_t *vcpu, ulong val) noexcept nogil
cdef void vmx_set_dr7(kvm_vcpu_t *vcpu, ulong val) noexcept nogil
cdef void vmx_sync_dirty_debug_regs(kvm_vcpu_t *vcpu) noexcept nogil
cdef ulong vmx_get_rflags(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_set_rflags(kvm_vcpu_t *vcpu, ulong rflags) noexcept nogil
cdef void vmx_flush_tlb(kvm_vcpu_t *vcpu, bint invalidate_gpa) noexcept nogil
cdef void vmx_flush_tlb_gva(kvm_vcpu_t *vcpu, gva_t addr) noexcept nogil
cdef void vmx_vcpu_run(kvm_vcpu_t *vcpu) noexcept nogil
cdef int vmx_handle_exit(kvm_vcpu_t *vcpu) noexcept nogil
cdef void skip_emulated_instruction(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_set_interrupt_shadow(kvm_vcpu_t *vcpu, int mask) noexcept nogil
cdef u32 vmx_get_interrupt_shadow(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_inject_irq(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_inject_nmi(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_queue_exception(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_cancel_injection(kvm_vcpu_t *vcpu) noexcept nogil
cdef int vmx_interrupt_allowed(kvm_vcpu_t *vcpu) noexcept nogil
cdef int vmx_nmi_allowed(kvm_vcpu_t *vcpu) noexcept nogil
cdef bint vmx_get_nmi_mask(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_set_nmi_mask(kvm_vcpu_t *vcpu, bint masked) noexcept nogil
cdef void enable_nmi_window(kvm_vcpu_t *vcpu) noexcept nogil
cdef void enable_irq_window(kvm_vcpu_t *vcpu) noexcept nogil
cdef int get_ept_level(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_cpuid_update(kvm_vcpu_t *vcpu) noexcept nogil
cdef u64 vmx_read_l1_tsc_offset(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_write_tsc_offset(kvm_vcpu_t *vcpu, u64 offset) noexcept nogil
cdef void vmx_handle_external_intr(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vmx_request_immediate_exit(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_exception(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_external_interrupt(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_triple_fault(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_nmi_window(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_io(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_cr(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_dr(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_cpuid(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_rdmsr(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_wrmsr(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_interrupt_window(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_halt(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_invd(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_invlpg(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_rdpmc(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_vmcall(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_vmx_instruction(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_wbinvd(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_machine_check(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_ept_violation(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_ept_misconfig(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_pause(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_mwait(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_monitor_trap(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_monitor(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_invalid_op(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_preemption_timer(kvm_vcpu_t *vcpu) noexcept nogil
cdef int handle_encls(kvm_vcpu_t *vcpu) noexcept nogil

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
