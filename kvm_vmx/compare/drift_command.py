# SPDX-License-Identifier: GPL-2.0-only
"""What changed in KVM's path from one kernel tree to another, and what the port would follow.

Functions that moved, were renamed, split or dropped; the rows of the field table and the
members of struct hv_enlightened_vmcs, and whether any is elsewhere than in this package.
"to follow" counts the statements that the port has from the old tree and the new one changed.
Functions that are named are shown in three columns: the old tree, the port, the new tree; where
the new one is GITDIR@REV, each row that changed with the commit that last touched it. GITDIR and
a range A..B list the commits that concern the path, each statement with the port's place.
With --json: {"schema": "kvm_vmx.drift/1", ...}. Exit status: 0 nothing changed, 1 something
did, 2 trouble.
"""

import os
import sys
import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, check_writable, print_columns, print_json,
    write_text)
from kvm_vmx.compare.command import opened
from kvm_vmx.progress import working
from kvm_vmx.streams import plain
from kvm_vmx.words import meant

if TYPE_CHECKING:
    from kvm_vmx.compare.drift import Drift, FunctionDrift
    from kvm_vmx.compare.units import Function

EXAMPLE = """\
example:
  kvm-vmx drift ~/linux@v4.19 /usr/src/linux-source-6.1.tar.xz
  kvm-vmx drift ~/linux@v4.19 ~/linux@v6.12 vmcs_load     one function in three columns
  kvm-vmx drift ~/linux@v4.19 ~/linux@v6.12 --html drift.html
  kvm-vmx drift ~/linux v4.19..v4.19.300                  the fixes that concern the path
"""


def configure(commands: Commands) -> None:
    """Add `drift` to the command line."""
    command = add_command(commands, sys.modules[__name__], "drift", EXAMPLE)
    command.add_argument("old", help="a kernel tree: a directory, a tarball, or GITDIR@REV")
    command.add_argument("new", help="another kernel tree, or a range A..B")
    command.add_argument("function", nargs="*", default=[], help="functions to show in full")
    command.add_argument("--html", metavar="FILE",
                         help="write the changed functions in three columns as one page")


def execute(args: argparse.Namespace) -> int:
    """Compare two trees along the path that is ported."""
    from kvm_vmx.compare import drift_rows
    from kvm_vmx.compare.drift import Drift, against_ours, ported_statements
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.drift_git import Blame, spelled_range
    from kvm_vmx.compare.report import Report

    check_writable(args.html)
    if (ends := spelled_range(args.new)) and not os.path.exists(args.new):
        if not args.html:
            return list_fixes(args, *ends)
        args.old, args.new = (f"{args.old}@{end}" for end in ends)
    with working("reading the trees") as say:
        old, new = opened(args.old), opened(args.new)
        say("comparing")
        port = Port()
        report = Report(port, old)
        drift = Drift(port, old, new, ported_statements(report))
    known = {change.name: change for change in drift.changes}
    for name in args.function:
        if name not in known:
            raise Trouble(f"no function {name} on the path in {args.old}: "
                          f"{meant(name, known) or 'see `kvm-vmx drift`'}")
    ours = against_ours(new)
    pairs = {pair.kernel.name: pair for pair in report.pairs if pair.kernel is not None}
    blame = Blame(*("" if os.path.exists(spec) else spec for spec in (args.new, args.old)))
    if args.html:
        from kvm_vmx.compare.drift_page import page

        write_text(args.html, page(drift, report, facts(drift, ours), blame, note, args.function))
        print(f"{plain(args.html)}: open it in a browser.")
    elif args.json:
        shown = {name: drift_rows.rows_of(known[name], pairs.get(name)) for name in args.function}
        print_json({**as_json(drift, ours), "rows": {
            name: drift_rows.as_json(rows, blame, known[name])
            for name, rows in shown.items()}})
    elif args.function:
        for name in args.function:
            change = known[name]
            rows = drift_rows.rows_of(change, pairs.get(name))
            drift_rows.show(change, rows, note(change), blame)
    else:
        show(drift, ours)
    return DIFFERS if drift.changed else HOLDS


def where(function: "Function | None") -> str:
    """A function's place."""
    return f"{function.path}:{function.line}" if function else "-"


