# SPDX-License-Identifier: GPL-2.0-only
"""The pictures of bits and bytes: sites in the text, the bits of an encoding, the MSR bitmap."""

import math
import re
from collections.abc import Sequence

from kvm_vmx.lessons.figure import WIDTH, Figure, Shape, cut
from kvm_vmx.lessons.record import Cell, Picture

SITE, BYTE, RAIL, FAR = 132, 17, 240, 362   # where bytes and the text behind them begin, its end
HIGH = 27                                   # of a site
BIT, LEFT = 20, 8                           # the width of a bit, the left end of its row
# By bit, the highest first: what a bit of an encoding is for.
PARTS = ["dim", "good", "good", "dim", "link", "link", *["hot"] * 9, ""]
TURN = 6
QUARTERS = ("reads, 0 to 0x1fff", "reads, 0xc0000000 on", "writes, 0 to 0x1fff",
            "writes, 0xc0000000 on")
QUARTER, MAP, LINE = 1024, 112, 17          # bytes; where the map begins, the height of a quarter


def distance(cell: Cell) -> int:
    """How far a cell's jump leads, 0 where it tells none."""
    found = re.fullmatch(r"jmp \+?(-?0x[0-9a-f]+|-?\d+)", cell.text)
    return int(found[1], 0) if found else 0


def code(picture: Picture) -> Figure:
    """Sites in the text: columns are site, bytes, instruction; a NOP leads to the next instruction,
    a JMP as far as it says, which is drawn to a logarithmic scale."""
    far = max((abs(distance(row[2])) for step in picture.steps for row in step.rows), default=0)
    scale = (FAR - RAIL - 16) / math.log2(max(far, 32) / 8)
    rows = picture.steps[0].rows
    figure = Figure("each site's five bytes, and where the processor goes on: behind them, or as "
                    "far away as the JMP says, by a logarithmic scale", 22 + len(rows) * HIGH)
    for x, text in ((4, "site"), (SITE, "five bytes"), (RAIL - 12, "next, or the target")):
        figure.still.append(["text", {"x": x, "y": 11, "class": "head"}, text])
    for n, row in enumerate(rows):
        y = 18 + n * HIGH
        figure.still += [["text", {"x": 4, "y": y + 18, "class": "lane"}, cut(row[0].text, 28)],
                         ["line", {"x1": RAIL - 12, "y1": y + 14, "x2": WIDTH - 4, "y2": y + 14,
                                   "class": "slots rail"}],
                         ["rect", {"x": RAIL - 6, "y": y + 8, "width": 9, "height": 12, "rx": 2,
                                   "class": "box"}]]
    for step in picture.steps:
        figure.steps.append([part for n, row in enumerate(step.rows)
                             for part in site(18 + n * HIGH, row, scale)])
    return figure


def site(y: float, row: Sequence[Cell], scale: float) -> list[Shape]:
    """One site: its bytes, and the arrow to where it goes on."""
    parts = []
    for n, byte in enumerate(row[1].text.split()):
        parts += [["rect", {"x": SITE + n * BYTE, "y": y + 6, "width": BYTE - 2, "height": 16,
                            "rx": 2, "class": f"box {row[1].kind}"}],
                  ["text", {"x": SITE + n * BYTE + 7.5, "y": y + 17, "text-anchor": "middle",
                            "class": "mono"}, byte]]
    begin, says = SITE + 5 * BYTE, row[2].text
    if says == "?":
        return [*parts, ["line", {"x1": begin, "y1": y + 14, "x2": RAIL - 12, "y2": y + 14,
                                  "class": "arrow shut"}],
                ["text", {"x": RAIL + 10, "y": y + 17, "class": "tag"}, "?"]]
    if not (far := distance(row[2])):
        return [*parts, ["line", {"x1": begin, "y1": y + 14, "x2": RAIL - 12, "y2": y + 14,
                                  "class": "arrow"}],
                ["path", {"d": f"M{RAIL - 7} {y + 14} l-7 -4 v8 z", "class": "tip"}],
                ["text", {"x": RAIL + 10, "y": y + 11, "class": "small"}, says]]
    to = round(RAIL + 16 + max(0, scale * math.log2(max(abs(far), 8) / 8)), 2)
    return [*parts, ["path", {"d": f"M{begin} {y + 14} C{begin + 8} {y - 4} {to} {y - 6} {to} "
                                   f"{y + 4}", "class": "arrow"}],
            ["path", {"d": f"M{to} {y + 8} l-4 -7 h8 z", "class": "tip"}],
            ["rect", {"x": to - 5, "y": y + 8, "width": 9, "height": 12, "rx": 2,
                      "class": "box hot"}],
            ["text", {"x": min(to + 7, WIDTH - 34), "y": y + 25, "class": "tag"}, f"+{far:#x}"]]


def bits(picture: Picture) -> Figure:
    """The bits of an encoding slide into a slot: columns are field, encoding, its bits, these
    rotated left by 6, slot, offset, clean bits; a step shows the row that is new in it."""
    figure = Figure("the encoding's bits, rotated left by 6: the index comes to the top, width and "
                    "type to the bottom", 148)
    for at, text in ((1, "width"), (4, "type"), (10, "index"), (15, "high")):
        figure.still.append(["text", {"x": LEFT + (at + .5 + .5 * (at in (1, 4))) * BIT, "y": 28,
                                      "text-anchor": "middle", "class": "small"}, text])
    for n, part in enumerate(PARTS):
        to = (n - TURN) % 16
        figure.still.append(["line", {"x1": LEFT + (n + .5) * BIT, "y1": 51,
                                      "x2": LEFT + (to + .5) * BIT, "y2": 85,
                                      "class": f"wire {part}"}])
    before = picture.steps[0].rows
    for step in picture.steps:
        row = next((row for row, old in zip(step.rows, before)
                    if [cell.text for cell in row] != [cell.text for cell in old]), step.rows[0])
        figure.steps.append(slid(row, step is picture.steps[0]))
        before = step.rows
    return figure


