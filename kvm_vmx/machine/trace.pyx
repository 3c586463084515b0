# SPDX-License-Identifier: GPL-2.0-only
"""The trace as Python sees it: each instruction of L1 with its operands and its outcome."""

import dataclasses

from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport *
from kvm_vmx.l0.state cimport *
from kvm_vmx.machine.checks cimport refusal_of

from kvm_vmx.abi.numbers import ExitReason, Field
from kvm_vmx.machine.outcome import Fault, Outcome, VMfailInvalid, VMfailValid, VMsucceed

cdef extern from *:
    """
    static const struct { const char *name; int operands, results; } l0_traced[] = {
    #define L0_TRACED(name, operands, results) { #name, operands, results },
    INSN_ALL(L0_TRACED)
    };
    """
    ctypedef struct traced_insn "__typeof__(*l0_traced)":
        const char *name
        int operands
        int results
    const traced_insn l0_traced[]

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


cdef outcome_of(const l0_trace_record *record):
    """The outcome, its RFLAGS as far as the instruction reports in them."""
    why = refusal_of(&record.refusal)
    if record.status == INSN_OK:
        return VMsucceed(why=why)
    if record.status & INSN_FAULT:
        return Fault(INSN_FAULT_VECTOR(record.status), INSN_FAULT_ERROR(record.status), why=why)
    if record.status == INSN_VMFAIL_INVALID:
        return VMfailInvalid(rflags=3, why=why)
    return VMfailValid(record.result[0], why=why)


cdef list records_of(l0_vp *vp):
    """What a processor's ring holds, the oldest first; what an instruction writes over meanwhile
    is left out."""
    cdef u64 i, size = vp.trace.size, end = vp.trace.end
    cdef l0_trace_record copy
    cdef const l0_trace_record *record = &copy
    cdef const traced_insn *insn

    found = []
    for i in range(end - size if end > size else 0, end):
        copy = vp.trace.record[i % size]
        if vp.trace.end > i + size:
            continue
        insn = &l0_traced[record.insn]
        name = insn.name.decode()
        outcome = outcome_of(record)
        results = ()
        if outcome.ok:
            results = tuple(record.result[j] for j in range(insn.results))
        if record.insn == TRACED_cpuid:
            results = tuple(word >> shift & 0xFFFFFFFF for word in results for shift in (0, 32))
        operands = tuple(record.operand[j] for j in range(insn.operands))
        if name in ("vmread", "vmwrite"):
            operands = (Field.of(operands[0]), *operands[1:])
        found.append(TraceRecord(
            record.sequence, vp.cpu.index, name, operands, outcome, results,
            record.l2_instructions, record.groups_reread, record.bytes_reread))
    return found
