# SPDX-License-Identifier: GPL-2.0-only
"""What a notebook shows: an eVMCS page by area with its clean bits, exits by reason; no script."""

from collections.abc import Iterable, Mapping
from html import escape

from kvm_vmx.machine.fields import fields

PAGE, ROW, UNIT, HIGH = 1024, 128, 6, 14        # bytes of the page and of a row; pixels
# A group that L0 may take from its cache, one that it reads again, and what has no clean bit.
COLOURS = {"clean": "#4c9a6a", "dirty": "#d08a2e", "always read": "#9aa0a6"}
WIDEST = 240


def state(row: Mapping[str, object], clean_fields: int) -> str:
    """What the clean bits say of a field: "clean", "dirty", or "always read" where none does."""
    mask = int(str(row["clean_mask"]), 16)
    if row["clean_field"] in ("NONE", "ALL") or not mask:
        return "always read"
    return "clean" if clean_fields & mask else "dirty"


def of_page(page: bytes, gpa: int, clean_fields: int) -> str:
    """An eVMCS, a rectangle a field where it lies in the page, and a row for each clean bit."""
    shapes: list[str] = []
    groups: dict[tuple[str, int], list[str]] = {}
    for row in fields():
        offset, size, name = row["offset"], row["size"], row["vmcs_field"]
        value = int.from_bytes(page[offset:offset + size], "little")
        said = state(row, clean_fields)
        groups.setdefault((row["clean_field"], int(row["clean_mask"], 16)), []).append(name)
        shapes.append(
            f'<rect x="{offset % ROW * UNIT}" y="{offset // ROW * HIGH}" width="{size * UNIT - 1}" '
            f'height="{HIGH - 1}" fill="{COLOURS[said]}"><title>{escape(name)} = {value:#x}: '
            f'offset {offset}, {escape(row["clean_field"])}, {said}</title></rect>')
    rows = [(group, mask.bit_length() - 1, "clean" if clean_fields & mask else "dirty", names)
            for (group, mask), names in groups.items() if group not in ("NONE", "ALL")]
    return (f"<p>eVMCS at {gpa:#x}, clean fields {clean_fields:#06x}</p>"
            f'<svg width="{ROW * UNIT}" height="{PAGE // ROW * HIGH}" role="img">'
            f"{''.join(shapes)}</svg>"
            + table(("bit", "clean group", "", "fields"), [
                (str(bit), group, said, f"{len(names)}: {names[0]}" + " ..." * (len(names) > 1))
                for group, bit, said, names in sorted(rows, key=lambda row: row[1])]))


def of_exits(title: str, counts: Mapping[str, int]) -> str:
    """How often each reason came, the most frequent first, as bars."""
    most = max(counts.values(), default=0)
    bars = "".join(
        f'<tr><td>{escape(name)}</td><td style="text-align:right">{count:,}</td><td>'
        f'<div style="background:{COLOURS["clean"]};height:.8em;'
        f'width:{max(1, count * WIDEST // most)}px"></div></td></tr>'
        for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    return f"<p>{escape(title)}</p><table>{bars}</table>"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of texts, a colour before what is clean or dirty."""
    def cell(text: str) -> str:
        style = f' style="color:{COLOURS[text]}"' if text in COLOURS else ""
        return f"<td{style}>{escape(text)}</td>"

    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
