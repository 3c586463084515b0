# SPDX-License-Identifier: GPL-2.0-only
"""An image in this process: mapped where it was linked for, its CPUs those of a partition."""

import atexit
import os
import threading
from collections import Counter
from typing import NamedTuple

from libc.errno cimport EBUSY, EFAULT, ESHUTDOWN, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from kvm_vmx.abi.types cimport u64, ulong
from kvm_vmx.abi.virt_cpu cimport virt_cpu, virt_cpu_ops
from kvm_vmx.machine.chain cimport chain_events
from kvm_vmx.machine.kernel cimport (
    SLICE_EXITS, kick_begin, kick_check, kick_end, kick_from, kick_handles, kick_till)
from kvm_vmx.machine.partition cimport (
    Partition, Processor, check_process, is_foreign, this_process)
from kvm_vmx.trap.engine cimport Stacks, thread_stacks, trap_bind, trap_binding, trap_unbind

from kvm_vmx import host
from kvm_vmx.errors import KernelBug, MachineError
from kvm_vmx.kernel import ioctls
from kvm_vmx.kernel.image_file import elf_of
from kvm_vmx.machine.failures import msr_of_point
from kvm_vmx.trap import engine as trap

cdef extern from "unistd.h" nogil:
    int pause()
    int usleep(unsigned int microseconds)

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int mprotect(void *addr, size_t length, int prot)
    void *mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
    enum:
        PROT_READ
        PROT_WRITE
        PROT_EXEC
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_NORESERVE
        MAP_FIXED_NOREPLACE
        MREMAP_MAYMOVE
        MREMAP_FIXED
        MAP_FAILED

cdef enum:
    PAGE = 4096
    PER_CPU_CHUNKS = 256 << 10
    STRUCT_PAGE = 64

# seconds
PATIENCE = 30.0

# as which CPU: any
ANY = -1
BUSY = ("the machine is in use (a vCPU runs, or another thread is inside): wait until that call "
        "has returned")

# Commands that open a file.
OPENING = (ioctls.CREATE_VM, ioctls.CREATE_VCPU)

FAIL_POINTS = {"page": FAIL_PAGE, "kmalloc": FAIL_KMALLOC, "vmalloc": FAIL_VMALLOC, "msr": FAIL_MSR,
               "hypercall": FAIL_HYPERCALL}


class RunOfVcpu(NamedTuple):
    """What came of an ioctl: how many VM exits, the CPU it ended on, how often each reason came."""

    ret: int
    exits: int
    cpu: int
    reasons: Counter[int]


def but(cpu: int) -> int:
    """As which CPU: any but one."""
    return -2 - cpu


# of each thread: what the kernel logged in its last call
_heard = threading.local()


# The one that is loaded, as long as somebody holds it: its end unloads it.
cdef void *_loaded = NULL


def _in_child():
    # The parent's: none of it is of use here, and it lies where another one would.
    if _loaded != NULL:
        crowd_forget()
        (<Image>_loaded).forget()


os.register_at_fork(after_in_child=_in_child)


cdef ulong up(ulong size) noexcept nogil:
    return (size + PAGE - 1) & ~<ulong>(PAGE - 1)


# Threads that are inside what goes next come out, and those that a process ends with stay away.
cdef void await_threads() noexcept:
    cdef int turns = 0

    with nogil:
        while turns < 5000 and crowd_has_anyone() and not crowd_is_gone():
            turns += 1
            usleep(1000)


def _at_exit():
    cdef bint inside = False

    with nogil:
        inside = the_image != NULL and crowd_has_anyone()
    if inside:
        crowd.ends = True
        await_threads()


atexit.register(_at_exit)


