# SPDX-License-Identifier: GPL-2.0-only
# C: include/linux/kvm_host.h
from kvm_vmx.abi.types cimport u64
from kvm_vmx.l1.kvm_host cimport kvm_t, kvm_vcpu_t

cdef void kvm_boot_data() noexcept nogil
cdef int kvm_init(void *opaque, unsigned int vcpu_size, unsigned int vcpu_align, void *module) noexcept nogil
cdef void kvm_exit() noexcept nogil

cdef void vcpu_load(kvm_vcpu_t *vcpu) noexcept nogil
cdef void vcpu_put(kvm_vcpu_t *vcpu) noexcept nogil
cdef int kvm_vcpu_init(kvm_vcpu_t *vcpu, kvm_t *kvm, unsigned int id) noexcept nogil
cdef void kvm_vcpu_uninit(kvm_vcpu_t *vcpu) noexcept nogil
cdef void *kvm_vcpu_cache_zalloc() noexcept nogil
cdef void kvm_vcpu_cache_free(void *vcpu) noexcept nogil

cdef int kvm_usage_count
cdef void kvm_flush_remote_tlbs(kvm_t *kvm) noexcept nogil
cdef kvm_t *kvm_create_vm(u64 memory_size, int *err) noexcept nogil
cdef void kvm_destroy_vm(kvm_t *kvm) noexcept nogil
cdef kvm_vcpu_t *kvm_vm_ioctl_create_vcpu(kvm_t *kvm, unsigned int id, int *err) noexcept nogil
cdef bint preempt_schedule() noexcept nogil
