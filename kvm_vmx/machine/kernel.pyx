# SPDX-License-Identifier: GPL-2.0-only
"""From Python into the L1 kernel: each call borrows a CPU, and a BUG comes back as an exception."""

import atexit
import os
import threading

from libc.errno cimport EBUSY, ESHUTDOWN, EFAULT, EINTR, ENXIO
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from kvm_vmx.abi.asm cimport LOCAL_TIMER_VECTOR
from kvm_vmx.abi.hyperv_tlfs cimport hv_vp_assist_page as hv_vp_assist_page_t
from kvm_vmx.abi.linux cimport (
    GFP_KERNEL, __GFP_ZERO, jump_entry_t, module_t, spin_lock, spin_lock_init, spin_unlock,
    spinlock_t, static_key_t, task_struct)
from kvm_vmx.abi.types cimport PAGE_SIZE, u8, u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport virt_cpu
from kvm_vmx.l0.state cimport L0_NR_EXIT_REASONS, l0_chain, l0_chained, l0_refusal, l0_vp
from kvm_vmx.l1.cpuid cimport kvm_vcpu_ioctl_set_cpuid2
from kvm_vmx.l1.hv_init cimport hv_get_vp_assist_page
from kvm_vmx.l1.kvm_host cimport kvm_cpuid_entry2, kvm_regs, kvm_run_t, kvm_sregs, kvm_t, kvm_vcpu_t
from kvm_vmx.l1.kvm_main cimport (
    kvm_create_vm, kvm_destroy_vm, kvm_vm_ioctl_create_vcpu, vcpu_load, vcpu_put)
from kvm_vmx.l1.linux.cpu cimport (
    cpu_active, cpu_area, cpu_bind, cpu_down, cpu_hold, cpu_online, cpu_unbind, cpu_unbind_oops,
    cpu_up, nr_cpu_ids, perf_guest_events, set_debug_preempt, set_fsgsbase, set_traps,
    smp_send_reschedule)
from kvm_vmx.l1.linux.fault cimport (
    FAIL_KMALLOC, FAIL_MPROTECT, FAIL_PAGE, FAIL_VMALLOC, fail_left, fail_none, fail_nth,
    fail_vmalloc_on)
from kvm_vmx.l1.linux.extable cimport extable_add
from kvm_vmx.l1.linux.jump_label cimport (
    jump_label_form, jump_label_host, jump_label_module, jump_label_nr_modules, text_hold,
    text_let_go)
from kvm_vmx.l1.linux.mm cimport (
    __alloc_pages_node, free_page, free_pages, mm_objects_outstanding, mm_pages_outstanding)
from kvm_vmx.l1.linux.module cimport delete_module, init_module, load_module
from kvm_vmx.l1.linux.printk cimport (
    LOG_LINES, log_emit, log_end, log_is_mine, log_line, log_warnings)
from kvm_vmx.l1.linux.reboot cimport (
    crash_kexec, kernel_kexec, kernel_restart, suspend_enter, suspend_leave)
from kvm_vmx.l1.linux.setup cimport (
    shutdown_kernel, shutdown_platform, start_kernel, start_platform)
from kvm_vmx.l1.mmu cimport (
    guest_page_get, guest_page_put, move_guest_page, replace_guest_page)
from kvm_vmx.l1.x86 cimport (
    kvm_arch_vcpu_ioctl_get_regs, kvm_arch_vcpu_ioctl_get_sregs, kvm_arch_vcpu_ioctl_run,
    kvm_arch_vcpu_ioctl_set_regs, kvm_arch_vcpu_ioctl_set_sregs, kvm_vcpu_ioctl_interrupt,
    kvm_vcpu_ioctl_nmi)
from kvm_vmx.machine.checks cimport refusal_of
from kvm_vmx.machine.failing cimport (
    FAIL_HYPERCALL, FAIL_MSR, FAIL_ONE_MSR, PREEMPTED, failing_left, failing_msr, failing_none,
    failing_nth, failing_struck)
from kvm_vmx.machine.kick cimport (
    kick_begin, kick_check, kick_end, kick_from, kick_handles, kick_till)
from kvm_vmx.machine.partition cimport Partition
from kvm_vmx.machine.process cimport _MADE, check_process, is_foreign, this_process
from kvm_vmx.trap.engine cimport Stacks, thread_stacks, trap_bind, trap_unbind

from kvm_vmx.machine.failures import msr_number
from kvm_vmx import host
from kvm_vmx.machine import sections
from kvm_vmx.trap import engine as trap
from kvm_vmx.errors import KernelBug, MachineError

cdef extern from "linux/cpu.h" nogil:
    """
    static unsigned long current_vmcs_pa(void)
    {
        return (unsigned long)this_cpu_read(current_vmcs) - this_cpu_read(page_offset_base);
    }
    static bool has_current_vmcs(void) { return this_cpu_read(current_vmcs) != NULL; }
    """
    ulong current_vmcs_pa()
    bint has_current_vmcs()
    int call_until_oops(task_struct *task, void (*fn)(void *) noexcept nogil, void *arg)

cdef extern from *:
    """
    /* how long the kernel log was when this thread began its last call */
    static __thread unsigned long long log_began;
    """
    u64 log_began
    bint __sync_bool_compare_and_swap(void **place, void *old, void *value) nogil

cdef extern from "pthread.h" nogil:
    ulong pthread_self()

cdef extern from "unistd.h" nogil:
    int pause()
    int usleep(unsigned int us)

cdef extern from "asm/cpuid_fault.h" nogil:
    void cpuid_traps_no_more(task_struct *task)

cdef extern from "Python.h":
    void *PyCapsule_GetPointer(object capsule, const char *name) except NULL
    const char *PyCapsule_GetName(object capsule) except NULL

# Steps of the kernel that fail inside it, and instructions that fail under it.
FAIL_STEPS = {
    "page": FAIL_PAGE, "kmalloc": FAIL_KMALLOC, "vmalloc": FAIL_VMALLOC, "mprotect": FAIL_MPROTECT}
