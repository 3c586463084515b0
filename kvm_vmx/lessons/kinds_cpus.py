# SPDX-License-Identifier: GPL-2.0-only
"""The pictures of CPUs: what comes and goes on them, and the eVMCSs that their pages name."""

from collections.abc import Sequence

from kvm_vmx.lessons.figure import WIDTH, Figure, Shape
from kvm_vmx.lessons.record import Cell, Picture

NAME, TALL = 40, 46             # the left end of a lane, its height
BOX, ENDS = 50, 312             # a CPU of the pages' picture, where the eVMCSs begin


def value(row: Sequence[Cell], titles: list[str], name: str) -> str:
    """A cell's text by its column; "" where there is no such column."""
    return row[titles.index(name)].text if name in titles else ""


def cpus(picture: Picture) -> Figure:
    """A lane for each CPU, a column a step: columns are CPU, online, page, VMX, vCPUs, executed.
    A vCPU is a ball, and where it changes the lane an arrow."""
    titles, rows, count = picture.columns, picture.steps[0].rows, len(picture.steps)
    wide = (WIDTH - NAME - 4) / count
    figure = Figure("a lane for each CPU: dashed while it is offline, green while VMX is on, with "
                    "a line below while it has an assist page; a ball is a vCPU, × a VMCLEAR",
                    8 + len(rows) * TALL)
    for n, row in enumerate(rows):
        figure.still += [["text", {"x": 4, "y": 8 + n * TALL + 22, "class": "label"},
                          row[0].text],
                         ["rect", {"x": NAME + 1, "y": 6 + n * TALL, "width": WIDTH - NAME - 6,
                                   "height": TALL - 8, "class": "lane-off"}]]
    drawn: list[Shape] = []
    moves: list[Shape] = []
    at: dict[int, tuple[tuple[float, float], int]] = {}
    for n, step in enumerate(picture.steps):
        left = NAME + n * wide
        for lane, row in enumerate(step.rows):
            y = 6 + lane * TALL
            drawn += stretch(left, y, wide, row, titles)
            for vcpu in here(row, titles):
                place = round(left + wide / 2 + vcpu * 3, 2), y + 13 + 14 * (vcpu % 2)
                if vcpu in at:
                    (x1, y1), lane_before = at[vcpu]
                    moves.append(["line", {"x1": x1, "y1": y1, "x2": place[0], "y2": place[1],
                                           "class": "arrow" if lane != lane_before
                                           else "arrow stay"}])
                at[vcpu] = place, lane
                drawn += ball(*place, str(vcpu))
        left_over = {vcpu for row in step.rows for vcpu in here(row, titles)}
        at = {vcpu: place for vcpu, place in at.items() if vcpu in left_over}
        now = ["rect", {"x": round(left, 2), "y": 1, "width": round(wide, 2),
                         "height": figure.height - 2, "rx": 2, "class": "cursor"}]
        figure.steps.append([*[part for part in drawn if part[0] == "rect"], *moves,
                             *[part for part in drawn if part[0] != "rect"], now])
    return figure


def here(row: Sequence[Cell], titles: list[str]) -> list[int]:
    """The vCPUs of a CPU, as far as they are told."""
    return [int(vcpu) for vcpu in value(row, titles, "vCPUs").split() if vcpu.isdigit()]


def stretch(left: float, y: float, wide: float, row: Sequence[Cell],
            titles: list[str]) -> list[Shape]:
    """A CPU during one step."""
    if "?" in (value(row, titles, "online"), value(row, titles, "VMX")):
        return [["rect", {"x": round(left + 1, 2), "y": y, "width": round(wide - 2, 2),
                          "height": TALL - 8, "class": "lane-off"}],
                ["text", {"x": round(left + wide / 2, 2), "y": y + 23, "text-anchor": "middle",
                          "class": "tag"}, "?"]]
    kind = ("lane-off" if value(row, titles, "online") != "yes" else
            "lane-vmx" if value(row, titles, "VMX") == "on" else "lane-on")
    parts = [["rect", {"x": round(left + 1, 2), "y": y, "width": round(wide - 2, 2),
                       "height": TALL - 8, "class": kind}]]
    if value(row, titles, "page") == "yes":
        parts.append(["rect", {"x": round(left + 1, 2), "y": y + TALL - 10,
                               "width": round(wide - 2, 2), "height": 3, "class": "lane-page"}])
    clears = value(row, titles, "executed").split(", ")
    if found := next((name for name in clears if name.endswith("VMCLEAR")), None):
        times = found.partition(" ")[0] if found != "VMCLEAR" else ""
        parts.append(["text", {"x": round(left + 3, 2), "y": y + 32, "class": "tag bad"},
                      f"×{times}"])
    return parts


