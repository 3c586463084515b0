# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/mmu.c: an EPT built once with the VM over its memory.
from kvm_vmx.abi.types cimport u8, u64
from kvm_vmx.l1.kvm_host cimport kvm_t, kvm_vcpu_t

cdef int build_guest_memory(kvm_t *kvm, u64 size) noexcept nogil
cdef void free_guest_memory(kvm_t *kvm) noexcept nogil
cdef int move_guest_page(kvm_t *kvm, u64 gpa) noexcept nogil
cdef int replace_guest_page(kvm_t *kvm, u64 gpa) noexcept nogil
cdef u8 *guest_page_get(kvm_t *kvm, u64 gpa) noexcept nogil
cdef void guest_page_put(kvm_t *kvm) noexcept nogil
cdef bint guest_page_moves(kvm_t *kvm, u64 gpa) noexcept nogil
cdef int x86_set_memory_region(kvm_t *kvm, u64 gpa) noexcept nogil
cdef u8 *private_page(kvm_t *kvm, u64 gpa) noexcept nogil
cdef int kvm_mmu_reload(kvm_vcpu_t *vcpu) noexcept nogil
