# SPDX-License-Identifier: GPL-2.0-only
"""From Python into the L1 kernel: each call borrows a CPU, and a BUG comes back as an exception."""

import atexit
import contextlib
import os
import threading
import weakref
from signal import set_wakeup_fd

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EBUSY, ESHUTDOWN, EFAULT, EINTR, ENXIO, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK
from posix.unistd cimport close, read, write

from kvm_vmx.abi.asm cimport LOCAL_TIMER_VECTOR, RESCHEDULE_VECTOR
from kvm_vmx.abi.hyperv_tlfs cimport hv_vp_assist_page as hv_vp_assist_page_t
from kvm_vmx.abi.linux cimport (
    GFP_KERNEL, __GFP_ZERO, jump_entry_t, module_t, spin_lock, spin_lock_init, spin_trylock,
    spin_unlock, spinlock_t, static_key_t, task_struct)
from kvm_vmx.abi.processor cimport X86_TRAP_GP
from kvm_vmx.abi.types cimport PAGE_SIZE, u8, u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport (
    GPR_RAX, GPR_RCX, INSN_MAKE_FAULT, INSN_OK, insn_t, irq_forget, virt_cpu, virt_cpu_ops)
from kvm_vmx.l0.state cimport (
    L0_NR_EXIT_REASONS, l0_chain, l0_partition, l0_refusal, l0_vp)
from kvm_vmx.machine.chain cimport chain_events
from kvm_vmx.l1.cpuid cimport kvm_vcpu_ioctl_set_cpuid2
from kvm_vmx.l1.hv_init cimport hv_get_vp_assist_page
from kvm_vmx.l1.kvm_host cimport kvm_cpuid_entry2, kvm_regs, kvm_run_t, kvm_sregs, kvm_t, kvm_vcpu_t
from kvm_vmx.l1.kvm_main cimport (
    kvm_create_vm, kvm_destroy_vm, kvm_vm_ioctl_create_vcpu, preempt_schedule, vcpu_load,
    vcpu_put)
from kvm_vmx.l1.linux.cpu cimport (
    cpu_active, cpu_area, cpu_bind, cpu_down, cpu_hold, cpu_online, cpu_unbind, cpu_unbind_oops,
    cpu_up, nr_cpu_ids, percpu_area, perf_guest_events, set_debug_preempt, set_fsgsbase,
    set_traps, smp_send_reschedule)
from kvm_vmx.l1.linux.fault cimport (
    FAIL_KMALLOC, FAIL_MPROTECT, FAIL_PAGE, FAIL_VMALLOC, fail_left, fail_none, fail_nth,
    fail_vmalloc_on)
from kvm_vmx.l1.linux.extable cimport extable_add
from kvm_vmx.l1.linux.jump_label cimport jump_label_form, text_hold, text_let_go
from kvm_vmx.l1.linux.mm cimport (
    __alloc_pages_node, free_pages, mm_objects_outstanding, mm_pages_outstanding)
from kvm_vmx.l1.linux.module cimport (
    delete_module, init_module, load_module, module_at, nr_modules)
from kvm_vmx.l1.linux.printk cimport (
    LOG_LINES, log_emit, log_end, log_is_mine, log_line, log_warnings)
from kvm_vmx.l1.linux.reboot cimport (
    crash_kexec, kernel_kexec, kernel_restart, suspend_enter, suspend_leave)
from kvm_vmx.l1.linux.setup cimport (
    shutdown_kernel, shutdown_platform, start_kernel, start_platform)
from kvm_vmx.l1.linux.text_patching cimport text_host
from kvm_vmx.l1.mmu cimport (
    guest_page_get, guest_page_put, move_guest_page, replace_guest_page)
from kvm_vmx.l1.x86 cimport (
    kvm_arch_vcpu_ioctl_get_regs, kvm_arch_vcpu_ioctl_get_sregs, kvm_arch_vcpu_ioctl_run,
    kvm_arch_vcpu_ioctl_set_regs, kvm_arch_vcpu_ioctl_set_sregs, kvm_vcpu_ioctl_interrupt,
    kvm_vcpu_ioctl_nmi)
from kvm_vmx.machine.partition cimport (
    _MADE, Partition, check_process, is_foreign, process_t, refusal_of, this_process)
from kvm_vmx.trap.engine cimport Stacks, thread_stacks, trap_bind, trap_unbind

from kvm_vmx.machine.failures import msr_of_point
from kvm_vmx import host
from kvm_vmx.machine import sections
from kvm_vmx.machine.refusal import Refusal
from kvm_vmx.trap import engine as trap
from kvm_vmx.errors import KernelBug, MachineError