cdef class Image:
    """The kernel of an image on a partition: booted by boot(), gone after unload().

    call() runs one function of it as a CPU; a kernel that dies raises KernelBug with the function
    in which it did, and can only be unloaded.
    """

    def __cinit__(self, Partition partition not None, path):
        self.partition = partition
        self.owner = this_process()
        self.files, self.lent = [], {}
        self.patience = PATIENCE
        self.elf = elf_of(path)
        self.image = <image_t *>calloc(1, sizeof(image_t))
        if self.image == NULL:
            raise MemoryError("no memory for an image")

    def __dealloc__(self):
        if self.image != NULL:
            if not is_foreign(self.owner):
                self.forget()
            free(self.image.records)
            free(self.image.host.page_kind)
            free(self.image.host.user_frame)
            free(self.image.host.per_cpu)
        free(self.image)

    cdef ulong map(self, ulong size, ulong at=0) except 0:
        cdef void *found = mmap(
            <void *>at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
            | (MAP_FIXED_NOREPLACE if at else 0), -1, 0)

        if found == <void *>MAP_FAILED:
            raise MachineError(
                f"no {size} bytes of address space{f' at {at:#x}' if at else ''}: "
                f"{os.strerror(errno)}; use another process")
        self.has_mapped(<ulong>found, size)
        return <ulong>found

    cdef void has_mapped(self, ulong at, ulong size) noexcept:
        self.mapped[self.nr_mapped].start, self.mapped[self.nr_mapped].size = at, size
        self.nr_mapped += 1

    cdef int put(self, section, ulong at) except -1:
        cdef const unsigned char[::1] data = section.data

        if len(section.data):
            memcpy(<void *>at, &data[0], len(section.data))
        return 0

    def boot(self, int online, without_assist=(), fail=None) -> None:
        """Map it and bring its CPUs 0 to online - 1 up, some without a VP assist page, while fail
        {point: nth} holds; MachineError where there is no place for it, or another is loaded."""
        global the_image, _loaded

        check_process(self.owner)
        if the_image != NULL:
            raise MachineError("another kernel is loaded in this process: close it first")
        the_image, _loaded = self.image, <void *>self
        try:
            self.lay_out(online)
            for cpu in without_assist:
                self.image.host.without_assist |= <ulong>1 << <int>cpu
            for point, nth in (fail or {}).items():
                self.fail(point, nth)
            ret = self.call("standin_boot")
            if ret:
                raise MachineError(f"the kernel does not boot: {os.strerror(-ret)}")
        except BaseException:
            self.forget()
            raise

    cdef int lay_out(self, int online) except -1:
        cdef host_t *host_table = &self.image.host
        cdef ulong base, end, size, areas
        cdef int cpu, cpus = len(self.partition)
        cdef percpu_area_t *area
        cdef Processor processor
        cdef virt_cpu *virt
        cdef const virt_cpu_ops **ops
        cdef void *user

        trap.probe()
        image_fill(self.image)
        crowd.fsgsbase = host.has("fsgsbase")
        base, end = self.elf.symbols["image_text"], self.elf.symbols["image_end"]
        self.map(end - base, base)
        host_table.memory = <ulong>self.partition.memory.mem.base
        host_table.memory_size = size = self.partition.memory.mem.size
        host_table.pages = self.map(up(size / PAGE * STRUCT_PAGE))
        user = mremap(<void *>host_table.memory, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                      <void *>USER_SPACE)
        if user == <void *>MAP_FAILED:
            raise MachineError(f"no place for user space: {os.strerror(errno)}")
        self.has_mapped(USER_SPACE, size)
        host_table.user = USER_SPACE
        host_table.page_kind = <unsigned char *>calloc(1, size / PAGE)
        host_table.user_frame = <unsigned int *>calloc(sizeof(unsigned int), size / PAGE)
        if "__asan_load8_noabort" in self.elf.symbols:
            host_table.shadow = <unsigned char *>self.map(up(size / 8))
        host_table.per_cpu = <ulong *>calloc(cpus, sizeof(ulong))
        self.image.records = <log_record *>calloc(LOG_RECORDS, sizeof(log_record))
        if host_table.page_kind == NULL or host_table.per_cpu == NULL \
                or host_table.user_frame == NULL or self.image.records == NULL:
            raise MemoryError("no memory for a kernel's tables")
        per_cpu = self.elf.section(".data..percpu")
        host_table.per_cpu_size = per_cpu.size
        host_table.per_cpu_room = up(per_cpu.size + PER_CPU_CHUNKS)
        host_table.cpus, host_table.online = cpus, online
        host_table.thread_pointer = <ulong>0x7f0000000000
        areas = self.map(cpus * host_table.per_cpu_room)
        for cpu in range(cpus):
            host_table.per_cpu[cpu] = areas + cpu * host_table.per_cpu_room
            self.put(per_cpu, host_table.per_cpu[cpu])
            # what can be asked of a processor is the first thing in it
            processor = self.partition.processor(cpu)
            virt = <virt_cpu *>processor.vp
            area = <percpu_area_t *>host_table.per_cpu[cpu]
            virt.idtr_base = <ulong>image_idt
            area.virt_cpu, area.cpu_number = virt, cpu
            area.vmlinux = &self.image.vmlinux
            ops = &virt.ops
            if processor.vp.trace.ops != NULL and processor.vp.trace.ops != virt.ops:
                ops = &processor.vp.trace.ops
            image_has_cpu(cpu, virt, ops, processor.reasons(), area)
        for section in self.elf.sections:
            if section.loaded and section.address >= base:
                self.put(section, section.address)
        self.image.exception = <int (*)(long long *, unsigned int) noexcept nogil><ulong>(
            self.elf.symbols["standin_exception"])
        self.image.kick = <void (*)() noexcept nogil><ulong>self.elf.symbols["standin_kick"]
        self.image.resched = <void (*)() noexcept nogil><ulong>self.elf.symbols["standin_resched"]
        self.image.begin = <void (*)(host_t *, long) noexcept nogil><ulong>(
            self.elf.symbols["standin_begin"])
        self.image.end = <void (*)() noexcept nogil><ulong>self.elf.symbols["standin_end"]
        self.find_sites()
        return self.protect()

    cdef int find_sites(self) except -1:
        cdef const unsigned char[::1] code
        cdef image_site *site
        cdef int i

        for address, code_bytes in self.elf.sites():
            if self.image.nr_sites == IMAGE_SITES:
                raise MachineError(f"more than {IMAGE_SITES} instructions that would not trap")
            site = &self.image.sites[self.image.nr_sites]
            code = code_bytes
            site.ip, site.length = address, len(code)
            for i in range(len(code)):
                site.code[i] = code[i]
            self.image.nr_sites += 1
        return self.patch_sites()

    cdef int patch_sites(self) except -1:
        # UD2 is two bytes long, and so is the shortest of them
        cdef unsigned char *at
        cdef int i

        for i in range(self.image.nr_sites):
            at = <unsigned char *><ulong>self.image.sites[i].ip
            at[0], at[1] = 0x0f, 0x0b
        return 0

    cdef int protect(self) except -1:
        cdef ulong start = self.elf.symbols["image_text"], end = self.elf.symbols["image_text_end"]

        if mprotect(<void *>start, end - start, PROT_READ | PROT_EXEC):
            raise MachineError("this system lets no memory be made executable")
        if not self.trapping:
            trap.add_text(start, end, hosts=True)
            self.trapping = start
        return 0

    def reload_module(self) -> None:
        """The module's text and data as they are in the file: what insmod finds each time."""
        cdef ulong start = self.elf.symbols["image_text"], end = self.elf.symbols["image_text_end"]
        cdef ulong first = self.elf.symbols["module_percpu"]
        cdef ulong last = self.elf.symbols["module_percpu_end"]
        cdef const unsigned char[::1] data
        cdef int cpu

        self.check()
        mprotect(<void *>start, end - start, PROT_READ | PROT_WRITE)
        self.put(self.elf.section(".text"), start)
        self.patch_sites()
        self.protect()
        self.put(self.elf.section(".module"), self.elf.section(".module").address)
        data = self.elf.section(".data..percpu").data
        for cpu in range(self.image.host.cpus):
            memcpy(<void *>(self.image.host.per_cpu[cpu] + first), &data[first], last - first)

    cdef int forget(self) except -1:
        global the_image, _loaded

        if the_image == self.image:
            await_threads()
            # whoever reads user space has the turn, and looks first
            with nogil:
                turn_begin()
                the_image = NULL
                turn_end()
        if self.trapping:
            trap.del_text(self.trapping)
            self.trapping = 0
        while self.nr_mapped:
            self.nr_mapped -= 1
            munmap(<void *>self.mapped[self.nr_mapped].start, self.mapped[self.nr_mapped].size)
        if _loaded == <void *>self:
            _loaded = NULL
        return 0

    def unload(self) -> None:
        """Give back what it has of this process."""
        check_process(self.owner)
        self.forget()

    @property
    def is_open(self) -> bool:
        """Whether it is loaded, in this process."""
        return the_image != NULL and the_image == self.image and not is_foreign(self.owner)

    def check_owner(self) -> None:
        """MachineError in a child of fork()."""
        check_process(self.owner)

    def check_open(self) -> None:
        """MachineError after unload() and in a child of fork()."""
        check_process(self.owner)
        if the_image != self.image or self.image == NULL:
            raise MachineError("the machine is closed: boot another")

    def check(self) -> None:
        """MachineError as of check_open(), KernelBug after it died."""
        self.check_open()
        if self.died is not None:
            raise KernelBug(f"{self.died}: close the kernel and boot another")

    def call(self, str name, long first=0, long second=0, long third=0, long cpu=ANY) -> int:
        """One function of the image, as a CPU, as any that is free, or by but(n) as any but one;
        KernelBug where the kernel dies in it, MachineError where this thread cannot come in."""
        cdef image_call_t call

        memset(&call, 0, sizeof(call))
        call.arg[0], call.arg[1], call.arg[2] = first, second, third
        call.where = cpu
        self.enter(&call, name, 0)
        self.keep(name, first, second, call.ret)
        return call.ret

    cdef int keep(self, str name, long first, long second, long ret) except -1:
        # What is open is known with the call that opens it: an exception that strikes whoever has
        # asked for it comes later.
        if name == "standin_ioctl":
            if ret >= 0 and second in OPENING:
                self.files.append(ret)
        elif name == "standin_user_pages":
            if ret:
                self.lent[ret] = first
        elif name == "standin_close" and first in self.files:
            self.files.remove(first)
        elif name == "standin_free_user_pages":
            self.lent.pop(first, None)
        return 0

    cdef int close_file(self, long fd, int cpu=ANY) except -1:
        cdef bint online = cpu >= 0 and self.word("__cpu_online_mask") >> cpu & 1

        self.call("standin_close", fd, cpu=cpu if online else ANY)
        return 0

    cdef int take_back(self, long gpa) except -1:
        self.call("standin_free_user_pages", gpa, self.lent[gpa])
        return 0

    def close_vm(self, vm) -> None:
        """Close a KernelVm's files, those of its vCPUs first, and take its memory back: all of it,
        or what an earlier call has left. One step of Python's."""
        while vm.vcpus:
            self.close_file(vm.vcpus[0].fd, vm.vcpus[0]._cpu)
            del vm.vcpus[0]
        if vm.fd >= 0:
            self.close_file(vm.fd)
            vm.fd = -1
        if vm._held is not None:
            self.take_back(vm._held)
            vm._held = None

    def close_rest(self) -> None:
        """Close what nobody knows of any more, as the end of a process would."""
        while self.files:
            self.close_file(self.files[len(self.files) - 1])
        for gpa in list(self.lent):
            self.take_back(gpa)

    def suspend(self) -> tuple[int, str]:
        """Suspend to memory, lose what the processors had, resume: 0 or a negative errno, and
        which of both it is of. One step of Python's: a kernel that sleeps can do nothing else."""
        ret = self.call("standin_suspend", cpu=0)
        if ret:
            return ret, "suspend"
        self.partition.reset()
        return self.call("standin_resume", cpu=0), "resume"

    def run(self, long fd, long command, int cpu, exits=None, ulong depth=0,
            vcpu=None) -> RunOfVcpu:
        """One ioctl as a CPU, with depth bytes of its stack in use, whose task has a signal after
        so many VM exits, or once one comes that Python handles: it has been when this returns.
        A vCPU is told the CPU where that was, though the handler raises."""
        cdef image_call_t call
        cdef bint kicked

        memset(&call, 0, sizeof(call))
        call.arg[0], call.arg[1], call.where, call.cpu = fd, command, cpu, -1
        call.exits_until = 0 if exits is None else exits
        kicked = kick_begin()
        try:
            if kicked:
                call.kick_from, call.kick_till = kick_from, kick_till
            elif kick_handles():
                call.exits_until = min(call.exits_until or SLICE_EXITS, <u64>SLICE_EXITS)
            self.enter(&call, "standin_ioctl", depth)
        finally:
            if kicked:
                kick_end()
            # where the CPU has gone, the kernel has given the task another one
            if vcpu is not None and call.cpu >= 0:
                vcpu._cpu = call.cpu
        kick_check()
        return RunOfVcpu(call.ret, call.exits, call.cpu, Counter({
            number: call.reasons[number] for number in range(IMAGE_REASONS)
            if call.reasons[number]}))

    cdef int enter(self, image_call_t *call, str name, ulong depth) except -1:
        cdef trap_binding traps
        cdef Stacks stacks
        cdef watch_t watch
        cdef ulong start = self.elf.symbols["image_text"], end = self.elf.symbols["image_text_end"]
        cdef u64 said
        cdef int ret = 0

        self.check()
        if call.where >= self.image.host.cpus:
            raise ValueError(
                f"no CPU {call.where}: there are {self.image.host.cpus}, from 0")
        stacks = thread_stacks()
        call.function = self.elf.symbols[name]
        said = self.image.log_end
        with nogil:
            ret = trap_bind(&traps, stacks.signal_stack, stacks.signal_size)
            if ret == 0:
                watch_begin(&watch, start, end, self.patience)
                ret = image_enter(stacks.kernel_end - (depth & ~<ulong>15), call)
                watch_end(&watch)
                trap_unbind(&traps)
            while crowd.ends:
                pause()
        _heard.lines = self.log(said, True) if self.image.log_end != said else []
        if ret in (-EFAULT, -ESHUTDOWN):
            if self.died is None:
                self.died = self.last_words()
            raise KernelBug(self.died)
        if ret:
            raise MachineError(BUSY if ret == -EBUSY else f"no way in: {os.strerror(-ret)}")
        return 0

    @property
    def said(self) -> list[str]:
        """What the kernel logged in this thread's last call."""
        return _heard.lines

    def read_user(self, ulong at, size_t size) -> bytes:
        """Bytes of user space, whose pages stay where they are meanwhile; MachineError as of
        check_open()."""
        found = bytearray(size)
        cdef unsigned char[::1] to = found

        if size:
            self.copy(&to[0], <void *>at, size)
        return bytes(found)

    def write_user(self, ulong at, const unsigned char[::1] data) -> None:
        """Store bytes in user space; MachineError as of check_open()."""
        if len(data):
            self.copy(<void *>at, &data[0], len(data))

    cdef int copy(self, void *to, const void *source, size_t size) except -1:
        cdef bint there = False

        with nogil:
            turn_begin()
            there = the_image == self.image
            if there:
                memcpy(to, source, size)
            turn_end()
        if not there:
            self.check_open()
        return 0

    def last_words(self) -> str:
        """Why the kernel died, and in which of its functions."""
        why = self.image.why.decode(errors="replace")
        where = self.elf.function(self.image.where) or f"{self.image.where:#x}"
        return f"{why} in {where}"

    def function(self, address: int) -> str:
        """The kernel's function at an address, or the address."""
        return self.elf.function(address) or f"{address:#x}"

    def word(self, str name) -> int:
        """The 64 bits of a variable of the image, also of one that has died."""
        self.check_open()
        return (<long *><ulong>self.elf.symbols[name])[0]

    def per_cpu(self, str name, int cpu) -> int:
        """The 64 bits of a CPU's variable."""
        self.check()
        return (<ulong *>(self.image.host.per_cpu[cpu] + <ulong>self.elf.symbols[name]))[0]

    @property
    def memory(self) -> int:
        """Where the kernel has GPA 0."""
        return self.image.host.memory

    @property
    def user(self) -> int:
        """Where user space has GPA 0."""
        return USER_SPACE

    def take_pages(self, int order) -> int | None:
        """The GPA of a block of pages that the kernel hands out, zeroed, or None."""
        return self.call("standin_take_pages", order) or None

    def give_pages(self, u64 gpa, int order) -> None:
        """Give a block back."""
        self.call("standin_give_pages", gpa, order)

    def owns(self, ulong address) -> bool:
        """Is an address the kernel's: of its text and data, its CPUs', its memory?"""
        cdef ulong memory = self.image.host.memory
        cdef int i

        self.check_open()
        for i in range(self.nr_mapped):
            if address - self.mapped[i].start < self.mapped[i].size:
                return True
        return address - memory < self.image.host.memory_size

    def fail(self, point, nth) -> None:
        """Let the nth step of a kind from now on fail, or "msr:NAME" of one MSR; 0 takes it back."""
        self.check()
        msr = msr_of_point(point, FAIL_POINTS)
        if not isinstance(nth, int) or not 0 <= int(nth) < 1 << 31:
            raise ValueError(f"step {nth}: give a number of 1 or more, or 0 to take it back")
        if msr is None:
            self.image.fail[<int>FAIL_POINTS[point]] = nth
        else:
            self.image.one_msr, self.one_msr = msr, point
            self.image.fail[<int>FAIL_ONE_MSR] = nth

    def failures_left(self) -> dict[str, int]:
        """The steps still to come before each failure that has been asked for."""
        self.check()
        left = {point: self.image.fail[<int>number] for point, number in FAIL_POINTS.items()}
        if self.one_msr is not None:
            left[self.one_msr] = self.image.fail[<int>FAIL_ONE_MSR]
        left["preempt"] = self.image.preempt_at
        return {point: count for point, count in left.items() if count}

    def failures_struck(self) -> list[tuple[int, str, int]]:
        """(CPU, instruction, MSR or control word) of those that have failed as they were told."""
        cdef struck_t *struck = self.image.struck

        return [(struck[i].cpu, "hypercall" if struck[i].call else
                 "WRMSR" if struck[i].write else "RDMSR", struck[i].number)
                for i in range(self.image.nr_struck)]

    def preempt(self, u64 nth) -> None:
        """Let the task lose its CPU at its nth VM exit from now; 0 takes it back."""
        self.check()
        self.image.preempt_at = nth

    def events(self, int cpu) -> list[dict]:
        """The last event of the guest on a CPU, and what its delivery met."""
        cdef Processor processor = self.partition.processor(cpu)

        return chain_events(&processor.vp.chain)

    def revive(self) -> None:
        """A kernel that has died is entered once more: by a crash, which asks nobody."""
        self.check_open()
        self.died = None
        crowd_revive()

    def log(self, u64 first=0, bint own=False) -> list[str]:
        """The kernel log from a line on, its last lines, or of them those of this thread's calls;
        a WARNING names its function."""
        cdef u64 end = self.image.log_end, i
        cdef log_record *record

        if self.image.records == NULL:
            return []
        lines = []
        for i in range(max(first, end - LOG_RECORDS if end > LOG_RECORDS else 0), end):
            record = &self.image.records[i % <u64>LOG_RECORDS]
            if own and record.thread != this_thread():
                continue
            text = record.text.decode(errors="replace")
            lines.append(f"{text} in {self.function(record.ip)}" if record.ip else text)
        return lines


