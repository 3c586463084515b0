# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport ulong
from kvm_vmx.l1.crash cimport pt_regs

cdef enum:
    NOTIFY_OK = 1
    SYS_RESTART = 1

cdef struct notifier_block

ctypedef int (*notifier_fn_t)(notifier_block *nb, ulong action, void *data) noexcept nogil

cdef struct notifier_block:
    notifier_fn_t notifier_call
    int priority

ctypedef struct syscore_ops:
    int (*suspend)() noexcept nogil
    void (*resume)() noexcept nogil

ctypedef struct machine_ops_t:
    void (*shutdown)() noexcept nogil
    void (*crash_shutdown)(pt_regs *regs) noexcept nogil

cdef machine_ops_t machine_ops
cdef bint kexec_in_progress

cdef void reboot_boot_data() noexcept nogil
cdef void register_reboot_notifier(notifier_block *nb) noexcept nogil
cdef void unregister_reboot_notifier(notifier_block *nb) noexcept nogil
cdef void register_syscore_ops(syscore_ops *ops) noexcept nogil
cdef void unregister_syscore_ops(syscore_ops *ops) noexcept nogil
cdef void native_machine_shutdown() noexcept nogil
cdef void kernel_restart() noexcept nogil
cdef void kernel_kexec() noexcept nogil
cdef void crash_kexec() noexcept nogil
cdef int suspend_enter() noexcept nogil
cdef int suspend_leave() noexcept nogil
