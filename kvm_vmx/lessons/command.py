# SPDX-License-Identifier: GPL-2.0-only
"""Lessons, each a seeded experiment: the run, a picture of it, and a question.

Without a name it lists them. A lesson prints the same for the same seed; -c answers its
question from the run. Some take a function of your own: --write FILE runs it in a process of
its own and says which inputs fail. --html writes the lesson as one
page with a slider over the run, and `lesson all --html DIR` the course; a page holds the answer,
folded, only with -c.
--sheet FILE --assign WHO --key KEY makes a sheet for one student to hand in, without answers and
without a seed; kvm-vmx grade judges it with the key. With --html it is a page, too.
With --json: {"schema": "kvm_vmx.lesson/1", ...}, with the answer's values only with -c; of all
lessons {"schema": "kvm_vmx.course/1", "lessons": [...]}.
Exit status 1: the function of --write fails, or the run shows nothing of what a lesson is about.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from kvm_vmx import streams
from kvm_vmx.console import (
    DIFFERS, HOLDS, Commands, Trouble, add_command, check_writable, offer, print_columns,
    print_json, write_text)
from kvm_vmx.lessons import NAMES, WRITTEN, load, own
from kvm_vmx.progress import progress, working
from kvm_vmx.words import unknown

if TYPE_CHECKING:
    from kvm_vmx.lessons.record import Record
    from kvm_vmx.lessons.sources import Line

EXAMPLE = """\
examples:
  kvm-vmx lesson detect                  a lesson, its answer withheld
  kvm-vmx lesson detect --seed 7 -c      another variant, with the answer
  kvm-vmx lesson clean --write mine.py   check a function of one's own
  kvm-vmx lesson all --html course       the course as pages, course/index.html first
  kvm-vmx lesson ./mine.py               a lesson of one's own (docs/own-lesson.md)
"""


def configure(commands: Commands) -> None:
    """Add `lesson` to the command line."""
    command = add_command(commands, sys.modules[__name__], "lesson", EXAMPLE)
    add = command.add_argument
    offer(add("name", nargs="?", metavar="NAME",
              help=f"{', '.join(NAMES)}, all with --html, or a file"), (*NAMES, "all"))
    add("--seed", default="1", metavar="N", help="which variant (default: 1)")
    add("--case", metavar="CASE", help="the variant by its name, where a lesson has names")
    add("-c", "--check", action="store_true", help="answer the question, from the run")
    add("--write", metavar="FILE", help=f"a Python file with your function ({', '.join(WRITTEN)})")
    add("--tree", metavar="PATH", help="the kernel tree to find the lines in (as of compare)")
    add("--html", metavar="FILE", help="write a page instead; of all, the name of a directory")
    add("--sheet", metavar="FILE", help="write a sheet for a student to fill in")
    add("--assign", metavar="WHO", help="whom the sheet is for: a name or a number")
    add("--key", metavar="FILE", help="the key of the course, by kvm-vmx grade --new")


def execute(args: argparse.Namespace) -> int:
    """List the lessons, or give one or all."""
    if args.name is None:
        return show_list(args.json)
    from kvm_vmx.lessons.record import NothingShown

    try:
        return whole_course(args) if args.name == "all" else one_lesson(args)
    except NothingShown as change:
        streams.complain(change, "kvm-vmx lesson")
        return DIFFERS


def one_lesson(args: argparse.Namespace) -> int:
    """A lesson on the terminal, as a page or for a program."""
    lesson = found(args.name)
    if args.sheet is not None or args.assign is not None or args.key is not None:
        return one_sheet(args, lesson)
    seed = seed_of(args.seed)
    if args.case is not None and args.case not in lesson.CASES:
        raise Trouble(f"lesson {args.name} has " + unknown(
            "case", args.case, lesson.CASES, "" if lesson.CASES else "it has none"))
    if args.write is not None and not hasattr(lesson, "grade"):
        raise Trouble(f"lesson {args.name} takes no function: --write is for {', '.join(WRITTEN)}")
    if args.write is not None:
        from kvm_vmx.lessons.student import refused

        if why := refused(args.write):
            raise Trouble(why)
    from kvm_vmx.lessons.sources import opened, resolve

    check_writable(args.html)
    tree = opened(args.tree)
    verdicts: list[str] = []
    passes = True
    with working(f"running {args.name}") as say:
        record = recorded(args.name, lesson, seed, args.case)
        if args.write is not None:
            say("trying your function")
            verdicts, passes = lesson.grade(args.write, seed)
    if verdicts:
        verdicts = [streams.readable(verdict) for verdict in verdicts]
    status = HOLDS if passes and not record.mended else DIFFERS
    lines = resolve(record.kernel, tree)
    if args.html is not None:
        from kvm_vmx.lessons.page import lesson_page

        write_text(args.html, lesson_page(record, lines, args.check))
    if args.json:
        print_json(as_json(record, lines, args.check, verdicts, passes))
    elif args.html is not None:
        print(*filter(None, [record.mended, *verdicts,
                             f"{streams.plain(args.html)}: open it in a browser."]), sep="\n")
    else:
        from kvm_vmx.lessons.terminal import show

        show(record, lines, args.check, verdicts)
    return status


def found(name: str) -> ModuleType:
    """A lesson of the course, or one in a file of somebody's own."""
    if own.is_file(name):
        return own.load(name)
    if name not in NAMES:
        raise Trouble(unknown("lesson", name, NAMES, f"there are {', '.join(NAMES)}, and all"))
    return load(name)


