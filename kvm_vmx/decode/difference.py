# SPDX-License-Identifier: GPL-2.0-only
"""Two decoded VMCSs field by field: what changed, and does a clean bit deny it?"""

from dataclasses import dataclass
from typing import Any

from kvm_vmx.abi.numbers import Field
from kvm_vmx.decode.result import ORDER, State, area, bits_of


@dataclass(frozen=True)
class FieldChange:
    """A field that differs; set and cleared are controls by name, clean the state of its clean
    bit in B, "" where it has none."""

    name: str
    area: str
    before: int
    after: int
    group: str = ""
    clean: str = ""
    set: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """What differs from A to B; stale are fields that changed under a clean bit that is 1."""

    before: State
    after: State
    rows: tuple[FieldChange, ...]
    others: tuple[tuple[str, int, int], ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def stale(self) -> tuple[str, ...]:
        """Fields of L1's to write that changed while B says that their group is clean."""
        return tuple(row.name for row in self.rows
                     if row.clean == "clean" and row.area != "exit information")

    def as_json(self) -> dict[str, Any]:
        """For a program; values as text."""
        return {
            "a": self.before.source, "b": self.after.source,
            "fields": [{"name": row.name, "area": row.area, "a": hex(row.before),
                        "b": hex(row.after), "group": row.group, "state": row.clean,
                        "set": list(row.set), "cleared": list(row.cleared)} for row in self.rows],
            "others": [{"name": name, "a": hex(a), "b": hex(b)} for name, a, b in self.others],
            "only_a": list(self.only_before), "only_b": list(self.only_after),
            "stale": list(self.stale)}


def difference(before: State, after: State) -> Difference:
    """What differs from one to the other, by area."""
    rows = [_row(name, before, after) for name in before.fields
            if name in after.fields and before.fields[name] != after.fields[name]]
    rows.sort(key=lambda row: (ORDER.index(row.area), Field[row.name]))
    others = [(name, value, after.others[name]) for name, value in before.others.items()
              if name in after.others and after.others[name] != value]
    return Difference(
        before, after, tuple(rows), tuple(others),
        tuple(name for name in before.fields if name not in after.fields),
        tuple(name for name in after.fields if name not in before.fields))


def _row(name: str, before: State, after: State) -> FieldChange:
    old, new = before.fields[name], after.fields[name]
    was, now = bits_of(name, old), bits_of(name, new)
    return FieldChange(name, area(name), old, new, after.group(name), after.clean(name),
                       tuple(bit for bit in now if bit not in was),
                       tuple(bit for bit in was if bit not in now))
