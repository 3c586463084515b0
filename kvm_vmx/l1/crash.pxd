# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kernel/crash.c

ctypedef void crash_vmclear_fn() noexcept nogil

cdef extern from *:
    """
    struct pt_regs;
    """
    # The registers of a crash: nothing here looks into them.
    ctypedef struct pt_regs "struct pt_regs"

cdef extern from "linux/rcupdate.h" nogil:
    void rcu_read_lock()
    void rcu_read_unlock()
    void rcu_assign_pointer(crash_vmclear_fn *pointer, crash_vmclear_fn *value)
    void RCU_INIT_POINTER(crash_vmclear_fn *pointer, crash_vmclear_fn *value)
    crash_vmclear_fn *rcu_dereference(crash_vmclear_fn *pointer)

cdef crash_vmclear_fn *crash_vmclear_loaded_vmcss

cdef void crash_boot_data() noexcept nogil
cdef void native_machine_crash_shutdown(pt_regs *regs) noexcept nogil
