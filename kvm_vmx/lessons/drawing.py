# SPDX-License-Identifier: GPL-2.0-only
"""The pictures of a lesson's run: which there are, and those of the eVMCS, of pages and of bits."""

import functools
from collections.abc import Sequence

from kvm_vmx import fields
from kvm_vmx.lessons.figure import WIDTH, Figure, Shape, cut
from kvm_vmx.lessons.kinds import KINDS
from kvm_vmx.lessons.record import Cell, Picture, PictureStep, Record
from kvm_vmx.lessons.table import WIDTHS
from kvm_vmx.lessons.table import slot as rotated

LABEL, LANE, EDGE = 140, 15, 4
TALLEST, NAMED_LANE = 360, 10   # of all lanes, and the least of one that has room for its name
ROW = 64        # slots in one row of the strip: width, type and the high-half bit of an encoding
SLOT, TOP = 6, 14
NAMED = 8 + ROW // 2 * SLOT + 14    # bit 15 of an encoding is 0, and so the right half is empty


SIDES = ["clean", "page", "L0's copy", "the guest saw"]


def figures(record: Record, picture: Picture) -> list[Figure]:
    """The pictures of a run: its own where a lesson has one, and the whole run at a glance."""
    found = []
    if picture.kind in KINDS:
        found.append(KINDS[picture.kind](picture))
    if picture.slots:
        found.append(strip(picture, record.given["slots"] - 1))
    if picture.columns[-len(SIDES):] == SIDES:
        found.append(three_sides(picture))
    return [*found, glance(picture)]


def glance(picture: Picture) -> Figure:
    """The whole run: a lane a row, a column a step, and in it a lamp or a part for each cell."""
    count, lanes = len(picture.steps), picture.steps[0].rows
    lamps = picture.columns[0] == "bit"
    parts = ["clean: lit while L0 may go on with its copy"] if lamps else picture.columns[1:]
    wide, tall = (WIDTH - LABEL - EDGE) / count, min(LANE, TALLEST / len(lanes))
    figure = Figure("The whole run, a lane for each row, a column for each step. In a column: "
                    + ", ".join(parts) + ".", len(lanes) * tall + 2 * EDGE)
    for lane, row in enumerate(lanes if tall >= NAMED_LANE else []):
        name = f"{row[0].text} {row[1].text}" if lamps else row[0].text
        figure.still.append(["text", {"x": LABEL - 6, "y": EDGE + lane * tall + 11,
                                      "text-anchor": "end", "class": "lane"}, cut(name, 26)])
    for n, step in enumerate(picture.steps):
        left = LABEL + n * wide
        for lane, row in enumerate(step.rows):
            draw = lamp if lamps else bars
            figure.still += draw(row, left, EDGE + lane * tall, wide, tall)
        figure.still.append(["rect", {"x": round(left, 2), "y": 0, "width": round(wide, 2),
                                      "height": figure.height, "class": "hit", "data-step": n}])
        figure.steps.append([["rect", {"x": round(left, 2), "y": 1, "width": round(wide, 2),
                                       "height": figure.height - 2, "rx": 2, "class": "cursor"}]])
    return figure


def bars(row: Sequence[Cell], left: float, top: float, wide: float, tall: float) -> list[Shape]:
    """A row's cells in one column, side by side."""
    rest = row[1:] or row
    gap = min(3, wide / 4)
    part = (wide - gap) / len(rest)
    return [["rect", {
        "x": round(left + gap / 2 + at * part, 2), "y": round(top + tall / 10, 2),
        "width": round(part * .92, 2), "height": round(tall * .8, 2),
        "class": f"k-{cell.kind or 'plain'}" if cell.text else "k-none"}]
        for at, cell in enumerate(rest)]


def lamp(row: Sequence[Cell], left: float, top: float, wide: float, tall: float) -> list[Shape]:
    """A clean bit: lit, out, or not told."""
    text = row[2].text
    kind = {"1": "lit", "0": "out"}.get(text, "dark")
    return [["circle", {"cx": round(left + wide / 2, 2), "cy": top + tall / 2,
                        "r": round(min(5, wide * .42), 2), "class": f"lamp {kind}"}]]


# What the colours of the whole run mean.
COLOURS = {"k-hot": "new in this step", "k-good": "right", "k-bad": "wrong, an exit, or a trap",
           "k-plain": "as it was", "k-none": "nothing yet", "k-dim": "not told",
           "lamp lit": "1", "lamp out": "0", "lamp dark": "not told"}


def glance_legend(figure: Figure) -> str:
    """The colours that the whole run has, with what they mean."""
    used = {parts[1].get("class") for parts in figure.still}
    return "".join(
        '<span><svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">'
        + (f'<circle cx="6" cy="6" r="5" class="{kind}"/>' if kind.startswith("lamp") else
           f'<rect width="12" height="12" class="{kind}"/>')
        + f"</svg>{words}</span>" for kind, words in COLOURS.items() if kind in used)


