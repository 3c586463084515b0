# SPDX-License-Identifier: GPL-2.0-only
"""Where the statements of a function went that a later kernel split or merged."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.patch_alike import spoken
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.drift import FunctionDrift
    from kvm_vmx.compare.trees import Tree

FEW, SHARE = 3, 0.5     # statements that tell, and the share of a function that does


class Went(NamedTuple):
    """So many of a function's statements are in another one of the new tree now."""

    name: str
    path: str
    line: int
    many: int


class DriftPlaces:
    """Finds the statements that a function lost in the functions of the new tree's folder."""

    def __init__(self, old: "Tree", new: "Tree", words: Callable[[CFile, str], set[str]]):
        self.old, self.new, self.words = old, new, words

    def went(self, units: list[Unit], folder: str, without: str) -> list[Went]:
        """The functions that hold most of some statements, those with the most of them first."""
        wanted = [(unit, spoken([unit.text])) for unit in units if tells(unit)]
        left = {id(unit): (unit, words) for unit, words in wanted}
        found: list[Went] = []
        while left:
            best: Function | None = None
            taken: set[int] = set()
            for path, name in self.functions(folder, without):
                there = self.words(self.new.present(path), name)
                near = [(unit, words) for unit, words in left.values() if words <= there]
                if len(near) <= len(taken):
                    continue
                function = self.new.present(path).defined(name)
                keys = {unit.key for unit in function.units}
                here = {id(unit) for unit, _ in near if unit.key in keys}
                if len(here) > len(taken):
                    best, taken = function, here
            if best is None or len(taken) < min(FEW, len(wanted)):
                break
            found.append(Went(best.name, best.path, best.line, len(taken)))
            for one in taken:
                del left[one]
        return found

    def functions(self, folder: str, without: str) -> Iterator[tuple[str, str]]:
        """(path, name) of the new tree's functions that can have taken something."""
        for path in self.new.files:
            if path.startswith(folder) and "svm" not in path:
                for name in self.new.present(path).names():
                    if name != without:
                        yield path, name

    def note(self, change: "FunctionDrift") -> str:
        """What became of a function that is gone, or of what a changed one lost; or nothing."""
        lost = change.gone if change.new is not None else change.old.units[1:]
        telling = sum(tells(unit) for unit in lost)
        if telling < (FEW if change.new is not None else 2):
            return ""
        folder = change.old.path.rpartition("/")[0]
        change.went = self.went(lost, folder, change.new.name if change.new else "")
        count = sum(went.many for went in change.went)
        if not change.went or change.new is None and count < SHARE * telling:
            change.went = []
            return ""
        where = ", ".join(f"{went.name}() ({went.many})" for went in change.went)
        known = self.old.function(change.went[0].name, change.went[0].path)
        if change.new is None and len(change.went) == 1:
            return f"merged into {where}" if known else f"renamed or taken up by {where}"
        return f"split: {where}"


def tells(unit: Unit) -> bool:
    """Whether a statement says enough to be known elsewhere."""
    return unit.kind not in ("decl", "else", "return", "break", "continue", "goto", "#", "stub",
                             "def", "label") and len(spoken([unit.text])) >= 3