def recorded(name: str, lesson: ModuleType, seed: int, case: str | None) -> "Record":
    """The run of either."""
    if own.is_file(name):
        return own.recorded(name, lesson, seed, case)
    record: Record = lesson.run(seed, case)
    return record


def one_sheet(args: argparse.Namespace, lesson: ModuleType) -> int:
    """A lesson for one student, its seed and its answers sealed by the key."""
    from kvm_vmx.lessons.page import lesson_page
    from kvm_vmx.lessons.sheets import Key, graded, sealed, sheet

    if None in (args.sheet, args.assign, args.key):
        raise Trouble("a sheet takes all three: --sheet FILE --assign WHO --key KEY "
                      "(kvm-vmx grade --new --key KEY makes a key)")
    if args.check or args.write or args.case or args.seed != "1":
        raise Trouble("a sheet has no -c, --write, --case or --seed: the key decides its variant")
    for path in (args.sheet, args.html):
        check_writable(path)
    key = Key(args.key)
    number, seed = key.number(args.name, args.assign), key.seed(args.name, args.assign)
    record = recorded(args.name, lesson, seed, None)
    if record.mended:
        raise Trouble(f"lesson {args.name} has nothing to ask: {record.mended}")
    key.keep(number, args.name, args.assign, graded(record))
    made = sheet(record, number, args.assign)
    write_text(args.sheet, json.dumps(made, indent=1) + "\n")
    if args.html is not None:
        write_text(args.html, lesson_page(sealed(record, number), [], False))
    if args.json:
        print_json(made)
    else:
        print(f"{streams.plain(args.sheet)}: sheet {number} of lesson {args.name}, "
              f"{len(made['answers'])} answers to fill in.")
    return HOLDS


