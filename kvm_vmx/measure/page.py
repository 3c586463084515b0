# SPDX-License-Identifier: GPL-2.0-only
"""A report as one self-contained page: pictures in SVG, every table, no script, no network."""

from html import escape

from kvm_vmx import frame
from kvm_vmx.measure.report import COUNTED, MEASURED, MODELLED, PUBLISHED, Report, Row
from kvm_vmx.measure.terminal import interval, number

COLOURS = {COUNTED: "#2b6cb0", MEASURED: "#2f855a", MODELLED: "#b7791f", PUBLISHED: "#805ad5"}
WIDTH, LABEL, BAR = 900, 260, 20

STYLE = """
body { font-size: 15px; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { margin: .5em 0 } td { padding: .1em .8em .1em 0 }
.holds { color: var(--good) } .missed { color: var(--bad); font-weight: bold }
.open { color: var(--faint) }
.kind { display: inline-block; width: .8em; height: .8em; margin-right: .4em }
svg { width: 100%; height: auto } svg text { font: 13px system-ui, sans-serif; fill: var(--ink) }
line.interval { stroke: var(--ink) } line.scale { stroke: var(--rule) }
details { margin: .5em 0; overflow-x: auto } p.warn { border-left: 4px solid var(--bad); padding-left: 1em }
"""


def bars(rows: list[Row]) -> str:
    """One horizontal bar a row, its interval as a line, its value behind it."""
    top = max([row.high or row.value for row in rows] + [row.value for row in rows] + [1e-9])
    scale = (WIDTH - LABEL - 150) / top
    parts = []
    for i, row in enumerate(rows):
        y, length = i * BAR, max(row.value, 0) * scale
        parts.append(f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(row.name)}</text>'
                     f'<rect x="{LABEL}" y="{y + 3}" width="{length:.1f}" height="{BAR - 6}" '
                     f'fill="{COLOURS[row.kind]}"/>')
        end = length
        if row.low is not None:
            low, end = LABEL + max(row.low, 0) * scale, max(length, row.high * scale)
            parts.append(f'<line x1="{low:.1f}" x2="{LABEL + row.high * scale:.1f}" '
                         f'y1="{y + BAR / 2}" y2="{y + BAR / 2}" class="interval"/>')
        parts.append(f'<text x="{LABEL + end + 8:.1f}" y="{y + 14}">{number(row.value)} '
                     f'{escape(row.unit)}</text>')
    return svg(len(rows) * BAR + 4, parts)


def dots(rows: list[Row]) -> str:
    """A curve over the number of the row, from 1: cost against dirty groups."""
    height, left, bottom = 260, 60, 30
    top = max(row.value for row in rows) * 1.1
    step = (WIDTH - left - 40) / len(rows)

    def place(i, value):
        return left + (i + .5) * step, (height - bottom) * (1 - value / top) + 10

    points = [place(i, row.value) for i, row in enumerate(rows)]
    parts = [f'<polyline fill="none" stroke="{COLOURS[rows[0].kind]}" points="'
             + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>']
    for (x, y), row, n in zip(points, rows, range(1, len(rows) + 1)):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[row.kind]}"><title>'
                     f'{n} groups: {number(row.value)} {escape(row.unit)}</title></circle>'
                     f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle">{n}</text>')
    for value in (0, top / 2.2, top / 1.1):
        y = place(0, value)[1]
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{number(round(value, 1))}'
                     f'</text><line x1="{left}" x2="{WIDTH - 40}" y1="{y:.1f}" y2="{y:.1f}" '
                     'class="scale"/>')
    return svg(height, parts)


def svg(height: float, parts: list[str]) -> str:
    """The picture around its parts."""
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
            + "".join(parts) + "</svg>")


def first_of(report: Report, *tables: str) -> list[Row]:
    """The rows of the first of these tables that the report has."""
    return next((rows for table in tables if (rows := report.in_table(table))), [])


PICTURES = (
    ("An access under eVMCS, beside the raw store", bars,
     ("an access under eVMCS", "instructions an access, key on")),
    ("A store behind the static key, and behind a flag", bars,
     ("over a raw store, key off", "instructions an access, key off")),
    ("Bytes re-read at an entry, by dirty clean group", bars, ("bytes re-read by clean group",)),
    ("The cost of an entry against the number of dirty groups", dots,
     ("one entry by number of dirty groups", "instructions an entry by number of dirty groups")),
    ("The cost of an entry, by the group that is dirty", bars,
     ("one entry by dirty group", "instructions an entry by dirty group")),
    ("One exit here", bars, ("one exit", "instructions an exit, VMCS")),
    ("The mail's two numbers, and the model's", bars, ("a tight CPUID loop on Hyper-V",)),
    ("The static key on bare metal, as the mail has it", bars,
     ("the key off, a CPUID loop on bare metal",)),
    ("The ratio of the two, by the cost of a trapped access", bars,
     ("ratio VMCS to eVMCS, by the cost of a trapped access",)),
    ("The MSR-bitmap enlightenment", bars, ("MSR-bitmap enlightenment, an RDMSR in L2",)),
)


def picture(report: Report, title: str, draw, tables) -> str:
    """One picture under its title, or nothing where the report does not have its numbers."""
    rows = first_of(report, *tables)
    if title.startswith("The mail"):
        rows = [row for row in rows if "model" in row.name or "mail" in row.name]
    if not rows:
        return ""
    kinds = ", ".join(dict.fromkeys(row.kind for row in rows))
    unit = rows[0].unit
    return f"<h2>{escape(title)}</h2><p>{escape(unit)}, {escape(kinds)}</p>{draw(rows)}"


def claims(report: Report) -> str:
    """What holds and what does not."""
    words = {True: "holds", False: "missed", None: "open"}
    lines = [f'<tr><td class="{words[claim.holds]}">{words[claim.holds]}</td>'
             f"<td>{escape(claim.text)}</td><td>{escape(claim.figure)}</td></tr>"
             for claim in report.claims]
    return f"<h2>What was claimed</h2><table>{''.join(lines)}</table>"


def tables(report: Report) -> str:
    """Every row, folded away."""
    parts = []
    for table in dict.fromkeys(row.table for row in report.rows):
        lines = [f'<tr><td>{escape(row.name)}</td><td class="n">{number(row.value)}</td>'
                 f"<td>{escape(row.unit)}</td><td>{interval(row)}</td><td>{escape(row.kind)}</td>"
                 f"<td>{escape(row.note)}</td></tr>" for row in report.in_table(table)]
        parts.append(f"<details><summary>{escape(table)}</summary><table>{''.join(lines)}"
                     "</table></details>")
    return "<h2>Every number</h2>" + "".join(parts)


def page(report: Report) -> str:
    """The whole page."""
    legend = " ".join(f'<span class="kind" style="background:{colour}"></span>{kind}'
                      for kind, colour in COLOURS.items())
    warning = "" if report.measurable else (
        '<p class="warn">Time is not measurable here now: the A/A control found a difference '
        "between two copies of one loop.</p>")
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    pictures = "".join(picture(report, *one) for one in PICTURES)
    body = ("<h1>What a VMCS access, a static key and a clean bit cost</h1>"
            f"<p>{legend}</p>{warning}<p>{escape(machine)}</p>{claims(report)}{pictures}"
            f"{tables(report)}")
    return frame.page("kvm_vmx: what an access costs", body, style=STYLE)
