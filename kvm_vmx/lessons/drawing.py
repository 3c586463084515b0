# SPDX-License-Identifier: GPL-2.0-only
"""A lesson's pictures in SVG: what stands still, and what each step of the run lays over it.

A shape is [tag, attributes] or [tag, attributes, text]; pages carry shapes as JSON and their
script makes elements of them, so that a picture exists once. Lengths are in units of which a
picture is WIDTH wide.
"""

import functools
from dataclasses import dataclass, field
from html import escape

from kvm_vmx import fields
from kvm_vmx.frame import element
from kvm_vmx.lessons.table import WIDTHS
from kvm_vmx.lessons.table import slot as rotated

WIDTH = 400
LABEL, LANE, EDGE = 140, 15, 4
WORST = ("bad", "hot", "good", "", "dim")
ROW = 64        # slots in one row of the strip: width, type and the high-half bit of an encoding
SLOT, TOP = 6, 14
NAMED = 8 + ROW // 2 * SLOT + 14    # bit 15 of an encoding is 0, and so the right half is empty


@dataclass
class Figure:
    """One picture: shapes that stay, and those of each step."""

    title: str
    height: float
    still: list = field(default_factory=list)
    steps: list[list] = field(default_factory=list)

    def as_json(self) -> dict:
        """What the page's script needs of it."""
        return {"steps": self.steps}

    def svg(self, step: int, **attributes) -> str:
        """The picture at one step."""
        still = "".join(shape(*parts) for parts in self.still)
        moving = "".join(shape(*parts) for parts in self.steps[step])
        return element(
            "svg", {"viewBox": f"0 0 {WIDTH} {self.height:g}", "role": "img",
                    "aria-label": self.title, **attributes},
            f'<g>{still}</g><g class="moving">{moving}</g>')


def shape(tag: str, attributes: dict, text: str = "") -> str:
    """One shape as text."""
    return element(tag, attributes, escape(text))


def figures(record) -> list[Figure]:
    """The pictures of a run: its own where a lesson has one, and the whole run at a glance."""
    own = {"assist": assist_pages}.get(record.name)
    found = [own(record)] if own else []
    if record.picture.slots:
        found.append(strip(record.picture))
    return [*found, glance(record.picture)]


def cut(text: str, room: int) -> str:
    """Text that fits into so many characters."""
    return text if len(text) <= room else text[:room - 1] + "…"


def glance(picture) -> Figure:
    """The whole run: a lane a row, a column a step, a part of it for each cell."""
    count, lanes = len(picture.steps), len(picture.steps[0].rows)
    wide = (WIDTH - LABEL - EDGE) / count
    figure = Figure("the whole run: a lane for each row, a column for each step",
                    lanes * LANE + 2 * EDGE)
    for lane, row in enumerate(picture.steps[0].rows):
        figure.still.append(["text", {"x": LABEL - 6, "y": EDGE + lane * LANE + 11,
                                      "text-anchor": "end", "class": "lane"}, cut(row[0].text, 26)])
    for n, step in enumerate(picture.steps):
        for lane, row in enumerate(step.rows):
            rest = row[1:] or row
            part = (wide - 3) / len(rest)
            figure.still += [["rect", {
                "x": round(LABEL + n * wide + 1.5 + at * part, 2), "y": EDGE + lane * LANE + 1.5,
                "width": round(part - .5, 2), "height": LANE - 3,
                "class": f"k-{cell.kind or 'plain'}" if cell.text else "k-none"}]
                for at, cell in enumerate(rest)]
        figure.still.append(["rect", {
            "x": round(LABEL + n * wide, 2), "y": 0, "width": round(wide, 2),
            "height": figure.height, "class": "hit", "data-step": n}])
        figure.steps.append([["rect", {
            "x": round(LABEL + n * wide, 2), "y": 1, "width": round(wide, 2),
            "height": figure.height - 2, "rx": 2, "class": "cursor"}]])
    return figure


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


