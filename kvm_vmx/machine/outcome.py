# SPDX-License-Identifier: GPL-2.0-only
"""What an instruction of L1 did, as a value: success, a VM failure, or a fault."""

import dataclasses

from kvm_vmx.machine.refusal import Refusal

VECTORS = {6: "#UD", 8: "#DF", 12: "#SS", 13: "#GP", 14: "#PF"}


@dataclasses.dataclass(frozen=True, repr=False)
class Outcome:
    """The end of one instruction. ok is True where it did its work; rflags is RFLAGS after it;
    value is what it produced, None where it produces nothing; why is the check that refused an
    entry, another instruction or a hypercall, None for all else."""

    rflags: int = 2
    value: int | None = None
    why: Refusal | None = dataclasses.field(default=None, compare=False)
    ok = False

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        said = [f"{each.name}={value!r}" for each in dataclasses.fields(self)
                if (value := getattr(self, each.name)) is not None or each.name != "why"]
        return f"{type(self).__name__}({', '.join(said)})"


@dataclasses.dataclass(frozen=True, repr=False)
class VMsucceed(Outcome):
    """The instruction succeeded."""

    ok = True


@dataclasses.dataclass(frozen=True, repr=False)
class VMfailInvalid(Outcome):
    """CF is set: there was no current VMCS to hold an error number."""


@dataclasses.dataclass(frozen=True, repr=False)
class VMfailValid(Outcome):
    """ZF is set; error (SDM volume 3, 31.4) is in VM_INSTRUCTION_ERROR of the VMCS."""

    error: int = 0

    def __init__(self, error: int, rflags: int = 0x42, why: Refusal | None = None):
        object.__setattr__(self, "error", error)
        object.__setattr__(self, "rflags", rflags)
        object.__setattr__(self, "value", None)
        object.__setattr__(self, "why", why)


@dataclasses.dataclass(frozen=True, repr=False)
class Stopped(Outcome):
    """L2 stands between two of its instructions, as it was asked to, or waits for what is not on
    its way; L1 has seen nothing yet."""


@dataclasses.dataclass(frozen=True, repr=False)
class Fault(Outcome):
    """The instruction raised an exception: vector 6 is #UD, 13 is #GP."""

    vector: int = 0
    error_code: int = 0

    def __init__(self, vector: int, error_code: int = 0, rflags: int = 2,
                 why: Refusal | None = None):
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "error_code", error_code)
        object.__setattr__(self, "rflags", rflags)
        object.__setattr__(self, "value", None)
        object.__setattr__(self, "why", why)

    def __str__(self) -> str:
        return f"{VECTORS.get(self.vector, f'vector {self.vector}')}({self.error_code})"
