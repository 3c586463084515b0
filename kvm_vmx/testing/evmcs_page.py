# SPDX-License-Identifier: GPL-2.0-only
"""An enlightened VMCS to alter: its fields by name, what refuses it, and an entry with it."""

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

from kvm_vmx.abi.numbers import ExitReason, Field
from kvm_vmx.decode import Decoded, decode
from kvm_vmx.decode.layouts import ASSIST
from kvm_vmx.errors import MachineError
from kvm_vmx.machine.fields import fields, other_members

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine
    from kvm_vmx.machine.outcome import Outcome
    from kvm_vmx.machine.refusal import Refusal
    from kvm_vmx.machine.vm import Vm

SIZE = 4096
CURRENT = next(offset for offset, _, name in ASSIST if name == "current_nested_vmcs")

_PLACES = {row["vmcs_field"]: (row["offset"], row["size"]) for row in fields()}
_MEMBERS = {name: (row["offset"], row["size"]) for name, row in other_members().items()}


class EvmcsPage(MutableMapping[str, int]):
    """One page of L1's memory that holds an eVMCS: page["GUEST_RIP"] = 0x2000.

    A key is the name of a VMCS field, its Field or encoding; or, of what has no field, the name
    of the structure's member, as in page["hv_vp_id"]. What is stored has the field's width:
    ValueError for a number that is wider, KeyError for a field that an eVMCS has no place for.
    vm is the VM whose memory L2 sees: page.vm.memory.write(0x1000, code).
    """

    def __init__(self, machine: "Machine", gpa: int, vm: "Vm") -> None:
        self.machine, self.gpa, self.vm = machine, gpa, vm
        self.profile = machine._partition.profile.name

    def _place(self, key: str | int) -> tuple[int, int]:
        if key in _MEMBERS:
            return _MEMBERS[str(key)]
        try:
            field = Field.of(key)
        except ValueError as error:
            raise KeyError(str(error)) from None
        name = field.name if isinstance(field, Field) else key
        if name not in _PLACES:
            raise KeyError(f"{name!r} has no place in an enlightened VMCS: kvm_vmx.fields() has "
                           "what has one")
        return _PLACES[str(name)]

    def __getitem__(self, key: str | int) -> int:
        offset, size = self._place(key)
        return int.from_bytes(self.machine.memory.read(self.gpa + offset, size), "little")

    def __setitem__(self, key: str | int, value: int) -> None:
        offset, size = self._place(key)
        if not isinstance(value, int) or not 0 <= value < 1 << 8 * size:
            raise ValueError(f"{key} = {value!r}: give {8 * size} bits")
        self.machine.memory.write(self.gpa + offset, int(value).to_bytes(size, "little"))

    def __delitem__(self, key: str) -> None:
        raise TypeError("a field of a page is there for good: store 0")

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)

    def __bytes__(self) -> bytes:
        return self.machine.memory.read(self.gpa, SIZE)

    def __repr__(self) -> str:
        return f"<EvmcsPage at {self.gpa:#x}, clean fields {self.clean_fields:#x}>"

    @property
    def clean_fields(self) -> int:
        """hv_clean_fields; 0, all dirty, to begin with."""
        return self["hv_clean_fields"]

    @clean_fields.setter
    def clean_fields(self, value: int) -> None:
        self["hv_clean_fields"] = value

    @property
    def decoded(self) -> Decoded:
        """The page as kvm_vmx.decode() reads it, judged as the machine's Hyper-V does."""
        return decode(bytes(self), form="evmcs", profile=self.profile)

    @property
    def refusals(self) -> "tuple[Refusal, ...]":
        """Every check of VM entry that refuses the page, in their order; nothing is entered."""
        return self.decoded.refusals

    @property
    def exit_reason(self) -> ExitReason | int:
        """Why L2 left, once enter() has succeeded: an ExitReason."""
        return ExitReason.of(self["VM_EXIT_REASON"] & 0xFFFF)

    def enter(self, *, resume: bool = False, cpu: int = 0) -> "Outcome":
        """VMLAUNCH, or VMRESUME, with this page as the eVMCS of a CPU; then the page that KVM had
        there is its current one again. The outcome says whether L2 ran, and why not. MachineError
        where the CPU is not in VMX operation."""
        assist = self.machine.assist_page_gpa(cpu)
        hardware = self.machine.cpu(cpu)
        if assist is None or hardware.mode != "VMX root":
            raise MachineError(f"CPU {cpu} does not run a hypervisor: create a VM first")
        where = assist + CURRENT
        before = self.machine.memory.read_u64(where)
        self.machine.memory.write_u64(where, self.gpa)
        try:
            return hardware.vmresume() if resume else hardware.vmlaunch()
        finally:
            self.machine.memory.write_u64(where, before)