@functools.cache
def hues() -> dict[str, str]:
    """A colour for each clean group, in the order of the field table."""
    groups = list(dict.fromkeys(row["clean_field"] for row in fields()))
    return {group: f"hsl({n * 360 / len(groups):.0f} 65% {(42, 58)[n % 2]}%)"
            for n, group in enumerate(groups)}


@functools.cache
def names() -> dict[int, str]:
    """The field in each slot, with its encoding."""
    return {rotated(int(row["encoding"], 16)): f"{row['vmcs_field']} {row['encoding']}"
            for row in fields()}


def place(slot: int) -> tuple[float, float]:
    """The middle of a slot in the strip, folded into rows."""
    return 8 + (slot % ROW + .5) * SLOT, TOP + (slot // ROW + .5) * SLOT


def strip(picture: Picture, last: int) -> Figure:
    """Every slot of the field table, the used ones coloured by clean group, but for one that is
    asked for."""
    rows = last // ROW + 1
    figure = Figure(f"the {last + 1} slots of the field table, {ROW} in a row, and those that are "
                    "used", TOP + rows * SLOT + 6)
    for width, text in enumerate(WIDTHS):
        figure.still.append(["text", {"x": 8 + width * 8 * SLOT, "y": 9, "class": "head"}, text])
    for row in range(rows):
        figure.still.append(["rect", {
            "x": 8, "y": TOP + row * SLOT, "height": SLOT - 1,
            "width": SLOT * min(ROW, last + 1 - row * ROW), "class": "slots"}])
    for slot, group in picture.slots:
        x, y = place(slot)
        figure.still.append(["circle", {
            "cx": x, "cy": y, "r": 2.6, "fill": hues()[group],
            "data-tip": f"{names()[slot]}: slot {slot:#05x}, {group}"}])
    figure.steps = [rings(picture, step, last) for step in picture.steps]
    return figure


def rings(picture: Picture, step: PictureStep, last: int) -> list[Shape]:
    """A ring around each slot that the step shows, and the field's name in the empty half."""
    column, known = picture.columns.index("slot"), {slot for slot, _ in picture.slots}
    found = sorted((int(row[column].text, 16), row[0].text) for row in step.rows
                   if row[column].text.startswith("0x"))
    shown: list[Shape] = []
    line: float = 0
    for slot, name in found:
        if slot > last:
            continue
        x, y = place(slot)
        line = max(line + 11, y + 3)
        kind = "ring" if slot in known else "ring hole"
        shown += [["circle", {"cx": x, "cy": y, "r": 5, "class": kind}],
                  ["line", {"x1": x + 5, "y1": y, "x2": NAMED - 3, "y2": line - 3, "class": kind}],
                  ["text", {"x": NAMED, "y": line, "class": "tag"}, cut(name, 30)]]
    return shown


def legend(picture: Picture) -> str:
    """The clean groups with their colours and how many fields each has."""
    counts: dict[str, int] = {}
    for _, group in picture.slots:
        counts[group] = counts.get(group, 0) + 1
    return "".join(f'<span><i style="background:{hues()[group]}"></i>{group} {count}</span>'
                   for group, count in counts.items())


def three_sides(picture: Picture) -> Figure:
    """Each field as KVM's page, L0's copy and the guest have it, and the bit between."""
    lanes = len(picture.steps[0].rows)
    figure = Figure("what KVM's page, L0's copy and the guest have", lanes * 50 + 22)
    for x, text in ((8, "KVM's page"), (168, "L0's copy"), (310, "the guest saw")):
        figure.still.append(["text", {"x": x, "y": 13, "class": "head"}, text])
    for step in picture.steps:
        figure.steps.append([one for n, row in enumerate(step.rows)
                             for one in side_lane(22 + n * 50, row)])
    return figure


def side_lane(y: float, row: Sequence[Cell]) -> list[Shape]:
    """One field: a bit of 0 lets the page's value through to L0 at the next VMRESUME."""
    bit = row[-len(SIDES)].text
    name = row[0].text + (f", {row[1].text}" if len(row) > len(SIDES) + 1 else "")
    passing = {"0": "clean 0: read", "1": "clean 1: trusted"}.get(bit, f"clean {bit}")
    shown = [["text", {"x": 8, "y": y + 9, "class": "label"}, name],
             ["line", {"x1": 92, "y1": y + 27, "x2": 161, "y2": y + 27,
                       "class": "arrow" if bit == "0" else "arrow shut"}],
             ["path", {"d": f"M166 {y + 27} l-7 -4 v8 z", "class": "tip"}],
             ["text", {"x": 127, "y": y + 22, "text-anchor": "middle", "class": "small"}, passing],
             ["line", {"x1": 252, "y1": y + 27, "x2": 303, "y2": y + 27, "class": "arrow"}],
             ["path", {"d": f"M308 {y + 27} l-7 -4 v8 z", "class": "tip"}]]
    for x, cell in zip((8, 168, 310), row[-3:]):
        shown += [["rect", {"x": x, "y": y + 14, "width": 84, "height": 26, "rx": 4,
                            "class": f"box {cell.kind}"}],
                  ["text", {"x": x + 42, "y": y + 31, "text-anchor": "middle", "class": "mono"},
                   cut(cell.text, 15)]]
    return shown
