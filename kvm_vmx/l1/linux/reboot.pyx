# SPDX-License-Identifier: GPL-2.0-only
# How a kernel ends or sleeps, and who is told: restart, kexec, crash, suspend and resume.
from kvm_vmx.abi.linux cimport pr_emerg, pr_info
from kvm_vmx.l1.crash cimport native_machine_crash_shutdown
from kvm_vmx.l1.linux.cpu cimport MAX_CPUS, cpu_down, cpu_online, cpu_up, nr_cpu_ids
from libc.string cimport memset

cdef enum:
    MAX_LISTENERS = 4

# Lists of the kernel, with a place for each module that could be on one.
cdef notifier_block *reboot_notifier_list[MAX_LISTENERS]
cdef syscore_ops *syscore_ops_list[MAX_LISTENERS]
cdef unsigned char frozen_cpus[MAX_CPUS]


cdef void reboot_boot_data() noexcept nogil:
    # A kernel boots with nobody on the lists, whatever the one before it has left there.
    global kexec_in_progress
    memset(reboot_notifier_list, 0, sizeof(reboot_notifier_list))
    memset(syscore_ops_list, 0, sizeof(syscore_ops_list))
    kexec_in_progress = False
    machine_ops.shutdown = native_machine_shutdown
    machine_ops.crash_shutdown = native_machine_crash_shutdown


cdef void put(void **list, void *old, void *new) noexcept nogil:
    cdef int i

    for i in range(MAX_LISTENERS):
        if list[i] == old:
            list[i] = new
            return


cdef void register_reboot_notifier(notifier_block *nb) noexcept nogil:
    put(<void **>reboot_notifier_list, NULL, nb)


cdef void unregister_reboot_notifier(notifier_block *nb) noexcept nogil:
    put(<void **>reboot_notifier_list, nb, NULL)


cdef void register_syscore_ops(syscore_ops *ops) noexcept nogil:
    put(<void **>syscore_ops_list, NULL, ops)


cdef void unregister_syscore_ops(syscore_ops *ops) noexcept nogil:
    put(<void **>syscore_ops_list, ops, NULL)


cdef void kernel_restart_prepare() noexcept nogil:
    cdef notifier_block *nb
    cdef int i

    for i in range(MAX_LISTENERS):
        nb = reboot_notifier_list[i]
        if nb:
            nb.notifier_call(nb, SYS_RESTART, NULL)


cdef void native_machine_shutdown() noexcept nogil:
    # Stops the other CPUs: none runs while this one has the kernel to itself.
    pass


cdef void kernel_restart() noexcept nogil:
    # What comes after it is the machine's: the processors are reset.
    kernel_restart_prepare()
    pr_emerg("reboot: Restarting system\n")
    machine_ops.shutdown()


cdef void kernel_kexec() noexcept nogil:
    # No device forgets anything: the next kernel finds what this one leaves.
    global kexec_in_progress
    kexec_in_progress = True
    kernel_restart_prepare()
    pr_emerg("kexec_core: Starting new kernel\n")
    machine_ops.shutdown()


cdef void crash_kexec() noexcept nogil:
    machine_ops.crash_shutdown(NULL)


cdef int suspend_enter() noexcept nogil:
    # To sleep on CPU 0: the others go offline first, and wake what had gone where one refuses.
    cdef int cpu, i, ret = 0

    pr_info("PM: suspend entry (deep)\n")
    memset(frozen_cpus, 0, sizeof(frozen_cpus))
    for cpu in range(nr_cpu_ids() - 1, 0, -1):
        if cpu_online(cpu):
            ret = cpu_down(cpu)
            if ret:
                thaw_secondary_cpus()
                return ret
            frozen_cpus[cpu] = 1
    for i in range(MAX_LISTENERS):
        if syscore_ops_list[i]:
            syscore_ops_list[i].suspend()
    return 0


cdef int suspend_leave() noexcept nogil:
    cdef int i, ret

    for i in range(MAX_LISTENERS):
        if syscore_ops_list[i]:
            syscore_ops_list[i].resume()
    ret = thaw_secondary_cpus()
    pr_info("PM: suspend exit\n")
    return ret


cdef int thaw_secondary_cpus() noexcept nogil:
    cdef int cpu, ret, error = 0

    for cpu in range(nr_cpu_ids()):
        if frozen_cpus[cpu]:
            ret = cpu_up(cpu)
            error = ret if ret and not error else error
    return error
