# SPDX-License-Identifier: GPL-2.0-only
"""Prints docs/offers.md: each bit that a profile may offer, and the test that shows it done."""

import sys

from cheaders import ROOT

PAGE = "docs/offers.md"
HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
# What is offered, and what shows it

Each bit of the capability MSRs, of the CPUID leaves 1, 7 and 0x80000001 and of Hyper-V's that L0
can do, the test that shows it, and the profiles that offer it. A bit without a test is not done: no
profile may offer it, and `Machine(msrs=..., cpuid=...)` refuses it by name. This page is printed
from [offers.py](../kvm_vmx/l0/offers.py) and the profiles by `python dev/offers.py`.
"""
HYPERV = 0x40000000
ON_LEAVES = """\
KVM hands on to L2 what L1's own CPUID says, and L2's processor is L0's: a profile offers only what
that can do, though L1 itself may be native code on a host that can more. A board adds the local
APIC, x2APIC and the deadline timer, and without a hypervisor XSAVE. A host's own `cpuid -r` is
taken as it is; `Machine.undone` names what of it is not done."""
NAMES = {
    0x480: "BASIC", 0x481: "pin-based controls", 0x482: "primary controls", 0x483: "exit controls",
    0x484: "entry controls", 0x485: "MISC", 0x48B: "secondary controls", 0x48C: "EPT and VPID",
    0x491: "VM functions"}


def test_link(test: str) -> str:
    """A test, by its name, with the file that it stands in."""
    file, name = test.split("::")
    return f"[{name}](../tests/l0/{file})"


def table(kind: str, rows, offered) -> list[str]:
    """The rows that are done; offered says which profiles have a bit."""
    lines = ["", f"| {kind} | bit | what | shown by | profiles |", "|---|---:|---|---|---|"]
    for place, bit, name, test in rows:
        lines.append(f"| {place} | {bit} | {name} | {test_link(test)} | {offered(place, bit)} |")
    return lines


def page() -> str:
    """The whole page."""
    sys.path.insert(0, str(ROOT))
    from kvm_vmx.l0.offers import CAPABILITIES, CLASS, LEAVES, REGISTERS
    from kvm_vmx.l0.profile import PROFILES

    def having(found) -> str:
        return ", ".join(name for name in PROFILES if found(PROFILES[name])) or "none"

    lines, undone = [], []
    for index, (rows, shift, _) in CAPABILITIES.items():
        if index not in NAMES:
            continue
        lines += ["", f"## MSR {index:#x}: {NAMES[index]}"]
        done = [(f"{index:#x}", bit + shift, name, test)
                for bit, (name, test) in sorted(rows.items()) if test]
        lines += table("MSR", done, lambda place, bit: having(
            lambda profile: profile.msrs.get(int(place, 16), 0) >> bit & 1))
        undone += [f"{name} ({index:#x} bit {bit + shift})"
                   for bit, (name, test) in sorted(rows.items()) if not test]
    for heading, is_hyperv in (("The processor's CPUID leaves", False),
                               ("Hyper-V's CPUID leaves", True)):
        done = [(f"{leaf:#x} {register.upper()}", bit, name, test)
                for (leaf, register), rows in LEAVES.items()
                if (leaf & CLASS == HYPERV) == is_hyperv
                for bit, (name, test) in sorted(rows.items()) if test]
        lines += ["", f"## {heading}", *([] if is_hyperv else ["", ON_LEAVES])]
        lines += table("leaf", done, lambda place, bit: having(
            lambda profile: profile.cpuid.get(int(place.split()[0], 16), (0,) * 4)[
                REGISTERS.index(place.split()[1].lower())] >> bit & 1))
    undone += [f"{name} ({leaf:#x} {register.upper()}[{bit}])"
               for (leaf, register), rows in LEAVES.items()
               for bit, (name, test) in sorted(rows.items()) if not test]
    lines += ["", "## Not done, and not offered", ""]
    return HEAD + "\n".join([*lines, *(f"- {what}" for what in undone)]) + "\n"


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page(), "utf-8")