def slid(row: Sequence[Cell], first: bool) -> list[Shape]:
    """One field of that picture; the first step has it before anything moves."""
    name, encoding, above, below, *ends = (cell.text for cell in row)
    parts = [["text", {"x": LEFT, "y": 14, "class": "tag"}, f"{name} {encoding}"]]
    above, below = above.replace(" ", ""), below.replace(" ", "")
    for n, part in enumerate(PARTS):
        to = (n - TURN) % 16
        parts += bit(n, 33, above[n], part)
        digit = "?" if below == "?" else "" if first or not below else below[to]
        slides = {"style": f"--dx:{(n - to) * BIT}px"} if digit not in ("", "?") else {}
        parts += bit(to, 87, digit, part if digit not in ("", "?") else "dim", slides)
    x = LEFT
    for title, text, wide in zip(("slot", "offset", "clears"), ends, (84, 84, 84)):
        parts += [["rect", {"x": x, "y": 120, "width": wide, "height": 22, "rx": 4,
                            "class": "box dim" if text in ("", "?") else "box"}],
                  ["text", {"x": x + 6, "y": 134, "class": "label"}, title],
                  ["text", {"x": x + wide - 6, "y": 134, "text-anchor": "end", "class": "mono"},
                   text]]
        if x > LEFT:
            parts.append(["path", {"d": f"M{x - 4} 131 l-8 -4 v8 z", "class": "tip"}])
        x += wide + 18
    return parts


def bit(n: int, y: float, digit: str, part: str, more: dict[str, str] | None = None) -> list[Shape]:
    """A box with one digit."""
    slides = {"class": "slide", **more} if more else {}
    return [["rect", {"x": LEFT + n * BIT + 1, "y": y, "width": BIT - 2, "height": 18, "rx": 2,
                      **slides, "class": f"box {part} {slides.get('class', '')}".strip()}],
            ["text", {"x": LEFT + (n + .5) * BIT, "y": y + 13, "text-anchor": "middle", **slides,
                      "class": f"mono {slides.get('class', '')}".strip()}, digit]]


def bitmap(picture: Picture) -> Figure:
    """The MSR bitmap, a line a quarter: columns are access, byte, bit, what happens; the access
    that was told last points at its byte, and the bit stands below."""
    figure = Figure("the MSR bitmap, a line for each quarter, and the bit that decides", 145)
    for n, text in enumerate(QUARTERS):
        y = 22 + n * LINE
        figure.still += [["text", {"x": MAP - 6, "y": y + 9, "text-anchor": "end",
                                   "class": "lane"}, text],
                         ["rect", {"x": MAP, "y": y, "width": WIDTH - MAP - 6, "height": LINE - 5,
                                   "class": "slots"}]]
    for n in range(8):
        x = 208 + n * 22
        figure.still.append(["text", {"x": x + 9, "y": 104, "text-anchor": "middle",
                                      "class": "small"}, str(7 - n)])
    for step in picture.steps:
        told = [row for row in step.rows if row[1].text]
        parts = []
        for row in told[:-1]:
            parts += spot(row, "mark")
        figure.steps.append(parts + (decided(told[-1]) if told else []))
    return figure


def spot(row: Sequence[Cell], kind: str) -> list[Shape]:
    """Where an access's byte is in the map, where it is told and in there."""
    if not row[1].text.startswith("0x"):
        return []
    byte = int(row[1].text, 16)
    x = MAP + byte % QUARTER * (WIDTH - MAP - 6) / QUARTER
    ending = row[3].kind if row[3].kind in ("good", "bad") else ""
    return [["rect", {"x": round(x - 1.5, 2), "y": 20 + byte // QUARTER * LINE, "width": 4,
                      "height": LINE - 1, "class": f"{kind} {ending}".strip()}]]


def decided(row: Sequence[Cell]) -> list[Shape]:
    """The access of a step: its bit, and what comes of it."""
    access, byte, at, ends = (cell.text for cell in row)
    end = row[3].kind if row[3].kind in ("good", "bad") else ""
    where = {"none": "no bit in the map", "?": "byte ?"}.get(byte, f"byte {byte}")
    parts = [["text", {"x": 4, "y": 13, "class": "tag"}, access], *spot(row, "mark now"),
             ["text", {"x": 200, "y": 122, "text-anchor": "end", "class": "label"}, where],
             ["text", {"x": 208, "y": 140, "class": "tag"}, "?" if ends == "?" else cut(ends, 40)]]
    for n in range(8):
        chosen = at == str(7 - n)
        parts.append(["rect", {"x": 208 + n * 22, "y": 108, "width": 18, "height": 18, "rx": 2,
                               "class": f"box {end}" if chosen else "box dim"}])
        if chosen:
            parts.append(["text", {"x": 217 + n * 22, "y": 121, "text-anchor": "middle",
                                   "class": "mono"}, "1" if end == "bad" else "0"])
    return parts
