# SPDX-License-Identifier: GPL-2.0-only
"""The pictures that a lesson chooses by name, as the kind of its Picture: KINDS has them all.

Each is drawn of the steps alone, of columns as its function says, so that a lesson of somebody
else's has them too.
"""

from collections.abc import Callable, Sequence

from kvm_vmx import fields
from kvm_vmx.lessons.figure import WIDTH, Figure, Shape, cut
from kvm_vmx.lessons.kinds_code import bitmap, bits, code
from kvm_vmx.lessons.kinds_cpus import cpus, pages
from kvm_vmx.lessons.kinds_state import amounts, areas, ladder, twins
from kvm_vmx.lessons.record import Cell, Picture

FLOOR, STOREY = 34, 36          # the path's left end, the height of a level
NAMES, LANE = 128, 15           # the strip's left end, the height of a lane
ROOM, WHEN = 24, 34             # the time line's left end, the height of a row
LINE, BYTE, ROWS = 64, 5.5, 16  # of the page's map: bytes in a line, a byte's width, lines


def floors(picture: Picture) -> Figure:
    """The path of the processor through the levels, a lane a level, up to the step that is shown;
    where a step tells no level the path goes on unseen."""
    lanes = [row[0].text for row in picture.steps[0].rows]
    wide = (WIDTH - FLOOR - 12) / max(len(picture.steps) - 1, 1)
    figure = Figure("the path through the levels, a crossing at a time", len(lanes) * STOREY + 8)
    for n, name in enumerate(lanes):
        y = 4 + n * STOREY
        figure.still += [["rect", {"x": FLOOR - 8, "y": y, "width": WIDTH - FLOOR + 4,
                                   "height": STOREY - 6, "rx": 4, "class": "box"}],
                         ["text", {"x": 4, "y": y + 18, "class": "head"}, name]]
    places: list[tuple[float, float]] = []
    for n, step in enumerate(picture.steps):
        lane = next((at for at, row in enumerate(step.rows) if row[1].kind == "good"), None)
        if lane is not None:
            places.append((round(FLOOR + n * wide, 2), 4 + lane * STOREY + STOREY / 2 - 3))
        lines = [["line", {"x1": a, "y1": b, "x2": c, "y2": d, "class": "arrow"}]
                 for (a, b), (c, d) in zip(places, places[1:])]
        x, low = places[-1]
        figure.steps.append(lines + ([["circle", {"cx": x, "cy": low, "r": 4, "class": "tip"}]]
                                     if lane is not None else
                                     [["line", {"x1": x, "y1": low, "x2": WIDTH - 8, "y2": low,
                                                "class": "arrow shut"}]]))
    return figure


def lanes(picture: Picture) -> Figure:
    """A strip with a lane for each function: columns are group, function, field, how it is done;
    an access that traps, whose last but one cell is bad, goes down to L0 and back."""
    rows = picture.steps[-1].rows
    names = list(dict.fromkeys(row[1].text for row in rows))
    wide = (WIDTH - NAMES - 8) / len(rows)
    ground = 16 + len(names) * LANE + 10
    figure = Figure("who asks: a lane for each function of KVM's, and L0 below", ground + 25)
    for n, name in enumerate([*names, "L0, by a trap under VMCS"]):
        y = ground if n == len(names) else 16 + n * LANE
        figure.still += [["text", {"x": NAMES - 6, "y": y + 10, "text-anchor": "end",
                                   "class": "lane"}, cut(name, 28)],
                         ["rect", {"x": NAMES, "y": y + 1, "width": WIDTH - NAMES - 4,
                                   "height": LANE - 3, "rx": 3, "class": "box"}]]
    for n, row in enumerate(rows):
        if not n or row[0].text != rows[n - 1][0].text:
            x = NAMES + 4 + n * wide
            figure.still.append(["text", {"x": x, "y": 10, "class": "head"}, row[0].text])
    for step in picture.steps:
        shown: list[Shape] = []
        words = ""
        for n, row in enumerate(step.rows):
            if row[1].text:
                parts, words = access(NAMES + 4 + (n + .5) * wide,
                                      16 + names.index(row[1].text) * LANE + 7, ground + 7, row)
                shown += parts
        figure.steps.append([*shown, ["text", {
            "x": NAMES, "y": ground + 21, "class": "tag"}, words]] if shown else [])
    return figure


