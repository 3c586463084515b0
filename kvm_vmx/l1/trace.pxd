# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/trace.h
from kvm_vmx.abi.types cimport u32, u64, ulong

# The kernel's tracepoints without tracing: a macro that drops its arguments unevaluated, as the
# kernel does while the tracepoint is off.
cdef extern from *:
    """
    #define trace_kvm_cpuid(function, rax, rbx, rcx, rdx, found) ((void)0)
    #define trace_kvm_cr_read(cr, val) ((void)0)
    #define trace_kvm_cr_write(cr, val) ((void)0)
    #define trace_kvm_exit(reason, vcpu, isa) ((void)0)
    #define trace_kvm_hypercall(nr, a0, a1, a2, a3) ((void)0)
    #define trace_kvm_inj_virq(irq) ((void)0)
    #define trace_kvm_msr_read(msr, data) ((void)0)
    #define trace_kvm_msr_read_ex(msr) ((void)0)
    #define trace_kvm_msr_write(msr, data) ((void)0)
    #define trace_kvm_msr_write_ex(msr, data) ((void)0)
    #define trace_kvm_page_fault(address, error) ((void)0)
    """
    enum:
        KVM_ISA_VMX "1"
    void trace_kvm_cpuid(u32 function, ulong rax, ulong rbx, ulong rcx, ulong rdx,
                         bint found) noexcept nogil
    void trace_kvm_cr_read(unsigned int cr, ulong val) noexcept nogil
    void trace_kvm_cr_write(unsigned int cr, ulong val) noexcept nogil
    void trace_kvm_exit(u32 reason, void *vcpu, u32 isa) noexcept nogil
    void trace_kvm_hypercall(ulong nr, ulong a0, ulong a1, ulong a2, ulong a3) noexcept nogil
    void trace_kvm_inj_virq(unsigned int irq) noexcept nogil
    void trace_kvm_msr_read(u32 msr, u64 data) noexcept nogil
    void trace_kvm_msr_read_ex(u32 msr) noexcept nogil
    void trace_kvm_msr_write(u32 msr, u64 data) noexcept nogil
    void trace_kvm_msr_write_ex(u32 msr, u64 data) noexcept nogil
    void trace_kvm_page_fault(ulong address, ulong error) noexcept nogil
