# SPDX-License-Identifier: GPL-2.0-only
"""What a lesson hands to a terminal, a page or a program: text, a recorded run, an answer."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# What a cell says beside its text: it holds, it is wrong, it has changed, it is not there.
KINDS = ("", "good", "bad", "hot", "dim")
SEEDS = 1 << 64
# (function, word in it), False where the run does not come there: what sources.resolve() takes
Wanted: TypeAlias = tuple[str, str] | tuple[str, str, bool]
# by name, what JSON can say
Named: TypeAlias = dict[str, Any]
# The instructions of a CPU that a trace keeps: ten times what any lesson has between two looks.
TRACED = 4096
# Why a run may show nothing, and the cure.
UNDO = "the port or L0 has been changed; undo that, build, and run this again"


class NothingShown(Exception):
    """A run without what its lesson is about, as the port or L0 has been changed; one line."""


@dataclass(frozen=True)
class Cell:
    """One cell of a picture."""

    text: str
    kind: str = ""


@dataclass
class PictureStep:
    """The state after one step of the run; all steps of a picture have the same rows."""

    caption: str
    rows: list[list[Cell]]
    read: tuple[str, ...] = ()      # the clean groups that L0 reads in it


@dataclass
class Picture:
    """The recorded run: a table that changes from step to step.

    table is the terminal's view where the last step alone does not tell: (titles, rows).
    slots, where a lesson has them, are (slot, clean group) of the eVMCS table's strip, places
    (address, name) of the eVMCSs that pages name; kind is the name of a picture in
    lessons/kinds.py, such as "floors"; paper is the step that is printed, where told() is not.
    """

    columns: list[str]
    steps: list[PictureStep] = field(default_factory=list)
    table: tuple[list[str], list[list[Cell]]] | None = None
    slots: list[tuple[int, str]] = field(default_factory=list)
    kind: str = ""
    places: list[tuple[str, str]] = field(default_factory=list)
    paper: int | None = None

    def step(self, caption: str, rows: Iterable[Iterable[object]],
             read: tuple[str, ...] = ()) -> None:
        """Record the state, and mark what the step before did not have."""
        cells = [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row]
                 for row in rows]
        if self.steps:
            cells = [[changed(cell, old) for cell, old in zip(row, before)]
                     for row, before in zip(cells, self.steps[-1].rows)]
        self.steps.append(PictureStep(caption, cells, read))

    def copy(self) -> "Picture":
        """The same steps so far; what is recorded in one of the two is not in the other."""
        return Picture(self.columns, list(self.steps), kind=self.kind, places=self.places)

    def hide(self, captions: Iterable[str]) -> None:
        """Steps that the question asks for: of their rows the first cell alone."""
        for caption in captions:
            self.steps.append(PictureStep(caption, [
                [Cell(row[0].text), *[Cell("?", "dim")] * (len(row) - 1)]
                for row in self.steps[-1].rows]))

    def by_step(self, columns: list[str] | None = None) -> None:
        """Make the terminal's table of all steps, each with its caption in the first column."""
        self.table = ["step", *(columns or self.columns)], [
            [Cell(step.caption if n == 0 else ""), *row]
            for step in self.steps for n, row in enumerate(step.rows)]

    def told(self) -> int:
        """The last step that hides nothing, as far as the run is told from its beginning."""
        if self.paper is not None:
            return self.paper
        whole = [not any(cell.text == "?" for row in step.rows for cell in row)
                 for step in self.steps]
        return (whole.index(False) - 1 if False in whole else len(whole) - 1) % len(whole)

    def timeline(self) -> tuple[list[str], list[list[Cell]]]:
        """The terminal's table."""
        if self.table:
            return self.table
        return self.columns, self.steps[-1].rows


def changed(cell: Cell, old: Cell) -> Cell:
    """A cell that has no kind of its own is hot where its text is new."""
    return Cell(cell.text, "hot") if cell.text != old.text and not cell.kind else cell


@dataclass
class Record:
    """One lesson's run: the pages are made of it, and --json prints it.

    given is what a student (or a grader's program) works from, answer what the run says of the
    question: explanation in words, values for programs. case names the variant that was run.
    solved is the picture with what the question asks for, where picture hides that. mended is
    said with and without the answer, and so tells of the port alone.
    """

    name: str
    seed: int
    case: str
    title: str
    about: list[str]
    run: list[str]
    picture: Picture
    question: str
    given: Named
    answer: list[str]
    values: Named
    change: list[str]
    kernel: Sequence[Wanted]
    leaves_out: str = ""
    secret: bool = False        # the case and the lines are part of the answer
    telling: bool = False       # the case alone is
    solved: Picture | None = None
    constant: tuple[str, ...] = ()      # answers that all seeds share: no sheet asks for them
    minutes: int = 0            # of a lesson in a file of its own
    number: str = ""            # of a sheet, which has no seed
    mended: str = ""            # why the run shows nothing of what the lesson is about

    def named(self, check: bool) -> str | None:
        """The case for a reader who wants the answer or not; None: withheld."""
        return self.case if check or not (self.secret or self.telling) else None

    def shown(self, check: bool) -> Picture:
        """The picture for a reader who wants the answer or not."""
        return self.solved if check and self.solved else self.picture


def other_seed(seed: int) -> int:
    """A variant that is not on the screen."""
    return (seed + 1) % SEEDS


def other_cases(name: str, seed: int, case: str, words: dict[str, str]) -> list[str]:
    """The command lines of the cases of words that are not on the screen, each with its words."""
    lines = {other: f"kvm-vmx lesson {name} --seed {seed} --case {other}" for other in words}
    wide = max(map(len, lines.values()))
    return [f"{line.ljust(wide)}    {words[other]}".rstrip() for other, line in lines.items()
            if other != case]


def choice(name: str, seed: int) -> random.Random:
    """A lesson's source of choices: the same for the same seed, another one in each lesson."""
    return random.Random(f"{name} {seed}")
