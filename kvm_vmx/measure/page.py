# SPDX-License-Identifier: GPL-2.0-only
"""A report as one self-contained page: pictures, every table, no script, no network."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from html import escape

from kvm_vmx import frame
from kvm_vmx.measure.curves import Draw, curve
from kvm_vmx.measure.report import COUNTED, MEASURED, MODELLED, PUBLISHED, Report, Measurement
from kvm_vmx.measure.terminal import interval, number

KIND = {COUNTED: "counted", MEASURED: "measured", MODELLED: "modelled", PUBLISHED: "published"}
STYLE = pathlib.Path(__file__).with_name("page.css")
LONGEST = 66  # per cent of a picture's width for the longest bar: its value stands behind it


def bars(rows: list[Measurement]) -> str:
    """A bar a row, its interval as a line, its value behind it; a dashed line at the raw store."""
    top = max([row.high or row.value for row in rows] + [row.value for row in rows] + [1e-9])
    mark = next((share(row.value, top) for row in rows if row.name == "store"), None)
    line = "" if mark is None else f'<s style="left:{mark}%"></s>'
    return f'<div class="bars">{"".join(bar(row, top, line) for row in rows)}</div>'


def bar(row: Measurement, top: float, line: str) -> str:
    """One row of a picture of bars."""
    length = end = share(row.value, top)
    inside = f'<i class="{KIND[row.kind]}" style="width:{length}%"></i>'
    if row.low is not None and row.high is not None:
        low, end = share(row.low, top), max(length, share(row.high, top))
        inside += f'<u style="left:{low}%;width:{share(row.high, top) - low:.1f}%"></u>'
    value = f"{number(row.value)} {escape(row.unit)} <small>{interval(row)}</small>"
    return (f"<span>{escape(row.name)}</span>"
            f'<div>{line}{inside}<b style="left:{end}%">{value}</b></div>')


def share(value: float, top: float) -> float:
    """How far a value reaches, in per cent of the picture."""
    return round(max(value, 0) / top * LONGEST, 1)


def first_of(report: Report, *tables: str) -> list[Measurement]:
    """The rows of the first of these tables that the report has."""
    return next((rows for table in tables if (rows := report.in_table(table))), [])


SCALE = (
    ("An exit, by vCPUs that take turns on a CPU", curve("vCPUs"),
     ("one exit by vCPUs on a CPU", "an exit by vCPUs on a CPU, eVMCS")),
    ("An exit, by CPUs of the machine", curve("CPUs"), ("one exit by CPUs of the machine",)),
    ("An exit, by threads that share the processors", curve("threads"), ("one exit by threads",)),
    ("insmod, by CPUs of the machine; both axes logarithmic", curve("CPUs", True),
     ("insmod by CPUs of the machine", "insmod by CPUs")),
    ("A lifetime of a VM, by how many were before it", curve("lifetimes"),
     ("a lifetime of a VM: its time", "a lifetime of a VM, by lifetimes before it")),
    ("Resident memory, by lifetimes of VMs", curve("lifetimes"),
     ("resident memory by lifetimes of VMs",)),
)
PICTURES = (
    ("An access under eVMCS, beside the raw store", bars,
     ("an access under eVMCS", "instructions an access, key on")),
    ("A store behind the static key, and behind a flag", bars,
     ("over a raw store, key off", "instructions an access, key off")),
    ("Bytes re-read at an entry, by dirty clean group", bars, ("bytes re-read by clean group",)),
    ("The cost of an entry against the number of dirty groups", curve("dirty groups"),
     ("one entry by number of dirty groups", "instructions an entry by number of dirty groups")),
    ("The cost of an entry, by the group that is dirty", bars,
     ("one entry by dirty group", "instructions an entry by dirty group")),
    *SCALE,
    ("One exit here", bars, ("one exit", "instructions an exit, VMCS")),
    ("The mail's two numbers, and the model's", bars, ("a tight CPUID loop on Hyper-V",)),
    ("The static key on bare metal, as the mail has it", bars,
     ("the key off, a CPUID loop on bare metal",)),
    ("The ratio of the two, by the cost of a trapped access", bars,
     ("ratio VMCS to eVMCS, by the cost of a trapped access",)),
    ("The MSR-bitmap enlightenment", bars, ("MSR-bitmap enlightenment, an RDMSR in L2",)),
)
# Of some tables a picture has these rows only: the others are of another scale.
SHOWN: dict[str, Callable[[str], bool]] = {
    "instructions an access, key off": lambda name: name.startswith("store"),
    "a tight CPUID loop on Hyper-V": lambda name: name.endswith(("the mail", "the model")),
}


def picture(report: Report, title: str, draw: Draw, tables: Sequence[str]) -> str:
    """One picture under its title, or nothing where the report does not have its numbers."""
    rows = first_of(report, *tables)
    if rows and rows[0].table == "instructions an exit, VMCS":
        rows = [*rows, *(dataclasses.replace(row, name="key on") for row in
                         report.in_table("instructions an exit, eVMCS, by side")
                         if row.name == "all")]
    rows = [row for row in rows if shown(row)]
    if not rows:
        return ""
    kinds = ", ".join(dict.fromkeys(row.kind for row in rows))
    unit = rows[0].unit
    return (f"<figure><h2>{escape(title)}</h2><p>{escape(unit)}, {escape(kinds)}</p>{draw(rows)}"
            "</figure>")


def shown(row: Measurement) -> bool:
    """Whether a row belongs in its table's picture."""
    return row.table not in SHOWN or SHOWN[row.table](row.name)


def claims(report: Report) -> str:
    """What holds and what does not."""
    lines = [f'<tr><td class="{claim.verdict}">{claim.verdict}</td><td>{escape(claim.text)}</td>'
             f"<td>{escape(claim.told)}</td></tr>"
             for claim in report.judged]
    return f'<h2>What was claimed</h2><table class="claims">{"".join(lines)}</table>'


def tables(report: Report) -> str:
    """Every row, folded away."""
    parts = []
    for table in dict.fromkeys(row.table for row in report.rows):
        lines = [f'<tr><td>{escape(row.name)}</td><td class="n">{number(row.value)}</td>'
                 f"<td>{escape(row.unit)}</td><td>{interval(row)}</td><td>{escape(row.kind)}</td>"
                 f"<td>{escape(row.note)}</td></tr>" for row in report.in_table(table)]
        parts.append(f"<details><summary>{escape(table)}</summary><div><table>{''.join(lines)}"
                     "</table></div></details>")
    return "<h2>Every number</h2>" + "".join(parts)


def page(report: Report) -> str:
    """The whole page."""
    legend = " ".join(f'<span class="kind {name}"></span>{kind}' for kind, name in KIND.items())
    warning = "" if report.measurable else (
        '<p class="warn">Time is not measurable here now: the A/A control found a difference '
        "between two copies of one loop.</p>")
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    pictures = "".join(picture(report, *one) for one in PICTURES)
    body = ("<h1>What a VMCS access, a static key and a clean bit cost</h1>"
            f'<p class="legend">{legend}</p>{warning}<p>{escape(machine)}</p>'
            f"{claims(report)}{pictures}"
            f"{tables(report)}")
    return frame.page("kvm_vmx: what an access costs", body, style=STYLE.read_text())