def show(drift: "Drift", ours: dict[str, list[str]]) -> None:
    """The report as text."""
    print(f"{drift.old.title}\n  -> {drift.new.title}\n")
    rows = [("function", "old", "new", "statements", "same", "to follow", "")]
    for change in drift.changes:
        if change.gone or change.came or change.moved or change.new is None:
            rows.append((
                change.name, where(change.old), where(change.new), counts(change),
                str(change.same), str(change.follow or "·"), note(change)))
    if len(rows) > 1:
        print_columns(rows, right=(3, 4, 5))
        print()
    still = len(drift.changes) - len(rows) + 1
    print(f"{still} of {len(drift.changes)} functions did not change")
    print("\n".join(facts(drift, ours)))
    print(f"\n{drift.old.title} -> {drift.new.title}: "
          f"{'something' if drift.changed else 'nothing'} changed on the path that is ported")


def facts(drift: "Drift", ours: dict[str, list[str]]) -> list[str]:
    """A line each of what is no statement: files, names, the field table, the structure."""
    lines = [f"moved    {before} -> {after}: {count} function{'s' * (count != 1)}"
             for (before, after), count in sorted(drift.files.items())]
    lines += [f"renamed  {alias.old} -> {alias.new}(): {alias.why}" for alias in drift.names]
    lines += named("table", drift.table) + named("members", drift.fields)
    sizes = [size for _, size in drift.layouts]
    same = "" if sizes[0] == sizes[1] else f" -> {sizes[1]}"
    return [*lines, f"size     {sizes[0]}{same} bytes", *named("package", ours)]


def named(title: str, found: Mapping[str, list[str]]) -> list[str]:
    """What is named under each word, a line a word; nothing named is one line."""
    if not any(found.values()):
        return [f"{title:<8} nothing {', '.join(found)}"]
    return [f"{title:<8} {word}: {', '.join(names)}" for word, names in found.items() if names]


def counts(change: "FunctionDrift") -> str:
    """Statements before and after."""
    before = change.same + len(change.gone)
    return f"{before} -> {change.same + len(change.came)}" if change.new else str(before)


def note(change: "FunctionDrift") -> str:
    """What happened to a function's name."""
    if change.how == "name":
        return "moved" if change.moved else ""
    return f"{change.how} ({change.new.name})" if change.new else change.how


def list_fixes(args: argparse.Namespace, old: str, new: str) -> int:
    """The commits of a range that concern the path, each change with the port's place."""
    from kvm_vmx.compare import drift_git
    from kvm_vmx.compare.opening import TreeError
    from kvm_vmx.compare.port import Port

    port, tree = Port(), opened(f"{args.old}@{old}")
    ours = {subject.kernel_name: subject for subject in port.subjects.values() if not subject.ours}
    try:
        with working("reading the commits"):
            found = drift_git.fixes(args.old, old, new, port, tree)
    except TreeError as error:
        raise Trouble(str(error)) from error
    wanted = set(args.function)
    found = [fix for fix in found if not wanted or wanted & set(fix.functions)]
    if args.json:
        print_json({"schema": "kvm_vmx.fixes/1", "old": old, "new": new, "fixes": [
            {"commit": fix.commit, "subject": fix.subject, "functions": fix.functions,
             "rows": [dict(zip(("sign", "text", "place", "port"), row))
                      for row in drift_git.rows(fix, ours)]} for fix in found]})
        return DIFFERS if found else HOLDS
    for fix in found:
        print(f"{fix.commit[:12]} {fix.subject}")
        for sign, text, place, port_text in drift_git.rows(fix, ours):
            print(f"  {sign} {text}")
            if place:
                print(f"      {place}  {port_text.partition(chr(10))[0]}")
        print()
    print(f"{len(found)} commits of {old}..{new} concern the path that is ported")
    return DIFFERS if found else HOLDS


def as_json(drift: "Drift", ours: dict[str, list[str]]) -> dict[str, object]:
    """The report for programs."""
    return {
        "schema": "kvm_vmx.drift/1",
        "old": drift.old.title,
        "new": drift.new.title,
        "functions": [
            {
                "name": change.name,
                "old": {"file": change.old.path, "line": change.old.line},
                "new": change.new and {
                    "name": change.new.name, "file": change.new.path, "line": change.new.line},
                "how": change.how,
                "same": change.same,
                "gone": [unit.text for unit in change.gone],
                "came": [unit.text for unit in change.came],
                "follow": change.follow,
            }
            for change in drift.changes
        ],
        "renamed": [{"old": alias.old, "new": alias.new, "why": alias.why}
                    for alias in drift.names],
        "moved": [{"old": old, "new": new, "functions": count}
                  for (old, new), count in sorted(drift.files.items())],
        "table": drift.table,
        "members": drift.fields,
        "ours": ours,
    }
