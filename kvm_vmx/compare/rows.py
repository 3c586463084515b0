# SPDX-License-Identifier: GPL-2.0-only
"""The rows of a comparison: every statement of both sides in one, each with its class."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from kvm_vmx.compare import idioms
from kvm_vmx.compare.align import Alignment, Step
from kvm_vmx.compare.marks import CURE, Mark
from kvm_vmx.compare.types import Syntax
from kvm_vmx.compare.units import Function, Unit

CLASSES = ("same", "idiom", "adapted", "omitted", "added", "moved", "inactive", "unexplained")
ALIKE = ("same", "idiom", "moved")
HEADERS = {"if", "elif", "else", "while", "for", "each"}
WORD = re.compile(r"\w+|[^\w\s]")
MARKED = {"-": "omitted", "~": "adapted", "+": "added"}


@dataclasses.dataclass(slots=True, eq=False)
class Row:
    """Statements of the kernel beside what stands for them in the port, and why."""

    kind: str
    kernel: list[Unit]
    port: list[Unit]
    why: str = ""
    mark: Mark | None = None


def weight(row: Row) -> int:
    """What a row counts: its statements of the kernel. What is ours, or unexplained without any,
    counts those of the port, and a mark that fits nowhere counts one."""
    if row.kind == "inactive":
        return len(row.kernel)
    theirs = sum(unit.kind != "#" for unit in row.kernel)
    loose = row.kind == "unexplained" and not theirs
    return max(len(row.port), 1) if loose else len(row.port) if row.kind == "added" else theirs


def compare(kernel: Function, port: Function, void: bool) -> list[Row]:
    """The rows of one function: kernel and port are its two sides."""
    for units in (kernel.units, port.units):
        count_inside(units)
    steps = Alignment(kernel.units, port.units, port.marks, void).steps
    rows = [row_of(step) for step in steps]
    check_blocks(rows)
    rows = pair_moved(rows)
    rows = hint(pair_gaps(rows))
    return add_inactive(rows, kernel)


def count_inside(units: list[Unit]) -> None:
    """Note with each header how many statements its block holds; declarations may be hoisted."""
    for unit in units:
        unit.inside = 0
    for unit in units:
        above = None if unit.silent or unit.kind == "decl" else unit.parent
        while above is not None:
            above.inside += 1
            above = above.parent


def row_of(step: Step) -> Row:
    """The row of one step of the alignment."""
    if step.how == "same":
        return Row("same", step.kernel, step.port)
    if step.how == "idiom":
        reasons = sorted(idioms.NAMES.get(name, name) for name in step.used)
        return Row("idiom", step.kernel, step.port, "; ".join(reasons))
    mark = step.mark
    if mark is not None and step.how in MARKED:
        text = f"{mark.what}: {mark.reason}" if mark.what else mark.reason
        return Row(MARKED[step.how], step.kernel, step.port, text, mark)
    if mark is not None:
        fault = mark.fault or f"the mark fits no statement here: {CURE}"
        text = f"line {mark.line}: {fault}: {mark.what}"
        return Row("unexplained", [], [], text, mark)
    unit = (step.kernel or step.port)[0]
    if unit.silent:
        return Row("idiom", step.kernel, step.port, idioms.NAMES[unit.silent])
    return Row("unexplained", step.kernel, step.port)


def check_blocks(rows: list[Row]) -> None:
    """Statements that agree must stand in blocks that agree too."""
    owner = {id(unit): row for row in rows for unit in (*row.kernel, *row.port)}

    def transparent(unit: Unit) -> bool:
        row = owner[id(unit)]
        one_sided = not row.kernel or not row.port
        directive = bool(row.kernel) and row.kernel[0].kind == "#"
        return row.kind in ("omitted", "added") or directive or (one_sided and bool(unit.silent))

    def block(unit: Unit) -> Unit | None:
        parent = unit.parent
        while parent is not None and transparent(parent):
            parent = parent.parent
        return parent

    for row in rows:
        if row.kind not in ("same", "idiom") or not row.kernel or not row.port \
                or row.kernel[0].kind == "#":
            continue
        theirs, ours = block(row.kernel[0]), block(row.port[0])
        if agree(theirs, ours, owner, block):
            continue
        row.kind = "unexplained"
        row.why = "the same words in another block"


def agree(theirs: Unit | None, ours: Unit | None, owner: dict[int, Row],
          block: Callable[[Unit], Unit | None]) -> bool:
    """Whether two blocks are one: the same row, past those whose extent a mark's pin holds."""
    while theirs is not None or ours is not None:
        mine = owner[id(ours)] if ours is not None else None
        its = owner[id(theirs)] if theirs is not None else None
        if mine is not None and mine is its:
            # of an idiom's several headers the first holds the block
            return mine.kind != "idiom" or ours is next(
                (unit for unit in mine.port if unit.kind in HEADERS), mine.port[0])
        if theirs is not None and its is not None and its.kind == "adapted":
            theirs = block(theirs)
        elif ours is not None and mine is not None and mine.kind == "adapted":
            ours = block(ours)
        else:
            return False
    return True


