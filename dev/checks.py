# SPDX-License-Identifier: GPL-2.0-only
"""Prints docs/checks.md and check_groups.pxd from the rows of L0's checks."""

import re
import subprocess
import tempfile
import textwrap

from cheaders import ROOT, compiled

PAGE = "docs/checks.md"
GROUPS = "kvm_vmx/l0/check_groups.pxd"

HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
# The checks of VM entry

What a VM entry is refused for, a row a check, in the order in which an entry makes them within a
part. The id is what `Outcome.why`, `ExitSummary.refusal`, `Cpu.refusals()` and `kvm-vmx decode`
say; [diagnosis.md](diagnosis.md) begins with a symptom instead. SDM: volume 3C of the processor
maker's manual, as its editions since 2023 number it (those before, which kernels and reports quote,
have each chapter's number one lower: 26.3.1.4 is 27.3.1.4 here); R and K: the rules that
`kvm-vmx conform` lists. The group is the clean group of an enlightened VMCS that each of the fields
is in: while its bit is set, L0 need not look again.
This page is printed from [checks.h](../kvm_vmx/l0/entry/checks.h) and
[state_checks.h](../kvm_vmx/l0/entry/state_checks.h) by `python dev/regenerate.py`. The groups that
a check depends on, by more than its two fields, are those of
[check_groups.h](../kvm_vmx/l0/entry/check_groups.h).
"""

# How an entry ends, by enum l0_end, and what a user of KVM sees.
ENDS = {
    "END_FAULT": ("The instruction faults", "#UD or #GP, before anything is looked at"),
    "END_INVALID": ("No VMCS to enter with: VMfailInvalid", "`hardware error 0x0`"),
    "END_ERROR": ("The VMCS cannot be entered now: VMfailValid", "the number of the error"),
    "END_CONTROL": ("Controls: VMfailValid, error 7", "`hardware error 0x7`"),
    "END_HOST": ("Host state: VMfailValid, error 8", "`hardware error 0x8`"),
    "END_GUEST": ("Guest state: exit 33", "`hardware error 0x80000021`"),
    "END_LINK": ("The VMCS link pointer: exit 33, qualification 4", "`hardware error 0x80000021`"),
    "END_PDPTE": ("PDPTEs: exit 33, qualification 2", "`hardware error 0x80000021`"),
    "END_LIST": ("The list of MSRs to load: exit 34, qualification the item's number",
                 "`hardware error 0x80000022`"),
}
# Where a limit that is no constant is said.
LIMITS = {
    "LIMIT_PIN": "MSR 0x481, 0x48d", "LIMIT_PROC": "MSR 0x482, 0x48e",
    "LIMIT_SECONDARY": "MSR 0x48b", "LIMIT_EXIT": "MSR 0x483, 0x48f",
    "LIMIT_ENTRY": "MSR 0x484, 0x490", "LIMIT_CR0": "MSR 0x486, 0x487",
    "LIMIT_GUEST_CR0": "MSR 0x486, 0x487; PE and PG free for an unrestricted guest",
    "LIMIT_CR4": "MSR 0x488, 0x489", "LIMIT_ADDRESS": "MAXPHYADDR",
    "LIMIT_PAGE": "MAXPHYADDR, bits 11:0 are 0", "LIMIT_16_BYTES": "MAXPHYADDR, bits 3:0 are 0",
    "LIMIT_64_BYTES": "MAXPHYADDR, bits 5:0 are 0", "LIMIT_EPTP": "MAXPHYADDR, bits 11:7 are 0",
    "LIMIT_PDPTE": "MAXPHYADDR, bits 2:1 and 8:5 are 0", "LIMIT_EPT": "MSR 0x48c",
    "LIMIT_TARGETS": "MSR 0x485 bits 24:16", "LIMIT_PERF_GLOBAL": "CPUID leaf 0xa",
    "LIMIT_VMFUNC": "MSR 0x491",
}
ALL_ONES = (1 << 64) - 1
PROGRAM = r"""
#include <kvm_vmx/l0/entry/check_groups.h>
#include <stdio.h>
#define NAMED(name) [name] = #name,
static const char *const ends[] = { %s };
static const char *const limits[] = { %s };
int main(void)
{
	for (int i = 1; i < L0_NR_CHECKS && !*l0_check_rows[i].insn; i++) {
		const struct l0_check_row *row = &l0_check_rows[i];
		printf("%%s\t%%s\t%%s\t%%s\t%%s\t%%llx\t%%llx\t%%s\t%%s\t%%x\n", row->id, ends[row->end],
		       row->field_name, row->other_name, limits[row->limits.kind],
		       (unsigned long long)row->limits.must, (unsigned long long)row->limits.may,
		       row->section, row->sentence, l0_groups_of_check(i));
	}
}
"""


def rows():
    """The rows as the compiler sees them: dicts of text."""
    columns = ("id", "end", "field", "other", "limit", "must", "may", "section", "sentence",
               "groups")
    source = PROGRAM % tuple(" ".join(f"NAMED({name})" for name in names) for names in (
        ENDS, ("LIMIT_NONE", "LIMIT_BITS", *LIMITS)))
    with tempfile.TemporaryDirectory() as folder:
        done = compiled(["-x", "c", "-o", f"{folder}/rows"], source)
        if done.returncode:
            raise SystemExit(done.stderr)
        out = subprocess.run([f"{folder}/rows"], capture_output=True, text=True, check=True).stdout
    found = [dict(zip(columns, line.split("\t"))) for line in out.splitlines()]
    return [row | {"groups": int(row["groups"], 16)} for row in found]


def groups():
    """The clean group of each field that an enlightened VMCS has."""
    text = (ROOT / "include/asm/evmcs_fields.h").read_text(encoding="utf-8")
    return dict(re.findall(r"^EVMCS_FIELD\((\w+), \w+, (\w+)\)", text, re.M))


def allowed(row):
    """What the row allows, as far as it is a matter of bits."""
    if row["limit"] == "LIMIT_BITS":
        must, may = int(row["must"], 16), int(row["may"], 16)
        never = ~may & ALL_ONES
        said = [f"{must:#x} must be 1"] * bool(must)
        if never and never.bit_count() > may.bit_count():
            said.append(f"{may:#x} may be 1")
        elif never:
            said.append(f"{never:#x} must be 0")
        return ", ".join(said)
    return LIMITS.get(row["limit"], "")


def sentence(row):
    """The sentence of a row without its places for numbers."""
    text = row["sentence"]
    text = re.sub(r",? ?\{other\}", "", text.replace("of {other}", "of the field beside it"))
    text = re.sub(r"\{bits:([^}]*)\}", r"\1", text).removeprefix("{bits}: ")
    text = text.replace("{bits}", "a wrong bit")
    text = re.sub(r"\{(a|b|may)(?::[#\w]*)?\}", "N", text)
    return "" if text == "a wrong bit" else text.replace("|", "\\|").replace("<", "&lt;")


def cell(name, group):
    if name == "0":
        return ""
    return f"`{name}`" + (f" {group[name]}" if group.get(name) not in (None, "NONE", "ALL") else "")


def page():
    """The whole page."""
    found, group = rows(), groups()
    if wrong := [row["id"] for row in found if row["end"] not in ENDS]:
        raise SystemExit(f"dev/checks.py does not know how these end: {', '.join(wrong)}")
    lines = [HEAD]
    for end, (title, seen) in ENDS.items():
        part = [row for row in found if row["end"] == end]
        if not part:
            continue
        seen = f"KVM's user sees {seen}." if seen[0] == "`" else f"{seen[0].upper()}{seen[1:]}."
        lines += [f"## {title}", "", seen,
                  "", "| id | field, group | beside it | allowed | what is wrong | said in |",
                  "|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join((
            f"`{row['id']}`", cell(row["field"], group), cell(row["other"], group), allowed(row),
            sentence(row), row["section"])) + " |" for row in part]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


GROUPS_HEAD = """\
# SPDX-License-Identifier: GPL-2.0-only
# Which clean groups each part of the VM-entry checks reads. One whose groups are all clean passed
# last time. Printed from check_groups.h by dev/regenerate.py.
from kvm_vmx.abi.hyperv_tlfs cimport *

