# SPDX-License-Identifier: GPL-2.0-only
"""What under a mark of adapted statements is alike all the same: a statement for a statement.

A mark's pin holds all that it is of; a reader, and the totals, are shown which of its statements
stand on both sides in the same order and in the same blocks.
"""

import dataclasses
from collections.abc import Iterator

from kvm_vmx.compare.align import Alignment
from kvm_vmx.compare.idioms import NAMES
from kvm_vmx.compare.marks import Mark
from kvm_vmx.compare.rows import Row
from kvm_vmx.compare.units import Unit

DEPEND = {"else", "elif", "break", "continue", "fallthrough", "label", "goto", "#", "stub"}
PAIRED = {"same", "idiom"}


def split(rows: list[Row], void: bool) -> list[Row]:
    """The rows with each adapted one of several statements cut into what is alike and what is
    not; nothing of its mark is lost."""
    found: list[Row] = []
    for row in rows:
        if row.kind == "adapted" and row.kernel and row.port \
                and len(row.kernel) + len(row.port) > 2:
            found.extend(pieces(row, void))
        else:
            found.append(row)
    return settled(found)


def pieces(row: Row, void: bool) -> Iterator[Row]:
    """The rows of one mark: pairs that agree, and the statements between them."""
    kernel: list[Unit] = []
    port: list[Unit] = []
    for step in Alignment(row.kernel, row.port, [], void).steps:
        one = (*step.kernel, *step.port)
        if step.how in PAIRED and not any(unit.silent or unit.kind in DEPEND for unit in one):
            yield from rest(row, kernel, port)
            kernel, port = [], []
            why = "; ".join(sorted(NAMES.get(name, name) for name in step.used))
            yield dataclasses.replace(row, kind=step.how, kernel=step.kernel, port=step.port,
                                      why=why)
        else:
            kernel += step.kernel
            port += step.port
    yield from rest(row, kernel, port)


def rest(row: Row, kernel: list[Unit], port: list[Unit]) -> Iterator[Row]:
    """What of a mark has no pair."""
    if kernel or port:
        yield dataclasses.replace(row, kernel=kernel, port=port)


def settled(rows: list[Row]) -> list[Row]:
    """The rows in which no pair of a mark stands in other blocks than its counterpart; what came
    apart for nothing is one row again, and a mark's reason stands with its first."""
    owner = {id(unit): row for row in rows for unit in (*row.kernel, *row.port)}
    while loose := [(row, row.mark) for row in rows if row.mark and row.kind in PAIRED
                    and not beside(row.kernel[0].parent, row.port[0].parent, owner)]:
        for row, mark in loose:
            row.kind, row.why = "adapted", full(mark)
    found: list[Row] = []
    said: set[Mark | None] = set()
    for row in rows:
        last = found[-1] if found else None
        again = row.mark and row.kind == "adapted" and row.mark in said
        if row.kind == "adapted":
            said.add(row.mark)
        if last and row.mark and row.mark is last.mark and row.kind == last.kind == "adapted":
            found[-1] = dataclasses.replace(last, kernel=last.kernel + row.kernel,
                                            port=last.port + row.port)
        else:
            found.append(dataclasses.replace(row, why="") if again else row)
    return found


def full(mark: Mark) -> str:
    """What a mark says."""
    return f"{mark.what}: {mark.reason}" if mark.what else mark.reason


def beside(theirs: Unit | None, ours: Unit | None, owner: dict[int, Row]) -> bool:
    """Whether two headers are none, or one pair."""
    if theirs is None or ours is None:
        return theirs is ours
    row = owner.get(id(theirs))
    return row is not None and row is owner.get(id(ours)) and row.kind in (*PAIRED, "moved")