cdef class Lent:
    """`with` it pages of the kernel's have the bytes of a buffer, which gets them back: what is
    written behind them is L1's, and nothing of Python's."""

    cdef Image image
    cdef unsigned char[::1] view
    cdef long gpa

    def __cinit__(self, Image image not None, view):
        self.image, self.view = image, view

    def __enter__(self):
        self.gpa = self.image.call("standin_user_pages", up(len(self.view)) // PAGE)
        if not self.gpa:
            raise MemoryError(
                f"L1 has no {len(self.view)} bytes left: give the kernel more memory")
        memcpy(<void *><ulong>(self.image.memory + self.gpa), &self.view[0], len(self.view))
        return self.image.memory + self.gpa

    def __exit__(self, *_):
        # nobody asks a kernel that has died for its pages
        if self.image.died is None and self.gpa in self.image.lent:
            memcpy(&self.view[0], <void *><ulong>(self.image.memory + self.gpa), len(self.view))
            self.image.take_back(self.gpa)


cdef class Alone:
    """`with` it no other thread is in an image: those that come get a MachineError, and so does
    this one where another is inside. Entered and left in C, so that no exception comes between."""

    cdef Image image
    cdef bint inside

    def __cinit__(self, Image image not None):
        self.image = image

    def __enter__(self) -> None:
        cdef bint begun = False, gone = False

        self.image.check_open()
        with nogil:
            # who is inside a kernel that has died is on the way out
            while crowd.dead and not gone:
                gone = crowd_is_gone()
                usleep(100)
            begun = crowd_alone()
        if not begun:
            raise MachineError(BUSY)
        self.inside = True

    def __exit__(self, *_):
        self.leave()

    def __dealloc__(self):
        self.leave()

    cdef void leave(self) noexcept:
        if self.inside:
            self.inside = False
            with nogil:
                crowd_together()
