# SPDX-License-Identifier: GPL-2.0-only
"""Two traces beside each other: what port and kernel executed, aligned, and where they differ."""

import difflib
import lzma
import json
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from kvm_vmx.abi.numbers import ExitReason, Field

# Fields and MSRs whose values are addresses of this process or of L1's memory, or a time: that
# they are there is compared, or that they are none.
PLACES = frozenset(int(Field.of(name)) for name in (
    "HOST_CR3", "HOST_RSP", "HOST_RIP", "HOST_GS_BASE", "HOST_TR_BASE", "HOST_GDTR_BASE",
    "HOST_IDTR_BASE",
    "MSR_BITMAP", "VM_EXIT_MSR_STORE_ADDR", "VM_EXIT_MSR_LOAD_ADDR", "VM_ENTRY_MSR_LOAD_ADDR",
    "EPT_POINTER", "TSC_OFFSET", "IO_BITMAP_A", "IO_BITMAP_B"))
TIMES = frozenset((0x10,))
ADDRESSES = frozenset((0x40000073,))          # the assist page's
POINTERS = ("vmxon", "vmclear", "vmptrld")
ENTRIES = ("vmlaunch", "vmresume")
LEFT_OUT = {"cpuid"}

Step = tuple[Any, ...]


def _value(place: bool, value: int) -> Any:
    return "*" if place and value else value


def step_of(record: Any) -> Step:
    """One instruction of a trace without what need not be alike: (cpu, instruction, operands,
    outcome, groups that L0 read again)."""
    name, operands, results = record.instruction, list(record.operands), list(record.results)
    if name in POINTERS:
        operands = ["*"]
    elif name in ENTRIES:
        operands = []
    elif name == "invept":
        operands[1:] = ["*" if operands[1] else 0]
    elif name in ("vmread", "vmwrite"):
        place = operands[0] in PLACES
        operands[1:] = [_value(place, value) for value in operands[1:]]
        results = [_value(place, value) for value in results]
    elif name in ("rdmsr", "wrmsr") and operands[0] in TIMES | ADDRESSES:
        # an address is there, or none
        known = operands[0] in ADDRESSES
        operands[1:] = [_value(True, value) for value in operands[1:]] if known else []
        results = [_value(True, value) for value in results] if known else []
    outcome = type(record.outcome).__name__
    return (record.cpu, name, tuple(operands), tuple(results), outcome, record.groups_reread)


def steps_of(trace: Iterable[Any]) -> list[Step]:
    """The steps of a trace, without those of the emulation that the port leaves out: CPUID, which
    the kernel has asked before, and exits for pages that the port's EPT has from the beginning."""
    return [step for _, step in numbered(trace)]


def numbered(trace: Iterable[Any]) -> Iterator[tuple[int, Step]]:
    """The steps of a trace, each with the number of its record."""
    entry: Step | None = None
    for n, record in enumerate(trace):
        if record.instruction in LEFT_OUT:
            continue
        step = step_of(record)
        if step[1] in ENTRIES and step[3] and step[3][0] == ExitReason.EPT_VIOLATION:
            entry = entry or step
        elif entry is None:
            yield n, step
        elif step[1] in ENTRIES:
            # the entry as it was, with the exit that it would have come to
            yield n, entry[:3] + step[3:5] + entry[5:]
            entry = None


class Reason(NamedTuple):
    """Why a step is on one side alone."""

    name: str
    side: str
    instruction: str
    operands: frozenset[int] | None
    why: str

    def explains(self, side: str, step: Step) -> bool:
        """Whether a step that only one side has is what this is about."""
        return (side == self.side and step[1] == self.instruction
                and (self.operands is None or bool(step[2]) and step[2][0] in self.operands))


@cache
def reasons() -> tuple[Reason, ...]:
    """The vocabulary of differences."""
    data = tomllib.loads((files("kvm_vmx.kernel") / "executed.toml").read_text())
    return tuple(Reason(name, row["side"], row["instruction"],
                        frozenset(row["operands"]) if "operands" in row else None, row["why"])
                 for name, row in data.items())


class ExecutedDifference(NamedTuple):
    """A step of one side that the other has not at its place."""

    at: int                 # in the kernel's steps
    side: str               # "kernel" or "port"
    step: Step
    reason: str | None


def told(step: Step) -> str:
    """A step in words."""
    cpu, name, operands, results, outcome, groups = step
    shown = [word if isinstance(word, str) else f"{word:#x}" for word in operands]
    if name in ("vmread", "vmwrite"):
        field = Field.of(operands[0])
        shown[0] = getattr(field, "name", shown[0])
    text = f"CPU {cpu}: {name.upper()} {', '.join(shown)}".rstrip()
    if results:
        values = [word if isinstance(word, str) else f"{word:#x}" for word in results]
        if name in ENTRIES:
            reason = ExitReason.of(results[0])
            values[0] = getattr(reason, "name", values[0])
        text += f" = {', '.join(values)}"
    if outcome != "VMsucceed":
        text += f" ({outcome})"
    return text + (f", groups {groups:#x} read again" if groups else "")


def align(kernel: list[Step], port: list[Step]) -> Iterator[tuple[str, list[Step], list[Step]]]:
    """(equal or not, the kernel's steps, the port's) of stretch after stretch."""
    matcher = difflib.SequenceMatcher(None, kernel, port, autojunk=False)
    for kind, start, end, other, other_end in matcher.get_opcodes():
        yield kind, kernel[start:end], port[other:other_end]


def differences(kernel: list[Step], port: list[Step]) -> list[ExecutedDifference]:
    """Every step that one side alone has, with its reason or None."""
    found, at = [], 0
    for kind, ours, theirs in align(kernel, port):
        if kind != "equal":
            for side, steps in (("kernel", ours), ("port", theirs)):
                for step in steps:
                    reason = next((r.name for r in reasons() if r.explains(side, step)), None)
                    found.append(ExecutedDifference(at, side, step, reason))
        at += len(ours)
    return found


def save(path: Path, steps: dict[str, list[Step]]) -> None:
    """Keep the steps of scenarios as data."""
    text = json.dumps({name: found for name, found in sorted(steps.items())},
                      separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9))


def frozen(value: Any) -> Any:
    """A step as it was, of one that was JSON meanwhile."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def load(path: Path) -> dict[str, list[Step]]:
    """Steps that were kept."""
    data = json.loads(lzma.decompress(path.read_bytes()))
    return {name: [frozen(step) for step in steps] for name, steps in data.items()}