def access(x: float, y: float, ground: float, row: Sequence[Cell]) -> tuple[list[Shape], str]:
    """One access of that strip, and its words."""
    x = round(x, 2)
    trap = [["line", {"x1": x, "y1": y, "x2": x, "y2": ground, "class": "trap"}],
            ["circle", {"cx": x, "cy": ground, "r": 2.5, "class": "trap"}]]
    shown = [*(trap if row[-2].kind == "bad" else []),
             ["circle", {"cx": x, "cy": y, "r": 3.5, "class": "tip"}]]
    return shown, f"{row[2].text}: {row[-2].text}"


def timeline(picture: Picture) -> Figure:
    """Rows through time: the first column names a row, each other one is a moment; a dot is good,
    bad, or neither yet."""
    names = picture.columns[1:]
    rows = picture.steps[0].rows
    wide = (WIDTH - ROOM) / len(names)
    figure = Figure("each row from the left to the right, a dot a moment", 18 + len(rows) * WHEN)
    for n, name in enumerate(names):
        figure.still.append(["text", {"x": ROOM + n * wide, "y": 12, "class": "head"}, name])
    for n, row in enumerate(rows):
        y = 18 + n * WHEN + 10
        figure.still += [["text", {"x": 8, "y": y + 3, "class": "label"}, row[0].text],
                         ["line", {"x1": ROOM + 5, "y1": y, "x2": WIDTH - 6, "y2": y,
                                   "class": "slots rail"}]]
    for step in picture.steps:
        figure.steps.append([part for n, row in enumerate(step.rows) for m, cell in
                             enumerate(row[1:]) if cell.text
                             for part in moment(ROOM + m * wide, 18 + n * WHEN + 10, cell)])
    return figure


def moment(x: float, y: float, cell: Cell) -> list[Shape]:
    """One dot and its words."""
    kind = {"good": "dot good", "bad": "dot bad"}.get(cell.kind, "dot")
    return [["circle", {"cx": round(x + 5, 2), "cy": y, "r": 4,
                        "class": "dot unknown" if cell.text == "?" else kind}],
            ["text", {"x": round(x, 2), "y": y + 15, "class": "small"}, cut(cell.text, 15)]]


def page(picture: Picture) -> Figure:
    """The eVMCS as a map, 64 bytes a line: columns are bit, clean group, clean, and the page's
    field that was written; a group's fields are marked while its bit is 0 and L0 is to read them
    again, and otherwise in the step in which it does."""
    figure = Figure("the eVMCS, 64 bytes a line: brown is what L0 is to read again, framed the "
                    "field that is written, green what L0 reads", 16 + ROWS * 11)
    for line in range(ROWS):
        y = 14 + line * 11
        figure.still += [["text", {"x": 4, "y": y + 8, "class": "small"}, f"{line * LINE:#05x}"],
                         ["rect", {"x": 34, "y": y, "width": LINE * BYTE, "height": 9,
                                   "class": "slots"}]]
    groups: dict[str, list[tuple[int, int]]] = {}
    places: dict[str, tuple[int, int]] = {}
    for row in fields():
        span = places[row["vmcs_field"]] = row["offset"], row["size"]
        groups.setdefault(row["clean_field"], []).append(span)
        figure.still.append(area(*span, "box"))
    before = picture.steps[0].rows
    for step in picture.steps:
        dirty = [row[1].text for row in step.rows if row[2].text == "0"]
        hidden = any(row[2].text == "?" for row in step.rows)
        named, kind = (step.read, "read") if step.read else (dirty, "dirty")
        figure.steps.append([
            *(area(*span, kind) for group in named for span in groups.get(group, ())),
            *(area(*places[field], "written") for field in news(step.rows, before)
              if field in places),
            ["text", {"x": 34, "y": 10, "class": "tag"},
             "?" if hidden else cut(("read: " if step.read else "to be read: ")
                                    + (", ".join(named) or "none"), 70)]])
        before = step.rows
    return figure


def news(rows: list[list[Cell]], before: list[list[Cell]]) -> list[str]:
    """The fields that were written since the step before, as far as there is a page's column."""
    return [row[3].text.partition(" ")[0] for row, old in zip(rows, before)
            if len(row) > 3 and row[3].text and row[3].text != old[3].text]


def area(offset: int, size: int, kind: str) -> Shape:
    """A field in that map; none goes over the end of a line."""
    return ["rect", {"x": round(34 + offset % LINE * BYTE, 2), "y": 14 + offset // LINE * 11,
                     "width": round(size * BYTE - .5, 2), "height": 9, "class": kind}]


KINDS: dict[str, Callable[[Picture], Figure]] = {
    "floors": floors, "lanes": lanes, "timeline": timeline, "page": page, "code": code,
         "bits": bits, "bitmap": bitmap, "cpus": cpus, "pages": pages, "ladder": ladder,
         "twins": twins, "amounts": amounts, "areas": areas}
