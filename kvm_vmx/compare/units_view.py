# SPDX-License-Identifier: GPL-2.0-only
"""The units besides functions as text in columns and as JSON."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kvm_vmx.compare.rows import CLASSES
from kvm_vmx.compare.views import SIGNS
from kvm_vmx.console import print_columns

if TYPE_CHECKING:
    from kvm_vmx.compare.assembly import Block
    from kvm_vmx.compare.facts import Fact
    from kvm_vmx.compare.pairing import Units

COUNTED = ("same", "idiom", "adapted", "omitted", "unexplained")
HEADS = ("same", "idiom", "adapted", "left out", "unexplained")
MOST = 40  # rows that are told one by one


def table(units: "Units") -> list[tuple[str, ...]]:
    """One row a file of the kernel, one for what is ours, and the totals."""
    count: dict[str, dict[str, int]] = {}
    for row in units.rows:
        path = row.kernel.path if row.kernel else "ours"
        of = count.setdefault(path, dict.fromkeys((*CLASSES, "units"), 0))
        of[row.kind] += 1
        of["units"] += 1
    rows: list[tuple[str, ...]] = [("file of the kernel", "units", *HEADS, "ours")]
    for path, of in count.items():
        rows.append((path, str(of["units"]), *(str(of[name] or "·") for name in COUNTED),
                     str(of["added"] or "·")))
    total = units.totals
    for block in units.blocks:
        kinds = [row.kind for row in block.rows]
        rows.append((f"assembly of {block.name}()", str(len(kinds)),
                     *(str(kinds.count(name) or "·") for name in (*COUNTED, "added"))))
    rows.append((f"{len(units.rows)} units", "", *(str(total[name]) for name in COUNTED),
                 str(total["added"])))
    return rows


def show_loose(units: "Units") -> None:
    """A line for each row that nothing explains, as many as a reader looks through."""
    loose = units.loose
    if loose:
        print()
    for row in loose[:MOST]:
        print(f"?  {row}")
    if len(loose) > MOST:
        print(f"?  and {len(loose) - MOST:,} more: --json has all")


def as_json(units: "Units") -> dict[str, object]:
    """The units for programs."""
    totals = units.totals
    return {"totals": {name: totals[name] for name in CLASSES}, "rows": [
        {"class": row.kind, "kind": row.fact.kind, "name": row.fact.name,
         "kernel": place(row.kernel), "port": [place(fact) for fact in row.port], "why": row.why}
        for row in units.rows], "assembly": [
        {"function": block.name, "kernel": block.kernel, "line": block.line, "port": block.port,
         "rows": [{"class": row.kind, "kernel": row.kernel, "port": row.port, "why": row.why}
                  for row in block.rows]} for block in units.blocks]}


def show_assembly(blocks: "Iterable[Block]", only_diff: bool) -> None:
    """The assembly of some functions, an instruction a line on both sides."""
    for block in blocks:
        print_columns([(f"assembly of {block.name}()  {block.kernel}:{block.line}", "", block.port),
                       *((row.kernel, SIGNS[row.kind], row.port) for row in block.rows
                         if not only_diff or row.kind not in ("same", "idiom"))])
        for why in dict.fromkeys(row.why for row in block.rows if row.kind not in ("same",)):
            print(f"  {why}")
        print()


def place(fact: "Fact | None") -> dict[str, object] | None:
    """Where a fact stands, and its text."""
    return {"file": fact.path, "line": fact.line, "text": fact.text} if fact else None
