# SPDX-License-Identifier: GPL-2.0-only
# The types of the module beside it, printed by dev/stubs.py.
import dataclasses
from kvm_vmx.abi.numbers import ExitReason as ExitReason, Field as Field
from kvm_vmx.machine.outcome import (Fault as Fault, Outcome as Outcome, VMfailInvalid as
    VMfailInvalid, VMfailValid as VMfailValid, VMsucceed as VMsucceed)

EXIT_REASONS: dict[int, str]


@dataclasses.dataclass(frozen=True)
class TraceRecord:
    sequence: int
    cpu: int
    instruction: str
    operands: tuple[int, ...]
    outcome: Outcome
    results: tuple[int, ...] = ...
    l2_instructions: int = ...
    groups_reread: int = ...
    bytes_reread: int = ...
    def __str__(self) -> str: ...