def whole_course(args: argparse.Namespace) -> int:
    """Every lesson and an index as pages in one directory."""
    if not args.html:
        raise Trouble("lesson all is a course of pages: give the directory for them with "
                      "--html DIR")
    for option in ("case", "write", "sheet", "assign", "key"):
        if getattr(args, option):
            raise Trouble(f"lesson all takes no --{option}: give it with one lesson's name")
    seed = seed_of(args.seed)
    check_directory(args.html)
    from kvm_vmx.lessons.page import glossary_page, index_page, lesson_page
    from kvm_vmx.lessons.sources import opened, resolve

    tree = opened(args.tree)

    taught: list[Record] = []
    with progress({"lessons": len(NAMES)}) as report:
        for done, name in enumerate(NAMES, 1):
            taught += filter(None, [shown_by(name, seed)])
            report("lessons", done)
    lines = [resolve(record.kernel, tree) for record in taught]
    for record, found in zip(taught, lines):
        write_text(os.path.join(args.html, f"{record.name}.html"),
                   lesson_page(record, found, args.check, course=True))
    write_text(os.path.join(args.html, "glossary.html"), glossary_page())
    index = os.path.join(args.html, "index.html")
    write_text(index, index_page(taught, args.check))
    if args.json:
        print_json({"schema": "kvm_vmx.course/1", "lessons": [
            as_json(record, found, args.check)
            for record, found in zip(taught, lines)]})
    else:
        print(*(f"{record.name}: {record.mended}" for record in taught if record.mended),
              f"{len(taught)} lessons in {streams.plain(args.html)}: open {streams.plain(index)} "
              "in a browser.", sep="\n")
    whole = len(taught) == len(NAMES) and not any(record.mended for record in taught)
    return HOLDS if whole else DIFFERS


def shown_by(name: str, seed: int) -> "Record | None":
    """A lesson's record, or None where it has nothing to show here, which is told."""
    from kvm_vmx.lessons.record import NothingShown

    try:
        record: Record = load(name).run(seed)
        return record
    except NothingShown as change:
        streams.complain(f"lesson {name}: {change}", "kvm-vmx lesson")
        return None


def check_directory(path: str) -> None:
    """The directory of the course: made where it is missing, Trouble where it can't be."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Trouble(f"{path}: {reason}: give the name of a directory for the pages") from error
    for name in ("index", "glossary", *NAMES):
        check_writable(os.path.join(path, f"{name}.html"))


def seed_of(text: str) -> int:
    """A seed as it was typed."""
    from kvm_vmx.lessons.record import SEEDS

    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < SEEDS:
        raise Trouble(f"--seed {text!r}: give a whole number from 0 to 2**64 - 1")
    return seed


def show_list(as_object: bool) -> int:
    """The lessons in the order of the course."""
    lessons = [(name, load(name)) for name in NAMES]
    if as_object:
        print_json({"schema": "kvm_vmx.lessons/1", "lessons": [
            {"name": name, "title": lesson.TITLE, "minutes": lesson.MINUTES,
             "cases": [] if getattr(lesson, "SECRET", False) else list(lesson.CASES)}
            for name, lesson in lessons]})
        return HOLDS
    print_columns([("lesson", "minutes", "what it is about"),
                   *((name, str(lesson.MINUTES), lesson.TITLE) for name, lesson in lessons)],
                  right=(1,))
    print(f"\nBegin with: kvm-vmx lesson {NAMES[0]}")
    return HOLDS


def as_json(record: "Record", lines: "Sequence[Line]", check: bool,
            verdicts: Sequence[str] = (), passes: bool = True) -> dict[str, object]:
    """What a grader's program reads."""
    hidden = record.secret and not check
    return {
        "schema": "kvm_vmx.lesson/1", "lesson": record.name, "seed": record.seed,
        "case": record.named(check), "title": record.title,
        "run": record.run, "mended": record.mended or None,
        "steps": [{"caption": step.caption, "rows": [[cell.text for cell in row]
                                                     for row in step.rows]}
                  for step in record.shown(check).steps],
        "question": record.question, "given": record.given,
        "answer": record.values if check else None,
        "explanation": record.answer if check else None,
        "lines": [] if hidden else [
            line._asdict() if check else {**line._asdict(), "executed": None} for line in lines],
        "function": {"passes": passes, "says": verdicts} if verdicts else None,
    }
