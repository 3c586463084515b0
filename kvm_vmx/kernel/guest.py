# SPDX-License-Identifier: GPL-2.0-only
"""VMs and vCPUs of a kernel's own KVM, through its ioctls."""

import ctypes
import errno
import itertools
import os
import struct
from collections import Counter
from collections.abc import ItemsView, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.errors import MachineError, Shown, Unique, counted
from kvm_vmx.kernel import ioctls
from kvm_vmx.kernel.face import VcpuFace
from kvm_vmx.kernel.image import ANY, RunOfVcpu
from kvm_vmx.machine import ending, long_mode
from kvm_vmx.machine.gate import Busy, Gate, Using
from kvm_vmx.machine.span import span
from kvm_vmx.machine.vcpu import KVM_EXITS, EvmcsView, ExitSummary
from kvm_vmx.words import unknown

if TYPE_CHECKING:
    from kvm_vmx.kernel.kernel import Kernel, KernelModule

PAGE = 4096


def failed(ret: int, what: str, kernel: "Kernel") -> OSError:
    """The exception for a negative errno, with the kernel's last words in that call."""
    said = kernel.image.said
    words = f" (kernel: {said[-1]})" if said else ""
    return OSError(-ret, f"{what}: {os.strerror(-ret)}{words}")


class GuestMemory(Shown):
    """The physical memory of an L2 guest: GPA 0 up to size, in bytes."""

    def __init__(self, vm: "KernelVm", base: int, size: int) -> None:
        self._vm, self.base, self.size = vm, base, size

    def _state(self) -> str:
        self._vm.check_alive()
        return f"{self.size:#x} bytes"

    def _place(self, gpa: int, length: int) -> int:
        """Where user space has it: its pages stay there whichever frame they have."""
        self._vm.check_alive()
        if gpa < 0 or length < 0 or gpa + length > self.size:
            raise IndexError(f"{length} bytes at {gpa:#x} are outside the guest's {self.size:#x}")
        return self._vm.kernel.image.user + self.base + gpa

    def read(self, gpa: int, length: int) -> bytes:
        """length bytes at gpa; IndexError outside the memory."""
        return self._vm.kernel.image.read_user(self._place(gpa, length), length)

    def write(self, gpa: int, data: bytes) -> None:
        """Store bytes at gpa; IndexError outside the memory."""
        self._vm.kernel.image.write_user(self._place(gpa, len(data)), bytes(data))

    def __getitem__(self, where: slice) -> bytes:
        """memory[gpa:gpa + 8]: the bytes from one address up to another."""
        start, stop = span(where, self.size)
        return self.read(start, stop - start)

    def __setitem__(self, where: slice, data: bytes | bytearray | memoryview) -> None:
        start, _ = span(where, self.size, data)
        self.write(start, bytes(data))


