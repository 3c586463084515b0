# SPDX-License-Identifier: GPL-2.0-only
"""The alignment: which statements of the port stand for which of the kernel, in order.

One dynamic program over both sequences. A step takes a pair that agrees, an idiom of several
statements, or a mark with the statements it is pinned to; what no step takes is a gap.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from kvm_vmx.compare import cstatements, opcodes
from kvm_vmx.compare.integers import Casts
from kvm_vmx.compare.marks import Mark, digest, place, spelled
from kvm_vmx.compare.sequences import Items, Woven, sequences, unmarked
from kvm_vmx.compare.types import Syntax, SyntaxPart
from kvm_vmx.compare.unify import agreement, rooted
from kvm_vmx.compare.units import Unit

PAIR, CONTEXT = 10, 1
MOST = 100  # statements of the kernel that a mark without a pin may take
BINT = ("type", "bint", 0)


@dataclasses.dataclass(slots=True, eq=False)
class Step:
    """One row in the making: so many units of each side, and how they came together."""

    kernel: list[Unit]
    port: list[Unit]
    how: str
    used: frozenset[str] = frozenset()
    mark: Mark | None = None


# How much a step is worth, how many units of the kernel and items of the port it takes, the step.
Move: TypeAlias = tuple[int, int, int, Step]


@functools.cache
def possible(c_kind: str, p_kind: str) -> bool:
    """Whether any step can begin with statements of these kinds."""
    return c_kind in (p_kind, "#", "stub", "asm") or rooted(c_kind, p_kind) \
        or bool(sequences(c_kind, p_kind))


class Alignment:
    """The best way through both sequences; `steps` holds it."""

    def __init__(self, kernel: list[Unit], port: list[Unit], marks: list[Mark], void: bool):
        self.kernel, self.void, self.whole = kernel, void, port
        self.port = weave(port, marks)
        self.returns: SyntaxPart = port[0].key[1] if port and port[0].kind == "def" else None
        self.bints = {("name", unit.key[2]) for unit in port
                      if unit.kind == "decl" and unit.key[1] == BINT}
        self.casts = Casts(port)
        self.marked = any(mark.pin or mark.choice for mark in marks)
        self.declared = {unit.key for unit in kernel if unit.kind == "decl"} \
            & {unit.key for unit in port if unit.kind == "decl"}
        before, after = self.ends()
        self.kernel, middle = cut(kernel, before, after), self.port
        head = alike(kernel[:before], self.port[:before])
        tail = alike(kernel[len(kernel) - after:], self.port[len(self.port) - after:])
        self.port = cut(middle, before, after)
        self.spelled = [spelled(unit) for unit in self.kernel] if self.marked else []
        # by where some units of the port begin and how many they are: their words, their place
        self.words: dict[tuple[int, int], tuple[list[str], str]] = {}
        self.steps = [*head, *self.trace(), *tail]

    def ends(self) -> tuple[int, int]:
        """How many units at the beginning and at the end are equal, out of the marks' reach."""
        most = min(len(self.kernel), len(self.port))
        before = 0
        while before < most and equal(self.kernel[before], self.port[before]):
            before += 1
        reach = max((n + 1 + (item.pin.port if item.pin else most if item.sizes is not None else 0)
                     for n, item in enumerate(self.port) if isinstance(item, Mark)), default=0)
        most = min(most - before, len(self.port) - reach)
        after = 0
        while after < most and equal(self.kernel[-1 - after], self.port[-1 - after]):
            after += 1
        return before, after

    def moves(self, i: int, j: int) -> Iterator[Move]:
        """The steps possible at a place."""
        item = self.port[j]
        if isinstance(item, Mark):
            yield from self.mark_moves(i, j, item)
            return
        if i == len(self.kernel):
            return
        unit = self.kernel[i]
        if unit.kind == item.kind or unit.kind in ("#", "stub", "asm") \
                or rooted(unit.kind, item.kind):
            yield from self.pair(i, j, unit, item)
        for sequence in sequences(unit.kind, item.kind):
            if sequence.name == "void return" and not self.void:
                continue
            end_c, end_p = i + len(sequence.c), j + len(sequence.port)
            used = sequence.fits(self.kernel[i:end_c], self.port[j:end_p])
            ours = unmarked(self.port[j:end_p]) if used else []
            if used and self.plain_casts(used, self.kernel[i:end_c], ours):
                score = PAIR * (len(sequence.c) + len(sequence.port)) // 2
                yield score, end_c - i, end_p - j, Step(
                    self.kernel[i:end_c], ours, "idiom", frozenset(used))

    def pair(self, i: int, j: int, unit: Unit, item: Unit) -> Iterator[Move]:
        """One statement for one, or a condition of the preprocessor."""
        if unit.kind == "#":
            if item.key[0] == "if" and unit.key[1] == f"#if {item.text[3:-1]}":
                yield PAIR, 1, 1, Step([unit], [item], "idiom", frozenset({"#if"}))
            return
        if unit.kind == "stub":
            after = self.port[j + 1] if j + 1 < len(self.port) else None
            if item.key == ("if", unit.key[1]) and after and not isinstance(after, Mark) \
                    and after.key == ("return", unit.key[2]) and after.parent is item:
                yield 2 * PAIR, 1, 2, Step([unit], [item, after], "idiom", frozenset({"#else"}))
            return
        instruction = opcodes.meaning(unit.key) if unit.kind == "asm" else None
        used = agreement(instruction or unit.key, item.key, self.tested(item))
        if instruction and used is not None:
            used = used | {opcodes.WHY}
        if used is not None and self.plain_casts(used, [unit], [item]):
            over, under = unit.parent, item.parent
            near = over.kind == under.kind if over and under else over is under
            worth = PAIR // 2 if unit.kind == "decl" else PAIR  # one that moved can be found
            yield worth + CONTEXT * near - bool(used), 1, 1, Step(
                [unit], [item], "idiom" if used else "same", used)

    def plain_casts(self, used: AbstractSet[str], kernel: list[Unit], port: list[Unit]) -> bool:
        """Whether the casts that only the port has change nothing."""
        theirs = tuple(unit.key for unit in kernel)
        return "cast" not in used or all(self.casts.harmless(theirs, item.key) for item in port)

    def tested(self, item: Unit) -> bool:
        """Whether only the truth of a statement's value counts: it is kept in a bint."""
        if item.kind == "=":
            return item.key[2] in self.bints
        return item.kind == "return" and self.returns == BINT

    def mark_moves(self, i: int, j: int, mark: Mark) -> Iterator[Move]:
        """What a mark is pinned to, if it stands here."""
        if mark.fault:
            return
        for pin in (mark.pin,) if mark.pin else mark.choice:
            ours = unmarked(self.port[j + 1:j + 1 + pin.port])
            theirs = self.kernel[i:i + pin.kernel]
            if len(ours) < pin.port or len(theirs) < pin.kernel:
                continue
            if (j, pin.port) not in self.words:
                self.words[j, pin.port] = [spelled(unit) for unit in ours], \
                    place(self.whole, ours) if ours and not pin.kernel else ""
            if digest(self.spelled[i:i + pin.kernel], *self.words[j, pin.port]) == pin.digest:
                score = PAIR * 2 * (pin.port + pin.kernel) + 5
                yield score, pin.kernel, 1 + pin.port, Step(theirs, ours, mark.kind, mark=mark)
        if mark.pin:
            return
        if mark.sizes is not None:
            yield from self.loose_moves(i, j, mark)
        if mark.kind != "-":
            return
        named = named_units(mark)
        theirs = self.kernel[i:i + len(named)]
        if named and [unit.key for unit in theirs] == named \
                and not any(unit.inside for unit in theirs):
            yield PAIR * 2 * len(named) + 5, len(named), 1, Step(theirs, [], "-", mark=mark)

    def loose_moves(self, i: int, j: int, mark: Mark) -> Iterator[Move]:
        """What a mark that is to be pinned could be of: where nothing says how much, less than a
        pair for any statement, so that it takes what nothing else explains."""
        end = next((n for n in range(j + 1, len(self.port)) if isinstance(self.port[n], Mark)),
                   len(self.port))
        left, right = len(self.kernel) - i, end - j - 1
        some = range(mark.count or 1, min(left, mark.count or MOST) + 1)
        for kernel, port in mark.sizes or itertools.product(
                some if mark.kind != "+" else (0,),
                range(1, right + 1) if mark.kind != "-" else (0,)):
            if kernel <= left and port <= right:
                theirs = self.kernel[i:i + kernel]
                ours = unmarked(self.port[j + 1:j + 1 + port])
                gain = PAIR * 2 * (kernel + port) if mark.sizes else sum(
                    unit.key not in self.declared for unit in (*theirs, *ours))
                yield gain, kernel, 1 + port, Step(theirs, ours, mark.kind, mark=mark)

    def trace(self) -> list[Step]:
        """Fill the table from its end, then walk it from its beginning."""
        rows, columns = len(self.kernel), len(self.port)
        best = [[0] * (columns + 1) for _ in range(rows + 1)]
        chosen: dict[tuple[int, int], tuple[int, int, Step]] = {}
        theirs = [unit.kind for unit in self.kernel]
        kinds = ["" if isinstance(item, Mark) else item.kind for item in self.port]
        for i in range(rows, -1, -1):
            here, below = best[i], best[i + 1] if i < rows else None
            for j in range(columns - 1, -1, -1):
                score, move = here[j + 1], None
                if below is not None and below[j] >= score:
                    score = below[j]
                kind = kinds[j]
                if kind and i < rows and not possible(theirs[i], kind):
                    here[j] = score
                    continue
                for gain, di, dj, step in self.moves(i, j):
                    total = gain + best[i + di][j + dj]
                    if total > score or (total == score and move is None):
                        score, move = total, (di, dj, step)
                here[j] = score
                if move:
                    chosen[i, j] = move
        return self.walk(best, chosen)

    def walk(self, best: list[list[int]],
             chosen: dict[tuple[int, int], tuple[int, int, Step]]) -> list[Step]:
        """The steps of the best way, gaps as steps of one side."""
        steps: list[Step] = []
        i = j = 0
        rows, columns = len(self.kernel), len(self.port)
        while i < rows or j < columns:
            if (i, j) in chosen:
                di, dj, step = chosen[i, j]
                steps.append(step)
                i, j = i + di, j + dj
            elif i < rows and (j == columns or best[i + 1][j] == best[i][j]):
                steps.append(Step([self.kernel[i]], [], ""))
                i += 1
            else:
                item = self.port[j]
                steps.append(Step([], [], "stale", mark=item) if isinstance(item, Mark)
                             else Step([], [item], ""))
                j += 1
        return steps


