# SPDX-License-Identifier: GPL-2.0-only
"""Who wrote a field of a VMCS last, in words."""

from dataclasses import dataclass

from kvm_vmx.machine.sections import module_of
from kvm_vmx.machine.sites import demangle, name_of

# The functions by which Python calls the port's inline ones.
BY_PYTHON = "call_"


@dataclass(frozen=True)
class Writer:
    """A store into a VMCS that L0 was told of: who did it; entry is the last entry before it on
    processor cpu, which is None where nobody knows."""

    who: str
    entry: int
    cpu: int | None

    def is_between(self, cpu: int | None, entry: int) -> bool:
        """Was it after the entry before this one of a processor, as far as is known?"""
        return self.cpu is None or (self.cpu, self.entry) == (cpu, entry - 1)


def at_line(function: str, line: int) -> str:
    """A function of the port, by its name in C, and the line of its source."""
    name = demangle(function)
    if name.startswith(BY_PYTHON):
        return f"Python, by {name.removeprefix(BY_PYTHON)}()"
    return f"{name}(), line {line} of l1/vmx.pyx"


def at_address(address: int) -> str:
    """The instruction at an address, and the function that it is in where that has a name."""
    path = module_of(address)
    name = name_of(path, address) if path else "?"
    return f"the instruction at {address:#x}" + (f", in {name}()" if name != "?" else "")
