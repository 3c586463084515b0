# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/lapic.h
from kvm_vmx.abi.types cimport ulong
from kvm_vmx.l1.kvm_host cimport kvm_vcpu_t

# No APIC in this kernel: what asks for one finds none, and what would use it is never reached.
cdef extern from *:
    """
    #include <linux/bug.h>
    #define lapic_in_kernel(vcpu) 0
    #define kvm_lapic_set_tpr(vcpu, cr8) BUG()
    #define kvm_lapic_get_cr8(vcpu) ({ BUG(); 0ul; })
    #define kvm_apic_accept_pic_intr(vcpu) ({ BUG(); 0; })
    """
    bint lapic_in_kernel(kvm_vcpu_t *vcpu) noexcept nogil
    void kvm_lapic_set_tpr(kvm_vcpu_t *vcpu, ulong cr8) noexcept nogil
    ulong kvm_lapic_get_cr8(kvm_vcpu_t *vcpu) noexcept nogil
    int kvm_apic_accept_pic_intr(kvm_vcpu_t *vcpu) noexcept nogil
