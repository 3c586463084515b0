# SPDX-License-Identifier: GPL-2.0-only
"""The idioms of several statements: what stands for what, whatever its variables stand for."""

import functools
from collections.abc import Iterable
from typing import TypeAlias, TypeVar

from kvm_vmx.compare import cstatements, idioms
from kvm_vmx.compare.marks import Mark
from kvm_vmx.compare.pysource import port_units
from kvm_vmx.compare.types import SyntaxPart
from kvm_vmx.compare.unify import bind, unify
from kvm_vmx.compare.units import Unit

Woven: TypeAlias = Unit | Mark      # of the port's units with its marks among them
Items = TypeVar("Items", bound=Woven)


def unmarked(items: Iterable[Woven]) -> list[Unit]:
    """The units among some of the port's and marks."""
    return [item for item in items if isinstance(item, Unit)]


class Sequence:
    """An idiom of several statements as patterns of both sides."""

    def __init__(self, idiom: idioms.Idiom):
        self.name, self.why = idiom.name, idiom.why
        c, port = cstatements.parse_text(idiom.c), port_units(idiom.cython)
        self.c, self.port = ([unit.key for unit in units] for units in (c, port))
        self.blocks = blocks(port)

    def fits(self, kernel: list[Unit], port: list[Items]) -> set[str] | None:
        """The reasons for which the units beginning the two lists agree, or None."""
        if len(kernel) < len(self.c) or len(port) < len(self.port):
            return None
        in_c: dict[str, SyntaxPart] = {}
        in_p: dict[str, SyntaxPart] = {}
        used = {self.why}
        for pattern, unit in zip(self.c, kernel):
            if not bind(pattern, unit.key, in_c):
                return None
        ours = unmarked(port[:len(self.port)])
        if len(ours) < len(self.port) or not all(
                bind(pattern, unit.key, in_p) for pattern, unit in zip(self.port, ours)):
            return None
        if blocks(ours) != self.blocks:
            return None
        agree = all(unify(in_c[name], in_p[name], used) for name in in_c if name in in_p)
        return used if agree else None


def blocks(units: list[Unit]) -> list[int | None]:
    """For each unit after the first, in whose block it stands: that of which unit of the list,
    None for the first one's."""
    return [None if unit.parent is units[0].parent else next(
        (n for n, other in enumerate(units) if other is unit.parent), -1) for unit in units[1:]]


SEQUENCES = [Sequence(idiom) for idiom in idioms.STATEMENTS]


@functools.cache
def sequences(c_kind: str, p_kind: str) -> list[Sequence]:
    """The idioms of several statements that begin with statements of these kinds."""
    return [rule for rule in SEQUENCES
            if rule.c[0][0] == c_kind and rule.port[0][0] == p_kind]
