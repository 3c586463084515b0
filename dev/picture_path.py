# SPDX-License-Identifier: GPL-2.0-only
"""Draws docs/pictures/compare.svg: each part of the path, and how much of it is v4.19's own words.

A bar a part of README's table, as long as it has statements in the kernel: alike, adapted, left
out. dev/regenerate.py --tree prints it with that table.
"""

from html import escape

from kvm_vmx.compare import path

WIDE, LEFT, RIGHT, TOP, STEP, BAR = 680, 262, 58, 62, 24, 14
PAPER, INK, FAINT = "#0d1117", "#e6edf3", "#9198a1"
CLASSES = {"alike": "#4cc38a", "adapted": "#e3a83b", "left out": "#59636e"}
CALLED = "what these call"


def parts(statements):
    """(part, its statements of each class) for each part that README's table names."""
    for part in path.PARTS:
        names = [name for name in part.functions.split() if name in statements]
        yield (part.name.partition(",")[0],
               [sum(column) for column in zip(*(statements[name] for name in names), strict=True)])


def text(x, y, said, colour=INK, more=""):
    return f'<text x="{x}" y="{y}" fill="{colour}" font-size="15"{more}>{escape(said)}</text>'


def bar(y, name, counts, scale):
    """A part: its name, its three classes end to end, the share that is alike."""
    shapes, x = [text(LEFT - 10, y + 12, name, more=' text-anchor="end"')], LEFT
    for count, colour in zip(counts, CLASSES.values(), strict=True):
        if count:
            shapes.append(f'<rect x="{x:.1f}" y="{y}" width="{count * scale:.1f}" height="{BAR}" '
                          f'fill="{colour}"/>')
        x += count * scale
    return "".join([*shapes, text(f"{x + 8:.1f}", y + 12,
                                  f"{100 * counts[0] // sum(counts)} %", FAINT)])


def svg(statements):
    """The picture, of {function: its statements alike, adapted, left out}."""
    rows = list(parts(statements))
    scale = (WIDE - LEFT - RIGHT) / max(sum(counts) for _, counts in rows)
    high = TOP + STEP * len(rows) + 10
    shapes, x = [], LEFT
    for name, colour in CLASSES.items():
        shapes += [f'<rect x="{x}" y="24" width="{BAR}" height="{BAR}" fill="{colour}"/>',
                   text(x + BAR + 7, 36, name)]
        x += 120
    shapes += [bar(TOP + n * STEP, name, counts, scale)
               for n, (name, counts) in enumerate(rows)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" role="img" '
            f'font-family="system-ui, sans-serif"><title>The parts of the path, by statements of '
            f'v4.19: alike in the port, adapted, left out</title>'
            f'<rect width="{WIDE}" height="{high}" rx="10" fill="{PAPER}"/>'
            f'{text(20, 36, "statements of v4.19")}{"".join(shapes)}</svg>\n')
