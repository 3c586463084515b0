# SPDX-License-Identifier: GPL-2.0-only
"""What a VMCS access, a static key and a clean bit cost, tier by tier.

Tier 0 reads the text of the builds, without a clock. Tier 1 counts instructions by callgrind
and needs valgrind. Tier 2 takes time: paired, interleaved batches with an A/A control. A tier
includes those below it. With --insn trap the port executes the opcodes, which trap: then tier
0 counts the traps of an exit, and tier 2 times exits of both modes in pairs; what does not depend
on the form is left to --insn call. --kernel TREE counts an exit in L1 beside a kernel tree's own
objects (those of kvm-vmx kernel build), function by function: instructions, loads and stores. Each
number carries its kind: counted, measured here, modelled, published. -o writes pyperf's format
(and, beside tier 2, FILE.rounds with the ticks of every round); --html writes one page with the
pictures.
With --json: {"schema": "kvm_vmx.measure/1", "rows": [...], "claims": [...], ...}.
What is claimed stands last, what is missed at the very end; a claim that this port cannot meet,
for a reason that is given, is a remark and no miss, and one that nothing decides is open, and says
why. Exit status 1: a claim is missed. Exit status 2: trouble, or time is not measurable here now.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kvm_vmx.console import (
    DIFFERS, HOLDS, TROUBLE, Commands, Trouble, add_command, check_writable, need, print_json,
    told, write_text)
from kvm_vmx.progress import working

if TYPE_CHECKING:
    from kvm_vmx.measure.report import Report, Say

EXAMPLE = """\
examples:
  kvm-vmx measure key --tier 0         the text of the static key, off and on
  kvm-vmx measure all --tier 1         every count; needs valgrind
  kvm-vmx measure all --tier 2 --html measure.html
  kvm-vmx measure scale --tier 2 --html scale.html   from one vCPU, CPU, VM to very many: curves
  kvm-vmx measure loop --kernel linux-4.19   an exit beside the kernel's own code, by function
  kvm-vmx measure loop --tier 2 --insn trap   what VMREAD and VMWRITE cost where they trap
"""

PARTS = ("key", "accessors", "loop", "entry", "scale")


def configure(commands: Commands) -> None:
    """Add `measure` to the command line."""
    command = add_command(commands, sys.modules[__name__], "measure", EXAMPLE)
    add = command.add_argument
    add("part", nargs="?", choices=(*PARTS, "all"), default="all",
        help="what to measure (default: all)")
    add("--tier", type=int, choices=(0, 1, 2), default=0,
        help="0 structure, 1 counts, 2 time; each with those below (default: 0)")
    add("--insn", choices=("call", "trap"), default="call",
        help="instructions by call, or as opcodes that trap: tiers 0 and 2 (default: call)")
    add("--kernel", metavar="TREE",
        help="loop: beside the own code of a kernel tree: a directory, a tarball or GITDIR@REV")
    add("-o", dest="out", metavar="FILE", help="also write FILE in pyperf's format")
    add("--html", metavar="FILE", help="also write one self-contained page")


def execute(args: argparse.Namespace) -> int:
    """Measure, then print, store and judge."""
    for path in (args.out, args.html):
        check_writable(path)
    if args.out:
        need("pyperf", "perf")
    parts = PARTS if args.part == "all" else (args.part,)
    if args.kernel and "loop" not in parts:
        raise Trouble("--kernel is about an exit: give loop, or all")
    with working("measuring") as say:
        report = (measured_by_trap if args.insn == "trap" else measured)(parts, args.tier, say)
        if args.kernel:
            from kvm_vmx.measure import objects

            with troubled():
                objects.run(report, args.kernel, say)
    if args.out:
        from kvm_vmx.measure.store import save

        save(report, args.out)
    if args.html:
        from kvm_vmx.measure.page import page

        write_text(args.html, page(report))
    if args.json:
        from kvm_vmx.measure.store import as_json

        print_json(as_json(report))
    else:
        from kvm_vmx.measure.terminal import print_report

        print_report(report)
    return verdict(report)


def measured(parts: Sequence[str], tier: int, say: "Say") -> "Report":
    """The report of these parts up to a tier."""
    from kvm_vmx.measure import counts, model, structure
    from kvm_vmx.measure.report import Report

    report = Report()
    with troubled():
        if tier >= 1:
            counts.require_valgrind()
        structure.run(report, parts, say)
        if tier >= 1:
            counts.run(report, parts, say)
        if tier >= 2:
            from kvm_vmx.measure import paired

            paired.run(report, parts, say)
        if "loop" in parts:
            model.run(report, say)
    return report


def measured_by_trap(parts: Sequence[str], tier: int, say: "Say") -> "Report":
    """The report of what depends on the form of these parts, up to a tier."""
    from kvm_vmx.measure import trapped
    from kvm_vmx.measure.report import Report

    report = Report()
    with troubled():
        trapped.check(parts, tier)
        trapped.run(report, parts, tier, say)
    return report


@contextlib.contextmanager
def troubled() -> Iterator[None]:
    """What goes wrong below becomes Trouble, as for any command that boots a machine."""
    from kvm_vmx import KernelBug, MachineError

    try:
        yield
    except (KernelBug, MachineError, OSError, ValueError) as error:
        raise Trouble(told(error)) from error


def verdict(report: "Report") -> int:
    """The exit status, and what it is for on standard error."""
    if not report.measurable:
        print("kvm-vmx measure: time is not measurable here now: the A/A control found a "
              "difference between two copies of one loop", file=sys.stderr)
        return TROUBLE
    if report.missed:
        print(f"kvm-vmx measure: {len(report.missed)} of {len(report.claims)} claims missed",
              file=sys.stderr)
        return DIFFERS
    return HOLDS
