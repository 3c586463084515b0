# SPDX-License-Identifier: GPL-2.0-only
"""A virtual CPU of KVM's: its runs, its registers, its VMCS."""

import errno
from collections.abc import ItemsView, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kvm_vmx.abi.numbers import ExitReason, Field
from kvm_vmx.errors import Shown, Unique, kernel_error
from kvm_vmx.machine import ending, pictures
from kvm_vmx.machine.ending import GuestFault
from kvm_vmx.machine.fields import CLEAN_FIELDS, fields
from kvm_vmx.machine.gate import Busy, Using
from kvm_vmx.machine.kernel import REGISTERS, MachineError, VirtualCpu
from kvm_vmx.machine.pictures import Pictured, Sheet, Table
from kvm_vmx.machine.refusal import Refusal
from kvm_vmx.words import unknown

if TYPE_CHECKING:
    from kvm_vmx.machine.vm import Vm

# KVM's exit reasons to user space, by number (uapi/linux/kvm.h).
KVM_EXITS = {
    0: "UNKNOWN", 1: "EXCEPTION", 2: "IO", 3: "HYPERCALL", 4: "DEBUG", 5: "HLT", 6: "MMIO",
    7: "IRQ_WINDOW_OPEN", 8: "SHUTDOWN", 9: "FAIL_ENTRY", 10: "INTR", 11: "SET_TPR",
    17: "INTERNAL_ERROR",
}


LAST_EXITS = 10


@dataclass(frozen=True)
class ExitSummary:
    """One run of a vCPU: VM exits, why it came back (KVM's exit reason without KVM_EXIT_; INTR
    where its exits were up), what KVM says of that, and how often each VM-exit reason came.
    fault is the fault that the guest died of, if it did, refusal the check that refused the entry
    of FAIL_ENTRY, and why says all in words."""

    exits: int
    reason: str
    data: dict[str, Any] = field(default_factory=dict)
    reasons: dict[ExitReason, int] = field(default_factory=dict)
    fault: GuestFault | None = None
    refusal: Refusal | None = None

    @property
    def why(self) -> str:
        """Why it came back, in one line; "" where its exits were up."""
        return ending.in_words(self.reason, self.data, self.fault, self.refusal)

    def _repr_html_(self) -> str:
        """Exits by reason, for a notebook."""
        title = f"{self.exits:,} exits, then {self.reason}" + f": {self.why}" * bool(self.why)
        return pictures.of_exits(title, {
            getattr(reason, "name", str(reason)): count for reason, count in self.reasons.items()})


class Registers(Shown, Mapping[str, int]):
    """The general registers of a vCPU, by name; read from KVM and written through it."""

    def __init__(self, vcpu: "Vcpu") -> None:
        self._vcpu = vcpu

    def _all(self) -> dict[str, int]:
        with self._vcpu.used() as raw:
            return raw.get_regs(self._vcpu.cpu)

    def __getitem__(self, name: str) -> int:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(REGISTERS)

    def __len__(self) -> int:
        return len(REGISTERS)

    def items(self) -> ItemsView[str, int]:
        return self._all().items()

    def __setitem__(self, name: str, value: int) -> None:
        self.update(**{name: value})

    def update(self, **values: int) -> None:
        """Set some of them; KeyError for a name that is none."""
        with self._vcpu.used() as raw:
            regs = raw.get_regs(self._vcpu.cpu)
            for name, value in values.items():
                if name not in regs:
                    raise KeyError(unknown("register", name, REGISTERS))
                regs[name] = value & (1 << 64) - 1
            raw.set_regs(self._vcpu.cpu, regs)

    def _state(self) -> str:
        return ", ".join(f"{name}={value:#x}" for name, value in self._all().items())


_FIELDS = {row["vmcs_field"]: row for row in fields()}
_PLACES = {int(row["encoding"], 16): row for row in fields()}


def _field(field: str | int) -> dict[str, Any]:
    """The row of a field, by its name or its encoding; KeyError with those that look like it."""
    try:
        number = Field.of(field)
    except ValueError as error:
        raise KeyError(str(error)) from None
    try:
        return _PLACES[number]
    except KeyError:
        raise KeyError(f"{field!r} has no place in an enlightened VMCS: "
                       "kvm_vmx.fields() has what has one") from None


class HasVmcs(Protocol):
    """A vCPU, of the port or of a kernel's own KVM, as far as it takes to look at its page."""

    _vmcs_gpa: int

    @property
    def vm(self) -> Any:
        """The VM that it is of."""

    @property
    def vmcs_gpa(self) -> int:
        """Where the page is in L1's physical memory."""


