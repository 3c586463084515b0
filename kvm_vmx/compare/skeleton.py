# SPDX-License-Identifier: GPL-2.0-only
"""The skeleton of a change: what a patch of a later kernel would be in the port.

A removed statement goes where it stands as it is; an added one is spelled by the idioms and set
behind the statement that it follows. What has no spelling becomes a mark that names it.
"""

import difflib
import keyword
import re
from collections.abc import Iterator
from typing import NamedTuple

from kvm_vmx.compare.cythonize import Cannot, Printer
from kvm_vmx.compare.mail import Hunk
from kvm_vmx.compare.patch import Comparison, Looked
from kvm_vmx.compare.patch_alike import matched
from kvm_vmx.compare.patch_lines import Statement, sides
from kvm_vmx.compare.port import L1, Port, Subject
from kvm_vmx.compare.scope import reason
from kvm_vmx.compare.units import Function, Unit

PLAIN = ("same", "idiom", "moved")
INDENT = 4
HEADS = ("if", "elif", "else", "while", "for", "each")


NAME, TEXT = re.compile(r"[A-Za-z_]\w*"), re.compile(r'"(?:\\.|[^"\\])*"|#.*')


def known_names(port: Port) -> set[str]:
    """Every name of the port, and of the headers that it includes."""
    root = L1.parents[1]
    files = [*port.root.rglob("*.p[yx][xd]"), *L1.rglob("*.pxd"), *(root / "include").rglob("*.h"),
             *(root / "kvm_vmx" / "abi").rglob("*.pxd")]
    return {word for path in files for word in NAME.findall(path.read_text())}


class Edit(NamedTuple):
    """Lines of a file from `first` to before `end` that become others."""

    path: str
    first: int
    end: int
    rows: tuple[str, ...]


class Skeleton:
    """The edits of the port that a comparison's patches ask for, and what is left to a hand."""

    def __init__(self, comparison: Comparison):
        self.comparison, self.port = comparison, comparison.port
        self.known = known_names(self.port)
        self.printer = Printer(self.known)
        self.edits: list[Edit] = []
        self.by_hand: list[str] = []
        self.marks: dict[str, list[int]] = {}   # by function: the lines behind which marks go
        self.scope: dict[str, str] = {}         # by function: why it is not ported
        self.declared = set(keyword.kwlist) | {"cdef", "range"}
        for looked in comparison.hunks:
            self.hunk(looked)

    def hunk(self, looked: Looked) -> None:
        """The edits of one hunk."""
        old, new = sides(looked.hunk)
        for item in (*old, *new):
            if item.top and item.sign != " " and not item.text.startswith(("#if", "#e", "#inc")):
                self.by_hand.append(f"{item.sign} {item.text}")
        for name in dict.fromkeys(item.function for item in (*old, *new) if not item.top):
            parts = [[item for item in side if item.function == name and not item.top]
                     for side in (old, new)]
            if any(item.sign != " " for part in parts for item in part):
                self.function(looked.hunk, name, *parts)

    def function(self, hunk: Hunk, name: str, old: list[Statement], new: list[Statement]) -> None:
        """The edits of one function."""
        home, _ = self.comparison.home(name, hunk, new or old)
        subject = self.comparison.ours.get(home.name if home else name)
        if home is None or subject is None:
            self.scope[name or "(no function)"] = reason(name) if name else "in no function"
            return
        Body(self, home, subject, old, new).edit()

    def text(self, path: str) -> list[str]:
        """The lines of a file with its edits made."""
        rows = self.port.files[path].source.split("\n")
        edits = [edit for edit in self.edits if edit.path == path]
        for edit in sorted(edits, key=lambda edit: (edit.first, edit.end), reverse=True):
            rows[edit.first - 1:edit.end - 1] = edit.rows
        return rows

    def diff(self) -> list[str]:
        """The edits as a unified diff."""
        found: list[str] = []
        for path in dict.fromkeys(edit.path for edit in self.edits):
            found += difflib.unified_diff(self.port.files[path].source.split("\n"),
                                          self.text(path), f"a/{path}", f"b/{path}", lineterm="")
        return found

    def told(self) -> list[str]:
        """What is left to a hand, and what is out of scope, a line each."""
        strange = sorted({word for edit in self.edits for row in edit.rows
                          for word in NAME.findall(TEXT.sub("", row))} - self.known - self.declared)
        return [*([f"by hand: declare {', '.join(strange)}: nothing here has these names"]
                  if strange else []),
                *(f"by hand: {text}" for text in self.by_hand),
                *(f"not ported: {name}(): {why}" for name, why in self.scope.items())]


