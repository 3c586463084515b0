# SPDX-License-Identifier: GPL-2.0-only
"""The trace as Python sees it: each instruction of L1 with its operands and its outcome."""

import dataclasses

from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.machine.outcome import Fault, Outcome, VMfailValid

# Why L2 left, by basic exit reason.
EXIT_REASONS = {int(reason): reason.name for reason in ExitReason}


@dataclasses.dataclass(frozen=True)
class TraceRecord:
    """One instruction of L1.

    sequence numbers the instructions of all processors; operands are as the instruction has
    them (of an entry: where the VMCS is that it tried; of VMCALL: RCX, RDX, R8). results is what
    it produced: of CPUID EAX to EDX, of an entry the exit's reason and qualification.
    l2_instructions of an entry is how many L2 executed, groups_reread and bytes_reread what L0
    read again before.
    """

    sequence: int
    cpu: int
    instruction: str
    operands: tuple[int, ...]
    outcome: Outcome
    results: tuple[int, ...] = ()
    l2_instructions: int = 0
    groups_reread: int = 0
    bytes_reread: int = 0

    def __str__(self) -> str:
        text = f"cpu {self.cpu}: {self.instruction}"
        if self.operands:
            text += " " + ", ".join(f"{operand:#x}" for operand in self.operands)
        why = f": refused: {self.outcome.why}" if self.outcome.why else ""
        return self._ended(text) + why

    def _ended(self, text: str) -> str:
        if self.results:
            return text + " = " + ", ".join(f"{result:#x}" for result in self.results)
        if isinstance(self.outcome, VMfailValid):
            return f"{text}: VMfailValid({self.outcome.error})"
        if isinstance(self.outcome, Fault):
            return f"{text}: {self.outcome}"
        return text if self.outcome.ok else f"{text}: VMfailInvalid"