class EvmcsView(Pictured, Shown, Mapping[str, int]):
    """The enlightened VMCS of a vCPU as the page has it: a field's name, or Field, to its value."""

    def __init__(self, vcpu: HasVmcs) -> None:
        self._vcpu = vcpu

    def _read(self, offset: int, size: int) -> int:
        vm = self._vcpu.vm
        vm.check_alive()
        if not vm.module.enable_evmcs:
            raise MachineError("the VMCS is not enlightened: insmod(enlightened_vmcs=True)")
        return int.from_bytes(
            vm.module.machine.memory.read(self._vcpu.vmcs_gpa + offset, size), "little")

    def __getitem__(self, field: str | int) -> int:
        row = _field(field)
        return self._read(row["offset"], row["size"])

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)

    def _what(self) -> str:
        return f"EvmcsView at {self._vcpu._vmcs_gpa:#x}"

    def _state(self) -> str:
        return f"clean fields {self.clean_fields:#x}"

    @property
    def clean_fields(self) -> int:
        """hv_clean_fields."""
        return self._read(CLEAN_FIELDS, 4)

    def _sheet(self) -> Sheet:
        clean_fields, gpa = self.clean_fields, self._vcpu.vmcs_gpa
        page = self._vcpu.vm.module.machine.memory.read(gpa, pictures.PAGE)
        return pictures.sheet_of_page(page, gpa, clean_fields)


class VmcsView(Shown, Mapping[str, int]):
    """The VMCS of a vCPU through the port's accessors, in either mode: a field's name, or Field,
    to its value."""

    def __init__(self, vcpu: "Vcpu") -> None:
        self._vcpu = vcpu

    def __getitem__(self, field: str | int) -> int:
        row = _field(field)
        vcpu = self._vcpu
        module = vcpu.vm.module
        encoding = int(row["encoding"], 16)
        kind = "l" if encoding >> 13 == 3 else str(row["size"] * 8)
        with vcpu.used() as raw, module.machine.cpu(vcpu.cpu):
            raw.load(vcpu.cpu)
            value: int = getattr(module.port, f"vmcs_read{kind}")(encoding)
            return value

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)

    def _what(self) -> str:
        return f"VmcsView at {self._vcpu._vmcs_gpa:#x}"

    def _state(self) -> str:
        self._vcpu.vm.check_alive()
        return "enlightened" if self._vcpu.vm.module.enable_evmcs else "plain"


