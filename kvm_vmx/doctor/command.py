# SPDX-License-Identifier: GPL-2.0-only
"""Why a host's KVM uses enlightened VMCSs, or does not.

Without a FILE this host is looked at, as far as its user may; with files, the host that they are
from: dmesg, what `cpuid -r` prints, /proc/cpuinfo, a kernel's configuration, the directory
/sys/module/kvm_intel/parameters or a listing of it; - is standard input. The conditions are walked
in the order of the host's kernel, or of the nearest to it among Linux 4.19, 6.1 and 6.12, each
with its evidence.
With --json: {"schema": "kvm_vmx.doctor/1", "used", "answer", "cause", "kind", "kernel",
"release", "conditions": [{"id", "what", "holds", "why", "evidence", "file", "function"}],
"elsewhere", "change", "cost", "contradictions", "read", "unread"}. Exit status 0: enlightened
VMCSs are used; 1: they are not, or what there is does not tell.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvm_vmx.conditions import ORDER
from kvm_vmx.console import DIFFERS, HOLDS, Commands, add_command, print_columns, print_json
from kvm_vmx.streams import plain

if TYPE_CHECKING:
    from kvm_vmx.doctor.chart import Chart
    from kvm_vmx.doctor.verdict import Verdict

EXAMPLE = """\
examples:
  kvm-vmx doctor                          this host
  kvm-vmx doctor dmesg.txt cpuid-r.txt    another one, by its files
  sudo dmesg | kvm-vmx doctor -           by its kernel log alone
"""

MARKS = {True: "yes", False: "NO", None: "?"}


def configure(commands: Commands) -> None:
    """Add `doctor` to the command line."""
    command = add_command(commands, sys.modules[__name__], "doctor", EXAMPLE)
    command.add_argument("file", nargs="*", default=[], metavar="FILE",
                         help="a file of the host in question")
    command.add_argument("--kernel", choices=tuple(ORDER),
                         help="walk the conditions as this kernel asks (default: the nearest)")


def execute(args: argparse.Namespace) -> int:
    """Read, judge, report."""
    from kvm_vmx.doctor import cures, verdict

    chart = read(args.file)
    found = verdict.judge(chart, args.kernel)
    price = cures.cost(found.used, found.kind)
    if args.json:
        print_json(as_data(chart, found, price))
    else:
        show(chart, found, price)
    return HOLDS if found.used else DIFFERS


def read(names: Sequence[str]) -> "Chart":
    """The chart of the files that are named, or of this host."""
    from kvm_vmx.doctor import files, live
    from kvm_vmx.doctor.chart import Chart

    if not names:
        return live.read()
    chart = Chart()
    for name in dict.fromkeys(names):
        found = files.read(name)
        chart.take(found)
        chart.files += found.files
    return chart


def as_data(chart: "Chart", found: "Verdict", price: str) -> dict[str, object]:
    """The verdict for a program."""
    return {
        "schema": "kvm_vmx.doctor/1", "used": found.used, "answer": found.answer,
        "cause": found.cause, "kind": found.kind, "kernel": found.kernel,
        "release": found.release,
        "conditions": [one._asdict() for one in found.findings],
        "elsewhere": found.elsewhere, "change": found.changes, "cost": price,
        "contradictions": chart.contradictions, "read": chart.files, "unread": chart.unread,
    }


def show(chart: "Chart", found: "Verdict", price: str) -> None:
    """The verdict for a reader."""
    from kvm_vmx.doctor.verdict import kind_text

    print(f"{plain(found.answer)}.\n")
    kernel = f"Linux {plain(found.release)}" if found.release else "its kernel is not told"
    print(f"This host: {kind_text(found.kind)}; {kernel}; the conditions as Linux {found.kernel} "
          "asks:")
    print_columns([(f"  {MARKS[one.holds]}", one.id, one.what, plain(one.why),
                    f"{one.function}(), {one.file.rpartition('/')[2]}")
                   for one in found.findings], heads=False)
    evidence: dict[str, list[str]] = {}
    for one in found.findings:
        for text in one.evidence:
            evidence.setdefault(text, []).append(one.id)
    if evidence:
        print("Evidence:")
        print_columns([(f"  {', '.join(names)}", plain(text)) for text, names in evidence.items()],
                      heads=False)
    for kernel, line in found.elsewhere.items():
        print(f"As Linux {kernel} asks: {plain(line)}.")
    section("Contradictions", chart.contradictions)
    section("To change" if found.used is False else "To know more", found.changes)
    section("Not read", chart.unread)
    print(f"Cost: {price}.")


def section(title: str, lines: Sequence[str]) -> None:
    """A few lines under a title, where there are any."""
    if lines:
        print(f"{title}:")
        for line in lines:
            print(f"  {line}")
