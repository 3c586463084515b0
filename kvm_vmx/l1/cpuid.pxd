# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/cpuid.h
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l1.kvm_host cimport (
    MSR_MISC_FEATURES_ENABLES_CPUID_FAULT, MSR_PLATFORM_INFO_CPUID_FAULT, kvm_cpuid_entry2, kvm_vcpu_t)

cdef kvm_cpuid_entry2 *kvm_find_cpuid_entry(kvm_vcpu_t *vcpu, u32 function, u32 index) noexcept nogil
cdef bint kvm_cpuid(kvm_vcpu_t *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx, bint check_limit) noexcept nogil
cdef int kvm_emulate_cpuid(kvm_vcpu_t *vcpu) noexcept nogil
cdef bint guest_cpuid_has(kvm_vcpu_t *vcpu, u64 x86_feature) noexcept nogil
cdef void guest_cpuid_clear(kvm_vcpu_t *vcpu, u64 x86_feature) noexcept nogil
cdef int kvm_vcpu_ioctl_set_cpuid2(kvm_vcpu_t *vcpu, const kvm_cpuid_entry2 *entries, int nent) noexcept nogil
cdef int kvm_update_cpuid(kvm_vcpu_t *vcpu) noexcept nogil
cdef int cpuid_query_maxphyaddr(kvm_vcpu_t *vcpu) noexcept nogil


cdef inline int cpuid_maxphyaddr(kvm_vcpu_t *vcpu) noexcept nogil:
    return vcpu.arch.maxphyaddr


cdef inline bint supports_cpuid_fault(kvm_vcpu_t *vcpu) noexcept nogil:
    return (vcpu.arch.msr_platform_info & <u64>MSR_PLATFORM_INFO_CPUID_FAULT) != 0


cdef inline bint cpuid_fault_enabled(kvm_vcpu_t *vcpu) noexcept nogil:
    return (vcpu.arch.msr_misc_features_enables &
            MSR_MISC_FEATURES_ENABLES_CPUID_FAULT) != 0
