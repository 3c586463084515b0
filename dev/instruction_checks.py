# SPDX-License-Identifier: GPL-2.0-only
"""Prints docs/instruction-checks.md: the checks of L0 but those of VM entry, and its faults."""

import re
import runpy
import subprocess
import tempfile

from cheaders import ROOT

PROGRAM = r"""
#include <stdio.h>
#include <kvm_vmx/l0/entry/check_rows.h>

int main(void)
{
	for (int i = 1; i < L0_NR_CHECKS; i++) {
		const struct l0_check_row *row = &l0_check_rows[i];

		printf("%s\t%s\t%u\t%u\t%s\t%s\t%u\t%llx\t%llx\t%s\t%s\n", row->id, row->insn, row->end,
		       row->error, row->field_name, row->other_name, row->limits.kind,
		       (unsigned long long)row->limits.must, (unsigned long long)row->limits.may,
		       row->section, row->sentence);
	}
}
"""
ALL_ONES = "f" * 16
# How a refusal ends, by enum l0_end.
ENDS = ("fault", "VMfailInvalid", "VMfailValid", "error 7", "error 8", "exit 33",
        "exit 33, qualification 4", "exit 33, qualification 2", "exit 34", "#UD", "#GP",
        "VMfail {}", "status {}")
# Where the limits come from that are no constants, by what enum l0_limit calls them.
SOURCES = {
    "PIN": "MSR 0x481 or 0x48d", "PROC": "MSR 0x482 or 0x48e", "SECONDARY": "MSR 0x48b",
    "EXIT": "MSR 0x483 or 0x48f", "ENTRY": "MSR 0x484 or 0x490", "CR0": "MSRs 0x486, 0x487",
    "GUEST_CR0": "MSRs 0x486, 0x487", "CR4": "MSRs 0x488, 0x489", "CR4_MAY": "MSR 0x489",
    "ADDRESS": "MAXPHYADDR", "PAGE": "MAXPHYADDR, bits 11:0", "16_BYTES": "MAXPHYADDR, bits 3:0",
    "64_BYTES": "MAXPHYADDR, bits 5:0", "EPTP": "MAXPHYADDR, bits 11:7",
    "PDPTE": "MAXPHYADDR, bits 8:5, 2:1", "EPT": "MSR 0x48c", "TARGETS": "MSR 0x485 bits 24:16",
    "PERF_GLOBAL": "CPUID leaf 0xA", "VMFUNC": "MSR 0x491",
    "APIC_BASE": "MAXPHYADDR, bits 10:9, 7:0"}
HEAD = """<!-- SPDX-License-Identifier: GPL-2.0-only -->
# The checks of instructions, MSRs and hypercalls

What L0 refuses, it refuses by a check with a name: `Outcome.why`, `ExitSummary.refusal`,
`vcpu.why_not` and `cpu.why_not` give a `Refusal` with its id, what it looked at, what is allowed,
and a sentence; the trace, `m.lints` and `kvm-vmx run` say it. The tables are printed from the rows
that L0 itself goes by (`kvm_vmx/l0/entry/checks.h` and what stands beside it), in the order of the
checks. Sections without a name are the SDM's, volume 3C; R and K are rules (`kvm-vmx conform`). In
braces stands what a refusal fills in: {bits} is the first wrong bit.
"""
FAULTS = """
## Faults

`Machine(faults=[...])` is a Hyper-V that does one of these; each is a policy that a profile's file
can switch on too. `tests/machine/test_l0_faults.py` shows each symptom.

| fault | L0 then | what L1 sees | source |
|---|---|---|---|
"""


def rows():
    """The rows, as the compiler has them."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcc", "-std=gnu11", "-w", "-Iinclude", "-I.", "-x", "c", "-", "-o",
                        f"{folder}/rows"], cwd=ROOT, input=PROGRAM, text=True, check=True)
        done = subprocess.run([f"{folder}/rows"], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def kinds():
    """enum l0_limit, without its prefix."""
    text = (ROOT / "kvm_vmx/l0/entry/state_checks.h").read_text()
    return re.findall(r"LIMIT_(\w+)", text.split("enum l0_limit {")[1].split("}")[0])


def allowed(kind, must, may):
    """What is allowed, in a cell."""
    if kind != "BITS":
        return SOURCES.get(kind, "")
    said = [f"0x{must} must be 1"] * (must != "0") + [f"0x{may} may be"] * (may != ALL_ONES)
    return ", ".join(said)


def table(found, names):
    """One table of rows."""
    lines = ["| check | looks at | refuses with | allowed | says | section |",
             "|---|---|---|---|---|---|"]
    for id, insn, end, error, field, other, kind, must, may, section, sentence in found:
        looks = ", ".join(f"`{name}`" for name in (field, other) if name != "0") or insn
        said = sentence.replace("|", "\\|")
        lines.append(f"| {id} | {looks} | {ENDS[int(end)].format(error)} | "
                     f"{allowed(names[int(kind)], must, may)} | {said} | {section} |")
    return "\n".join(lines) + "\n"


def files():
    """{path: text}."""
    found, names = rows(), kinds()
    msrs = [row for row in found if row[1] in ("rdmsr", "wrmsr")]
    calls = [row for row in found if row[1] == "vmcall"]
    others = [row for row in found if row[1] not in ("", "rdmsr", "wrmsr", "vmcall")]
    text = HEAD
    for title, part in (("VMX instructions and MOV to CR", others),
                        ("RDMSR and WRMSR", msrs), ("Hypercalls", calls)):
        text += f"\n## {title}\n\n{len(part)} checks.\n\n{table(part, names)}"
    faults = runpy.run_path(str(ROOT / "kvm_vmx/l0/faults.py"))["FAULTS"].values()
    text += FAULTS + "".join(
        f"| {fault.name} | {fault.does} | {fault.symptom} | {fault.source} |\n" for fault in faults)
    return {"docs/instruction-checks.md": text}
