# SPDX-License-Identifier: GPL-2.0-only
"""Names that a function has for itself: what they are called says nothing of what it does.

A function whose locals or labels are called otherwise than in what was compared is read under
the old names, if as many went as came; where that explains all of it, only the names changed.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from kvm_vmx.compare.held import Side, held
from kvm_vmx.compare.toplevel import short
from kvm_vmx.compare.types import Syntax, SyntaxPart
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.rows import Row


MEMBERS = {".", "->"}  # before a member's name


def own_names(function: Function) -> list[str]:
    """The parameters, locals and labels of a function, in order."""
    found: list[str] = []
    for unit in function.units:
        if unit.kind == "def":
            found.extend(part[2] for part in unit.key[2:] if part[0] == "decl")
        elif unit.kind in ("decl", "label"):
            found.append(unit.key[2 if unit.kind == "decl" else 1])
    return list(dict.fromkeys(found))


def by_use(function: Function) -> list[str]:
    """The same names in the order in which statements use them first, whatever they are."""
    places: dict[str, int] = {}
    for unit in function.units:
        if unit.kind != "decl":
            for name in uses(unit.key):
                places.setdefault(name, len(places))
    return sorted(own_names(function), key=lambda name: places.get(name, len(places)))


def uses(tree: SyntaxPart) -> Iterator[str]:
    """The names in a tree that may be a function's own, in order."""
    if not isinstance(tree, tuple) or not tree:
        return
    if tree[0] in ("name", "label", "goto") and len(tree) == 2:
        yield tree[1]
    elif tree[0] in ("raw", "asm"):
        yield from (word for before, word in zip(tree, tree[1:]) if before not in MEMBERS)
    elif tree[0] == "member":
        yield from uses(tree[2])
    elif tree[0] == "sizeof" and tree[1][0] == "type":
        yield tree[1][1]  # of a variable, which looks like a type
    else:
        for part in tree[3:] if tree[0] == "decl" else tree:
            yield from uses(part)
        if tree[0] == "decl":
            yield tree[2]


def known_names(function: Function) -> str:
    """What is held of a function's own names: them, and their places in the order of use."""
    names = own_names(function)
    order = " ".join(str(names.index(name)) for name in by_use(function))
    return f"{' '.join(names)}|{order}"


def as_known(name: str, side: Side, function: Function) -> Function:
    """A function under the own names, and with the declarations in the order, that are held of
    it; itself where these are its own."""
    text = held().get("locals", {}).get(side, {}).get(name)
    if text is None:
        return function
    known, order = (part.split() for part in text.split("|"))
    if own_names(function) == known:
        return function
    return in_order(renamed(function, renames(function, known, order)), known)


def renames(function: Function, known: list[str], order: list[str]) -> dict[str, str]:
    """{a name that came: the one that went}, in the order of their use; nothing where the
    counts differ."""
    now, then = by_use(function), [known[int(place)] for place in order]
    came = [name for name in now if name not in known]
    went = [name for name in then if name not in now]
    return dict(zip(came, went)) if len(came) == len(went) else {}


def renamed(function: Function, names: dict[str, str]) -> Function:
    """A function with some of its own names exchanged."""
    units: list[Unit] = []
    new: dict[int, Unit] = {}
    types = {unit.key[1][1] for unit in function.units if unit.kind == "decl"}
    for unit in function.units:
        other = dataclasses.replace(unit, key=exchanged(unit.key, names, types),
                                    parent=new.get(id(unit.parent)))
        new[id(unit)] = other
        units.append(other)
    return dataclasses.replace(function, units=units)


def in_order(function: Function, known: list[str]) -> Function:
    """A function with plain declarations that stand in a row in the order that is known."""
    units, at = list(function.units), 0
    while at < len(units):
        end = at
        while end < len(units) and units[end].kind == "decl" \
                and units[end].parent is units[at].parent:
            end += 1
        if end > at + 1:
            units[at:end] = sorted(units[at:end], key=lambda unit: known.index(unit.key[2])
                                   if unit.key[2] in known else len(known))
        at = max(end, at + 1)
    return dataclasses.replace(function, units=units)


def exchanged(tree: SyntaxPart, names: Mapping[str, str],
              types: AbstractSet[str] = frozenset()) -> SyntaxPart:
    """A tree with names exchanged; a member's name is none of the function's own."""
    if not isinstance(tree, tuple) or not tree:
        return tree
    kind = tree[0]
    if kind in ("name", "label", "goto") and len(tree) == 2:
        return (kind, names.get(tree[1], tree[1]))
    if kind == "decl":
        return (kind, tree[1], names.get(tree[2], tree[2]),
                *(exchanged(part, names, types) for part in tree[3:]))
    if kind == "member":
        return (kind, tree[1], exchanged(tree[2], names, types))
    if kind == "sizeof" and tree[1][0] == "type" and tree[1][1] in types:
        return tree  # of the type that a variable of the same name has
    if kind == "sizeof" and tree[1][0] == "type":
        return (kind, ("type", names.get(tree[1][1], tree[1][1]), tree[1][2]))
    if kind in ("raw", "asm"):
        return (kind, *(word if before in MEMBERS else names.get(word, word)
                        for before, word in zip(tree, tree[1:])))
    return tuple(exchanged(part, names, types) for part in tree)


def note(rows: "Iterable[Row]") -> None:
    """Say in the rows of declarations and labels what is called otherwise."""
    for row in rows:
        if row.kind == "same" and len(row.kernel) == len(row.port) == 1:
            for unit in (*row.kernel, *row.port):
                name = unit.key[-1 if unit.kind == "label" else 2] \
                    if unit.kind in ("decl", "label") else ""
                if isinstance(name, str) and name and not re.search(rf"\b{name}\b", unit.text):
                    row.kind, row.why = "idiom", f"renamed: {name} has another name"


def alike(functions: Iterable[Function], words: str = "") -> str:
    """A digest of what a function does, as each of some configurations has it, and of `words` that
    stand in it besides."""
    texts = [text for function in functions for text in (*told(function), "||")]
    return short(*texts, words)


def told(function: Function) -> list[str]:
    """What a function does: own names by their place, declarations in any order."""
    places = {name: f"${n}" for n, name in enumerate(by_use(function))}
    kinds = {unit.key[2]: unit.key[1] for unit in function.units if unit.kind == "decl"}
    other = renamed(function, places)
    for unit, old in zip(other.units, function.units):
        unit.key = exchanged(sized(old.key, kinds), places, {kind[1] for kind in kinds.values()})
    declared = sorted(repr(unit.key) for unit in other.units if unit.kind == "decl")
    rest = [f"{unit.key!r}{depth(unit)}" for unit in other.units if unit.kind != "decl"]
    return [*declared, "|", *rest]


def sized(tree: SyntaxPart, kinds: Mapping[str, Syntax]) -> SyntaxPart:
    """A tree with the size of a variable as that of its type: both may be called the same."""
    if not isinstance(tree, tuple) or not tree:
        return tree
    if tree[0] == "sizeof" and tree[1][0] == "type" and kinds.get(tree[1][1], tree[1])[2] == 0:
        return ("sizeof", kinds.get(tree[1][1], tree[1]))
    return tuple(sized(part, kinds) for part in tree)


def depth(unit: Unit) -> int:
    """How many blocks a statement stands in."""
    count = 0
    while unit.parent is not None:
        unit, count = unit.parent, count + 1
    return count
