# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kernel/crash.c
from kvm_vmx.abi.asm cimport cpu_has_vmx, cr4_clear_bits, cr4_read_shadow
from kvm_vmx.abi.linux cimport local_irq_disable
from kvm_vmx.l1.kvm_host cimport X86_CR4_VMXE
from kvm_vmx.l1.linux.cpu cimport cpu_online, nr_cpu_ids, smp_call_function_single

cdef extern from "asm/percpu.h" nogil:
    int smp_processor_id()

cdef extern from "asm/vmx_insn.h" nogil:
    bint asm_vmxoff()


cdef inline void cpu_crash_vmclear_loaded_vmcss() noexcept nogil:
    cdef crash_vmclear_fn *do_vmclear_operation = NULL

    rcu_read_lock()
    do_vmclear_operation = rcu_dereference(crash_vmclear_loaded_vmcss)
    if do_vmclear_operation:
        do_vmclear_operation()
    rcu_read_unlock()


# Each other CPU: what memory has of its VMCSs is whole before another kernel looks at it.
# C~ the registers, crash_save_cpu(): out of scope, the dump itself
cdef void kdump_nmi_callback(void *regs) noexcept nogil:
    cpu_crash_vmclear_loaded_vmcss()

    cpu_emergency_vmxoff()
    # C- SVM, processor trace, the APIC: the processor has no SVM; the processor has no processor
    # trace; no APIC in the kernel


cdef void kdump_nmi_shootdown_cpus() noexcept nogil:
    # C~ nmi_shootdown_cpus(), the APIC: a call as each other CPU; no APIC in the kernel
    cdef int cpu

    for cpu in range(nr_cpu_ids()):
        if cpu_online(cpu) and cpu != smp_processor_id():
            smp_call_function_single(cpu, kdump_nmi_callback, NULL, 1)


cdef void native_machine_crash_shutdown(pt_regs *regs) noexcept nogil:
    local_irq_disable()

    # C~ crash_smp_send_stop(): the function that it leads to
    kdump_nmi_shootdown_cpus()

    cpu_crash_vmclear_loaded_vmcss()

    cpu_emergency_vmxoff()
    # C- 9 statements: SVM, processor trace, interrupt controllers, crash_save_cpu(): the processor
    # has no SVM; the processor has no processor trace; no APIC in the kernel; out of scope, the
    # dump itself


cdef void crash_boot_data() noexcept nogil:
    # C+ a kernel boots without a module that has anything to clear
    global crash_vmclear_loaded_vmcss
    crash_vmclear_loaded_vmcss = NULL


# C: arch/x86/include/asm/virtext.h
cdef inline void cpu_vmxoff() noexcept nogil:
    # C~ the instruction: a function of asm/vmx_insn.h
    asm_vmxoff()
    cr4_clear_bits(X86_CR4_VMXE)


cdef inline int cpu_vmx_enabled() noexcept nogil:
    return cr4_read_shadow() & X86_CR4_VMXE


cdef inline void __cpu_emergency_vmxoff() noexcept nogil:
    if cpu_vmx_enabled():
        cpu_vmxoff()


cdef inline void cpu_emergency_vmxoff() noexcept nogil:
    if cpu_has_vmx():
        __cpu_emergency_vmxoff()
