# SPDX-License-Identifier: GPL-2.0-only
"""Which statements of a patch are which of a function: by tree, by names, by words."""

import difflib
from collections.abc import Iterable

from kvm_vmx.compare.patch_lines import Statement
from kvm_vmx.compare.rows import WORD, likeness
from kvm_vmx.compare.types import Syntax
from kvm_vmx.compare.units import Unit

LONG = 3  # letters of a word that says something


def matched(part: list[Statement], units: list[Unit]) -> dict[int, Unit]:
    """{id(statement): the unit it is}: the longest runs of both that are alike."""
    found: dict[int, Unit] = {}
    match = difflib.SequenceMatcher(
        None, [item.unit.key for item in part], [unit.key for unit in units], False)
    for block in match.get_matching_blocks():
        for n in range(block.size):
            found[id(part[block.a + n])] = units[block.b + n]
    return found


def loosen(part: list[Statement], found: dict[int, Unit], units: list[Unit]) -> None:
    """Take back headers that agree where nothing in their blocks does, not even in kind."""
    for item in reversed(part):
        unit = found.get(id(item))
        inside = [other for other in part if other.unit.parent is item.unit]
        if unit is not None and inside and item.sign != " " and not any(
                each.parent is unit and each.kind == other.unit.kind
                for other in inside for each in units):
            del found[id(item)]


def spoken(texts: Iterable[str]) -> set[str]:
    """The words of some statements that say something."""
    return {word for text in texts for word in WORD.findall(text) if len(word) >= LONG}


def worth(unit: Unit) -> bool:
    """Whether a statement says enough to be known elsewhere."""
    return unit.kind not in ("decl", "else", "return", "break", "continue", "goto") \
        and unit.kind not in ("if", "elif") and len(spoken([unit.text])) >= 2


def nearest(unit: Unit, units: Iterable[Unit]) -> tuple[float, Unit | None]:
    """The unit of the same kind whose words are most alike, and how much so."""
    words, best = spoken([unit.text]), 0.0
    found: Unit | None = None
    for other in units:
        if unit.kind == other.kind == "decl" and unit.key[2] == other.key[2]:
            return 1.0, other
        if other.kind == unit.kind and (unit.kind != "call" or unit.key[1] == other.key[1]):
            ratio = likeness(words, spoken([other.text]))
            if ratio > best:
                best, found = ratio, other
    return best, found


def renaming(old: Syntax, new: Syntax) -> list[tuple[str, str]] | None:
    """The one name that is another where two trees differ in nothing else; None otherwise."""
    names: set[tuple[str, str]] = set()
    if old == new or not differing(old, new, names) or len(names) != 1:
        return None
    return sorted(names)


def differing(old: object, new: object, names: set[tuple[str, str]]) -> bool:
    """Whether two trees differ in names alone; these are collected."""
    if old == new:
        return True
    if not (isinstance(old, tuple) and isinstance(new, tuple)) or len(old) != len(new) \
            or not old or old[0] != new[0]:
        return False
    if old[0] == "name":
        names.add((old[1], new[1]))
        return not old[1].isupper() and not new[1].isupper()
    return all(differing(a, b, names) for a, b in zip(old[1:], new[1:]))


def related(old: Syntax, new: Syntax, above: Unit | None) -> bool:
    """Whether two statements do the same under the same condition in other words: they call the
    same function, or give a member of the same name the same value."""
    if old[0] == "call":
        return old[:2] == new[:2]
    return above is not None and bool(
        old[0] == new[0] == "=" and old[1::2] == new[1::2]
        and old[2][0] == new[2][0] == "." and old[2][2] == new[2][2])