cdef extern from "linux/cpu.h" nogil:
    """
    static unsigned long current_vmcs_pa(void)
    {
        void *vmcs = this_cpu_read(current_vmcs);

        return vmcs ? (unsigned long)vmcs - this_cpu_read(page_offset_base) : -1UL;
    }
    """
    ulong current_vmcs_pa()
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

# What this kernel's timer interrupts with; it asks for control again that way.
TIMER_VECTOR = LOCAL_TIMER_VECTOR

cdef enum:
    ANY_CPU = -1        # whichever is free


# Extension modules whose text may trap: they stay loaded for good.
_trapping = set()
_threads = {}
# The Kernel that is up, or on its way up or down: text and per-CPU state are the process's own.
cdef void *the_kernel = NULL


cdef int thread_number():
    """A small number for the calling thread, the same each time it comes."""
    return _threads.setdefault(threading.get_ident(), len(_threads))


include "kick.pxi"
include "role.pxi"
include "calls.pxi"
include "failing.pxi"
include "fail_points.pxi"
include "loading.pxi"


cdef class Kernel(KernelModules):
    """An L1 kernel on a partition: booted by boot(), gone after shutdown().

    Every method that runs kernel code takes the CPU it runs on, as a number, and raises
    MachineError where another thread is using that CPU.
    """

    def __cinit__(self, Partition partition not None):
        cdef u32 i

        self.vms = []
        self.cpu_pointers = <void **>calloc(partition.partition.nr_vps, sizeof(void *))
        if self.cpu_pointers == NULL:
            raise MemoryError("no memory for the CPU table")
        for i in range(partition.partition.nr_vps):
            self.cpu_pointers[i] = &partition.partition.vp[i].cpu

    def __dealloc__(self):
        # where a class above has refused, this one has no methods yet
        if self.cpu_pointers != NULL:
            self.switch_off()
        free(self.cpu_pointers)

    def boot(self, int online, no_assist_page=(), fail=None) -> None:
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
        for point, nth in (fail or {}).items():
            self.fail(point, nth)
        ret = start_kernel(
            &self.partition.memory.mem, self.partition.memory.vmalloc_base,
            <virt_cpu **>self.cpu_pointers, self.partition.partition.nr_vps, online)
        if ret:
            raise MemoryError("no memory to boot: give fewer CPUs")
        set_fsgsbase(host.has("fsgsbase"))
        set_debug_preempt(self.partition.partition.lints_enabled)
        text_host(host.has("sync-core"), host.has("text-writing"))
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
        self.enter(0, <void *>start_platform)
        return 0

    def shutdown(self) -> None:
        """Switch the machine off; what a power cut would lose is given back."""
        if not self.booted:
            return
        fail_none()
        failing_none(self.partition.partition)
        if not self.oopsed:
            self.enter(ANY_CPU, <void *>shutdown_platform)
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

    def allocations(self) -> dict[str, int]:
        """Pages and heap objects that the kernel holds."""
        return {"pages": mm_pages_outstanding(), "objects": mm_objects_outstanding()}

    def take_pages(self, int order) -> int | None:
        """The GPA of 1 << order pages in a row, zeroed; None where there are not so many."""
        cdef u64 page = self.enter(
            ANY_CPU, <void *>__alloc_pages_node, 0, GFP_KERNEL | __GFP_ZERO, order)

        return page - <u64>self.partition.memory.mem.base if page else None

    def give_pages(self, u64 gpa, int order) -> None:
        """Take back what take_pages() gave."""
        self.enter(ANY_CPU, <void *>free_pages, <u64>self.partition.memory.mem.base + gpa, order)

    def online(self, int cpu) -> bool:
        """Whether a CPU is online."""
        self.check()
        return 0 <= cpu < <int>self.partition.partition.nr_vps and cpu_online(cpu)

    def cpu_up(self, int cpu) -> int:
        """Bring a CPU online; 0 or a negative errno."""
        return self.hotplug(cpu, <void *>cpu_up)

    def cpu_down(self, int cpu) -> int:
        """Take a CPU offline; 0 or a negative errno."""
        return self.hotplug(cpu, <void *>cpu_down)

    def crash(self, int cpu=ANY_CPU) -> None:
        """Panic: what v4.19 does on every CPU before a crash kernel starts. Nothing of this one
        runs afterwards; one that has hit a BUG has come here by itself."""
        self.oopsed = False
        try:
            self.enter(cpu, <void *>crash_kexec)
        finally:
            self.oopsed = True

    def end(self, bint kexec=False) -> None:
        """What the kernel does on CPU 0 before a restart, or before another begins by kexec."""
        self.enter(0, <void *>kernel_kexec if kexec else <void *>kernel_restart)

    def suspend(self) -> tuple[int, str]:
        """Suspend to memory, lose what the processors had, resume: 0 or a negative errno, and
        which of both it is of. One step of Python's: a kernel that sleeps can do nothing else."""
        cdef int ret = <int>self.enter(0, <void *>suspend_enter)

        if ret:
            return ret, "suspend"
        self.partition.reset()
        return <int>self.enter(0, <void *>suspend_leave), "resume"

    def followed_by_another(self, machine, int online, str how) -> list[str]:
        """End by a "restart", "kexec" or "crash", and boot another kernel on the partition, which
        is the machine's from then on: this one's log. One step of Python's, as suspend()."""
        cdef Kernel another

        if how == "crash":
            self.crash(0)
        elif how == "kexec":
            self.end(kexec=True)
        else:
            if not self.oopsed:
                self.end()
            self.partition.reset()
        log = self.log()
        self.abandon()
        self.partition.memory.hand_out_by(None)
        machine._kernel = another = Kernel(self.partition)
        another.boot(online)
        self.partition.memory.hand_out_by(another)
        return log

    def abandon(self) -> None:
        """This kernel is no more, whatever it held: another may begin on the partition."""
        fail_none()
        failing_none(self.partition.partition)
        self.switch_off()
        self.replaced = True

    def hypercall_input(self, int cpu) -> int:
        """The GPA of a CPU's page for hypercall input."""
        return <ulong>cpu_area(cpu).hyperv_pcpu_input_arg - cpu_area(cpu).page_offset_base

    def irqs_disabled(self, int cpu) -> int:
        """Whether interrupts are off on a CPU, as its own variable says."""
        return cpu_area(cpu).irqs_disabled

    def perf_guest_events(self, u64 in_host, u64 in_guest) -> None:
        """What perf asks KVM to have in PERF_GLOBAL_CTRL, in L1 and in the guest."""
        perf_guest_events(in_host, in_guest)

    def assist_page(self, int cpu) -> tuple[int, bytes] | None:
        """(GPA, the 56 bytes in use) of a CPU's assist page, or None where it has none."""
        cdef hv_vp_assist_page_t *page

        self.check()
        page = hv_get_vp_assist_page(cpu)
        if page == NULL:
            return None
        gpa = <u8 *>page - self.partition.memory.vmalloc_base
        return gpa, (<u8 *>page)[:sizeof(hv_vp_assist_page_t)]

    def traps(self) -> dict[str, int]:
        """How often each instruction has trapped."""
        check_process(self.owner)
        return trap.counts(self.partition.partition.nr_vps)

    def current_vmcs(self, int cpu) -> int | None:
        """The GPA of the VMCS that is current on a CPU, or None."""
        cdef u64 gpa = self.enter(cpu, <void *>current_vmcs_pa)

        return gpa if gpa != <u64>-1 else None

    def create_vm(self, memory: int,
                  int cpu=ANY_CPU) -> "tuple[VirtualMachine, int] | tuple[None, int]":
        """(VirtualMachine, 0), or (None, a negative errno)."""
        cdef VirtualMachine vm
        cdef int ret = 0
        cdef u64 kvm = self.enter(cpu, <void *>kvm_create_vm, memory, <u64>&ret)

        if kvm == 0:
            return None, ret
        vm = VirtualMachine.__new__(VirtualMachine, _MADE)
        vm.kernel = self
        vm.kvm = <void *>kvm
        self.vms.append(vm)
        return vm, 0

    def destroy_vms(self, int cpu=ANY_CPU) -> None:
        """Destroy the VMs that are left, the youngest first."""
        while self.vms:
            self.vms[len(self.vms) - 1].destroy(cpu)


def call_function(Kernel kernel, int cpu, size_t address, tuple arguments) -> int:
    """Call a function of up to four integer arguments on a CPU; RAX as it left it."""
    cdef u64 given[4]
    cdef int i

    memset(given, 0, sizeof(given))
    for i, argument in enumerate(arguments):
        given[i] = <u64>(argument & 0xffffffffffffffff)
    return kernel.enter(cpu, <void *>address, given[0], given[1], given[2], given[3])


include "virtual.pxi"
include "hold.pxi"
include "gate.pxi"
