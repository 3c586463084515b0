# SPDX-License-Identifier: GPL-2.0-only
"""Judge the sheets of a course with the key that made them.

--new makes a key. kvm-vmx lesson NAME --sheet FILE --assign WHO --key KEY makes a sheet with it,
for one student; its answers are in the key and nowhere else. A sheet that was handed in has them
under "answers"; each is right or wrong by itself, numbers in decimal or as text in hex. What there
is not, a name that nobody asked for and a file that is no sheet are told, and the others judged.
With --json: {"schema": "kvm_vmx.grade/1", "sheets": [...], "right": ..., "total": ...}.
Exit status 1: some file is no sheet of this key's.
"""

import argparse
import csv
import dataclasses
import sys
from typing import TYPE_CHECKING

from kvm_vmx import streams
from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, print_columns, print_json)

if TYPE_CHECKING:
    from kvm_vmx.lessons.sheets import SheetResult

EXAMPLE = """\
examples:
  kvm-vmx grade --new --key course.key
  kvm-vmx lesson table --sheet ann.json --assign ann --key course.key
  kvm-vmx grade ann.json ben.json --key course.key
  kvm-vmx grade *.json --key course.key --csv      a line a sheet, for a table
"""


def configure(commands: Commands) -> None:
    """Add `grade` to the command line."""
    command = add_command(commands, sys.modules[__name__], "grade", EXAMPLE)
    command.add_argument("sheets", nargs="*", default=[], metavar="SHEET",
                         help="what students have handed in")
    command.add_argument("--key", metavar="FILE", required=True, help="the instructor's key")
    command.add_argument("--new", action="store_true", help="make the key")
    command.add_argument("--csv", action="store_true", help="print comma-separated values instead")


def execute(args: argparse.Namespace) -> int:
    """Make a key, or judge."""
    from kvm_vmx.lessons.sheets import Key, judged

    if args.new:
        if args.sheets:
            raise Trouble("a new key has made no sheet: give --new or sheets")
        Key.new(args.key)
        return told_new(args)
    if not args.sheets:
        raise Trouble("no sheet to judge: give what students have handed in, or --new for a key")
    if args.json and args.csv:
        raise Trouble("--json and --csv at once: give one of them")
    key = Key(args.key)
    marks = [judged(path, key) for path in args.sheets]
    right, total = (sum(getattr(mark, name) for mark in marks) for name in ("right", "total"))
    if args.json:
        print_json({"schema": "kvm_vmx.grade/1", "right": right, "total": total,
                    "sheets": [dataclasses.asdict(mark) for mark in marks]})
    elif args.csv:
        table(marks)
    else:
        print_columns([("sheet", "lesson", "for", "right", "of", ""), *(
            (streams.plain(mark.path), mark.lesson, streams.plain(mark.assign), str(mark.right),
             str(mark.total), said(mark)) for mark in marks)], right=(3, 4))
        print(f"\n{right} of {total}")
    return DIFFERS if any(mark.trouble for mark in marks) else HOLDS


def told_new(args: argparse.Namespace) -> int:
    """Where the key is."""
    if args.json:
        print_json({"schema": "kvm_vmx.grade/1", "key": args.key})
    else:
        print(f"{streams.plain(args.key)}: keep it to yourself; whoever has it knows each answer.")
    return HOLDS


def said(mark: "SheetResult") -> str:
    """What there is to say of a sheet, in a line."""
    parts = [mark.trouble] if mark.trouble else []
    for name, words in (("wrong", "wrong"), ("missing", "not answered"),
                        ("unknown", "nobody asks for")):
        found = getattr(mark, name)
        if found:
            parts.append(f"{words}: {', '.join(streams.plain(one) for one in found)}")
    return "; ".join(parts)


def table(marks: "list[SheetResult]") -> None:
    """A line a sheet."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["sheet", "number", "lesson", "for", "right", "total", "wrong", "missing",
                     "unknown", "trouble"])
    for mark in marks:
        writer.writerow([mark.path, mark.number, mark.lesson, mark.assign, mark.right, mark.total,
                         *(" ".join(getattr(mark, name)) for name in (
                             "wrong", "missing", "unknown")), mark.trouble])
