# SPDX-License-Identifier: GPL-2.0-only
"""A unit: what one row of a comparison holds of one side, a statement or a part of one."""

import dataclasses
from typing import TYPE_CHECKING

from kvm_vmx.compare.types import Syntax

if TYPE_CHECKING:
    from kvm_vmx.compare.marks import Mark


@dataclasses.dataclass(slots=True, eq=False)
class Unit:
    """One statement: its tree, its lines, its text, the unit whose block it stands in.

    `silent` names the idiom by which a unit needs no counterpart, `inside` counts the statements
    of the block that it heads.
    """

    key: Syntax
    line: int
    end: int
    text: str
    parent: "Unit | None" = None
    silent: str = ""
    inside: int = 0

    @property
    def kind(self) -> str:
        """The first item of the tree."""
        kind: str = self.key[0]
        return kind


@dataclasses.dataclass(slots=True, eq=False)
class Function:
    """A function, or an initialised table, of one side."""

    name: str
    path: str
    line: int
    end: int
    units: list[Unit] = dataclasses.field(default_factory=list)
    marks: "list[Mark]" = dataclasses.field(default_factory=list)
    inactive: list[Unit] = dataclasses.field(default_factory=list)
    condition: str = ""
    header: str = ""
