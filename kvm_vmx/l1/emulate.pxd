# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/emulate.c, and for the parts of the MMU that need an emulator.
from kvm_vmx.abi.types cimport gpa_t, gva_t, u64
from kvm_vmx.l1.kvm_host cimport kvm_vcpu_t

cdef extern from *:
    """
    #define PFERR_PRESENT_MASK 1ULL
    #define PFERR_WRITE_MASK 2ULL
    #define PFERR_USER_MASK 4ULL
    #define PFERR_RSVD_MASK 8ULL
    #define PFERR_FETCH_MASK 16ULL
    #define PFERR_GUEST_FINAL_MASK (1ULL << 32)
    #define PFERR_GUEST_PAGE_MASK (1ULL << 33)
    """
    const u64 PFERR_PRESENT_MASK
    const u64 PFERR_WRITE_MASK
    const u64 PFERR_USER_MASK
    const u64 PFERR_RSVD_MASK
    const u64 PFERR_FETCH_MASK
    const u64 PFERR_GUEST_FINAL_MASK
    const u64 PFERR_GUEST_PAGE_MASK

cdef int kvm_emulate_instruction(kvm_vcpu_t *vcpu, int emulation_type) noexcept nogil
cdef int handle_ud(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_mmu_page_fault(kvm_vcpu_t *vcpu, gpa_t gpa, u64 error_code) noexcept nogil
cdef void kvm_mmu_invlpg(kvm_vcpu_t *vcpu, gva_t gva) noexcept nogil