class Body:
    """One function of the port that a hunk changes."""

    def __init__(self, skeleton: Skeleton, home: Function, subject: Subject, old: list[Statement],
                 new: list[Statement]):
        self.skeleton, self.home, self.subject = skeleton, home, subject
        self.old, self.new = old, new
        self.path = subject.function.path
        self.rows = skeleton.port.files[self.path].rows
        self.was, self.now = matched(old, home.units), matched(new, home.units)
        # each by the id of a statement of the patch, or of its unit
        self.place: dict[int, tuple[int, int]] = {}
        self.unspelled: set[int] = set()
        self.swapped: dict[int, Unit] = {}

    def lines(self, found: dict[int, Unit], item: Statement) -> list[Unit] | None:
        """The port's units that stand for an item of the patch as it is, or None."""
        unit = found.get(id(item))
        row = self.skeleton.comparison.row(self.home, unit) if unit is not None else None
        return row.port if row is not None and row.kind in PLAIN and row.port else None

    def edit(self) -> None:
        """Swap headers, take out what is removed, set in what is added."""
        gone = [item for item in self.old if item.sign == "-"]
        came = [item for item in self.new if item.sign == "+"]
        for item in gone:
            self.swap(item, came)
        for item in gone:
            if id(item) not in self.swapped:
                self.remove(item)
        self.blocks()
        pending: dict[tuple[int, bool], list[str]] = {}
        for item in self.new:
            if item.sign == "+" and id(item) not in self.swapped:
                self.add(item, pending)
        for (line, _), rows in pending.items():
            self.skeleton.edits.append(Edit(self.path, line + 1, line + 1, tuple(filled(rows))))

    def swap(self, item: Statement, came: list[Statement]) -> None:
        """A removed header and the added one in its place are one edit: the block stays."""
        ours = self.lines(self.was, item)
        other = next((new for new in came if new.unit.kind == item.unit.kind in HEADS
                      and new.tabs == item.tabs and id(new) not in self.swapped), None)
        if ours is None or len(ours) != 1 or other is None:
            return
        try:
            rows = self.skeleton.printer.statement(other.unit)
        except Cannot:
            return
        if len(rows) == 1:
            unit = ours[0]
            self.skeleton.edits.append(Edit(self.path, unit.line, unit.end + 1,
                                            (" " * self.column(unit.line) + rows[0],)))
            self.swapped.update({id(item): unit, id(other): unit})

    def blocks(self) -> None:
        """Tell of each statement that stays and stands in another block now."""
        stay = [[item for item in side if item.sign == " "] for side in (self.old, self.new)]
        swapped = {id(item.unit) for item in self.new if id(item) in self.swapped}
        for before, after in zip(*stay):
            over, under = before.unit.parent, after.unit.parent
            if before.unit.key == after.unit.key and id(under) not in swapped \
                    and getattr(over, "key", None) != getattr(under, "key", None):
                ours = self.lines(self.now, after)
                line = f":{ours[0].line}" if ours else ""
                self.skeleton.by_hand.append(
                    f"{self.path}{line}: {after.text} stands in another block now")

    def column(self, line: int) -> int:
        """How far a line of the port is indented."""
        row = self.rows[line - 1]
        return len(row) - len(row.lstrip())

    def remove(self, item: Statement) -> None:
        """Take out what stands for a removed statement, where nothing else stands with it."""
        ours = self.lines(self.was, item)
        where = f"{self.path}:{ours[0].line}" if ours else self.path
        alone = ours and not any(
            unit.line <= other.end and other.line <= unit.end
            for unit in ours for other in self.subject.function.units if other not in ours)
        unit = self.was.get(id(item))
        row = self.skeleton.comparison.row(self.home, unit) if unit is not None else None
        if row is not None and row.kind == "omitted":
            self.skeleton.by_hand.append(f"{where}: left out already: {item.text}")
        elif ours is None or not alone or item.unit.kind in (*HEADS, "def"):
            self.skeleton.by_hand.append(f"{where}: remove {item.text}")
        else:
            for each in ours:
                self.skeleton.edits.append(Edit(self.path, each.line, each.end + 1, ()))

    def add(self, item: Statement, pending: dict[tuple[int, bool], list[str]]) -> None:
        """Spell an added statement and put it behind what it follows."""
        if item.unit.kind == "def":
            self.skeleton.by_hand.append(f"{self.path}:{self.subject.function.line}: "
                                         f"the head becomes {item.text}")
            return
        line, indent = self.anchor(item)
        above = item.unit.parent
        try:
            if above is not None and id(above) in self.unspelled:
                raise Cannot("its block has no spelling here")
            rows = self.skeleton.printer.statement(item.unit)
        except Cannot as error:
            self.unspelled.add(id(item.unit))
            text = item.text.rstrip(";")
            rows = [f"# C- {text}: to be ported, {error}"]
            self.skeleton.marks.setdefault(self.subject.function.name, []).append(line)
            self.skeleton.by_hand.append(f"{self.path}:{line}: + {item.text} ({error})")
        if item.unit.kind == "decl":
            self.skeleton.declared.add(item.unit.key[2])
            line, indent = self.head(), INDENT
        pending.setdefault((line, item.unit.kind == "decl"), []).extend(
            " " * indent + row for row in rows)
        self.place[id(item)] = line, indent

    def head(self) -> int:
        """The line behind which a declaration goes: that of the last one, or of the head."""
        units = self.subject.function.units
        last = units[0].end
        for unit in units[1:]:
            if unit.kind == "decl" and unit.parent is None:
                last = max(last, unit.end)
        values = [unit.end for unit in units if unit.kind == "=" and unit.line == last]
        return max([last, *values])

    def anchor(self, item: Statement) -> tuple[int, int]:
        """The line that an added statement goes behind, and its indentation."""
        at = self.new.index(item)
        known: list[tuple[int, list[Unit]]] = []
        for n, other in enumerate(self.new):
            swapped = self.swapped.get(id(other))
            if swapped is None and other.sign != " ":
                continue
            ours = self.lines(self.now, other) if swapped is None else [swapped]
            if ours and other.unit.kind not in ("decl", "def"):
                known.append((n, ours))
        if not known:
            return self.head(), INDENT * max(item.tabs, 1)
        near, ours = min(known, key=lambda pair: (abs(pair[0] - at), pair[0]))
        indent = max(self.column(ours[0].line) + INDENT * (item.tabs - self.new[near].tabs), INDENT)
        before = [ours for n, ours in known if n < at]
        if before:
            return max(unit.end for unit in before[-1]), indent
        return min(unit.line for unit in known[0][1]) - 1, indent


def filled(rows: list[str]) -> Iterator[str]:
    """Some lines, with `pass` in a block that holds no statement."""
    for n, row in enumerate(rows):
        yield row
        column = len(row) - len(row.lstrip())
        if row.endswith(":") and not row.lstrip().startswith("#"):
            inside = [other for other in rows[n + 1:]]
            first = next((other for other in inside if not other.lstrip().startswith("#")), "")
            if len(first) - len(first.lstrip()) <= column:
                yield " " * (column + INDENT) + "pass"
