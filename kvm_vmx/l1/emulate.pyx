# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/emulate.c, and for the parts of the MMU that need an emulator.
from kvm_vmx.abi.types cimport gpa_t, gva_t, u64
from kvm_vmx.l1.kvm_host cimport (
    EMULATE_USER_EXIT, KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_EMULATION, UD_VECTOR,
    kvm_vcpu_t)
from kvm_vmx.l1.x86 cimport kvm_queue_exception, kvm_x86_ops


cdef int kvm_emulate_instruction(kvm_vcpu_t *vcpu, int emulation_type) noexcept nogil:
    # What KVM tells user space of an instruction that its emulator does not know.
    vcpu.run.exit_reason = KVM_EXIT_INTERNAL_ERROR
    vcpu.run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION
    vcpu.run.internal.ndata = 0
    return EMULATE_USER_EXIT


cdef int handle_ud(kvm_vcpu_t *vcpu) noexcept nogil:
    # The emulator would try first; what it does not know is #UD in the guest.
    kvm_queue_exception(vcpu, UD_VECTOR)
    return 1


cdef int kvm_mmu_page_fault(kvm_vcpu_t *vcpu, gpa_t gpa, u64 error_code) noexcept nogil:
    # The EPT is complete from the start: outside it is device memory, and that takes the emulator.
    kvm_emulate_instruction(vcpu, 0)
    vcpu.run.internal.ndata = 2
    vcpu.run.internal.data[0] = gpa
    vcpu.run.internal.data[1] = error_code
    return 0


cdef void kvm_mmu_invlpg(kvm_vcpu_t *vcpu, gva_t gva) noexcept nogil:
    kvm_x86_ops.tlb_flush_gva(vcpu, gva)
