# SPDX-License-Identifier: GPL-2.0-only
"""The pictures of a state: rungs of a ladder, two runs side by side, amounts, a VMCS by areas."""

from collections.abc import Sequence

from kvm_vmx.lessons.figure import WIDTH, Figure, Shape, cut
from kvm_vmx.lessons.record import Cell, Picture

RUNG = 22                       # the height of a rung
TWIN = 26                       # of a step in two runs
BAR, BARS = 62, 320             # where an amount begins, the longest
ACROSS, FIELD = 4, 12           # fields in a line of an area, the height of one


def ladder(picture: Picture) -> Figure:
    """Rungs from the bottom to the top: columns are rung, found, go on; a good one holds, a bad
    one is broken, and one that is not told is dashed."""
    rows = picture.steps[0].rows
    figure = Figure("the ladder, from the bottom up: what is looked at, and what is found",
                    len(rows) * RUNG + 10)
    for x in (14, 44):
        figure.still.append(["line", {"x1": x, "y1": 4, "x2": x, "y2": figure.height - 4,
                                      "class": "rail"}])
    for n, row in enumerate(rows):
        y = figure.height - (n + 1) * RUNG + 6
        figure.still.append(["text", {"x": 54, "y": y + 4, "class": "label"}, row[0].text])
    for step in picture.steps:
        shown = []
        for n, row in enumerate(step.rows):
            shown += rung(figure.height - (n + 1) * RUNG + 6, n + 1, row, n == len(rows) - 1)
        figure.steps.append(shown)
    return figure


def rung(y: float, number: int, row: Sequence[Cell], top: bool) -> list[Shape]:
    """One rung: whole, broken, or not told."""
    kind, found = row[1].kind, row[1].text
    words = ["text", {"x": WIDTH - 4, "y": y + 4, "text-anchor": "end", "class": "tag"},
             cut(found, 22)]
    mark = ["text", {"x": 4, "y": y + 4, "class": "small"}, "" if top else str(number)]
    if kind == "bad" and not top:
        return [["line", {"x1": 14, "y1": y, "x2": 24, "y2": y + 4, "class": "rung bad"}],
                ["line", {"x1": 44, "y1": y, "x2": 34, "y2": y + 4, "class": "rung bad"}], words,
                mark]
    state = kind if kind in ("good", "bad") else "seen" if found and kind != "dim" else "unknown"
    return [["line", {"x1": 14, "y1": y, "x2": 44, "y2": y, "class": f"rung {state}"}], words,
            mark]


def twins(picture: Picture) -> Figure:
    """Two runs of the same steps: columns are step, what the one shows, what the other does; where
    they differ the sign between them says so."""
    rows = picture.steps[0].rows
    figure = Figure("the same steps twice, and where the two differ", 18 + len(rows) * TWIN)
    for x, anchor, text in ((130, "start", picture.columns[1]), (394, "end", picture.columns[2])):
        figure.still.append(["text", {"x": x, "y": 11, "text-anchor": anchor, "class": "head"},
                             cut(text, 32)])
    for n, row in enumerate(rows):
        figure.still.append(["text", {"x": 4, "y": 18 + n * TWIN + 14, "class": "lane"},
                             cut(row[0].text, 25)])
    for step in picture.steps:
        shown = []
        for n, row in enumerate(step.rows):
            y, told = 18 + n * TWIN, bool(row[1].text or row[2].text)
            kinds = ["box dim"] * 2 if not told else [
                "box bad" if row[1].kind == "bad" else "box", "box"]
            for x, cell, kind in zip((130, 282), row[1:], kinds):
                shown += [["rect", {"x": x, "y": y, "width": 112, "height": TWIN - 5, "rx": 4,
                                    "class": kind}],
                          ["text", {"x": x + 5, "y": y + 14, "class": "mono"},
                           cut(cell.text, 20)]]
            if told:
                same = row[1].text == row[2].text
                shown.append(["text", {"x": 262, "y": y + 15, "text-anchor": "middle",
                                       "class": f"sign {'same' if same else 'bad'}"},
                              "=" if same else "≠"])
        figure.steps.append(shown)
    return figure


def amounts(picture: Picture) -> Figure:
    """Bars of blocks, one a column: the first column names a block, the others have its amount;
    what is bad is what counts."""
    names = picture.columns[1:]
    figure = Figure("a bar for each way, a part for each thing, as long as its amount",
                    len(names) * 44 + 8)
    for n, name in enumerate(names):
        figure.still.append(["text", {"x": 4, "y": 8 + n * 44 + 15, "class": "label"}, name])
    for step in picture.steps:
        table = [[row[n].text for row in step.rows] for n in range(1, len(names) + 1)]
        most = max((sum(int(text) for text in column if text.isdigit()) for column in table),
                   default=0) or 1
        figure.steps.append([part for n in range(len(names))
                             for part in bar(8 + n * 44, step.rows, n + 1, BARS / most)])
    return figure


def bar(y: float, rows: list[list[Cell]], column: int, scale: float) -> list[Shape]:
    """One bar, block by block where there are few, and its words below."""
    x, parts, said = float(BAR), [], []
    for row in rows:
        text, kind = row[column].text, row[column].kind
        if not text.isdigit():
            return [["rect", {"x": BAR, "y": y, "width": BARS, "height": 20, "class": "box dim"}],
                    ["text", {"x": BAR + 6, "y": y + 14, "class": "tag"}, text]]
        count = int(text)
        said.append(f"{count} {row[0].text}")
        blocks = count if count * scale / max(count, 1) > 4 else min(count, 1)
        for _ in range(blocks):
            wide = count * scale / blocks
            parts.append(["rect", {"x": round(x + .5, 2), "y": y,
                                   "width": round(max(wide - 1, .5), 2),
                                   "height": 20, "class": f"block {kind}".strip()}])
            x += wide
    return [*parts, ["text", {"x": BAR, "y": y + 31, "class": "mono"}, ", ".join(said)]]


def areas(picture: Picture) -> Figure:
    """A VMCS by its areas: columns are field, area, value; a field is filled once its value is
    told, and bad where that is refused."""
    by_area: dict[str, list[int]] = {}
    for n, row in enumerate(picture.steps[0].rows):
        by_area.setdefault(row[1].text, []).append(n)
    spots, y = {}, 0
    figure = Figure("the VMCS by its areas, a box for each field of the table", 0)
    for name, rows in by_area.items():
        figure.still.append(["text", {"x": 4, "y": y + 12, "class": "head"},
                             f"{name}: {len(rows)} fields"])
        for at, n in enumerate(rows):
            spots[n] = 4 + at % ACROSS * 98, y + 17 + at // ACROSS * (FIELD + 2)
        y += 20 + -(-len(rows) // ACROSS) * (FIELD + 2)
    figure.height = y + 4
    for step in picture.steps:
        shown = []
        for n, row in enumerate(step.rows):
            (x, top), kind = spots[n], row[2].kind
            filled = {"dim": "box dim", "bad": "box bad", "hot": "box hot"}.get(kind, "box good")
            shown += [["rect", {"x": x, "y": top, "width": 95, "height": FIELD, "rx": 2,
                                "class": filled}],
                      ["text", {"x": x + 3, "y": top + 9, "class": "fine"},
                       cut(row[0].text.removeprefix(f"{row[1].text.upper()}_"), 21)]]
        figure.steps.append(shown)
    return figure