FAIL_INSTRUCTIONS = {"msr": FAIL_MSR, "hypercall": FAIL_HYPERCALL}

# What this kernel's timer interrupts with; it asks for control again that way.
TIMER_VECTOR = LOCAL_TIMER_VECTOR

cdef enum:
    ANY_CPU = -1        # whichever is free
    # How far a run goes before the handlers of its signals get a turn, where nothing kicks it.
    SLICE_EXITS = 2_000
    MAX_PARAMS = 64


# The arguments and results of one call into the kernel.
cdef struct request:
    int cpu
    int ret
    void *object
    u64 value
    kvm_regs regs
    kvm_sregs sregs


cdef void do_start_platform(void *arg) noexcept nogil:
    start_platform()


cdef void do_shutdown_platform(void *arg) noexcept nogil:
    shutdown_platform()


# ret is the order of the block, object where it lies
cdef void do_take_pages(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.object = __alloc_pages_node(0, GFP_KERNEL | __GFP_ZERO, call.ret)


cdef void do_give_pages(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    free_pages(<ulong>call.object, call.ret)


cdef void do_crash(void *arg) noexcept nogil:
    crash_kexec()


cdef void do_restart(void *arg) noexcept nogil:
    kernel_restart()


cdef void do_kexec(void *arg) noexcept nogil:
    kernel_kexec()


cdef void do_suspend(void *arg) noexcept nogil:
    (<request *>arg).ret = suspend_enter()


cdef void do_resume(void *arg) noexcept nogil:
    (<request *>arg).ret = suspend_leave()


cdef void do_cpu_up(void *arg) noexcept nogil:
    (<request *>arg).ret = cpu_up((<request *>arg).cpu)


cdef void do_cpu_down(void *arg) noexcept nogil:
    (<request *>arg).ret = cpu_down((<request *>arg).cpu)


# A module to load, and the values of its parameters; all bits of given are 0 for those that keep
# their own.
cdef struct load_request:
    module_t *mod
    int value[MAX_PARAMS]
    u64 given
    int ret


cdef void do_load_module(void *arg) noexcept nogil:
    cdef load_request *call = <load_request *>arg
    cdef int i

    call.ret = load_module(call.mod)
    if call.ret:
        return
    for i in range(call.mod.nr_params):
        if call.given >> i & 1:
            call.mod.params[i].value[0] = call.value[i]
    call.ret = init_module(call.mod)


cdef void do_delete_module(void *arg) noexcept nogil:
    (<request *>arg).ret = delete_module(<module_t *>(<request *>arg).object)


# One key of one extension module, and the state it is to take.
cdef struct form_request:
    module_t mod
    static_key_t *key
    bint by_trap
    int ret


cdef void do_set_form(void *arg) noexcept nogil:
    cdef form_request *call = <form_request *>arg
    call.ret = jump_label_form(&call.mod, call.key, call.by_trap)


cdef void do_create_vm(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.object = kvm_create_vm(call.value, &call.ret)


cdef void do_destroy_vm(void *arg) noexcept nogil:
    kvm_destroy_vm(<kvm_t *>(<request *>arg).object)


cdef void do_create_vcpu(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.object = kvm_vm_ioctl_create_vcpu(
        <kvm_t *>call.object, <unsigned int>call.value, &call.ret)


cdef struct run_request:
    kvm_vcpu_t *vcpu
    const u64 *exit_reasons     # those of the processor, counted by number
    u64 reasons[L0_NR_EXIT_REASONS]
    const l0_vp *vp             # likewise, its last events and its last refusal
    l0_chain chain
    l0_refusal refusal          # of the last entry, where it was refused
    int ret


cdef void do_run(void *arg) noexcept nogil:
    cdef run_request *call = <run_request *>arg
    cdef int i

    # A processor counts for whoever runs on it: the difference is this vCPU's only while this
    # thread has it.
    for i in range(L0_NR_EXIT_REASONS):
        call.reasons[i] -= call.exit_reasons[i]
    call.ret = kvm_arch_vcpu_ioctl_run(call.vcpu)
    for i in range(L0_NR_EXIT_REASONS):
        call.reasons[i] += call.exit_reasons[i]
    call.chain = call.vp.chain
    call.refusal = call.vp.refusal
    if call.refusal.entry != call.vp.counters.vmlaunch + call.vp.counters.vmresume:
        call.refusal.check = 0


cdef void do_get_regs(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.ret = kvm_arch_vcpu_ioctl_get_regs(<kvm_vcpu_t *>call.object, &call.regs)


cdef void do_interrupt(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    # as kvm_arch_vcpu_ioctl() has it around each of its cases
    vcpu_load(<kvm_vcpu_t *>call.object)
    call.ret = kvm_vcpu_ioctl_interrupt(<kvm_vcpu_t *>call.object, <u32>call.value)
    vcpu_put(<kvm_vcpu_t *>call.object)


cdef void do_nmi(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    vcpu_load(<kvm_vcpu_t *>call.object)
    call.ret = kvm_vcpu_ioctl_nmi(<kvm_vcpu_t *>call.object)
    vcpu_put(<kvm_vcpu_t *>call.object)


cdef void do_set_regs(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.ret = kvm_arch_vcpu_ioctl_set_regs(<kvm_vcpu_t *>call.object, &call.regs)


cdef void do_get_sregs(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.ret = kvm_arch_vcpu_ioctl_get_sregs(<kvm_vcpu_t *>call.object, &call.sregs)


cdef void do_set_sregs(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.ret = kvm_arch_vcpu_ioctl_set_sregs(<kvm_vcpu_t *>call.object, &call.sregs)


cdef void do_vcpu_load(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    vcpu_load(<kvm_vcpu_t *>call.object)
    vcpu_put(<kvm_vcpu_t *>call.object)
    call.value = current_vmcs_pa()


cdef void do_current_vmcs(void *arg) noexcept nogil:
    cdef request *call = <request *>arg
    call.ret = has_current_vmcs()
    call.value = current_vmcs_pa()


# Extension modules whose text may trap: they stay loaded for good.
_trapping = set()
_threads = {}
# The Kernel that is up, or on its way up or down: text and per-CPU state are the process's own.
cdef void *the_kernel = NULL


cdef int thread_number():
    """A small number for the calling thread, the same each time it comes."""
    return _threads.setdefault(threading.get_ident(), len(_threads))


def _before_fork():
    # The child gets text that nobody is just writing.
    with nogil:
        text_hold()


def _after_fork():
    text_let_go()


def _in_child():
    global the_kernel, inside
    the_kernel = NULL
    # the threads that were CPUs are not there
    spin_lock_init(&inside_lock)
    inside = NULL
    text_let_go()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


# The threads that are CPUs, or on their way there; and the one that ends the process, as which
# the interpreter takes apart what they stand on: none becomes a CPU any more.
cdef spinlock_t inside_lock
cdef cpu_role *inside = NULL
cdef ulong ends = 0


cdef bint role_enters(cpu_role *role, int cpu) noexcept nogil:
    cdef bint late

    global inside

    role.cpu, role.thread, role.behind = cpu, pthread_self(), NULL
    spin_lock(&inside_lock)
    late = ends != 0 and ends != role.thread
    if not late:
        role.before = inside
        if inside:
            inside.behind = role
        inside = role
    spin_unlock(&inside_lock)
    return not late


cdef void role_leaves(cpu_role *role) noexcept nogil:
    global inside

    spin_lock(&inside_lock)
    if role.before:
        role.before.behind = role.behind
    if role.behind:
        role.behind.before = role.before
    else:
        inside = role.before
    spin_unlock(&inside_lock)


# Whoever is a CPU is kicked out of its guest; True where another thread still is one.
cdef bint kick_others() noexcept nogil:
    cdef cpu_role *role
    cdef bint others = False

    spin_lock(&inside_lock)
    role = inside
    while role:
        if role.thread != ends:
            others = True
            role.task.sigpending = 1
            if 0 <= role.cpu < nr_cpu_ids():
                smp_send_reschedule(role.cpu)
        role = role.before
    spin_unlock(&inside_lock)
    return others


def _at_exit():
    # Daemon threads: the memory and the signal handlers that they run on go next. Who executes
    # single instructions that never end is left alone after a while.
    global ends
    cdef int turns = 0

    with nogil:
        spin_lock(&inside_lock)
        ends = pthread_self()
        spin_unlock(&inside_lock)
        while kick_others() and turns < 5000:
            turns += 1
            usleep(1000)


atexit.register(_at_exit)


# The whole way of a thread to a CPU and back: every one that becomes a CPU goes it.
cdef int role_begin(cpu_role *role, int cpu, int number, u64 depth, int how) noexcept nogil:
    cdef int ret

    global log_began
    log_began = log_end()
    task_init(&role.task, number, depth)
    if not role_enters(role, cpu):
        return -ESHUTDOWN
    if role.by_trap:
        role.task.stack = role.kernel_end - (depth & ~<u64>15)
        ret = trap_bind(&role.traps, role.signal_stack, role.signal_size)
        if ret:
            role_leaves(role)
            return ret
    ret = cpu_hold(cpu, &role.task, &role.binding) if how == HELD else \
        cpu_bind(cpu, &role.task, &role.binding)
    if ret == 0 and how == KICKED:
        kick_from(&role.task, cpu)
    elif ret:
        if role.by_trap:
            trap_unbind(&role.traps)
        role_leaves(role)
    return ret


cdef void call_and_unbind(void *arg) noexcept nogil:
    cdef cpu_role *role = <cpu_role *>arg

    if role.fn:
        role.fn(role.arg)
    # with what other CPUs have asked of this one, which may hit a BUG as well
    cpu_unbind(&role.binding)


cdef int role_end(cpu_role *role) noexcept nogil:
    cdef int ret = call_until_oops(&role.task, call_and_unbind, role)

    kick_till(&role.task)
    if ret:
        cpu_unbind_oops(&role.binding)
    if role.by_trap:
        cpuid_traps_no_more(&role.task)
        trap_unbind(&role.traps)
    role_leaves(role)
    return ret


cdef void task_init(task_struct *task, int number, u64 depth) noexcept nogil:
    # A kernel stack and a user-space thread pointer of the thread's own, as L1 would have it,
    # with depth bytes of the stack in use.
    memset(task, 0, sizeof(task_struct))
    task.sp = <ulong>0xffffc90000000000 + <ulong>number * 0x8000 + 0x3c58 - depth
    task.fsbase = <ulong>0x7f0000000000 + <ulong>number * 0x1000


cdef void *exported(object extension, str name) except NULL:
    """Where a function or variable is that a .pxd of the port declares."""
    capsule = extension.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef module_t *struct_module(object extension) except NULL:
    """The struct module of an extension module that is one, declared when first asked for."""
    cdef module_t *mod

    name, = [name for name, capsule in extension.__pyx_capi__.items()
             if PyCapsule_GetName(capsule) == b"struct module"]
    mod = <module_t *>exported(extension, name)
    if mod.name == NULL:
        (<void (*)() noexcept nogil>exported(extension, "declare_module"))()
    return mod


cdef class Kernel:
    """An L1 kernel on a partition: booted by boot(), gone after shutdown().

    Every method that runs kernel code takes the CPU it runs on, as a number, and raises
    MachineError where another thread is using that CPU.
    """

    def __cinit__(self, Partition partition not None):
        cdef u32 i

        self.partition = partition
        self.owner = this_process()
        self.modules, self.vms = [], []
        self.by_trap = partition.by_trap
        self.form_keys = set()
        self.one_msr = "msr:"
        self.cpu_pointers = <void **>calloc(partition.partition.nr_vps, sizeof(void *))
        if self.cpu_pointers == NULL:
            raise MemoryError("no memory for the CPU table")
        for i in range(partition.partition.nr_vps):
            self.cpu_pointers[i] = &partition.partition.vp[i].cpu

    def __dealloc__(self):
        self.switch_off()
        free(self.cpu_pointers)

    def boot(self, int online, no_assist_page=(), fail={}) -> None:
        """Bring the kernel up with CPUs 0..online-1; CPUs named in no_assist_page get no memory
        for their assist page, and fail {point: nth} holds while it comes up. What a boot that
        fails has begun is shut down. MachineError where a kernel is up in this process."""
        check_process(self.owner)
        if not __sync_bool_compare_and_swap(&the_kernel, NULL, <void *>self):
            raise MachineError("a Machine is open in this process: close it first, as "
                               "Machine.current().close() does, or use another process")
        try:
            self.come_up(online, no_assist_page, fail)
        except BaseException:
            self.switch_off()
            raise
        finally:
            fail_none()

    cdef int come_up(self, int online, no_assist_page, fail) except -1:
        cdef int ret

        fail_none()
        for point, nth in fail.items():
            self.fail(point, nth)
        ret = start_kernel(
            &self.partition.memory.mem, self.partition.memory.vmalloc_base,
            <virt_cpu **>self.cpu_pointers, self.partition.partition.nr_vps, online)
        if ret:
            raise MemoryError("no memory to boot: give fewer CPUs")
        set_fsgsbase(host.has("fsgsbase"))
        set_debug_preempt(self.partition.partition.lints_enabled)
        jump_label_host(host.has("sync-core"), host.has("text-writing"))
        self.up = True
        self.oopsed = False
        trap.reset_counts()
        silent = trap.probe() if self.by_trap else ()
        set_traps("vmcall" not in silent, "cpuid" not in silent)
        if self.by_trap:
            log_emit(6, f"opcodes trap; by call: {', '.join(trap.calls())}".encode())
        for path in sections.kernel_proper():
            self.set_form(path, 0)
        for cpu in no_assist_page:
            fail_vmalloc_on(cpu)
        return self.call(0, do_start_platform, NULL)

    def shutdown(self) -> None:
        """Switch the machine off; what a power cut would lose is given back."""
        if not self.booted:
            return
        fail_none()
        failing_none(self.partition.partition)
        if not self.oopsed:
            self.call_anywhere(ANY_CPU, do_shutdown_platform, NULL)
        self.switch_off()

    cdef void switch_off(self) noexcept:
        if the_kernel != <void *>self or is_foreign(self.owner):
            return
        global the_kernel
        if self.up:
            shutdown_kernel()
        self.up = False
        self.modules, self.vms = [], []
        the_kernel = NULL

    @property
    def booted(self) -> bool:
        """Whether it is up, in this process."""
        return self.up and not is_foreign(self.owner)

    def check_open(self) -> None:
        """MachineError in a child of the process that booted it, and after shutdown()."""
        self.check()

    def check_process(self) -> None:
        """MachineError in a child of the process that made it."""
        check_process(self.owner)

    cdef int check(self) except -1:
        check_process(self.owner)
        if not self.up:
            raise MachineError(
                "its kernel is gone since a reboot or kexec: ask the machine for another"
                if self.replaced else "the machine is closed: boot another Machine")
        return 0

    cdef int call(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg,
                  u64 depth=0) except -1:
        """Run fn(arg) as a CPU, without the GIL; as any that is free where cpu is ANY_CPU."""
        if cpu == ANY_CPU:
            return self.call_anywhere(ANY_CPU, fn, arg)
        if self.attempt(cpu, fn, arg, depth) == -EBUSY:
            self.refuse(cpu)
        return 0

    cdef int refuse(self, int cpu) except -1:
        raise MachineError(f"CPU {cpu} is in use by another thread: wait for it, or use another")

    cdef int call_anywhere(self, int but, void (*fn)(void *) noexcept nogil, void *arg) except -1:
        """Run fn(arg) as any CPU that is free; as CPU `but` only where there is no other."""
        cdef int cpu, others = 0

        for cpu in range(<int>self.partition.partition.nr_vps):
            if cpu != but and cpu_active(cpu):
                others += 1
                if self.attempt(cpu, fn, arg, 0) == 0:
                    return 0
        if others == 0:
            return self.call(but, fn, arg)
        raise MachineError("every CPU is in use by other threads: wait for one of them")

    cdef int attempt(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg,
                     u64 depth, int how=RUNS) except 1:
        """0, or -EBUSY where another thread has the CPU; all else that goes wrong is raised."""
        cdef cpu_role role

        if self.oopsed and self.up:
            self.check()
            raise KernelBug("the kernel has hit a BUG: close the machine and boot another")
        if self.become(&role, cpu, how, depth):
            return -EBUSY
        return self.resign(&role, fn, arg)

    cdef int become(self, cpu_role *role, int cpu, int how, u64 depth) except 1:
        """Let this thread be a CPU: 0, or -EBUSY where another one is."""
        cdef Stacks stacks
        cdef int ret, number = thread_number()

        self.check()
        role.by_trap = self.by_trap
        if role.by_trap:
            stacks = thread_stacks()
            role.kernel_end = stacks.kernel_end
            role.signal_stack, role.signal_size = stacks.signal_stack, stacks.signal_size
        with nogil:
            ret = role_begin(role, cpu, number, depth, how)
            # as any thread that asks for the interpreter now
            while ret == -ESHUTDOWN:
                pause()
        if ret == 0 or ret == -EBUSY:
            return ret
        if ret == -ENXIO:
            raise MachineError(f"CPU {cpu} is not online: use one that is, or bring it online")
        raise MachineError(
            f"this thread cannot be a CPU: the host refuses it a signal stack, a handler or a base "
            f"of %gs ({os.strerror(-ret)}): use insn='call', or ask before it does"
            if self.by_trap else f"this thread cannot be a CPU: the host refuses it a base of %gs "
            f"({os.strerror(-ret)})")

    cdef int resign(self, cpu_role *role, void (*fn)(void *) noexcept nogil, void *arg) except 1:
        """As the CPU that this thread is call fn(arg), if there is one, and be it no more."""
        cdef int ret

        role.fn, role.arg = fn, arg
        with nogil:
            ret = role_end(role)
        if ret == 0:
            return 0
        self.oopsed = True
        log = self.log()
        raise KernelBug("; ".join(log[len(log) - 3:]))

    def log(self) -> list[str]:
        """The kernel log: its last lines, oldest first."""
        cdef u64 end = log_end(), i

        return [log_line(i).decode(errors="replace")
                for i in range(end - LOG_LINES if end > LOG_LINES else 0, end)]

    def last_words(self) -> list[str]:
        """What the kernel has logged in this thread's last call, and for it."""
        cdef u64 end = log_end(), i = log_began

        if i + LOG_LINES < end:
            i = end - LOG_LINES
        said = []
        while i < end:
            if log_is_mine(i):
                said.append(log_line(i).decode(errors="replace"))
            i += 1
        return said

    def warnings(self) -> int:
        """How many WARNINGs the kernel has printed."""
        return log_warnings()

    def allocations(self) -> dict[str, int]:
        """Pages and heap objects that the kernel holds."""
        return {"pages": mm_pages_outstanding(), "objects": mm_objects_outstanding()}

    def take_pages(self, int order) -> int | None:
        """The GPA of 1 << order pages in a row, zeroed; None where there are not so many."""
        cdef request call

        call.ret = order
        self.call_anywhere(ANY_CPU, do_take_pages, &call)
        if call.object == NULL:
            return None
        return <u64>call.object - <u64>self.partition.memory.mem.base

    def give_pages(self, u64 gpa, int order) -> None:
        """Take back what take_pages() gave."""
        cdef request call

        call.ret = order
        call.object = self.partition.memory.mem.base + gpa
        self.call_anywhere(ANY_CPU, do_give_pages, &call)

    def online(self, int cpu) -> bool:
        """Whether a CPU is online."""
        self.check()
        return 0 <= cpu < <int>self.partition.partition.nr_vps and cpu_online(cpu)

    def cpu_up(self, int cpu) -> int:
        """Bring a CPU online; 0 or a negative errno."""
        cdef request call

        call.cpu = cpu
        self.call_anywhere(cpu, do_cpu_up, &call)
        return call.ret

    def cpu_down(self, int cpu) -> int:
        """Take a CPU offline; 0 or a negative errno."""
        cdef request call

        call.cpu = cpu
        self.call_anywhere(cpu, do_cpu_down, &call)
        return call.ret

    def crash(self, int cpu=ANY_CPU) -> None:
        """Panic: what v4.19 does on every CPU before a crash kernel starts. Nothing of this one
        runs afterwards; one that has hit a BUG has come here by itself."""
        self.oopsed = False
        try:
            self.call(cpu, do_crash, NULL)
        finally:
            self.oopsed = True

    def end(self, bint kexec=False) -> None:
        """What the kernel does on CPU 0 before a restart, or before another begins by kexec."""
        self.call(0, do_kexec if kexec else do_restart, NULL)

    def sleep(self) -> int:
        """Suspend to memory; 0 or a negative errno. Nothing but wake() may follow."""
        cdef request call

        self.call(0, do_suspend, &call)
        return call.ret

    def wake(self) -> int:
        """Resume; 0 or the errno of a CPU that did not come back."""
        cdef request call

        self.call(0, do_resume, &call)
        return call.ret

    def abandon(self) -> None:
        """This kernel is no more, whatever it held: another may begin on the partition."""
        fail_none()
        failing_none(self.partition.partition)
        self.switch_off()
        self.replaced = True

    def fail(self, point, nth) -> None:
        """Let the nth step of a kind fail, counted from now; 0 takes it back."""
        kind, _, name = point.partition(":")
        if point not in FAIL_STEPS and point not in FAIL_INSTRUCTIONS and not (
                kind == "msr" and name):
            points = ", ".join((*FAIL_STEPS, *FAIL_INSTRUCTIONS))
            raise ValueError(f"no fail point {point!r}: there are {points}, and msr:NAME or "
                             "msr:NUMBER for one MSR")
        if not 0 <= nth < 1 << 31:
            raise ValueError(f"the {nth}th step: give 1 for the next one, or 0 for none")
        if point in FAIL_STEPS:
            fail_nth(FAIL_STEPS[point], nth)
        elif name:
            failing_msr(msr_number(name))
            failing_nth(self.partition.partition, FAIL_ONE_MSR, nth)
            self.one_msr = point
        else:
            failing_nth(self.partition.partition, FAIL_INSTRUCTIONS[point], nth)

    def preempt(self, nth) -> None:
        """Let the thread that runs the kernel lose its CPU before its nth VMWRITE."""
        if self.by_trap:
            raise MachineError("instructions by trap are not preempted: use insn=\"call\"")
        if not 0 <= nth < 1 << 31:
            raise ValueError(f"the {nth}th VMWRITE: give 1 for the next one, or 0 for none")
        failing_nth(self.partition.partition, PREEMPTED, nth)

    def hypercall_input(self, int cpu) -> int:
        """The GPA of a CPU's page for hypercall input."""
        return <ulong>cpu_area(cpu).hyperv_pcpu_input_arg - cpu_area(cpu).page_offset_base

    def irqs_disabled(self, int cpu) -> int:
        """Whether interrupts are off on a CPU, as its own variable says."""
        return cpu_area(cpu).irqs_disabled

    def failures_left(self) -> dict[str, int]:
        """The steps still to come before each failure that has been asked for."""
        left = {point: fail_left(number) for point, number in FAIL_STEPS.items()}
        left |= {point: failing_left(kind) for point, kind in FAIL_INSTRUCTIONS.items()}
        left["preempt"] = failing_left(PREEMPTED)
        left[self.one_msr] = failing_left(FAIL_ONE_MSR)
        return {point: count for point, count in left.items() if count}

    def failures_struck(self) -> list[tuple[int, str, int]]:
        """(CPU, instruction, MSR or control word) of those that have failed as they were told."""
        return failing_struck()

    def perf_guest_events(self, u64 host, u64 guest) -> None:
        """What perf asks KVM to have in PERF_GLOBAL_CTRL, in L1 and in the guest."""
        perf_guest_events(host, guest)

    def assist_page(self, int cpu):
        """(GPA, the 56 bytes in use) of a CPU's assist page, or None where it has none."""
        cdef hv_vp_assist_page_t *page

        self.check()
        page = hv_get_vp_assist_page(cpu)
        if page == NULL:
            return None
        gpa = <u8 *>page - self.partition.memory.vmalloc_base
        return gpa, (<u8 *>page)[:sizeof(hv_vp_assist_page_t)]

    def sites(self) -> list[dict]:
        """Every static-branch site of the modules that are loaded, in the order of its table;
        form: its key chooses between the two forms of an instruction."""
        cdef module_t *mod
        cdef jump_entry_t *entry
        cdef u8 *text

        found = []
        for i in range(jump_label_nr_modules()):
            mod = jump_label_module(i)
            entry = mod.jump_entries
            while entry < mod.jump_entries_end:
                text = <u8 *>entry.code
                found.append({
                    "address": entry.code, "target": entry.target, "key": entry.key & ~1,
                    "likely": bool(entry.key & 1), "bytes": text[:5],
                    "form": entry.key & ~1 in self.form_keys, "module": mod.name.decode()})
                entry += 1
        return found

    def set_form(self, path: str, int cpu=ANY_CPU) -> None:
        """Bring the instructions of a loaded extension module into this machine's form."""
        cdef form_request call
        cdef object found = sections.loaded(path)

        memset(&call, 0, sizeof(call))
        if found.key == 0:
            return
        self.form_keys.add(found.key)
        if self.by_trap and path not in _trapping:
            if extable_add(found.extable[0], found.extable[1]):
                raise MachineError("too many exception tables")
            trap.add_text(*found.text, found.entries)
            _trapping.add(path)
        call.mod.name = "vmlinux"
        call.mod.jump_entries = <jump_entry_t *><ulong>found.jump_table[0]
        call.mod.jump_entries_end = <jump_entry_t *><ulong>found.jump_table[1]
        call.key = <static_key_t *><ulong>found.key
        call.by_trap = self.by_trap
        self.call(cpu, do_set_form, &call)
        if call.ret:
            raise OSError(-call.ret, f"{path}: instructions cannot be made to trap: "
                          f"{os.strerror(-call.ret)}: use insn='call'")

    def traps(self) -> dict[str, int]:
        """How often each instruction has trapped."""
        check_process(self.owner)
        return trap.counts(self.partition.partition.nr_vps)

    def current_vmcs(self, int cpu):
        """The GPA of the VMCS that is current on a CPU, or None."""
        cdef request call

        self.call(cpu, do_current_vmcs, &call)
        return call.value if call.ret else None

    def load(self, extension, dict params, owner, int cpu=ANY_CPU) -> int:
        """Load the kernel module that an extension module is, for owner; 0 or a negative errno,
        which is that of text_error() where its text could not be changed."""
        cdef load_request call
        cdef int i

        memset(&call, 0, sizeof(call))
        call.mod = struct_module(extension)
        for i in range(call.mod.nr_params):
            name = call.mod.params[i].name.decode()
            if name in params:
                call.value[i] = int(params[name])
                call.given |= <u64>1 << i
        self.set_form(extension.__file__, cpu)
        self.call(cpu, do_load_module, &call)
        if call.ret == 0:
            self.modules.append(owner)
        return call.ret

    def text_error(self, extension) -> int:
        """Why the last load of a module could not change its text: a negative errno, or 0."""
        return struct_module(extension).text_error

    def unload(self, extension, owner, int cpu=ANY_CPU) -> int:
        """Unload a module of owner's; 0 or a negative errno."""
        cdef request call

        call.object = struct_module(extension)
        self.call(cpu, do_delete_module, &call)
        if call.ret == 0:
            self.modules.remove(owner)
        return call.ret

    def enable_evmcs(self, extension) -> bool:
        """Whether the static key enable_evmcs of a module is on."""
        return (<bint (*)() noexcept nogil>exported(extension, "enable_evmcs_is_on"))()

    def parameters(self, extension) -> dict:
        """The parameters of a module as they stand."""
        cdef module_t *mod = struct_module(extension)

        return {mod.params[i].name.decode():
                bool(mod.params[i].value[0]) if mod.params[i].is_bool else mod.params[i].value[0]
                for i in range(mod.nr_params)}

    def create_vm(self, memory: int, int cpu=ANY_CPU):
        """(VirtualMachine, 0), or (None, a negative errno)."""
        cdef request call
        cdef VirtualMachine vm

        call.value = memory
        call.ret = 0
        self.call(cpu, do_create_vm, &call)
        if call.object == NULL:
            return None, call.ret
        vm = VirtualMachine.__new__(VirtualMachine, _MADE)
        vm.kernel = self
        vm.kvm = call.object
        self.vms.append(vm)
        return vm, 0

    def destroy_vms(self, int cpu=ANY_CPU) -> None:
        """Destroy the VMs that are left, the youngest first."""
        while self.vms:
            self.vms[len(self.vms) - 1].destroy(cpu)


cdef class VirtualMachine:
    """A struct kvm."""

    def __cinit__(self, made=None):
        if made is not _MADE:
            raise TypeError("a VirtualMachine comes from Kernel.create_vm()")

    cdef kvm_t *there(self) except NULL:
        if self.kernel is None or self.kvm == NULL:
            raise MachineError("the VM is destroyed: create another")
        self.kernel.check()
        return <kvm_t *>self.kvm

    @property
    def destroyed(self) -> bool:
        """Whether it is gone."""
        return self.kvm == NULL

    def destroy(self, int cpu=ANY_CPU) -> None:
        """Destroy it and its vCPUs."""
        cdef request call

        call.object = self.there()
        self.kernel.call(cpu, do_destroy_vm, &call)
        self.kvm = NULL
        self.kernel.vms.remove(self)

    def create_vcpu(self, int cpu):
        """(VirtualCpu, 0), or (None, a negative errno)."""
        cdef request call
        cdef VirtualCpu vcpu

        call.object = self.there()
        call.value = self.nr_vcpus
        call.ret = 0
        self.kernel.call(cpu, do_create_vcpu, &call)
        if call.object == NULL:
            return None, call.ret
        vcpu = VirtualCpu.__new__(VirtualCpu, _MADE)
        self.nr_vcpus += 1
        vcpu.vm = self
        vcpu.vcpu = call.object
        return vcpu, 0

    def move_page(self, u64 gpa, bint flush, int cpu) -> int:
        """Give a page of guest memory another frame, and flush the TLBs unless told otherwise;
        0 or a negative errno."""
        cdef move_request call

        call.kvm = self.there()
        call.gpa = gpa
        call.flush = flush
        self.kernel.call(cpu, do_move_page, &call)
        return call.ret

    @property
    def remote_tlb_flushes(self) -> int:
        """kvm.stat.remote_tlb_flush."""
        return self.there().remote_tlb_flush

    cdef int copy(self, u64 gpa, u8 *data, size_t length, bint store) except -1:
        cdef copy_request call

        call.kvm = self.there()
        call.gpa, call.data, call.length, call.store, call.ret = gpa, data, length, store, 0
        self.kernel.call_anywhere(ANY_CPU, do_copy, &call)
        if call.ret:
            raise IndexError(f"{call.gpa:#x} is outside the guest's memory")
        return 0

    def read(self, gpa: int, length: int) -> bytes:
        """Bytes of the guest's memory; IndexError outside it."""
        data = bytearray(length)
        cdef u8[::1] view = data
        if length:
            self.copy(gpa, &view[0], length, False)
        return bytes(data)

    def write(self, gpa: int, data: bytes) -> None:
        """Store bytes in the guest's memory; IndexError outside it."""
        cdef const u8[::1] view = data
        if len(view):
            self.copy(gpa, <u8 *>&view[0], len(view), True)


cdef struct move_request:
    kvm_t *kvm
    u64 gpa
    bint flush
    int ret


cdef void do_move_page(void *arg) noexcept nogil:
    cdef move_request *call = <move_request *>arg

    call.ret = move_guest_page(call.kvm, call.gpa) if call.flush else \
        replace_guest_page(call.kvm, call.gpa)


cdef struct copy_request:
    kvm_t *kvm
    u64 gpa
    u8 *data
    size_t length
    bint store
    int ret


cdef void do_copy(void *arg) noexcept nogil:
    # As far as the guest has memory, a page at a time: each stays where it is meanwhile.
    cdef copy_request *call = <copy_request *>arg
    cdef size_t part
    cdef u8 *page

    while call.length:
        part = min(<size_t>(PAGE_SIZE - (call.gpa & (PAGE_SIZE - 1))), call.length)
        page = guest_page_get(call.kvm, call.gpa)
        if page == NULL:
            call.ret = -EFAULT
            return
        page += call.gpa & (PAGE_SIZE - 1)
        if call.store:
            memcpy(page, call.data, part)
        else:
            memcpy(call.data, page, part)
        guest_page_put(call.kvm)
        call.gpa += part
        call.data += part
        call.length -= part


REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11",
             "r12", "r13", "r14", "r15", "rip", "rflags")


cdef class VirtualCpu:
    """A struct kvm_vcpu."""

    def __cinit__(self, made=None):
        if made is not _MADE:
            raise TypeError("a VirtualCpu comes from VirtualMachine.create_vcpu()")

    cdef kvm_vcpu_t *there(self) except NULL:
        if self.vm is None:
            raise MachineError("no vCPU: create one")
        self.vm.there()
        return <kvm_vcpu_t *>self.vcpu

    def run(self, int cpu, exits=None, u64 depth=0):
        """Run on a CPU until so many VM exits, or until KVM returns to user space.

        A CPU that goes offline ends the run. depth bytes of the thread's kernel stack are in
        use before. Returns (exits, KVM's return value, {reason: exits}). A signal that Python
        handles kicks the vCPU out of the guest, and goes on there unless its handler raises.
        """
        cdef kvm_vcpu_t *vcpu = self.there()
        cdef Kernel kernel = self.vm.kernel
        cdef run_request call
        cdef u64 start = vcpu.stat.exits
        cdef u64 end = ~<u64>0 if exits is None else start + <u64>exits
        cdef bint kicked

        memset(&call, 0, sizeof(call))
        call.vcpu = vcpu
        call.exit_reasons = kernel.partition.partition.vp[cpu].exit_reasons
        call.vp = &kernel.partition.partition.vp[cpu]
        while True:
            kicked = kick_begin()
            try:
                vcpu.arch.exits_until = end
                if not kicked and kick_handles():
                    vcpu.arch.exits_until = min(end, vcpu.stat.exits + SLICE_EXITS)
                if kernel.attempt(cpu, do_run, &call, depth, KICKED if kicked else RUNS):
                    kernel.refuse(cpu)
            finally:
                if kicked:
                    kick_end()
            self.chain = call.chain
            self.refused = call.refusal
            if call.ret != -EINTR or vcpu.stat.exits >= end or not cpu_active(cpu) or \
                    vcpu.run.immediate_exit:
                return vcpu.stat.exits - start, call.ret, {
                    i: call.reasons[i] for i in range(L0_NR_EXIT_REASONS) if call.reasons[i]}
            kick_check()
            # a handler may have closed what this runs in, or be in a child
            self.there()

    @property
    def address(self) -> int:
        """Where its struct kvm_vcpu is."""
        return <size_t>self.there()

    def load(self, int cpu) -> int:
        """Make its VMCS current on a CPU; the GPA of the VMCS."""
        cdef request call

        call.object = self.there()
        self.vm.kernel.call(cpu, do_vcpu_load, &call)
        return call.value

    def interrupt(self, int cpu, int vector) -> int:
        """KVM_INTERRUPT: 0 or a negative errno."""
        cdef request call

        call.object = self.there()
        call.value = vector
        self.vm.kernel.call(cpu, do_interrupt, &call)
        return call.ret

    def nmi(self, int cpu) -> int:
        """KVM_NMI: 0 or a negative errno."""
        cdef request call

        call.object = self.there()
        self.vm.kernel.call(cpu, do_nmi, &call)
        return call.ret

    @property
    def request_interrupt_window(self) -> bool:
        """kvm_run.request_interrupt_window."""
        return bool(self.there().run.request_interrupt_window)

    @request_interrupt_window.setter
    def request_interrupt_window(self, bint value):
        self.there().run.request_interrupt_window = value

    @property
    def ready_for_interrupt_injection(self) -> bool:
        """kvm_run.ready_for_interrupt_injection."""
        return bool(self.there().run.ready_for_interrupt_injection)

    @property
    def refusal(self):
        """Why the last entry of the last run was refused, None where it was not."""
        return refusal_of(&self.refused)

    @property
    def events(self) -> list[dict]:
        """The last event of the guest in the last run, and what its delivery met."""
        cdef l0_chained *event
        cdef u32 i

        found = []
        for i in range(self.chain.length):
            event = &self.chain.event[i]
            found.append({
                "info": event.info, "error": event.error, "payload": event.payload,
                "rip": event.rip, "bits": event.code_bits, "decoded": bool(event.decoded),
                "code": event.code[:event.have]})
        return found

    def exit_state(self) -> dict:
        """struct kvm_run, as far as its exit reason fills it."""
        cdef kvm_run_t *run = self.there().run

        return {
            "exit_reason": run.exit_reason,
            "fail_entry": run.fail_entry.hardware_entry_failure_reason,
            "exception": run.ex.exception, "error_code": run.ex.error_code,
            "io": {"direction": "in" if run.io.direction == 0 else "out", "size": run.io.size,
                   "port": run.io.port, "data": run.io.data},
            "mmio": {"direction": "write" if run.mmio.is_write else "read", "size": run.mmio.len,
                     "address": run.mmio.phys_addr, "data": run.mmio.data},
            "internal": {"suberror": run.internal.suberror,
                         "data": [run.internal.data[i] for i in range(min(run.internal.ndata, 16))]}}

    def answer_mmio(self, u64 data) -> None:
        """kvm_run.mmio.data: what the read that user space was asked for finds."""
        (<kvm_vcpu_t *>self.vcpu).run.mmio.data = data

    def get_regs(self, int cpu) -> dict[str, int]:
        """The general registers, RIP and RFLAGS."""
        cdef request call

        call.object = self.there()
        self.vm.kernel.call(cpu, do_get_regs, &call)
        return call.regs

    def set_regs(self, int cpu, dict regs) -> None:
        """Set them all."""
        cdef request call

        call.object = self.there()
        call.regs = regs
        self.vm.kernel.call(cpu, do_set_regs, &call)

    def get_sregs(self, int cpu) -> dict:
        """Segments, tables and control registers."""
        cdef request call

        call.object = self.there()
        self.vm.kernel.call(cpu, do_get_sregs, &call)
        return call.sregs

    def set_sregs(self, int cpu, dict sregs) -> int:
        """Set them all; 0 or a negative errno."""
        cdef request call

        call.object = self.there()
        call.sregs = sregs
        self.vm.kernel.call(cpu, do_set_sregs, &call)
        return call.ret

    def set_cpuid(self, int cpu, entries: list[dict]) -> int:
        """Give the guest its CPUID table; 0 or a negative errno."""
        cdef cpuid_request call
        cdef int i

        call.vcpu = self.there()
        call.nent = len(entries)
        call.entries = <kvm_cpuid_entry2 *>calloc(len(entries) + 1, sizeof(kvm_cpuid_entry2))
        if call.entries == NULL:
            raise MemoryError("no memory for the CPUID table")
        try:
            for i, entry in enumerate(entries):
                call.entries[i] = entry
            self.vm.kernel.call(cpu, do_set_cpuid, &call)
        finally:
            free(call.entries)
        return call.ret


cdef struct cpuid_request:
    kvm_vcpu_t *vcpu
    kvm_cpuid_entry2 *entries
    int nent
    int ret


cdef void do_set_cpuid(void *arg) noexcept nogil:
    cdef cpuid_request *call = <cpuid_request *>arg
    vcpu_load(call.vcpu)
    call.ret = kvm_vcpu_ioctl_set_cpuid2(call.vcpu, call.entries, call.nent)
    vcpu_put(call.vcpu)


cdef struct function_request:
    u64 (*function)(u64, u64, u64, u64) noexcept nogil
    u64 argument[4]
    u64 result


cdef void do_call_function(void *arg) noexcept nogil:
    cdef function_request *call = <function_request *>arg
    call.result = call.function(
        call.argument[0], call.argument[1], call.argument[2], call.argument[3])


def call_function(Kernel kernel, int cpu, size_t address, tuple arguments) -> int:
    """Call a function of up to four integer arguments on a CPU; RAX as it left it."""
    cdef function_request call
    cdef int i

    memset(&call, 0, sizeof(call))
    call.function = <u64 (*)(u64, u64, u64, u64) noexcept nogil>address
    for i, argument in enumerate(arguments):
        call.argument[i] = <u64>(argument & 0xffffffffffffffff)
    kernel.call(cpu, do_call_function, &call)
    return call.result
