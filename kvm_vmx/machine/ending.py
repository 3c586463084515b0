# SPDX-License-Identifier: GPL-2.0-only
"""Why a run came back, in words: the fault a guest died of, its port I/O, KVM's errors."""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvm_vmx import host
from kvm_vmx.machine.refusal import Refusal
from kvm_vmx.machine.trace import EXIT_REASONS

EXCEPTIONS = {
    0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS",
    11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM"}
DOUBLE_FAULT, PAGE_FAULT = 8, 14

# Interruption information (SDM volume 3, 25.8.3): the types of bits 10:8, and bit 11.
EXTERNAL, NMI, SOFTWARE = 0, 2, 4
HAS_ERROR_CODE = 1 << 11

TRIPLE_FAULT = 2            # the exit reason
SUBERRORS = {
    1: ("emulation", "an instruction for KVM's emulator, of which the port has MOV and OUTS alone"),
    2: ("simultaneous exceptions", "an exception in the delivery of another event"),
    3: ("event delivery", "a VM exit in the delivery of an event"),
}
SHOWN_BYTES = 8             # of an instruction whose length nobody knows


@dataclass(frozen=True)
class GuestEvent:
    """An event of a guest: name and number, the error code or None, CR2 of a page fault."""

    name: str
    vector: int
    error_code: int | None = None
    address: int | None = None

    def __str__(self) -> str:
        said = []
        if self.vector == PAGE_FAULT:
            said.append(f"{self.access} {self.address:#x}, error code {self.error_code or 0:#x}")
        elif self.error_code is not None and self.error_code & 2:
            said.append(f"IDT entry {self.error_code >> 3 & 0x1FFF}")
        elif self.error_code is not None and self.vector != DOUBLE_FAULT:
            said.append(f"{self.error_code:#x}")
        return self.name + "".join(f"({text})" for text in said)

    def as_json(self) -> dict[str, Any]:
        """The event for a program; addresses as text."""
        return {"event": self.name, "vector": self.vector, "error_code": self.error_code,
                "address": None if self.address is None else hex(self.address)}

    @property
    def access(self) -> str:
        """What a page fault was to do, as far as its error code tells."""
        code = self.error_code or 0
        return "write of" if code & 2 else "fetch of" if code & 16 else "access to"


@dataclass(frozen=True)
class GuestFault:
    """The event that a guest did not survive: where, by which instruction, and what followed.

    code has the instruction's bytes and instruction its text, where capstone is there to say it;
    decoded is False where this L2 has no such instruction. then is what the delivery of the
    event met, in order; triple says that it ended in a triple fault.
    """

    event: GuestEvent
    rip: int
    code: bytes = b""
    instruction: str | None = None
    decoded: bool = True
    then: tuple[GuestEvent, ...] = ()
    triple: bool = False

    @property
    def vector(self) -> int:
        """The vector of the event."""
        return self.event.vector

    def __str__(self) -> str:
        shown = self.code if self.decoded or self.instruction else self.code[:SHOWN_BYTES]
        what = " ".join(filter(None, (shown.hex(" "), self.instruction)))
        return ": ".join([f"{self.event} at {self.rip:#x}",
                          *filter(None, (what, self._verdict()))])

    @property
    def aftermath(self) -> str:
        """What the delivery of the event met, and whether that was the end."""
        parts = [f"its delivery met {', '.join(map(str, self.then))}"] if self.then else []
        return ": ".join(parts + ["a triple fault"] * self.triple)

    def as_json(self) -> dict[str, Any]:
        """The fault for a program."""
        return {**self.event.as_json(), "rip": hex(self.rip), "bytes": self.code.hex(" "),
                "instruction": self.instruction, "decoded": self.decoded,
                "then": [event.as_json() for event in self.then], "triple": self.triple}

    def _verdict(self) -> str:
        if self.decoded or not self.code:
            return ""
        if disassembler(64) is None or self.instruction:
            return "not decoded"
        return "no instruction"


@functools.cache
def disassembler(bits: int) -> Any:
    """capstone for code of so many bits, or None: without it the bytes have to do."""
    if not host.has("capstone"):
        return None
    capstone = importlib.import_module("capstone")      # which has no types
    return capstone.Cs(capstone.CS_ARCH_X86, {
        16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits])


def disassembled(code: bytes, bits: int, rip: int) -> tuple[int, str | None]:
    """(length, text) of the first instruction; (all, None) where nobody can say."""
    reader = disassembler(bits)
    for _, size, name, operands in reader.disasm_lite(code, rip, 1) if reader else ():
        return size, f"{name} {operands.replace(', ', ',')}".strip()
    return len(code), None


def event_of(record: dict[str, Any]) -> GuestEvent:
    """An event as L0's record has it."""
    info = record["info"]
    vector, kind = info & 0xFF, info >> 8 & 7
    if kind == SOFTWARE:
        name = f"INT {vector:#x}"
    elif kind == EXTERNAL:
        name = f"interrupt {vector:#x}"
    else:
        name = "NMI" if kind == NMI else EXCEPTIONS.get(vector, f"exception {vector}")
    return GuestEvent(name, vector, record["error"] if info & HAS_ERROR_CODE else None,
                      record["payload"] if vector == PAGE_FAULT and kind not in (SOFTWARE, EXTERNAL)
                      else None)


def fault_of(records: list[dict[str, Any]], triple: bool) -> GuestFault | None:
    """The fault that a chain of L0's records tells of."""
    if not records:
        return None
    first = records[0]
    size, text = disassembled(first["code"], first["bits"], first["rip"]) \
        if first["code"] else (0, None)
    return GuestFault(
        event_of(first), first["rip"], first["code"][:size], text,
        first["decoded"] or not first["code"], tuple(map(event_of, records[1:])), triple)


def data_of(reason: str, state: dict[str, Any]) -> dict[str, Any]:
    """What KVM says of an exit reason besides."""
    if reason == "IO":
        io = state["io"]
        # what an IN finds is user space's to say
        return io if io["direction"] == "out" else {**io, "data": None}
    if reason == "MMIO":
        mmio = state["mmio"]
        return mmio if mmio["direction"] == "write" else {**mmio, "data": None}
    if reason == "FAIL_ENTRY":
        return {"hardware_entry_failure_reason": state["fail_entry"]}
    if reason == "INTERNAL_ERROR":
        return dict(state["internal"])
    if reason in ("EXCEPTION", "DEBUG"):
        return {"exception": state["exception"], "error_code": state["error_code"]}
    return {}


def died_of(reason: str, reasons: Mapping[Any, int],
            records: list[dict[str, Any]]) -> GuestFault | None:
    """The fault behind an exit reason, where there is one and L0 saw it."""
    triple = TRIPLE_FAULT in reasons
    if reason == "SHUTDOWN" and triple or reason == "EXCEPTION":
        return fault_of(records, triple)
    return None


def in_words(reason: str, data: dict[str, Any], fault: GuestFault | None,
             refusal: Refusal | None = None) -> str:
    """Why a run came back, in one line; "" where its exits were up."""
    if fault is not None:
        return "; ".join(filter(None, (f"guest {fault}", fault.aftermath)))
    if reason == "INTR":
        return ""
    if reason == "IO":
        return port_io(data)
    if reason == "MMIO":
        return device_memory(data)
    if refusal is not None:
        return f"guest entry refused: {refusal}"
    if reason == "FAIL_ENTRY":
        return entry_failure(data["hardware_entry_failure_reason"])
    if reason == "INTERNAL_ERROR":
        return internal_error(data)
    if reason in ("EXCEPTION", "DEBUG"):
        return f"{EXCEPTIONS.get(data['exception'], data['exception'])} given to user space"
    return {"HLT": "the guest halted", "SHUTDOWN": "a triple fault that L1 made",
            }.get(reason, "")


def port_io(data: dict[str, Any]) -> str:
    """IN or OUT: port, width, value."""
    width = bytes_of(data["size"])
    if data["direction"] == "in":
        return f"IN of {width} from port {data['port']:#x}"
    return f"OUT of {width}, {data['data']:#x}, to port {data['port']:#x}"


def device_memory(data: dict[str, Any]) -> str:
    """A read or a write outside the guest's memory."""
    where = f"guest-physical {data['address']:#x}, outside the guest's memory"
    if data["direction"] == "read":
        return f"read of {bytes_of(data['size'])} at {where}"
    return f"write of {bytes_of(data['size'])}, {data['data']:#x}, at {where}"


def bytes_of(size: int) -> str:
    """A width in words."""
    return f"{size} byte{'s' if size > 1 else ''}"


def entry_failure(number: int) -> str:
    """hardware_entry_failure_reason: an exit reason with bit 31, or a VM-instruction error."""
    if number >> 31:
        return f"the VM entry failed: {EXIT_REASONS.get(number & 0xFFFF, number & 0xFFFF)}"
    return f"the VM entry failed: VM-instruction error {number}"


def internal_error(data: dict[str, Any]) -> str:
    """KVM's internal error by its suberror, and what it says of the place."""
    number, values = data["suberror"], data["data"]
    name, meaning = SUBERRORS.get(number, ("unknown", "a suberror without a name"))
    text = f"internal error {number}, {name}: {meaning}"
    if number == 1 and len(values) == 2:
        return f"{text}; guest-physical address {values[0]:#x}"
    if number == 3:
        return (f"{text}: vector {values[0] & 0xFF:#x}, exit "
                f"{EXIT_REASONS.get(values[1] & 0xFFFF, values[1])}")
    return text