cdef enum:
"""
# What is made of the parts: the checks of a kind, and what is no check.
GROUPS_TAIL = """
    # no check: what the first instruction of L2 may depend on
    RUN_GROUPS = GUEST_CHECKS | GROUP_CONTROL_XLAT
    # no check: whose change has the content of the MSR bitmap read again (R67, K11)
    MSR_BITMAP_CONTENT = (GROUP_CONTROL_GRP1 | GROUP_CONTROL_PROC | GROUP_MSR_BITMAP |
                          GROUP_CONTROL_GRP2)
"""
KINDS = {"END_CONTROL": "CONTROL_CHECKS", "END_HOST": "HOST_CHECKS"}


def listed(name):
    """The arguments of each row of one of the lists in check_groups.h."""
    text = (ROOT / "kvm_vmx/l0/entry/check_groups.h").read_text(encoding="utf-8")
    body = re.search(rf"#define {name}\(X\)((?:.*\\\n)*.*\n)", text)[1]
    return [tuple(word.strip() for word in found.split(","))
            for found in re.findall(r"X\(([^)]*)\)", body)]


def parts(found):
    """The rows of each part, in order."""
    ids = [row["id"] for row in found]
    return {part: found[ids.index(first):ids.index(last) + 1]
            for part, first, last in listed("L0_PARTS")}


def enumerator(name, words):
    """A line of the enum, or as many as it takes."""
    line = f"    {name} = {' | '.join(words)}"
    if len(line) <= 100:
        return line
    lead = f"    {name} = ("
    return textwrap.fill(" | ".join(words) + ")", 100, initial_indent=lead,
                         subsequent_indent=" " * len(lead))


def groups_pxd(found):
    """check_groups.pxd from rows."""
    names = {f"GROUP_{name}": f"HV_VMX_ENLIGHTENED_CLEAN_FIELD_{name}"
             for name, in listed("L0_GROUP_NAMES")}
    header = (ROOT / "include/asm/hyperv-tlfs.h").read_text(encoding="utf-8")
    bits = {name: int(re.search(rf"#define {macro} \(1u << (\d+)\)", header)[1])
            for name, macro in names.items()}
    lines = [f"    {name} = {macro}" for name, macro in names.items()] + [""]
    kinds = {}
    for part, rows_of in parts(found).items():
        groups = 0
        for row in rows_of:
            groups |= row["groups"]
        lines.append(enumerator(f"{part}_GROUPS", [
            name for name, bit in bits.items() if groups >> bit & 1]))
        kinds.setdefault(KINDS.get(rows_of[0]["end"], "GUEST_CHECKS"), []).append(f"{part}_GROUPS")
    lines.append("")
    lines += [enumerator(kind, words) for kind, words in kinds.items()]
    return GROUPS_HEAD + "\n".join(lines) + GROUPS_TAIL


def files():
    """path: text of what is printed."""
    return {PAGE: page(), GROUPS: groups_pxd(rows())}
