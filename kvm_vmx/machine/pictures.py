# SPDX-License-Identifier: GPL-2.0-only
"""What a notebook shows: an eVMCS page by area with its clean bits, exits by reason; no script.

A Sheet is the same things as a piece of a page and as text. Colours stand behind no letter, so
that paper and ink are the notebook's own, by day and by night.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from kvm_vmx.errors import MachineError
from kvm_vmx.machine.fields import fields

PAGE, ROW, UNIT, HIGH = 1024, 128, 6, 14        # bytes of the page and of a row; pixels
# A group that L0 may take from its cache, one that it reads again, and what has no clean bit.
COLOURS = {"clean": "#4c9a6a", "dirty": "#d08a2e", "always read": "#9aa0a6"}
WIDEST = 240
# A field's area by bits 11:10 of its encoding (SDM 3D, appendix B).
AREAS = ("control", "exit information", "guest state", "host state")
GONE = (MachineError, IndexError, AttributeError)


class Table(NamedTuple):
    """A table of texts under its name; folded, where a page first shows the name alone."""

    name: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    folded: bool = False


@dataclass(frozen=True)
class Sheet:
    """What there is to show of a thing: a title, tables, and a picture of what is in these."""

    title: str
    tables: list[Table]
    picture: str = ""

    def html(self) -> str:
        """As a piece of a page."""
        parts = [f"<p>{escape(self.title)}</p>{self.picture}"]
        for name, heads, rows, folded in self.tables:
            inside = table(heads, rows, marked=not folded)
            if folded:
                inside = f"<details><summary>{escape(name)}</summary>{inside}</details>"
            elif name:
                inside = f"<p>{escape(name)}</p>{inside}"
            parts.append(inside)
        return "".join(parts)

    def text(self) -> str:
        """As lines."""
        lines = [self.title]
        for name, heads, rows, _ in self.tables:
            shown = [heads] * any(heads) + [*rows]
            widths = [max(map(len, column)) for column in zip(*shown)]
            lines += [""] + [name] * bool(name) + [
                "  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
        return "\n".join(lines)


class Pictured:
    """What has a Sheet: a notebook shows it as a piece of a page, a terminal's as lines, both the
    same; its repr where it is gone. Neither raises."""

    __slots__ = ()

    def _sheet(self) -> Sheet:
        raise AttributeError

    def _repr_html_(self) -> str:
        try:
            return self._sheet().html()
        except GONE:
            return f"<p>{escape(repr(self))}</p>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        try:
            printer.text(self._sheet().text())
        except GONE:
            printer.text(repr(self))


def state(row: Mapping[str, object], clean_fields: int) -> str:
    """What the clean bits say of a field: "clean", "dirty", or "always read" where none does."""
    mask = int(str(row["clean_mask"]), 16)
    if row["clean_field"] in ("NONE", "ALL") or not mask:
        return "always read"
    return "clean" if clean_fields & mask else "dirty"


def of_page(page: bytes, gpa: int, clean_fields: int) -> str:
    """An eVMCS as a piece of a page, without its fields by area."""
    sheet = sheet_of_page(page, gpa, clean_fields)
    return Sheet(sheet.title, sheet.tables[:1], sheet.picture).html()


def sheet_of_page(page: bytes, gpa: int, clean_fields: int) -> Sheet:
    """An eVMCS: a rectangle a field where it lies in the page, a row for each clean bit, and the
    fields by area."""
    shapes: list[str] = []
    groups: dict[tuple[str, int], list[str]] = {}
    areas: dict[str, list[tuple[str, ...]]] = {area: [] for area in AREAS}
    for row in fields():
        offset, size, name = row["offset"], row["size"], row["vmcs_field"]
        value = int.from_bytes(page[offset:offset + size], "little")
        said = state(row, clean_fields)
        groups.setdefault((row["clean_field"], int(row["clean_mask"], 16)), []).append(name)
        areas[AREAS[int(row["encoding"], 16) >> 10 & 3]].append(
            (name, f"{value:#x}", str(offset), row["clean_field"], said))
        shapes.append(
            f'<rect x="{offset % ROW * UNIT}" y="{offset // ROW * HIGH}" width="{size * UNIT - 1}" '
            f'height="{HIGH - 1}" fill="{COLOURS[said]}"><title>{escape(name)} = {value:#x}: '
            f'offset {offset}, {escape(row["clean_field"])}, {said}</title></rect>')
    rows = [(str(mask.bit_length() - 1), group, "clean" if clean_fields & mask else "dirty",
             f"{len(names)}: {names[0]}" + " ..." * (len(names) > 1))
            for (group, mask), names in groups.items() if group not in ("NONE", "ALL")]
    return Sheet(
        f"eVMCS at {gpa:#x}, clean fields {clean_fields:#06x}",
        [Table("", ("bit", "clean group", "", "fields"), sorted(rows, key=lambda row: int(row[0])))]
        + [Table(f"{area}: {len(found)} fields", ("field", "value", "offset", "clean group", ""),
                 found, folded=True) for area, found in areas.items()],
        f'<svg width="{ROW * UNIT}" height="{PAGE // ROW * HIGH}" role="img" '
        f'style="max-width:100%" viewBox="0 0 {ROW * UNIT} {PAGE // ROW * HIGH}">'
        f"{''.join(shapes)}</svg>")


def of_exits(title: str, counts: Mapping[str, int]) -> str:
    """How often each reason came, the most frequent first, as bars."""
    most = max(counts.values(), default=0)
    bars = "".join(
        f'<tr><td>{escape(name)}</td><td style="text-align:right">{count:,}</td><td>'
        f'<div style="background:{COLOURS["clean"]};height:.8em;'
        f'width:{max(1, count * WIDEST // most)}px"></div></td></tr>'
        for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    return f"<p>{escape(title)}</p><table>{bars}</table>"


def pairs(values: Mapping[str, int], plain: bool = False) -> list[tuple[str, ...]]:
    """Names and numbers, two of them a row."""
    cells = [(name, f"{value:,}" if plain else hex(value)) for name, value in values.items()]
    cells += [("", "")] * (len(cells) % 2)
    return [(*one, *other) for one, other in zip(cells[::2], cells[1::2])]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], marked: bool = True) -> str:
    """A table of texts; marked, with a square of a colour before what is clean or dirty."""
    def cell(text: str) -> str:
        square = "" if not marked or text not in COLOURS else (
            f'<span style="color:{COLOURS[text]}">&#9632;</span> ')
        return f"<td>{square}{escape(text)}</td>"

    named = tuple(heads)
    head = "".join(f"<th>{escape(text)}</th>" for text in named)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if any(named) else ''}{body}</table>"