class KernelVm(Unique):
    """A virtual machine of the kernel's own KVM."""

    def __init__(self, module: "KernelModule", code: bytes, memory: int) -> None:
        long_mode.check(code, memory)
        self.module, self.kernel = module, module.kernel
        self.vcpus: list[KernelVcpu] = []
        self._gate = Gate()
        # one that is closed, or that could not be made, keeps its number until the VM goes
        self.ids = itertools.count()
        image = self.kernel.image
        self.fd = image.call("standin_ioctl", -1, ioctls.CREATE_VM, 0)
        if self.fd < 0:
            raise failed(self.fd, "create_vm", self.kernel)
        base = image.call("standin_user_pages", memory // PAGE)
        if not base:
            image.call("standin_close", self.fd)
            raise OSError(errno.ENOMEM, f"create_vm: {os.strerror(errno.ENOMEM)}: L1 has no "
                          f"{memory} bytes for a guest, boot it with more memory")
        self.memory = GuestMemory(self, base, memory)
        self._held: int | None = base
        self.alive = True
        try:
            self.map(memory)
        except BaseException:
            self.destroy()
            raise
        long_mode.fill(self.memory, code, memory)

    def _what(self) -> str:
        return f"Vm of {self.memory.size:#x} bytes"

    def _state(self) -> str:
        self.module.check_loaded()
        return counted(len(self.vcpus), "vCPU") if self.alive else "destroyed"

    def check_alive(self) -> None:
        """MachineError once the VM or its module is gone."""
        self.module.check_loaded()
        if not self.alive:
            raise MachineError("the VM is destroyed: create another")

    def map(self, size: int) -> None:
        """KVM_SET_USER_MEMORY_REGION: so many bytes of its memory from GPA 0, or 0 for none."""
        with self._gate.use():
            self.check_alive()
            where = self.kernel.image.user + self.memory.base
            region = ioctls.MemoryRegion(0, 0, 0, size, where)
            self.ioctl(self.fd, ioctls.SET_USER_MEMORY_REGION, region, "memory region")

    @property
    def address(self) -> int:
        """Where the kernel has its struct kvm."""
        self.check_alive()
        return self.kernel.image.call("standin_private", self.fd)

    def ioctl(self, fd: int, command: int, argument: Any, what: str, cpu: int = ANY) -> int:
        """One ioctl; OSError with the kernel's errno."""
        where = argument if isinstance(argument, int) else ctypes.addressof(argument)
        ret = self.kernel.image.call("standin_ioctl", fd, command, where, cpu)
        if ret < 0:
            raise failed(ret, what, self.kernel)
        return ret

    def create_vcpu(self, cpu: int = 0) -> "KernelVcpu":
        """A vCPU that starts at 0x1000 in 64-bit mode, created on and running on a CPU."""
        with self._gate.use():
            self.check_alive()
            self.kernel._online(cpu)
            vcpu = KernelVcpu(self, cpu)
            self.vcpus.append(vcpu)
        return vcpu

    def move_page(self, gpa: int, flush: bool = True) -> None:
        """Give the page at gpa another frame of L1's memory, as reclaim would: KVM is told by its
        own MMU notifier. Without flush its kvm_flush_remote_tlbs() returns at once meanwhile, and
        the guest goes on with what its TLB has: the bug to look at. IndexError outside the
        guest's memory."""
        with self._gate.use():
            self.memory.read(gpa, 1)
            ret = self.kernel.image.call(
                "standin_move_page", self.memory.base + (gpa & -PAGE), bool(flush))
        if ret:
            raise failed(ret, "move_page", self.kernel)

    @property
    def remote_tlb_flushes(self) -> int:
        """How often the TLBs of all its vCPUs were flushed at once: KVM's own statistics."""
        self.check_alive()
        return self.kernel.image.call("standin_flushes", self.fd)

    def destroy(self) -> None:
        """Close its files, as the end of their process would, and give its memory back.
        MachineError where another thread is in a call of one of its vCPUs."""
        self.check_alive()
        with self._gate.change():
            self._end()

    def _end(self) -> None:
        """What destroy() does, or the rest of it where an exception has cut it short."""
        self.alive = False
        self.kernel.image.close_vm(self)
        if self in self.module.vms:
            self.module.vms.remove(self)


class Registers(Shown, Mapping[str, int]):
    """The general registers of a vCPU, RIP and RFLAGS: KVM_GET_REGS and KVM_SET_REGS."""

    def __init__(self, vcpu: "KernelVcpu") -> None:
        self._vcpu = vcpu

    def _state(self) -> str:
        return ", ".join(f"{name}={value:#x}" for name, value in self._all().items())

    def _all(self) -> dict[str, int]:
        found = ioctls.Regs()
        self._vcpu._do(ioctls.GET_REGS, found, "get_regs")
        return {name: getattr(found, name) for name in ioctls.REGISTERS}

    def __getitem__(self, name: str) -> int:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ioctls.REGISTERS)

    def __len__(self) -> int:
        return len(ioctls.REGISTERS)

    def items(self) -> ItemsView[str, int]:
        return self._all().items()

    def __setitem__(self, name: str, value: int) -> None:
        self.update(**{name: value})

    def update(self, **values: int) -> None:
        """Set some of them; KeyError for a name that is none."""
        regs = self._all()
        for name, value in values.items():
            if name not in regs:
                raise KeyError(unknown("register", name, regs))
            regs[name] = value & (1 << 64) - 1
        self._vcpu._do(ioctls.SET_REGS, ioctls.Regs(**regs), "set_regs")


