# SPDX-License-Identifier: GPL-2.0-only
"""Draws docs/pictures/exit.svg: the crossings of one VM exit, as two machines have traced it.

usage: python dev/picture.py
"""

import pathlib
from html import escape

from kvm_vmx import Machine, guests

PICTURE = pathlib.Path(__file__).resolve().parents[1] / "docs/pictures/exit.svg"
WIDE, LEFT, RIGHT, LANE, HIGH = 680, 172, 20, 34, 162
LANES = {"L2": "a guest", "L1": "Linux with KVM", "L0": "Hyper-V"}
PAPER, INK, FAINT, RULE = "#0d1117", "#e6edf3", "#9198a1", "#30363d"
HOT, GOOD = "#e3a83b", "#4cc38a"
ENTRIES = ("vmlaunch", "vmresume")


def traced(enlightened):
    """(the instructions of L1 from one exit to the next entry, bytes that L0 read again there)."""
    with Machine(cpus=1, insn="call") as machine:
        vcpu = machine.insmod(enlightened_vmcs=enlightened).create_vm(
            code=guests.CPUID_LOOP).create_vcpu()
        vcpu.run(exits=10)
        machine.start_trace()
        vcpu.run(exits=3)
        trace = machine.trace
    first, second = [n for n, record in enumerate(trace) if record.instruction in ENTRIES][1:3]
    between = [record.instruction for record in trace[first + 1:second + 1]]
    return between, trace[second].bytes_reread


def path(instructions):
    """The levels that one exit goes through, from L2 to L2."""
    levels = ["L2", "L0", "L1"]
    for name in instructions:
        levels += ["L0", "L2"] if name in ENTRIES else ["L0", "L1"]
    return levels


def text(x, y, said, colour=INK, size=16, more=""):
    return f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}"{more}>{escape(said)}</text>'


def row(top, title, colour, instructions, note, step):
    """One machine: its lanes, and the path through them."""
    levels = path(instructions)
    shapes = [text(20, top + 16, title, colour, 18, ' font-weight="600"')]
    where = {}
    for n, (lane, what) in enumerate(LANES.items()):
        y = where[lane] = top + 44 + n * LANE
        shapes += [text(20, y + 5, lane), text(48, y + 5, what, FAINT, 15),
                   f'<line x1="{LEFT}" y1="{y}" x2="{WIDE - RIGHT}" y2="{y}" stroke="{RULE}"/>']
    points = [(LEFT + 14 + n * step, where[level]) for n, level in enumerate(levels)]
    shapes.append(f'<polyline points="{" ".join(f"{x:.1f},{y}" for x, y in points)}" fill="none" '
                  f'stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>')
    shapes += [f'<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in points]
    x = points[-1][0]
    if x < WIDE / 2:                                # there is room beside the path
        shapes.append(text(f"{x + 14:.1f}", where["L1"] - 12, note))
    else:
        shapes.append(text(WIDE - RIGHT, top + 16, note, more=' text-anchor="end"'))
    return "".join(shapes)


def svg():
    """The picture."""
    plain, _ = traced(False)
    page, reread = traced(True)
    step = (WIDE - LEFT - RIGHT - 28) / (len(path(plain)) - 1)
    count = {name: plain.count(name) for name in ("vmread", "vmwrite")}
    rows = [
        row(14, "VMCS", HOT, plain, f"{len(path(plain)) - 1} crossings: "
            f"{count['vmread']} VMREAD and {count['vmwrite']} VMWRITE trap", step),
        row(14 + HIGH, "eVMCS", GOOD, page, f"{len(path(page)) - 1} crossings: "
            f"L0 reads {reread} bytes of a page", step)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {2 * HIGH}" role="img" '
            f'font-family="system-ui, sans-serif"><title>One VM exit of a guest in a loop of '
            f'CPUID, with a VMCS and with an enlightened one</title>'
            f'<rect width="{WIDE}" height="{2 * HIGH}" rx="10" fill="{PAPER}"/>'
            f"{''.join(rows)}</svg>\n")


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(svg(), encoding="utf-8")
