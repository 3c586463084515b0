# SPDX-License-Identifier: GPL-2.0-only
"""A patch's statements beside the port alone: without a tree, or of a function the tree lacks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvm_vmx.compare.patch_alike import nearest, spoken
from kvm_vmx.compare.patch_fate import Fate
from kvm_vmx.compare.patch_lines import Statement
from kvm_vmx.compare.patch_places import Spot
from kvm_vmx.compare.port import Subject
from kvm_vmx.compare.rows import likeness
from kvm_vmx.compare.sequences import SEQUENCES
from kvm_vmx.compare.unify import unify
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.patch import Comparison

ALIKE = 0.3  # of the words of C and of Cython


def beside_port(comparison: "Comparison", name: str, part: list[Statement],
                sign: str) -> Iterator[Fate]:
    """The fates of some statements of one function of a patch."""
    subject, why = subject_of(comparison, name, part)
    wanted = [item for item in part if item.sign == sign]
    if subject is None:
        where = "neither the tree nor the port has" if comparison.tree else "the port has no"
        # what stands nowhere is gone, but not where nobody says in which function it stood
        kind = "same" if sign == "-" and name else "not taken up"
        yield from (Fate(item, kind, why=f"{where} {name or 'such a place'}{'()' * bool(name)}")
                    for item in wanted)
        return
    found = agreeing(part, subject.function.units)
    for item in wanted:
        unit = found.get(id(item))
        spot = Spot(subject.function.path, unit.line, unit.text) if unit else None
        if sign == "-":
            yield Fate(item, "not taken up" if unit else "same", port=spot,
                       why="it still stands" if unit else "gone there too")
        elif unit is not None:
            named = bool(why) and item.unit.kind == "def"
            yield Fate(item, "renamed" if named else "same", port=spot, why=why if named else "")
        else:
            yield otherwise(item, subject.function, found, why)


def otherwise(item: Statement, function: Function, found: dict[int, Unit], why: str) -> Fate:
    """A statement that the port's function does not have as it is."""
    taken = {id(unit) for unit in found.values()}
    free = [unit for unit in function.units if id(unit) not in taken]
    near, unit = nearest(item.unit, free)
    if item.unit.kind == "def":
        near, unit = 1.0, function.units[0]
    if unit is not None and near > ALIKE:
        return Fate(item, "changed", port=Spot(function.path, unit.line, unit.text),
                    why=why if item.unit.kind == "def" else "")
    return Fate(item, "not taken up")


def subject_of(comparison: "Comparison", name: str,
               part: list[Statement]) -> tuple[Subject | None, str]:
    """What of the port a function stands for: by its name, or by its words if it is whole."""
    if name in comparison.ours:
        return comparison.ours[name], ""
    if not part or part[0].unit.kind != "def" or comparison.tree:
        return None, ""
    words = spoken(item.unit.text for item in part[1:])
    best, score = None, 0.45
    for other, subject in comparison.ours.items():
        units = [unit.text for unit in subject.function.units[1:]]
        ratio = likeness(words, spoken(units)) + 0.2 * name.startswith(f"{other}_")
        if units and ratio > score:
            best, score = subject, ratio
    return best, f"{name}() is {best.kernel_name}()" if best else ""


def agreeing(part: list[Statement], units: list[Unit]) -> dict[int, Unit]:
    """{id(statement): the port's unit}: each behind the last one where that is possible."""
    found: dict[int, Unit] = {}
    at = 0
    for item in part:
        order = [*range(at, len(units)), *range(at)]
        place = next((n for n in order if agrees(item.unit, units, n)), None)
        if place is not None:
            found[id(item)] = units[place]
            at = place + 1
    return found


def agrees(unit: Unit, units: list[Unit], n: int) -> bool:
    """Whether a statement of C and the port's from a place on mean the same."""
    if unit.kind == "def":
        return n == 0 and units[0].key[1:] == unit.key[1:]
    if unify(unit.key, units[n].key, set()):
        return True
    return any(rule.fits([unit], units[n:n + len(rule.port)]) for rule in SEQUENCES
               if len(rule.c) == 1 and rule.c[0][0] == unit.kind
               and n + len(rule.port) <= len(units))
