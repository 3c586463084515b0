# SPDX-License-Identifier: GPL-2.0-only
"""What changed in KVM's path from one kernel tree to another, seen from the port."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from kvm_vmx.compare.aliases import FUNCTIONS, NAMES, Alias
from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.drift_places import DriftPlaces, Went
from kvm_vmx.compare.layout import field_table, layout
from kvm_vmx.compare.pasting import pasted
from kvm_vmx.compare.types import Syntax
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.report import Report
    from kvm_vmx.compare.trees import Tree

ALIKE = 0.6
SOME = 3    # statements that a function lost and that another may have
WORD = re.compile(r"[A-Za-z_]\w{2,}")


@dataclasses.dataclass(slots=True, eq=False)
class FunctionDrift:
    """One function in both trees: where, by which name, and which statements differ."""

    name: str
    old: Function
    new: Function | None
    how: str
    same: int = 0
    gone: list[Unit] = dataclasses.field(default_factory=list)
    came: list[Unit] = dataclasses.field(default_factory=list)
    follow: int = 0
    went: list[Went] = dataclasses.field(default_factory=list)

    @property
    def moved(self) -> bool:
        """Whether it stands in another file."""
        return self.new is not None and self.new.path != self.old.path


class Drift:
    """The path from one tree to another: functions, names, the field table, the layout."""

    def __init__(self, port: "Port", old: "Tree", new: "Tree",
                 ported: Mapping[str, Collection[Syntax]] | None = None):
        self.old, self.new = old, new
        self.ported = ported or {}
        self.changes: list[FunctionDrift] = []
        self.spelled: dict[tuple[str, str], set[str]] = {}
        self.pasted = pasted(new)
        for subject in port.subjects.values():
            function = old.function(subject.kernel_name, subject.kernel_file)
            if function is not None:
                self.changes.append(self.change(function))
        places = DriftPlaces(old, new, self.words)
        for change in self.changes:
            if change.new is None or len(change.gone) >= SOME:
                note = places.note(change)
                change.how = note or change.how if change.new is None else \
                    f"{'' if change.how == 'name' else change.how + '; '}{note}" or change.how
        self.names = [alias for alias in NAMES if self.replaced(alias)]
        self.tables = field_table(old), field_table(new)
        self.layouts = layout(old), layout(new)

    def change(self, function: Function) -> FunctionDrift:
        """What became of one function."""
        new, how = self.find(function)
        change = FunctionDrift(function.name, function, new, how)
        if new is None:
            return change
        before, after = self.whole(self.old, function), self.whole(self.new, new)
        match = difflib.SequenceMatcher(None, placed(before), placed(after), False)
        for tag, i1, i2, j1, j2 in match.get_opcodes():
            if tag == "equal":
                change.same += i2 - i1
            else:
                change.gone.extend(before[i1:i2])
                change.came.extend(after[j1:j2])
        here = self.ported.get(function.name, ())
        change.follow = sum(unit.key in here for unit in change.gone)
        return change

    @staticmethod
    def whole(tree: "Tree", function: Function) -> list[Unit]:
        """The statements of a function, its #if among them, and its stub's where it has one."""
        stub = tree.stub(function)
        return function.units if stub is None else [*function.units, stub]

    def find(self, function: Function) -> tuple[Function | None, str]:
        """The function in the new tree: by name, by a known alias, or by its body."""
        new = self.new.function(function.name, function.path)
        if new is not None:
            return new, "name"
        if function.name in self.pasted:
            return self.pasted[function.name], "by a macro that pastes its name"
        for alias in FUNCTIONS:
            if alias.old == function.name:
                new = self.new.function(alias.new, function.path)
                if new is not None:
                    return new, f"renamed: {alias.why}"
        if len(function.units) < 4:
            return None, "gone"
        best, score = self.by_body(function)
        return (best, f"renamed, by its body: {score:.0%} alike") if best else (None, "gone")

    def by_body(self, function: Function) -> tuple[Function | None, float]:
        """The new function whose statements are most like those of one that is gone."""
        words = set(WORD.findall(" ".join(unit.text for unit in function.units[1:])))
        keys = [unit.key for unit in function.units[1:] if unit.kind != "#"]
        folder = function.path.rpartition("/")[0]
        best, score = None, ALIKE
        for path in self.new.files:
            if not path.startswith(folder) or "svm" in path:
                continue
            file = self.new.present(path)
            for name in file.names():
                others = self.words(file, name)
                few, many = sorted((len(words), len(others)))
                if few < ALIKE * many or len(words & others) < ALIKE * len(words | others):
                    continue
                other = file.defined(name)
                theirs = [unit.key for unit in other.units[1:] if unit.kind != "#"]
                ratio = difflib.SequenceMatcher(None, keys, theirs, False).ratio()
                if ratio >= score and self.old.function(name, path) is None:
                    best, score = other, ratio
        return best, score

    def words(self, file: CFile, name: str) -> set[str]:
        """The words of a function of the new tree."""
        if (file.path, name) not in self.spelled:
            self.spelled[file.path, name] = set(WORD.findall(file.body(name)))
        return self.spelled[file.path, name]

    def replaced(self, alias: Alias) -> bool:
        """Whether the old tree's path has the one name and the new tree's the other."""
        return self.spoken(self.old, alias.old) and not self.spoken(self.old, alias.new) \
            and self.spoken(self.new, alias.new)

    @staticmethod
    def spoken(tree: "Tree", name: str) -> bool:
        """Whether a name stands anywhere in VMX's part of a tree."""
        return any(name in text for path, text in tree.files.items()
                   if "/kvm/" in path and "svm" not in path)

    @property
    def changed(self) -> bool:
        """Whether anything of the path is otherwise in the new tree, places apart."""
        return any(change.gone or change.came or change.new is None for change in self.changes) \
            or any(self.table.values()) or any(self.fields.values()) \
            or self.layouts[0][1] != self.layouts[1][1]

    @property
    def files(self) -> dict[tuple[str, str], int]:
        """How many functions went from one file to another."""
        count: dict[tuple[str, str], int] = {}
        for change in self.changes:
            if change.new is not None and change.moved:
                key = (change.old.path, change.new.path)
                count[key] = count.get(key, 0) + 1
        return count

    @property
    def table(self) -> dict[str, list[str]]:
        """The rows that the field table gained and lost, and those that changed."""
        old, new = self.tables
        return {
            "gained": sorted(new.keys() - old.keys()),
            "lost": sorted(old.keys() - new.keys()),
            "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        }

    @property
    def fields(self) -> dict[str, list[str]]:
        """The members that the structure gained and lost, and those that moved."""
        (old, _), (new, _) = self.layouts
        named = [name for name in old if "padding" not in name and "(" not in name]
        return {
            "gained": [name for name in new if name not in old and "padding" not in name
                       and "(" not in name],
            "lost": [name for name in named if name not in new],
            "moved": [name for name in named if name in new and old[name] != new[name]],
        }


def placed(units: list[Unit]) -> list[tuple[Syntax, tuple[str, ...]]]:
    """Each statement with the kinds of the blocks that it stands in."""
    found = []
    for unit in units:
        blocks: list[str] = []
        above = unit.parent
        while above is not None:
            blocks.append(above.kind)
            above = above.parent
        found.append((unit.key, tuple(blocks)))
    return found


def against_ours(tree: "Tree") -> dict[str, list[str]]:
    """A tree's table and layout against the ones that this package was compiled with."""
    from kvm_vmx import fields

    table, (members, _) = field_table(tree), layout(tree)
    ours = {row["vmcs_field"]: row for row in fields()}
    shared = [name for name in ours if name in table]
    return {
        "only here": sorted(ours.keys() - table.keys()),
        "only there": sorted(table.keys() - ours.keys()),
        "another clean group": [
            name for name in shared if table[name][1] != ours[name]["clean_field"]],
        "another place": [
            row["evmcs_field"] for row in ours.values() if row["evmcs_field"] in members
            and members[row["evmcs_field"]] != (row["offset"], row["size"])],
    }


def ported_statements(report: "Report") -> dict[str, set[Syntax]]:
    """What of each kernel function stands in the port as it is: the statements it would follow."""
    return {
        pair.kernel.name: {
            unit.key for row in pair.rows if row.kind in ("same", "idiom", "moved")
            for unit in row.kernel
        }
        for pair in report.pairs if pair.kernel is not None
    }
