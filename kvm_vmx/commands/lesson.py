# SPDX-License-Identifier: GPL-2.0-only
"""Nine lessons, each a seeded experiment: the run, a picture of it, and a question.

Without a name it lists them. A lesson prints the same for the same seed; -c answers its
question from the run. The lessons `table` and `clean` take a function of your own: --write
FILE runs it in a process of its own and says which inputs fail. `lesson all --html DIR` writes
the course as pages.
With --json: {"schema": "kvm_vmx.lesson/1", ...}, with the answer's values only with -c.
Exit status 1: the function of --write fails.
"""

import sys

from kvm_vmx.commands import DIFFERS, HOLDS, Trouble, add_command, print_columns, print_json
from kvm_vmx.lessons import NAMES, load

EXAMPLE = """\
examples:
  kvm-vmx lesson detect                  a lesson, its answer withheld
  kvm-vmx lesson detect --seed 7 -c      another variant, with the answer
  kvm-vmx lesson clean --write mine.py   check a function of one's own
"""
SEEDS = 1 << 64


def configure(commands) -> None:
    """Add `lesson` to the command line."""
    command = add_command(commands, sys.modules[__name__], "lesson", EXAMPLE)
    add = command.add_argument
    add("name", nargs="?", metavar="NAME", help=f"{', '.join(NAMES)}, or all with --html")
    add("--seed", default="1", metavar="N", help="which variant (default: 1)")
    add("--case", metavar="CASE", help="the variant by its name, where a lesson has names")
    add("-c", "--check", action="store_true", help="answer the question, from the run")
    add("--write", metavar="FILE", help="a Python file with your function (table, clean)")
    add("--tree", metavar="PATH", help="the kernel tree to find the lines in (as of compare)")


def execute(args) -> int:
    """List the lessons, or give one."""
    if args.name is None:
        return show_list(args.json)
    if args.name not in NAMES:
        raise Trouble(f"no lesson {args.name!r}: there are {', '.join(NAMES)}")
    lesson = load(args.name)
    seed = seed_of(args.seed)
    if args.case is not None and args.case not in lesson.CASES:
        there = f"there are {', '.join(lesson.CASES)}" if lesson.CASES else "it has none"
        raise Trouble(f"lesson {args.name} has no case {args.case!r}: {there}")
    if args.write and not hasattr(lesson, "grade"):
        raise Trouble(f"lesson {args.name} takes no function: --write is for table and clean")
    from kvm_vmx.lessons.sources import resolve

    tree = opened(args.tree)
    record = lesson.run(seed, args.case)
    verdicts, status = [], HOLDS
    if args.write:
        verdicts, good = lesson.grade(args.write, seed)
        status = HOLDS if good else DIFFERS
    lines = resolve(record.kernel, tree)
    if args.json:
        print_json(as_json(record, lines, args.check, verdicts, status))
    else:
        from kvm_vmx.lessons.terminal import show

        show(record, lines, args.check, verdicts)
    return status


def opened(spec):
    """The tree of --tree, or None."""
    if not spec:
        return None
    from kvm_vmx.commands.compare import opened as open_tree

    return open_tree(spec)


def seed_of(text: str) -> int:
    """A seed as it was typed."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < SEEDS:
        raise Trouble(f"--seed {text!r}: give a whole number from 0 to 2**64 - 1")
    return seed


def show_list(json: bool) -> int:
    """The lessons in the order of the course."""
    lessons = [(name, load(name)) for name in NAMES]
    if json:
        print_json({"schema": "kvm_vmx.lessons/1", "lessons": [
            {"name": name, "title": lesson.TITLE, "minutes": lesson.MINUTES,
             "cases": [] if getattr(lesson, "SECRET", False) else list(lesson.CASES)}
            for name, lesson in lessons]})
        return HOLDS
    print_columns([("lesson", "minutes", "what it is about"),
                   *((name, str(lesson.MINUTES), lesson.TITLE) for name, lesson in lessons)],
                  right=(1,))
    print("\nBegin with: kvm-vmx lesson detect")
    return HOLDS


def as_json(record, lines, check: bool, verdicts, status: int) -> dict:
    """What a grader's program reads."""
    hidden = record.secret and not check
    return {
        "schema": "kvm_vmx.lesson/1", "lesson": record.name, "seed": record.seed,
        "case": None if hidden else record.case, "title": record.title, "run": record.run,
        "steps": [{"caption": step.caption, "rows": [[cell.text for cell in row]
                                                     for row in step.rows]}
                  for step in record.shown(check).steps],
        "question": record.question, "given": record.given,
        "answer": record.values if check else None,
        "explanation": record.answer if check else None,
        "lines": [] if hidden else [line._asdict() for line in lines],
        "function": {"passes": status == HOLDS, "says": verdicts} if verdicts else None,
    }
