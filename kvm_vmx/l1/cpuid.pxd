# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/cpuid.h
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l1.kvm_host cimport kvm_cpuid_entry2, kvm_vcpu_t

cdef kvm_cpuid_entry2 *kvm_find_cpuid_entry(kvm_vcpu_t *vcpu, u32 function, u32 index) noexcept nogil
cdef bint kvm_cpuid(kvm_vcpu_t *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx, bint check_limit) noexcept nogil
cdef int kvm_emulate_cpuid(kvm_vcpu_t *vcpu) noexcept nogil