class Vcpu(Pictured, Unique):
    """A virtual CPU; cpu is the CPU it runs on, and may be set to migrate it."""

    def __init__(self, vm: "Vm", raw: VirtualCpu, cpu: int) -> None:
        self.vm, self._raw, self._cpu = vm, raw, cpu
        self._vmcs_gpa = raw.load(cpu)
        self._busy = Busy("the vCPU")
        self.regs = Registers(self)
        self.evmcs = EvmcsView(self)
        self.vmcs = VmcsView(self)

    def _what(self) -> str:
        return f"Vcpu on CPU {self._cpu}"

    def _state(self) -> str:
        return f"VMCS at {self.vmcs_gpa:#x}"

    def _sheet(self) -> Sheet:
        """What KVM's user knows of it, and the last exits where they are traced."""
        registers, log = dict(self.regs.items()), self.exit_log[-LAST_EXITS:]
        tables = [Table("registers", ("", "", "", ""), pictures.pairs(registers))]
        if log:
            tables.append(Table("the last exits", ("reason", "qualification", "RIP of L2"), [
                (getattr(reason, "name", hex(reason)), hex(what), hex(rip))
                for reason, what, rip in log]))
        form = "enlightened" if self.vm.module.enable_evmcs else "plain"
        return Sheet(f"vCPU on CPU {self._cpu}, {form} VMCS at {self.vmcs_gpa:#x}", tables)

    @property
    def cpu(self) -> int:
        """The CPU it runs on."""
        return self._cpu

    @cpu.setter
    def cpu(self, n: int) -> None:
        self._cpu = self.vm.module.machine.cpu(n).index

    def _there(self) -> VirtualCpu:
        self.vm.check_alive()
        return self._raw

    def used(self) -> AbstractContextManager[VirtualCpu]:
        """The struct kvm_vcpu, there and this call's alone for as long as the `with` lasts."""
        return Using(self.vm.module.machine._gate, self, self._busy)

    def run(self, exits: int | None = None, *, stack_depth: int = 0) -> ExitSummary:
        """Run until so many VM exits, or until KVM hands one to user space, stack_depth bytes (up
        to 8192) down the thread's kernel stack. ValueError for fewer than one exit, MachineError
        where another thread is using the CPU or the vCPU."""
        # what is checked is what is used: a class of its own may compare as it likes
        exits = int(exits) if isinstance(exits, int) else exits
        stack_depth = int(stack_depth) if isinstance(stack_depth, int) else stack_depth
        if exits is not None and (not isinstance(exits, int) or not 1 <= exits < 1 << 63):
            raise ValueError(f"{exits} exits: give a number of 1 or more, or None")
        if not isinstance(stack_depth, int) or not 0 <= stack_depth <= 8192:
            raise ValueError(f"a stack depth of {stack_depth}: give 0 to 8192 bytes")
        machine = self.vm.module.machine
        with self.used() as raw:
            count, ret, reasons = raw.run(self.cpu, exits, stack_depth)
            machine._partition.check()
            if ret < 0 and ret != -errno.EINTR:
                raise kernel_error(ret, "run", machine._kernel)
            state, events, refusal = raw.exit_state(), raw.events, raw.refusal
        reason = KVM_EXITS.get(state["exit_reason"], str(state["exit_reason"]))
        return ExitSummary(count, reason, ending.data_of(reason, state),
                           {ExitReason(number): n for number, n in reasons.items()},
                           ending.died_of(reason, reasons, events),
                           refusal if reason == "FAIL_ENTRY" else None)

    @property
    def why_not(self) -> Refusal | None:
        """The check that refused the last entry of the last run, None where it was not refused;
        what else was refused on its CPU is in cpu(n).why_not."""
        with self.used() as raw:
            return raw.refusal

    def answer(self, value: int) -> None:
        """What the IN, or the read outside memory, that the last run came back with finds, as wide
        as it is. Without an answer the bus reads all ones. MachineError where nothing waits."""
        with self.used() as raw:
            state = raw.exit_state()
            reason, io = KVM_EXITS.get(state["exit_reason"]), state["io"]
            if reason == "MMIO" and state["mmio"]["direction"] == "read":
                raw.answer_mmio(value & (1 << 64) - 1)
                return
            if reason != "IO" or io["direction"] != "in":
                raise MachineError("no IN and no read waits for an answer: the last run came back "
                                   "with something else")
            mask = (1 << 8 * io["size"]) - 1
            regs = raw.get_regs(self.cpu)
            regs["rax"] = regs["rax"] & ~mask & (1 << 64) - 1 | value & mask
            raw.set_regs(self.cpu, regs)

    def interrupt(self, vector: int) -> None:
        """KVM_INTERRUPT: queue an interrupt for the next entry. As in KVM without its APIC, user
        space must have seen ready_for_interrupt; the entry fails where the guest cannot take it."""
        if not isinstance(vector, int) or not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255")
        with self.used() as raw:
            raw.interrupt(self.cpu, vector)

    def nmi(self) -> None:
        """KVM_NMI: an NMI as soon as the guest can take it."""
        with self.used() as raw:
            raw.nmi(self.cpu)

    @property
    def ready_for_interrupt(self) -> bool:
        """kvm_run.ready_for_interrupt_injection, as the last run left it."""
        return self._there().ready_for_interrupt_injection

    @property
    def request_interrupt_window(self) -> bool:
        """kvm_run.request_interrupt_window: run() comes back with IRQ_WINDOW_OPEN once the guest
        can take an interrupt."""
        return self._there().request_interrupt_window

    @request_interrupt_window.setter
    def request_interrupt_window(self, value: bool) -> None:
        self._there().request_interrupt_window = bool(value)

    @property
    def vmcs_gpa(self) -> int:
        """Where the vCPU's VMCS page is in L1's physical memory."""
        self.vm.check_alive()
        return self._vmcs_gpa

    def trace_exits(self, on: bool = True, size: int = 65536) -> None:
        """Keep a record of each exit of this vCPU's CPU, the last `size` of them."""
        machine = self.vm.module.machine
        with machine._gate.change():
            self.vm.check_alive()
            machine.cpu(self.cpu).log_exits(size if on else 0)

    @property
    def exit_log(self) -> list[tuple[int, int, int]]:
        """(reason, qualification, guest RIP) of each exit recorded: an ExitReason, or a number
        with bit 31 where the entry failed."""
        with self.vm.used():
            return [record[:3] for record in self.vm.module.machine.cpu(self.cpu).exit_log]

    @property
    def sregs(self) -> dict[str, Any]:
        """Segments, tables and control registers, as KVM_GET_SREGS gives them and KVM_SET_SREGS
        takes them."""
        with self.used() as raw:
            return raw.get_sregs(self.cpu)

    @sregs.setter
    def sregs(self, values: dict[str, Any]) -> None:
        """KVM_SET_SREGS: all of them; OSError with the kernel's errno."""
        with self.used() as raw:
            ret = raw.set_sregs(self.cpu, values)
        if ret:
            raise kernel_error(ret, "set_sregs", self.vm.module.machine._kernel)
