# SPDX-License-Identifier: GPL-2.0-only
"""A changed function in three columns: the old tree, the port, the new tree."""

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from kvm_vmx import rendering
from kvm_vmx.compare.drift import FunctionDrift, placed
from kvm_vmx.compare.patch_alike import nearest
from kvm_vmx.compare.report import Pair
from kvm_vmx.compare.rows import Row
from kvm_vmx.compare.units import Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.drift_git import Blame


class Three(NamedTuple):
    """One row: a statement of the old tree, what stands for it here, and the new tree's."""

    kind: str
    old: Unit | None
    port: Row | None
    new: Unit | None

    @property
    def changed(self) -> bool:
        """Whether the new tree has it otherwise, or the old one did not have it."""
        return self.kind != "same"


def rows_of(change: FunctionDrift, pair: Pair | None) -> list[Three]:
    """The rows of one function; pair is the comparison of the port with the old tree, or None."""
    beside = {id(unit): row for row in pair.rows for unit in row.kernel} if pair else {}
    old = change.old.units
    new = change.new.units if change.new is not None else []
    if not new:
        return [Three("gone", unit, beside.get(id(unit)), None) for unit in old]
    found = []
    match = difflib.SequenceMatcher(None, placed(old), placed(new), False)
    for tag, i1, i2, j1, j2 in match.get_opcodes():
        if tag == "equal":
            found += [Three("same", one, beside.get(id(one)), other)
                      for one, other in zip(old[i1:i2], new[j1:j2])]
        else:
            found += joined(old[i1:i2], new[j1:j2], beside)
    return found


def joined(old: list[Unit], new: list[Unit], beside: dict[int, Row]) -> Iterator[Three]:
    """What one side has and the other has not, side by side where the words are alike."""
    left = list(new)
    for unit in old:
        near, other = nearest(unit, left)
        if other is not None and near > 0.4:
            for each in left[:left.index(other)]:
                yield Three("came", None, None, each)
            del left[:left.index(other) + 1]
            yield Three("changed", unit, beside.get(id(unit)), other)
        else:
            yield Three("gone", unit, beside.get(id(unit)), None)
    for each in left:
        yield Three("came", None, None, each)


def commit_of(row: Three, change: FunctionDrift, touched: "Blame") -> str:
    """The commit that last changed a row, as far as it is known."""
    if row.changed and row.new and change.new:
        return touched(change.new.path, row.new)
    return touched.gone(change.old, row.old) if row.changed and row.old else ""


def show(change: FunctionDrift, rows: list[Three], note: str, touched: "Blame") -> None:
    """One function in three columns; touched names the commit that last changed a row."""
    from rich.table import Table

    from kvm_vmx.compare.hanging import Hanging
    from kvm_vmx.compare.views import text_of

    grid = Table(box=None, expand=True, pad_edge=False, header_style="bold")
    new = change.new
    for title in (f"{change.name}()  {change.old.path}:{change.old.line}", "the port",
                  f"{new.name}()  {new.path}:{new.line}" if new else "gone"):
        grid.add_column(title, ratio=1, overflow="fold")
    styles = {"same": "", "changed": "yellow", "gone": "magenta", "came": "blue"}
    for row in rows:
        commit = commit_of(row, change, touched)
        style, ours, why = styles[row.kind], "", ""
        if row.port and row.port.port:
            ours = text_of(row.port.port)
        elif row.port:
            why = f"       {row.port.kind}: {row.port.why}"
        grid.add_row(Hanging(text_of([row.old]) if row.old else "", style), Hanging(ours, "", why),
                     Hanging(text_of([row.new]) if row.new else "", style,
                             f"       {commit}" if commit else ""))
    rendering.console().print(grid)
    kinds = [row.kind for row in rows]
    print("  ".join(f"{kind} {kinds.count(kind)}" for kind in styles if kind in kinds)
          + (f"   {note}" if note else "") + "\n")


def as_json(rows: list[Three], touched: "Blame", change: FunctionDrift) -> list[dict[str, object]]:
    """The rows for programs."""
    return [{
        "kind": row.kind,
        "old": row.old and {"line": row.old.line, "text": row.old.text},
        "port": row.port and {"class": row.port.kind, "why": row.port.why, "statements": [
            {"line": unit.line, "text": unit.text} for unit in row.port.port]},
        "new": row.new and {"line": row.new.line, "text": row.new.text},
        "commit": commit_of(row, change, touched),
    } for row in rows]
