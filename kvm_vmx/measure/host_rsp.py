# SPDX-License-Identifier: GPL-2.0-only
"""RSP noted for the exit in the three ways of the review: from the text, counted, timed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kvm_vmx import Machine
from kvm_vmx.measure import machine_code
from kvm_vmx.measure.loops import RSP_WAYS, address, file_of
from kvm_vmx.measure.report import COUNTED, Report, row
from kvm_vmx.measure.rounds import Loops
from kvm_vmx.measure.statistics import estimate

if TYPE_CHECKING:
    from kvm_vmx.measure.counts import InstructionProfile
    from kvm_vmx.measure.paired import Sample

WAYS = {"test": "test and jump, as merged", "key": "a static key in the assembly",
        "poke": "the VMWRITE poked into a MOV"}
LONGEST_NOTE = 16


def note(function: str, on: bool) -> list[machine_code.Instruction]:
    """What a VM entry executes of it where RSP has moved: behind the store to vmx->host_rsp, up to
    the test of the launch state. With the key on RSI is an address, else it is 0."""
    # all of its text: by call its opcodes cannot be reached
    body = machine_code.whole(file_of("hyperv"), function)
    compare, = [i for i, one in enumerate(body)
                if (one.mnemonic, one.operands) == ("cmp", "qword ptr [rax], rsp")]
    # cmp; je; mov %rsp, (%rax); mov evmcs_rsp(%rcx), %rsi
    end, found = body[compare + 1].target, []
    at: int | None = body[compare + 4].address
    while at is not None and at != end:
        one = machine_code.decode(at)
        found.append(one)
        if len(found) > LONGEST_NOTE:
            raise LookupError(f"{function} does not come to the end of its note")
        taken = one.mnemonic == "jmp" or one.mnemonic == "je" and not on
        at = one.target if taken else at + one.size
    return found


def words(instructions: list[machine_code.Instruction]) -> list[str]:
    """Instructions as text, without the addresses that jumps have."""
    return [one.mnemonic if one.target is not None else f"{one.mnemonic} {one.operands}".strip()
            for one in instructions]


def poke(machine: Machine) -> None:
    """Bring the poked sites into the state of the key."""
    Loops(machine._kernel, 0, [(address("hyperv", "rsp_poke"), 0)]).marked(1)


def structure(report: Report, machine: Machine, on: bool) -> None:
    """Instructions of each way in a state of the key, of the module that is loaded."""
    poke(machine)
    mode = "eVMCS" if on else "VMCS"
    for way, what in WAYS.items():
        found = words(note(f"bench_enter_{way}", on))
        report.add(f"RSP noted at an entry where it has moved, {mode}", what, len(found),
                   "instructions", COUNTED, note="; ".join(found))
    report.claim(f"{mode}: vmx_vcpu_run notes RSP by test and jump, as merged",
                 words(note("vmx_vcpu_run", on)) == words(note("bench_enter_test", on)),
                 "; ".join(words(note("vmx_vcpu_run", on))))


def counts(report: Report, found: "Mapping[str, InstructionProfile]") -> None:
    """Each way by callgrind: the loop that moves RSP and notes it, under eVMCS."""
    for way, what in WAYS.items():
        total = found[f"hyperv on: rsp_{way}"].total
        report.add("RSP moved and noted, eVMCS", what, total, "instructions", COUNTED,
                   note=f"{total - found['hyperv on: rsp_test'].total:+} against test and jump")


def timed(report: Report, table: str, samples: "list[Sample]", prefix: str) -> None:
    """Each way over test and jump, which stands there twice: the second copy is the A/A."""
    for name, what in {"test_again": "test and jump again (A/A)", "key": WAYS["key"],
                       "poke": WAYS["poke"]}.items():
        found = estimate([sample.difference(f"{prefix}{name}", f"{prefix}test")
                          for sample in samples])
        row(report, f"{table}, over test and jump", what, found, "cycles")


assert {f"rsp_{way}" for way in WAYS} < set(RSP_WAYS)