def ball(x: float, y: float, vcpu: str) -> list[Shape]:
    """A vCPU."""
    return [["circle", {"cx": x, "cy": y, "r": 6.5, "class": "ball"}],
            ["text", {"x": x, "y": y + 3, "text-anchor": "middle", "class": "mono"}, vcpu]]


def pages(picture: Picture) -> Figure:
    """CPUs, their assist pages, and arrows to the eVMCSs that these name, which picture.places
    has as (address, name): columns are CPU, enlighten_vmentry, current_nested_vmcs, active in L0,
    and, where there are, MSR, key, whose and revision."""
    titles, lanes = picture.columns, len(picture.steps[0].rows)
    tall = max(lanes * 56, len(picture.places) * 55) + 24
    figure = Figure("each CPU's assist page and the eVMCS that it names: dashed where L0 has none "
                    "or another one active there, red where it is nobody's", tall + 4)
    for x, text in ((6, "L1's CPUs"), (122, "their assist pages"), (ENDS, "eVMCSs")):
        figure.still.append(["text", {"x": x, "y": 13, "class": "head"}, text])
    middle = {}
    for n, (gpa, name) in enumerate(picture.places):
        y = 24 + n * (tall - 24) / len(picture.places)
        middle[gpa] = y + 18
        figure.still += [["rect", {"x": ENDS, "y": y, "width": 82, "height": 36, "rx": 4,
                                   "class": "box"}],
                         ["text", {"x": ENDS + 41, "y": y + 28, "text-anchor": "middle",
                                   "class": "mono"}, gpa]]
        if name:
            figure.still.append(["text", {"x": ENDS + 41, "y": y + 15, "text-anchor": "middle",
                                          "class": "label"}, name])
    for step in picture.steps:
        shown = []
        for n, row in enumerate(step.rows):
            shown += lane(24 + n * (tall - 24) / lanes, row, titles, middle)
        figure.steps.append(shown)
    return figure


def lane(y: float, row: Sequence[Cell], titles: list[str], middle: dict[str, float]) -> list[Shape]:
    """One CPU of that picture and its arrow."""
    current = value(row, titles, "current_nested_vmcs")
    active = value(row, titles, "active in L0")
    below = (f"MSR {value(row, titles, 'MSR')}" if "MSR" in titles else
             f"key {value(row, titles, 'key')}")
    moved = any(cell.kind == "hot" for cell in row)
    kind = "box moved" if moved else "box"
    shown = [["rect", {"x": 6, "y": y, "width": 78, "height": 44, "rx": 4, "class": kind}],
             ["text", {"x": 14, "y": y + 17, "class": "label"}, row[0].text],
             ["text", {"x": 14, "y": y + 33, "class": "mono"}, below],
             ["line", {"x1": 84, "y1": y + 22, "x2": 118, "y2": y + 22, "class": "arrow"}],
             ["path", {"d": f"M122 {y + 22} l-7 -4 v8 z", "class": "tip"}],
             ["rect", {"x": 122, "y": y, "width": 120, "height": 44, "rx": 4, "class": kind}],
             ["text", {"x": 129, "y": y + 17, "class": "mono"},
              f"enlighten {value(row, titles, 'enlighten_vmentry')}"],
             ["text", {"x": 129, "y": y + 33, "class": "mono"}, f"nested {current}"]]
    if current in middle:
        nobody = value(row, titles, "whose") == "no vCPU"
        shown += arrow(y + 22, middle[current], active == current, nobody)
        if "whose" in titles:
            shown.append(["text", {"x": ENDS + 41, "y": middle[current] - 3, "text-anchor":
                                   "middle", "class": "label"}, value(row, titles, "whose")])
    if active in middle:
        to = middle[active]
        shown += [["rect", {"x": ENDS - 3, "y": to - 21, "width": 88, "height": 42, "rx": 6,
                            "class": "active"}],
                  ["text", {"x": ENDS + 41, "y": to + 30, "text-anchor": "middle",
                            "class": "note"}, f"active: {row[0].text}"]]
    return shown


def arrow(begin: float, end: float, active: bool, nobody: bool) -> list[Shape]:
    """From a page to an eVMCS."""
    kind = "stale" if nobody else "" if active else "shut"
    return [["line", {"x1": 242, "y1": begin, "x2": 306, "y2": end,
                      "class": f"arrow {kind}".strip()}],
            ["path", {"d": f"M311 {end} l-7 -4 v8 z", "class": f"tip {kind}".strip()}]]
