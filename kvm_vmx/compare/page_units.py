# SPDX-License-Identifier: GPL-2.0-only
"""The units besides the ported functions on the page: tables, macros, structures, assembly.

Their rows are data, a file and a kind of unit in a section; the page's script draws a section
when it is opened or searched.
"""

import collections
import html
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kvm_vmx import frame
from kvm_vmx.compare.rows import ALIKE, CLASSES
from kvm_vmx.compare.views import percent

if TYPE_CHECKING:
    from kvm_vmx.compare.assembly import Block
    from kvm_vmx.compare.pairing import UnitRow, Units

TITLES = {
    "constant": "constants", "macro": "macros", "member": "members of structures",
    "order": "the order of members", "variable": "variables", "key": "static keys",
    "parameter": "module parameters", "call": "declared by macros", "symbol": "symbols",
    "table": "tables", "function": "functions that are not ported", "attributes": "attributes",
    "field": "the field table", "typedef": "names of types", "condition": "conditions",
    "inactive": "macros of another configuration", "own": "functions of the port alone",
}
FIRST = ("field", "table", "key", "parameter", "variable", "macro", "constant")
LONGEST = 400  # characters of one unit

# class, line, text, [(file, line, text) of the port], why
DrawnRow: TypeAlias = tuple[int, int, str, list[tuple[int, int, str]], int]


class PageSection(NamedTuple):
    """One section: its place in the page's address, its title, its rows as the script has them."""

    id: str
    title: str
    place: str
    rows: list[DrawnRow]

    @property
    def totals(self) -> collections.Counter[str]:
        """How many rows of each class."""
        return collections.Counter(CLASSES[row[0]] for row in self.rows)

    @property
    def fidelity(self) -> tuple[int, int]:
        """How many of the kernel's rows are alike, and how many there are."""
        totals = self.totals
        return sum(totals[name] for name in ALIKE), sum(totals.values()) - totals["added"]


class Drawn:
    """The units of a comparison as groups of sections, and the data that they are drawn from."""

    def __init__(self, units: "Units | None"):
        self.whys, self.files = {"": 0}, dict[str, int]()
        self.groups: list[tuple[str, list[PageSection]]] = []
        if units is None:
            return
        blocks = [self.block(block) for block in units.blocks]
        self.groups.append(("assembly", blocks))
        found: dict[tuple[bool, str], dict[str, list[DrawnRow]]] = {}
        for row in units.rows:
            path = row.fact.path
            of = found.setdefault((row.kernel is None, path), {})
            of.setdefault(row.fact.kind, []).append(self.row(row))
        for (ours, path), kinds in found.items():
            title = f"{'the port alone' if ours else 'around the functions'}: {path}"
            self.groups.append((title, [
                PageSection(f"{path}/{kind}{'/ours' * ours}", f"{TITLES.get(kind, kind)} of {path}",
                            "", rows)
                for kind, rows in sorted(kinds.items(), key=lambda item: order(item[0]))]))
        self.groups = [(title, parts) for title, parts in self.groups if parts]

    def row(self, row: "UnitRow") -> DrawnRow:
        """The row of one unit."""
        theirs = row.kernel
        return (CLASSES.index(row.kind), theirs.line if theirs else 0,
                theirs.text[:LONGEST] if theirs else "",
                [(self.number(self.files, fact.path), fact.line, fact.text[:LONGEST])
                 for fact in row.port], self.number(self.whys, row.why))

    def block(self, block: "Block") -> PageSection:
        """The assembly of one function, an instruction a row."""
        rows = [(CLASSES.index(row.kind), n if row.kernel else 0, row.kernel,
                 [(self.number(self.files, block.port), n, row.port)] if row.port else [],
                 self.number(self.whys, row.why)) for n, row in enumerate(block.rows, 1)]
        return PageSection(f"{block.name}/assembly", f"assembly of {block.name}()",
                           f"{block.kernel}:{block.line}", rows)

    @staticmethod
    def number(known: dict[str, int], text: str) -> int:
        """A text's number: the texts that many rows share are written once."""
        return known.setdefault(text, len(known))

    @property
    def parts(self) -> list[PageSection]:
        """All sections."""
        return [part for _, parts in self.groups for part in parts]

    def data(self) -> str:
        """The rows for the page's script."""
        return frame.data("units", {
            "classes": list(CLASSES), "files": list(self.files), "whys": list(self.whys),
            "rows": {part.id: part.rows for part in self.parts}}) if self.groups else ""


def order(kind: str) -> tuple[int, str]:
    """Tables and switches first, then the rest by name."""
    return FIRST.index(kind) if kind in FIRST else len(FIRST), kind


def section(part: PageSection, bar: str) -> str:
    """One section, folded and empty."""
    place = f"<small>{html.escape(part.place)}</small>" if part.place else ""
    return (f'<section id="{html.escape(part.id)}" class="function"><details><summary>'
            f"<h2>{html.escape(part.title)}</h2> {bar}{place}"
            f"<small>{len(part.rows)} rows, {percent(part.fidelity)} alike</small></summary>\n"
            f'<div class="rows units"></div></details></section>')