def strip(picture) -> Figure:
    """Every slot of the field table, the used ones coloured by clean group."""
    last = max(slot for slot, _ in picture.slots)
    rows = last // ROW + 1
    figure = Figure(f"the {last + 1} slots of the field table, {ROW} in a row, and the "
                    f"{len(picture.slots)} that are used", TOP + rows * SLOT + 6)
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


def rings(picture, step, last: int) -> list:
    """A ring around each slot that the step shows, and the field's name in the empty half."""
    column, known = picture.columns.index("slot"), {slot for slot, _ in picture.slots}
    found = sorted((int(row[column].text, 16), row[0].text) for row in step.rows
                   if row[column].text.startswith("0x"))
    shown, line = [], 0
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


def legend(picture) -> str:
    """The clean groups with their colours and how many fields each has."""
    counts = {}
    for _, group in picture.slots:
        counts[group] = counts.get(group, 0) + 1
    return "".join(f'<span><i style="background:{hues()[group]}"></i>{group} {count}</span>'
                   for group, count in counts.items())


def assist_pages(record) -> Figure:
    """Each CPU, its assist page, the eVMCS that the page names and the one that L0 has active."""
    evmcs = record.given["evmcs"]
    lanes = len(record.picture.steps[0].rows)
    tall = max(lanes, len(evmcs)) * 58 + 24
    figure = Figure("each CPU's assist page and the eVMCS that it names", tall)
    for x, text in ((6, "L1's CPUs"), (122, "their assist pages"), (312, "eVMCSs")):
        figure.still.append(["text", {"x": x, "y": 13, "class": "head"}, text])
    middle = {}
    for n, gpa in enumerate(evmcs):
        y = 24 + n * (tall - 24) / len(evmcs)
        middle[f"{gpa:#x}"] = y + 18
        figure.still += [["rect", {"x": 312, "y": y, "width": 82, "height": 36, "rx": 4,
                                   "class": "box"}],
                         ["text", {"x": 353, "y": y + 15, "text-anchor": "middle",
                                   "class": "label"}, f"vCPU {n}"],
                         ["text", {"x": 353, "y": y + 28, "text-anchor": "middle",
                                   "class": "mono"}, f"{gpa:#x}"]]
    for step in record.picture.steps:
        shown = []
        for n, row in enumerate(step.rows):
            shown += assist_lane(24 + n * (tall - 24) / lanes, row, middle)
        figure.steps.append(shown)
    return figure


def assist_lane(y: float, row, middle: dict) -> list:
    """One CPU of that picture: the arrow is what its page says, the line what L0 holds."""
    cpu, msr, enlighten, current, active = (cell.text for cell in row)
    moved = any(cell.kind == "hot" for cell in row)
    shown = [["rect", {"x": 6, "y": y, "width": 78, "height": 44, "rx": 4,
                       "class": "box moved" if moved else "box"}],
             ["text", {"x": 14, "y": y + 17, "class": "label"}, cpu],
             ["text", {"x": 14, "y": y + 33, "class": "mono"}, f"MSR {msr}"],
             ["line", {"x1": 84, "y1": y + 22, "x2": 118, "y2": y + 22, "class": "arrow"}],
             ["path", {"d": f"M122 {y + 22} l-7 -4 v8 z", "class": "tip"}],
             ["rect", {"x": 122, "y": y, "width": 120, "height": 44, "rx": 4,
                       "class": "box moved" if moved else "box"}],
             ["text", {"x": 129, "y": y + 17, "class": "mono"}, f"enlighten {enlighten}"],
             ["text", {"x": 129, "y": y + 33, "class": "mono"}, f"nested {current}"]]
    if current in middle:
        to = middle[current]
        shown += [["line", {"x1": 242, "y1": y + 22, "x2": 306, "y2": to, "class": "arrow"}],
                  ["path", {"d": f"M311 {to} l-7 -4 v8 z", "class": "tip"}]]
    if active in middle:
        to = middle[active]
        shown += [["rect", {"x": 309, "y": to - 21, "width": 88, "height": 42, "rx": 6,
                            "class": "active"}],
                  ["text", {"x": 353, "y": to + 31, "text-anchor": "middle", "class": "note"},
                   f"active in L0: {cpu}"]]
    return shown
