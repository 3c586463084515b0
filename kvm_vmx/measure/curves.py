# SPDX-License-Identifier: GPL-2.0-only
"""Curves for the page: a table of rows over a number, as SVG that takes the page's colours."""

import math
from collections.abc import Callable
from html import escape
from typing import TypeAlias

from kvm_vmx.measure.report import Measurement
from kvm_vmx.measure.terminal import interval, number

# a picture of rows
Draw: TypeAlias = Callable[[list[Measurement]], str]
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 520, 240, 60, 24, 44, 8


def curve(axis: str, logarithmic: bool = False) -> Draw:
    """draw(rows): a picture of rows over their number, the axis of it named; each a step apart,
    so that a row ten times the last is as far as one that is one more. A logarithmic one shows
    what is linear as a straight line where each step is as many times the last."""
    return lambda rows: drawn(rows, axis, logarithmic)


def drawn(rows: list[Measurement], axis: str, logarithmic: bool) -> str:
    """The whole picture."""
    ticks, high_of = scale(rows, logarithmic)
    step = (WIDTH - LEFT - RIGHT) / len(rows)
    x = [LEFT + (i + .5) * step for i in range(len(rows))]
    parts = [f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>'
             f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
             for tick, y in ((tick, high_of(tick)) for tick in ticks)]
    kind = rows[0].kind.split()[0]
    points = " ".join(f"{at:.1f},{high_of(row.value):.1f}" for at, row in zip(x, rows))
    parts.append(f'<polyline class="{kind}" points="{points}"/>')
    for at, row in zip(x, rows):
        parts.append(point(at, row, high_of, kind, axis))
    parts.append(f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) / 2}" y="{HEIGHT - 4}" '
                 f'text-anchor="middle">{escape(axis)}</text>')
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">'
            + "".join(parts) + "</svg>")


def point(at: float, row: Measurement, high_of: Callable[[float], float], kind: str,
          axis: str) -> str:
    """One row: its dot, its interval, its number below the axis."""
    name = row.name.removeprefix("first ")
    bar = "" if row.low is None or row.high is None else (
        f'<path class="{kind}" d="M{at:.1f} {high_of(row.low):.1f}V{high_of(row.high):.1f}"/>')
    said = f"{name} {axis}: {number(row.value)} {row.unit} {interval(row)}".rstrip()
    return (f'{bar}<circle cx="{at:.1f}" cy="{high_of(row.value):.1f}" r="4" class="{kind}">'
            f"<title>{escape(said)}</title></circle>"
            f'<text x="{at:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{escape(name)}</text>')


def scale(rows: list[Measurement],
          logarithmic: bool) -> tuple[list[float], Callable[[float], float]]:
    """The ticks beside the picture, and how high a value stands in it."""
    values = [value for row in rows for value in (row.value, row.low, row.high)
              if value is not None]
    top, height = max(values), HEIGHT - BOTTOM - TOP
    if logarithmic and min(values) > 0:
        low = math.floor(math.log10(min(values)))
        high = max(math.ceil(math.log10(top)), low + 1)
        return ([10.0 ** n for n in range(low, high + 1)],
                lambda value: TOP + height * (1 - (math.log10(value) - low) / (high - low)))
    top = top * 1.1 or 1
    return ([0, round(top / 2.2, 1), round(top / 1.1, 1)],
            lambda value: TOP + height * (1 - value / top))
