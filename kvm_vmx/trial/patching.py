# SPDX-License-Identifier: GPL-2.0-only
"""A patch applied to the files of a tree, hunk by hunk, by what its lines say."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from kvm_vmx.compare.mail import Hunk, Patch
from kvm_vmx.errors import BuildError

APPLIED, THERE, NOWHERE, CUT, LEFT = ("applied", "in the tree already", "has no place in the tree",
                                      "is not whole", "left out")


class HunkFate(NamedTuple):
    """What became of a hunk: its number in the patch from 1, its file, and the line it went to."""

    number: int
    file: str
    what: str
    line: int = 0
    why: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"hunk {self.number}: {where}: {self.what}" + (f" ({self.why})" if self.why else "")


class Applied(NamedTuple):
    """The files that a patch changes, as they are then, and the fate of each hunk."""

    texts: dict[str, str]
    fates: list[HunkFate]

    @property
    def changed(self) -> int:
        """How many hunks were applied."""
        return sum(fate.what == APPLIED for fate in self.fates)


def _plain(line: str) -> str:
    # a mail may have lost what ends a line
    return line.rstrip()


def _found(lines: list[str], wanted: list[str], near: int) -> int | None:
    """Where a stretch of lines stands, the nearest to a line."""
    if not wanted:
        return None
    have, want = [_plain(line) for line in lines], [_plain(line) for line in wanted]
    places = [n for n, line in enumerate(have)
              if line == want[0] and have[n:n + len(want)] == want]
    return min(places, key=lambda place: abs(place - near), default=None)


def _sides(hunk: Hunk, reverse: bool) -> tuple[list[str], list[str], int]:
    """(the lines that a hunk finds, those that it leaves, where it says that they stand)."""
    old = [line.text for line in hunk.lines if line.sign in " -"]
    new = [line.text for line in hunk.lines if line.sign in " +"]
    return (new, old, hunk.new[0]) if reverse else (old, new, hunk.old[0])


def _one(hunk: Hunk, number: int, lines: list[str], shift: int, reverse: bool) -> HunkFate:
    """Apply one hunk to the lines of its file."""
    old, new, start = _sides(hunk, reverse)
    near = start - 1 + shift
    if not lines and not old:
        lines[:] = new
        return HunkFate(number, hunk.file, APPLIED, 1)
    if hunk.old[1] - hunk.quoted("+") != hunk.new[1] - hunk.quoted("-"):
        # where both sides lack as many, it is context, and what is there is looked for as it is
        return HunkFate(number, hunk.file, CUT, why=hunk.cut)
    place = _found(lines, old, near)
    there = _found(lines, new, near)
    if place is None:
        return HunkFate(number, hunk.file, NOWHERE if there is None else THERE, (there or -1) + 1)
    lines[place:place + len(old)] = new
    return HunkFate(number, hunk.file, APPLIED, place + 1)


def apply(patches: list[Patch], read: Callable[[str], str | None], *, reverse: bool = False,
          only: Collection[int] = ()) -> Applied:
    """Apply patches to files that read(path) gives, None where there is none; reverse takes them
    back, only names hunks by their number."""
    texts: dict[str, list[str]] = {}
    fates, shift = [], 0
    hunks = [hunk for patch in patches for hunk in patch.hunks]
    numbered = list(enumerate(hunks, 1))
    for number, hunk in reversed(numbered) if reverse else numbered:
        if only and number not in only:
            fates.append(HunkFate(number, hunk.file, LEFT))
            continue
        if hunk.file not in texts:
            text = read(hunk.file)
            if text is None and _sides(hunk, reverse)[0]:
                fates.append(HunkFate(number, hunk.file, NOWHERE, why="there is no such file"))
                continue
            texts[hunk.file], shift = (text or "").split("\n"), 0
            if text is None:
                texts[hunk.file] = []
        fate = _one(hunk, number, texts[hunk.file], shift, reverse)
        if fate.what == APPLIED and fate.line:
            shift = fate.line - _sides(hunk, reverse)[2]
        fates.append(fate)
    changed = {fate.file for fate in fates if fate.what == APPLIED}
    return Applied({path: "\n".join(lines) for path, lines in texts.items() if path in changed},
                   sorted(fates))


def checked(applied: Applied, partly: bool) -> Applied:
    """The same; BuildError where nothing is applied, or not all of it and nobody said partly."""
    bad = [fate for fate in applied.fates if fate.what not in (APPLIED, LEFT)]
    if not applied.changed:
        said = str(bad[0]) if bad else "every hunk is left out"
        raise BuildError(f"nothing of the patch is applied: {said}: give a tree that it is for, "
                         "or --reverse to take it back")
    if bad and not partly:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise BuildError(f"{bad[0]}{more}: give a tree that the patch is for, or --partly to leave "
                         "such hunks out")
    return applied
