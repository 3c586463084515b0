# SPDX-License-Identifier: GPL-2.0-only
"""Steps that fail when told to: MSRs by name, and what has failed so, told to whoever watches."""

from collections.abc import Collection
from typing import Protocol

from kvm_vmx import words

from kvm_vmx.abi import constants
from kvm_vmx.machine.lints import Lint

MSRS = {name: value for name, value in vars(constants).items()
        if name.startswith(("MSR_", "HV_X64_MSR_")) and isinstance(value, int)}
_NAMES = {value: name for name, value in reversed(MSRS.items())}


def msr_number(name: str) -> int:
    """An MSR's number by its name in the kernel's headers, or as text; ValueError for another."""
    if name in MSRS:
        return MSRS[name]
    try:
        number = int(name, 0)
    except ValueError:
        near = words.near(name, MSRS, 3)
        raise ValueError(f"no MSR {name!r}: give a number, or a name"
                         + (f" such as {', '.join(near)}" if near else "")) from None
    if not 0 <= number < 1 << 32:
        raise ValueError(f"MSR {name}: give a number of 32 bits")
    return number


def msr_of_point(point: str, points: Collection[str]) -> int | None:
    """The MSR that a fail point names, None where it is one of the points themselves; ValueError
    for what is neither."""
    if point in points:
        return None
    kind, _, name = str(point).partition(":")
    if kind == "msr" and name:
        return msr_number(name)
    raise ValueError(words.unknown("fail point", point, points) +
                     ", and msr:NAME or msr:NUMBER for one MSR")


def msr_name(number: int) -> str:
    """Its number, and its name where the kernel's headers have one."""
    return f"{number:#x}" + (f" ({_NAMES[number]})" if number in _NAMES else "")


class Struck(Protocol):
    """Whatever keeps the instructions that have failed as they were told."""

    def failures_struck(self) -> list[tuple[int, str, int]]:
        """(CPU, instruction, MSR or control word) of each."""


def lints(kernel: Struck) -> list[Lint]:
    """One lint for each instruction that has failed because fail() asked for it."""
    return [Lint("told_to_fail", "", "an instruction failed as fail() asked: " + (
        f"{what} of MSR {msr_name(number)} raised #GP" if what != "hypercall" else
        f"hypercall {number & 0xffff:#x} got status 11, not enough memory") +
        f"; processor {cpu}") for cpu, what, number in kernel.failures_struck()]