def equal(unit: Unit, item: Woven) -> bool:
    """Whether two units are the same statement, in blocks of the same kind."""
    return not isinstance(item, Mark) and unit.key == item.key and not unit.silent \
        and (unit.parent is None) == (item.parent is None)


def alike(kernel: list[Unit], port: list[Woven]) -> list[Step]:
    """The steps of equal units."""
    return [Step([unit], [item], "same") for unit, item in zip(kernel, unmarked(port))]


def cut(items: list[Items], before: int, after: int) -> list[Items]:
    """What stands between the equal ends."""
    return items[before:len(items) - after]


def weave(port: list[Unit], marks: list[Mark]) -> list[Woven]:
    """The port's units with each mark before the first unit it can be about."""
    woven: list[Woven] = []
    waiting = sorted(marks, key=lambda mark: mark.line)
    for unit in port:
        while waiting and (waiting[0].line < unit.line or (
                waiting[0].trailing and waiting[0].line <= unit.end)):
            woven.append(waiting.pop(0))
        woven.append(unit)
    return [*woven, *waiting]


def named_units(mark: Mark) -> list[Syntax]:
    """The trees of the statements that a mark of the kind `-` names in its own text."""
    return [unit.key for unit in cstatements.parse_text(mark.what.rstrip(";") + ";")]