def pair_moved(rows: list[Row]) -> list[Row]:
    """Declarations that stand elsewhere in the function: C declares where Cython may not."""
    waiting: dict[Syntax, Row] = {}
    declared = set()
    for row in rows:
        if len(row.kernel) == 1 and row.kernel[0].kind == "decl":
            declared.add(row.kernel[0].key)
            if row.kind == "unexplained" and not row.port:
                waiting.setdefault(row.kernel[0].key, row)
    kept = []
    for row in rows:
        if row.kind == "unexplained" and not row.kernel and len(row.port) == 1 \
                and row.port[0].kind == "decl":
            other = waiting.pop(row.port[0].key, None)
            if other is not None:
                other.kind, other.port, other.why = "moved", row.port, idioms.NAMES["hoisted"]
                continue
        kept.append(row)
    return kept


def pair_gaps(rows: list[Row]) -> list[Row]:
    """What nothing explains, side by side where the words are alike."""
    result: list[Row] = []
    gap: list[Row] = []
    for row in [*rows, None]:
        if row is not None and row.kind == "unexplained" and not row.why \
                and bool(row.kernel) != bool(row.port):
            gap.append(row)
            continue
        result.extend(joined(gap))
        gap = []
        if row is not None:
            result.append(row)
    return result


def joined(gap: list[Row]) -> Iterator[Row]:
    """The rows of one gap, each of the kernel with the port's most alike behind the last."""
    left = [row for row in gap if row.kernel]
    right = [row for row in gap if row.port]
    words = {id(row): set(WORD.findall((row.kernel or row.port)[0].text)) for row in gap}
    taken = 0
    for row in left:
        best, place = 0.5, -1
        for n in range(taken, len(right)):
            ratio = likeness(words[id(row)], words[id(right[n])])
            if ratio > best:
                best, place = ratio, n
        if place >= 0:
            yield from right[taken:place]
            row.port = right[place].port
            taken = place + 1
        yield row
    yield from right[taken:]


def likeness(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    """The share of the words that two statements have in common."""
    return 2 * len(one & other) / ((len(one) + len(other)) or 1)


def hint(rows: list[Row]) -> list[Row]:
    """Say with each run of unexplained rows which mark it lacks, and what pins that."""
    run: list[Row] = []
    before: Row | None = None
    for row in [*rows, None]:
        loose = row is not None and row.kind == "unexplained" and not row.why
        if row and loose and not run and before and begins_together(before, row):
            run.append(before)
        before = row
        if row and (loose or (run and silent(row))):
            run.append(row)
            continue
        while run and silent(run[-1]):
            run.pop()
        if run:
            theirs = [unit for each in run for unit in each.kernel]
            ours = [unit for each in run for unit in each.port]
            kind = "-" if not ours else "+" if not theirs else "~"
            for each in run:
                if each.kind == "unexplained":
                    each.why = f"no mark: # C{kind} of {counted(theirs, ours)}; {CURE}"
        run = []
    return rows


def counted(theirs: list[Unit], ours: list[Unit]) -> str:
    """How many statements of each side."""
    return " and ".join(f"{len(units)} of {side}" for units, side in
                        ((theirs, "the kernel"), (ours, "the port")) if units)


def begins_together(before: Row, row: Row) -> bool:
    """Whether a row's statement of the port began in the row before: a declaration's value."""
    if not before.port or not before.kernel or before.port[-1].kind != "decl":
        return False
    side, other = (row.port, before.port) if row.port else (row.kernel, before.kernel)
    return side[0].key[0] == "=" and side[0].line == other[-1].line


def silent(row: Row) -> bool:
    """Whether a row holds one unit that needs no counterpart."""
    units = (*row.kernel, *row.port)
    return row.kind == "idiom" and len(units) == 1 and bool(units[0].silent)


def add_inactive(rows: list[Row], kernel: Function) -> list[Row]:
    """The lines that the configuration leaves out, where they stand."""
    waiting = list(kernel.inactive)
    result: list[Row] = []
    for row in rows:
        line = row.kernel[0].line if row.kernel else 0
        while waiting and line > waiting[0].line:
            result.append(Row("inactive", [waiting.pop(0)], []))
        result.append(row)
    return [*result, *(Row("inactive", [unit], []) for unit in waiting)]
