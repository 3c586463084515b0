# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/mtrr.c
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l1.kvm_host cimport kvm_vcpu_t

cdef bint kvm_mtrr_valid(kvm_vcpu_t *vcpu, u32 msr, u64 data) noexcept nogil
cdef int kvm_mtrr_set_msr(kvm_vcpu_t *vcpu, u32 msr, u64 data) noexcept nogil
cdef int kvm_mtrr_get_msr(kvm_vcpu_t *vcpu, u32 msr, u64 *pdata) noexcept nogil
