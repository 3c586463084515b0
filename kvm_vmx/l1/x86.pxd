# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/x86.h
# What kvm.ko exports to kvm-intel.ko.
from kvm_vmx.abi.types cimport gpa_t, gva_t, u8, u16, u32, u64, ulong
from kvm_vmx.l1.kvm_host cimport (
    kvm_regs, kvm_sregs, kvm_t, kvm_vcpu_t, kvm_x86_ops_t, msr_data)

cdef kvm_x86_ops_t *kvm_x86_ops
cdef bint kvm_has_tsc_control
cdef u8 kvm_tsc_scaling_ratio_frac_bits
cdef u64 kvm_default_tsc_scaling_ratio


cdef int kvm_skip_emulated_instruction(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_emulate_halt(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_emulate_hypercall(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_fast_pio(kvm_vcpu_t *vcpu, int size, u16 port, int in_) noexcept nogil
cdef int kvm_complete_insn_gp(kvm_vcpu_t *vcpu, int err) noexcept nogil
cdef int kvm_rdpmc(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_emulate_wbinvd(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_set_cr0(kvm_vcpu_t *vcpu, ulong cr0) noexcept nogil
cdef int kvm_set_cr3(kvm_vcpu_t *vcpu, ulong cr3) noexcept nogil
cdef int kvm_set_cr4(kvm_vcpu_t *vcpu, ulong cr4) noexcept nogil
cdef int kvm_set_cr8(kvm_vcpu_t *vcpu, ulong cr8) noexcept nogil
cdef ulong kvm_get_cr8(kvm_vcpu_t *vcpu) noexcept nogil
cdef void kvm_lmsw(kvm_vcpu_t *vcpu, ulong msw) noexcept nogil
cdef int kvm_set_dr(kvm_vcpu_t *vcpu, int dr, ulong val) noexcept nogil
cdef int kvm_get_dr(kvm_vcpu_t *vcpu, int dr, ulong *val) noexcept nogil
cdef int kvm_set_msr(kvm_vcpu_t *vcpu, msr_data *msr) noexcept nogil
cdef u64 kvm_get_arch_capabilities() noexcept nogil
cdef int kvm_set_apic_base(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil
cdef int kvm_get_msr_common(kvm_vcpu_t *vcpu, msr_data *msr) noexcept nogil
cdef int kvm_set_msr_common(kvm_vcpu_t *vcpu, msr_data *msr) noexcept nogil
cdef void kvm_queue_exception(kvm_vcpu_t *vcpu, unsigned int nr) noexcept nogil
cdef void kvm_queue_exception_e(kvm_vcpu_t *vcpu, unsigned int nr, u32 error_code) noexcept nogil
cdef void kvm_requeue_exception(kvm_vcpu_t *vcpu, unsigned int nr) noexcept nogil
cdef void kvm_requeue_exception_e(kvm_vcpu_t *vcpu, unsigned int nr, u32 error_code) noexcept nogil
cdef void kvm_inject_gp(kvm_vcpu_t *vcpu, u32 error_code) noexcept nogil
cdef bint kvm_require_cpl(kvm_vcpu_t *vcpu, int required_cpl) noexcept nogil
cdef bint kvm_require_dr(kvm_vcpu_t *vcpu, int dr) noexcept nogil
cdef void kvm_set_rflags(kvm_vcpu_t *vcpu, ulong rflags) noexcept nogil
cdef ulong kvm_get_rflags(kvm_vcpu_t *vcpu) noexcept nogil
cdef void kvm_define_shared_msr(unsigned int slot, u32 msr) noexcept nogil
cdef int kvm_set_shared_msr(unsigned int slot, u64 value, u64 mask) noexcept nogil
cdef void kvm_enable_efer_bits(u64 mask) noexcept nogil
cdef void kvm_enable_tsc_control(u8 frac_bits) noexcept nogil

# Entry points of user space's ioctls.
cdef int kvm_arch_flush_remote_tlb(kvm_t *kvm) noexcept nogil
cdef void kvm_arch_boot_data() noexcept nogil
cdef int kvm_arch_init(void *opaque) noexcept nogil
cdef void kvm_arch_exit() noexcept nogil
cdef int kvm_arch_hardware_setup() noexcept nogil
cdef void kvm_arch_hardware_unsetup() noexcept nogil
cdef int kvm_arch_hardware_enable() noexcept nogil
cdef void kvm_arch_hardware_disable() noexcept nogil
cdef void kvm_arch_check_processor_compat(void *rtn) noexcept nogil
cdef int kvm_arch_init_vm(kvm_t *kvm) noexcept nogil
cdef kvm_vcpu_t *kvm_arch_vcpu_create(kvm_t *kvm, unsigned int id, int *err) noexcept nogil
cdef void kvm_vcpu_reset(kvm_vcpu_t *vcpu, bint init_event) noexcept nogil
cdef int kvm_arch_vcpu_setup(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_arch_vcpu_init(kvm_vcpu_t *vcpu) noexcept nogil
cdef void kvm_arch_vcpu_uninit(kvm_vcpu_t *vcpu) noexcept nogil
cdef void kvm_arch_vcpu_postcreate(kvm_vcpu_t *vcpu) noexcept nogil
cdef void kvm_free_vcpus(kvm_t *kvm) noexcept nogil
cdef void kvm_arch_vcpu_destroy(kvm_vcpu_t *vcpu) noexcept nogil
cdef void kvm_arch_vcpu_load(kvm_vcpu_t *vcpu, int cpu) noexcept nogil
cdef void kvm_arch_vcpu_put(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_arch_vcpu_ioctl_run(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_vcpu_ioctl_interrupt(kvm_vcpu_t *vcpu, u32 irq) noexcept nogil
cdef int kvm_vcpu_ioctl_nmi(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_arch_vcpu_ioctl_get_regs(kvm_vcpu_t *vcpu, kvm_regs *regs) noexcept nogil
cdef int kvm_arch_vcpu_ioctl_set_regs(kvm_vcpu_t *vcpu, kvm_regs *regs) noexcept nogil
cdef int kvm_arch_vcpu_ioctl_get_sregs(kvm_vcpu_t *vcpu, kvm_sregs *sregs) noexcept nogil
cdef int kvm_arch_vcpu_ioctl_set_sregs(kvm_vcpu_t *vcpu, kvm_sregs *sregs) noexcept nogil