class KernelVcpu(VcpuFace):
    """A virtual CPU of the kernel's own KVM; cpu is the CPU it runs on, and may be set."""

    def __init__(self, vm: KernelVm, cpu: int) -> None:
        self.vm, self.kernel, self._cpu = vm, vm.kernel, vm.kernel._numbered(cpu)
        self._busy = Busy("the vCPU")
        self.fd = vm.ioctl(vm.fd, ioctls.CREATE_VCPU, next(vm.ids), "create_vcpu", cpu)
        try:
            self._set_up(cpu)
        except BaseException:
            if self.kernel.image.died is None:
                self.kernel.image.call("standin_close", self.fd, cpu=cpu)
            raise

    def _set_up(self, cpu: int) -> None:
        """What user space does with a vCPU before it runs it."""
        vm = self.vm
        self._run = self.kernel.image.call("standin_run_page", self.fd)
        self._waits: tuple[int, int] | None = None
        image, state = self.kernel.image, ctypes.c_uint32()
        self._vmcs_gpa = image.call("standin_vmcs", self.fd, ctypes.addressof(state),
                                    image.elf.symbols["current_vmcs"], cpu) - image.memory
        self.evmcs = EvmcsView(self)
        entries = long_mode.cpuid_entries(self.kernel.processor(cpu))
        self._do(ioctls.SET_CPUID2, ioctls.cpuid_of(entries), "set_cpuid")
        self.sregs = long_mode.sregs(vm.memory.size)
        self.regs = Registers(self)
        self.regs.update(rip=long_mode.START, rsp=long_mode.stack(vm.memory.size), rflags=2)

    @property
    def address(self) -> int:
        """Where the kernel has its struct kvm_vcpu."""
        self.vm.check_alive()
        return self.kernel.image.call("standin_private", self.fd)

    def load(self) -> None:
        """An ioctl that only loads the vCPU: its VMCS is current on its CPU then."""
        self._do(ioctls.GET_MP_STATE, ctypes.c_uint32(), "mp_state")

    def _do(self, command: int, argument: Any, what: str) -> int:
        self.vm.check_alive()
        with self._alone():
            return self.vm.ioctl(self.fd, command, argument, what, self._online())

    def _alone(self) -> Using:
        """`with` it a call of the vCPU's, one at a time; MachineError where another is in one."""
        return Using(self.vm._gate, self, self._busy)

    def _there(self) -> "KernelVcpu":
        self.vm.check_alive()
        return self

    def _online(self) -> int:
        """Its CPU; MachineError where that has gone."""
        return self.kernel._online(self._cpu)

    @property
    def sregs(self) -> dict[str, Any]:
        """Segments, tables and control registers: KVM_GET_SREGS."""
        found = ioctls.Sregs()
        self._do(ioctls.GET_SREGS, found, "get_sregs")
        return ioctls.sregs_as(found)

    @sregs.setter
    def sregs(self, values: dict[str, Any]) -> None:
        self._do(ioctls.SET_SREGS, ioctls.sregs_of(values), "set_sregs")

    def interrupt(self, vector: int) -> None:
        """KVM_INTERRUPT: queue an interrupt for the next entry."""
        self._do(ioctls.INTERRUPT, ctypes.c_uint32(vector), "interrupt")

    def nmi(self) -> None:
        """KVM_NMI: an NMI as soon as the guest can take it."""
        self._do(ioctls.NMI, 0, "nmi")

    def _shared(self, offset: int, form: str) -> Any:
        self.vm.check_alive()
        size = struct.calcsize(form)
        return struct.unpack(form, ctypes.string_at(self._run + offset, size))

    @property
    def ready_for_interrupt(self) -> bool:
        """kvm_run.ready_for_interrupt_injection, as the last run left it."""
        return bool(self._shared(ioctls.READY, "<B")[0])

    @property
    def request_interrupt_window(self) -> bool:
        """kvm_run.request_interrupt_window."""
        return bool(self._shared(ioctls.REQUEST_INTERRUPT_WINDOW, "<B")[0])

    @request_interrupt_window.setter
    def request_interrupt_window(self, value: bool) -> None:
        self.vm.check_alive()
        ctypes.memset(self._run + ioctls.REQUEST_INTERRUPT_WINDOW, bool(value), 1)

    def _kvm_run(self) -> dict[str, Any]:
        """struct kvm_run, as far as its exit reason fills it."""
        at = ioctls.UNION
        way, size, port, _, offset = self._shared(at, "<BBHIQ")
        io_data = int.from_bytes(ctypes.string_at(self._run + offset, size), "little") \
            if self._reason == 2 else 0
        address, data, length, write = self._shared(at, "<Q8sIB")
        suberror, count = self._shared(at, "<II")
        words = self._shared(at + 8, f"<{min(count, 16)}Q") if self._reason == 17 else ()
        first, second = self._shared(at, "<II")
        return {
            "exit_reason": self._reason, "fail_entry": self._shared(at, "<Q")[0],
            "exception": first, "error_code": second,
            "io": {"direction": "out" if way else "in", "size": size, "port": port,
                   "data": io_data},
            "mmio": {"direction": "write" if write else "read", "size": length, "address": address,
                     "data": int.from_bytes(data, "little")},
            "internal": {"suberror": suberror, "data": list(words)}}

    def _ask(self, state: dict[str, Any]) -> None:
        """Where the answer to an IN or to a read outside memory goes. A bus on which nothing
        answers reads all ones."""
        io, mmio = state["io"], state["mmio"]
        if state["exit_reason"] == 2 and io["direction"] == "in":
            offset, = self._shared(ioctls.UNION + 8, "<Q")
            self._waits = self._run + offset, io["size"]
        elif state["exit_reason"] == 6 and mmio["direction"] == "read":
            self._waits = self._run + ioctls.UNION + 8, mmio["size"]
        if self._waits is not None:
            self.answer(-1)

    def answer(self, value: int) -> None:
        """What the IN, or the read outside memory, that the last run came back with finds.
        MachineError where nothing waits."""
        if self._waits is None:
            raise MachineError("no IN and no read waits for an answer: the last run came back "
                               "with something else")
        where, size = self._waits
        self.vm.check_alive()
        ctypes.memmove(where, (value & (1 << 8 * size) - 1).to_bytes(size, "little"), size)

    @property
    def _reason(self) -> int:
        return int(self._shared(ioctls.EXIT_REASON, "<I")[0])

    def _until(self, exits: int | None, stack_depth: int) -> RunOfVcpu:
        """KVM_RUN until so many exits, as often as a signal whose handler returns ends it."""
        image, done = self.kernel.image, RunOfVcpu(0, 0, self._cpu, Counter())
        while True:
            left = None if exits is None else exits - done.exits
            one = image.run(self.fd, ioctls.RUN, self._online(), left, stack_depth, self)
            done = RunOfVcpu(one.ret, done.exits + one.exits, one.cpu, done.reasons + one.reasons)
            if one.ret != -errno.EINTR or done.exits == exits:
                return done

    def run(self, exits: int | None = None, *, stack_depth: int = 0) -> ExitSummary:
        """Run until so many VM exits, or until KVM hands one to user space, stack_depth bytes (up
        to 8192) down the kernel stack. Exits for a page that KVM has yet to map are not counted.
        ValueError for fewer than one exit, OSError with the kernel's errno, KernelBug where it
        dies."""
        exits = int(exits) if isinstance(exits, int) else exits
        if exits is not None and (not isinstance(exits, int) or not 1 <= exits < 1 << 63):
            raise ValueError(f"{exits} exits: give a number of 1 or more, or None")
        stack_depth = int(stack_depth) if isinstance(stack_depth, int) else stack_depth
        if not isinstance(stack_depth, int) or not 0 <= stack_depth <= 8192:
            raise ValueError(f"a stack depth of {stack_depth}: give 0 to 8192 bytes")
        self.vm.check_alive()
        with self._alone():
            done = self._until(exits, stack_depth)
        self.kernel.partition.check()
        if done.ret < 0 and done.ret != -errno.EINTR:
            raise failed(done.ret, "run", self.kernel)
        reasons = {ExitReason(number): times for number, times in done.reasons.items()}
        state = self._kvm_run()
        self._waits = None
        if state["exit_reason"] in (2, 6):
            self._ask(state)
        reason = KVM_EXITS.get(state["exit_reason"], str(state["exit_reason"]))
        events = self.kernel.image.events(self.cpu)
        self._refusal = self.kernel.cpu(self.cpu).why_not if reason == "FAIL_ENTRY" else None
        return ExitSummary(done.exits, reason, ending.data_of(reason, state), reasons,
                           ending.died_of(reason, reasons, events), self._refusal)
