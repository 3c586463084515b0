# SPDX-License-Identifier: GPL-2.0-only
"""A patch beside a kernel tree and the port: what became of each statement that it adds or removes.

A statement is the same, renamed, moved, changed, changed after review where somebody spoke of it,
or not taken up. Without a tree the port alone is looked at, statement by statement.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvm_vmx.compare.patch_alike import loosen, matched, nearest, related, renaming, spoken, worth
from kvm_vmx.compare.patch_fate import KINDS, Fate
from kvm_vmx.compare.patch_lines import Statement, sides
from kvm_vmx.compare.patch_places import PatchPlaces, Spot, moved_to, spot_of
from kvm_vmx.compare.patch_port import beside_port
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Pair, Report
from kvm_vmx.compare.rows import Row, likeness
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.mail import Hunk, Patch
    from kvm_vmx.compare.trees import Tree

NEAR = 16    # statements around a hunk's that one of it may have become
SKIPPED = ("#endif", "#else")


@dataclasses.dataclass(eq=False)
class Looked:
    """One hunk with the fates of its statements, in the order of the mail."""

    patch: "Patch"
    hunk: "Hunk"
    fates: list[Fate]


class Comparison:
    """Patches beside a tree, which may be None, and the port."""

    def __init__(self, patches: "list[Patch]", port: Port, tree: "Tree | None" = None,
                 before: "Comparison | None" = None):
        self.port, self.tree, self.patches = port, tree, patches
        self.ours = {subject.kernel_name: subject for subject in port.subjects.values()
                     if not subject.ours}
        self.places = PatchPlaces(tree, port)
        self.pairs: dict[str, Pair] = {}
        # by a function of the patch and its file: the tree's, and how it is known
        self.homes: dict[tuple[str, str], tuple[Function | None, str]] = {}
        self.words: dict[tuple[str, str], set[str]] = {}
        self.rows: dict[int, Row] = {}  # by the id of the tree's unit
        if before is not None:  # of the same port and tree: what it found is still so
            self.places, self.pairs, self.rows = before.places, before.pairs, before.rows
            self.homes, self.words = before.homes, before.words
        self.hunks = [self.look(patch, hunk) for patch in patches for hunk in patch.hunks]

    @property
    def kernel(self) -> "Tree":
        """The tree, for who has seen that there is one."""
        assert self.tree
        return self.tree

    @functools.cached_property
    def fates(self) -> list[Fate]:
        """Every statement's fate."""
        return [fate for looked in self.hunks for fate in looked.fates]

    @functools.cached_property
    def totals(self) -> dict[str, int]:
        """How many statements of each kind."""
        kinds = [fate.kind for fate in self.fates]
        return {kind: kinds.count(kind) for kind in KINDS}

    @functools.cached_property
    def newer(self) -> bool:
        """Whether the patch is of a later kernel: what it adds is not there, what it removes is."""
        if not self.tree:
            return False
        plus = [fate for fate in self.fates if fate.statement.sign == "+"]
        minus = [fate for fate in self.fates if fate.statement.sign == "-"]
        there = sum(fate.kind in ("same", "renamed", "moved") for fate in plus)
        still = sum(fate.kind == "not taken up" for fate in minus)
        missing = sum(fate.kind in ("not taken up", "changed") for fate in plus)
        return missing + still > there + len(minus) - still

    def look(self, patch: "Patch", hunk: "Hunk") -> Looked:
        """The fates of one hunk's statements."""
        old, new = sides(hunk)
        fates: list[Fate] = []
        for side, sign in ((old, "-"), (new, "+")):
            names = dict.fromkeys(statement.function for statement in side)
            for name in names:
                part = [item for item in side if item.function == name and not item.top]
                if any(item.sign == sign for item in part):
                    fates += self.within(hunk, name, part, sign)
            fates += [self.outside(hunk, item) for item in side if item.top and item.sign == sign
                      and not item.text.startswith(SKIPPED if self.tree else ("#e", "#i"))]
        fates.sort(key=lambda fate: (fate.statement.number, fate.statement.sign != "-"))
        with_blocks(fates, self)
        for fate in fates:
            self.reviewed(patch, hunk, fate)
        return Looked(patch, hunk, fates)

    @staticmethod
    def reviewed(patch: "Patch", hunk: "Hunk", fate: Fate) -> None:
        """Note what somebody said of a statement that did not stay as it was."""
        if fate.kind == "same" or fate.statement.sign != "+":
            return
        said = [remark for remark in hunk.remarks if remark.author != patch.author]
        fate.remark = next((remark for remark in said if remark.number > fate.statement.number),
                           said[-1] if said else None)
        if fate.remark and fate.kind == "changed":
            fate.kind = "changed after review"

    def home(self, name: str, hunk: "Hunk", part: list[Statement]) -> tuple[Function | None, str]:
        """The tree's function that one of the patch stands for, and how it is known."""
        if not self.tree:
            return None, ""
        if not name:
            return self.by_statements(hunk, part), ""
        if (name, hunk.file) not in self.homes:
            found = self.tree.function(name, hunk.file)
            why = ""
            if found is None and part and part[0].unit.kind == "def":
                found, why = self.by_body(name, hunk, part)
            self.homes[name, hunk.file] = found, why
        return self.homes[name, hunk.file]

    def by_statements(self, hunk: "Hunk", part: list[Statement]) -> Function | None:
        """The one function of a file that has all that a hunk leaves or removes, where its header
        names none: diff cuts long ones, and says none without -p."""
        before = [item.unit.key for item in part if item.sign != "+"]
        file = self.kernel.file(hunk.file)
        if file is None or not before:
            return None
        functions = [file.defined(name) for name in file.names()]
        fit = [each for each in functions if set(before) <= {unit.key for unit in each.units}]
        return fit[0] if len(fit) == 1 else None

    def by_body(self, name: str, hunk: "Hunk",
                part: list[Statement]) -> tuple[Function | None, str]:
        """The function of the tree whose body is most like that of one it does not have."""
        words = spoken(item.unit.text for item in part[1:])
        best, score = None, 0.6
        for path, other in self.functions(hunk.file):
            theirs = self.spoken_in(path, other)
            if not theirs:
                continue
            ratio = likeness(words, theirs) + 0.3 * name.startswith(other + "_")
            if ratio > score:
                best, score = (path, other), ratio
        if best is None:
            return None, ""
        found = self.kernel.present(best[0]).defined(best[1])
        return found, f"{name}() is {best[1]}()"

    def functions(self, file: str) -> Iterator[tuple[str, str]]:
        """(path, name) of each function in a file's folder of the tree."""
        folder = file.rpartition("/")[0]
        for path in self.kernel.files:
            if path.rpartition("/")[0] == folder and "svm" not in path:
                for name in self.kernel.present(path).names():
                    yield path, name

    def spoken_in(self, path: str, name: str) -> set[str]:
        """The long words of a function of the tree."""
        if (path, name) not in self.words:
            self.words[path, name] = spoken([self.kernel.present(path).body(name)])
        return self.words[path, name]

    def within(self, hunk: "Hunk", name: str, part: list[Statement], sign: str) -> Iterator[Fate]:
        """The fates of the statements of one function."""
        home, why = self.home(name, hunk, part)
        if home is None:
            yield from beside_port(self, name, part, sign)
            return
        units = home.units
        found = matched(part, units)
        loosen(part, found, units)
        free = [unit for unit in units if id(unit) not in {id(unit) for unit in found.values()}]
        places = [n for n, unit in enumerate(units) if id(unit) in {*map(id, found.values())}]
        if places:
            near = {id(unit) for unit in units[max(places[0] - NEAR, 0):places[-1] + NEAR]}
            free = [unit for unit in free if id(unit) in near]
        for item in part:
            if item.sign != sign:
                continue
            unit = found.get(id(item))
            if sign == "-":
                fate = Fate(item, "not taken up" if unit else "same",
                            why="it still stands" if unit else "gone there too")
            elif unit is not None:
                named = why and item.unit.kind == "def"
                fate = Fate(item, "renamed" if named else "same", why=why if named else "")
            else:
                above = next((other for other in part if other.unit is item.unit.parent), None)
                fate, unit = self.otherwise(hunk, item, free, why, home, found.get(id(above)))
            if unit is not None:
                self.place(fate, home, unit)
            yield fate

    def otherwise(self, hunk: "Hunk", item: Statement, free: list[Unit], why: str, home: Function,
                  block: Unit | None) -> tuple[Fate, Unit | None]:
        """A statement that the tree's function does not have as it is."""
        if item.unit.kind == "def":
            head = home.units[0]
            kind = "renamed" if why and head.key[1:] == item.unit.key[1:] else "changed"
            return Fate(item, kind, why=why), head
        exact = next((unit for unit in home.units if unit.key == item.unit.key), None)
        if exact is not None and worth(item.unit):
            return Fate(item, "moved", why="elsewhere in the function"), exact
        for unit in free:
            if names := renaming(item.unit.key, unit.key):
                return Fate(item, "renamed", why=", ".join(f"{a} -> {b}" for a, b in names)), unit
        alone = [unit for unit in free if unit.kind == item.unit.kind
                 and block is not None and unit.parent is block]
        if len(alone) == 1 and item.unit.kind in ("return", "goto"):
            return Fate(item, "changed"), alone[0]
        near, like = nearest(item.unit, [unit for unit in free if unit.key != item.unit.key])
        if near > 0.5:
            return Fate(item, "changed"), like
        return self.elsewhere(hunk, item, home)

    def elsewhere(self, hunk: "Hunk", item: Statement, home: Function) -> tuple[Fate, Unit | None]:
        """A statement that another function of the tree may have, under the same condition."""
        words = spoken([item.unit.text])
        called = item.unit.key[1] if item.unit.kind == "call" else None
        above = item.unit.parent
        for path, name in self.functions(hunk.file) if worth(item.unit) else ():
            there = self.spoken_in(path, name)
            few = len(words - there) <= 1 if called is None else called[-1] in there
            if name == home.name or not few:
                continue
            other = self.kernel.present(path).defined(name)
            for unit in other.units:
                if above is not None and (unit.parent is None or unit.parent.key != above.key):
                    continue
                names = renaming(item.unit.key, unit.key) if len(words) > 2 else None
                same = unit.key == item.unit.key
                if same or names or related(item.unit.key, unit.key, above):
                    more = "".join(f", {a} -> {b}" for a, b in names or ())
                    fate = Fate(item, "moved" if same or names else "changed",
                                why=f"to {name}(){more}")
                    self.place(fate, other, unit)
                    return fate, None
        return Fate(item, "not taken up"), None

    def outside(self, hunk: "Hunk", item: Statement) -> Fate:
        """The fate of what stands in no function."""
        if self.tree and item.function and item.text.startswith("#") \
                and (home := self.tree.function(item.function, hunk.file)):
            for unit in home.units:
                if unit.key == ("#", item.text):
                    fate = Fate(item, "same" if item.sign == "+" else "not taken up")
                    self.place(fate, home, unit)
                    return fate
        kernel, port, same = self.places.find(hunk, item)
        there = kernel if self.tree else port
        if item.sign == "-":
            return Fate(item, "not taken up" if there and same else "same", kernel, port,
                        "it still stands" if there and same else "gone there too")
        where = moved_to(hunk, kernel)
        kind = "moved" if same and where else "same" if same else \
            "changed" if there else "not taken up"
        return Fate(item, kind, kernel, port, where)

    def place(self, fate: Fate, home: Function, unit: Unit) -> None:
        """Fill in the tree's statement and what stands for it in the port."""
        fate.kernel, fate.unit, fate.home = spot_of(home, unit), unit, home
        row = self.row(home, unit)
        if row is not None:
            found = row.port[0] if row.port else None
            text = "\n".join(each.text for each in row.port)
            fate.port = Spot(self.ours[home.name].function.path, found.line if found else 0, text,
                             "" if row.kind == "same" else row.kind, row.why)

    def row(self, home: Function, unit: Unit) -> Row | None:
        """The row of the comparison that a statement of the tree stands in."""
        subject = self.ours.get(home.name)
        if subject is None:
            return None
        if home.name not in self.pairs:
            pair = Report(self.port, self.kernel, only=()).pair(subject.function.name, subject)
            self.pairs[home.name] = pair
            self.rows.update({id(each): row for row in pair.rows for each in row.kernel})
        return self.rows.get(id(unit))


def with_blocks(fates: list[Fate], comparison: Comparison) -> None:
    """A header that did not stay goes where the first statement of its block went."""
    for fate in fates:
        if fate.kind not in ("not taken up", "changed") or fate.statement.sign != "+" \
                or fate.statement.unit.kind not in ("if", "elif", "while", "each"):
            continue
        inside = next((other for other in fates if other.unit is not None and other.unit.parent
                       is not None and other.statement.unit.parent is fate.statement.unit
                       and other.unit.parent.key == fate.statement.unit.key), None)
        block = inside and inside.unit and inside.unit.parent
        if inside and inside.home and block:
            away = inside.why.startswith("to ")
            fate.kind, fate.why = ("moved", inside.why.partition(",")[0]) if away else ("same", "")
            comparison.place(fate, inside.home, block)
