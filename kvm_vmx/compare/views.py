# SPDX-License-Identifier: GPL-2.0-only
"""The report as text in columns and as JSON."""

import dataclasses
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kvm_vmx.compare.path import PARTS
from kvm_vmx.compare.preprocessor import CONFIG
from kvm_vmx.compare.rows import ALIKE, CLASSES, Row
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.rendering import Console

    from kvm_vmx.compare.report import Pair, Report
    from kvm_vmx.compare.trees import Tree

SIGNS = {
    "same": "=", "idiom": "≈", "adapted": "~", "omitted": "-", "added": "+", "moved": "↕",
    "inactive": " ", "unexplained": "?",
}
STYLES = {
    "same": "", "idiom": "cyan", "adapted": "yellow", "omitted": "magenta", "added": "blue",
    "moved": "cyan", "inactive": "dim", "unexplained": "bold red",
}
SYMBOL = re.compile(r"\bCONFIG_\w+")
MANY = 40  # symbols: more than anyone gives by hand
COUNTED = ("same", "idiom", "moved", "adapted", "omitted", "unexplained", "added")
HEADS = ("same", "idiom", "moved", "adapted", "left out", "unexplained", "ours")


def percent(share: tuple[int, int]) -> str:
    """A share as a percentage."""
    return f"{100 * share[0] / share[1]:.1f} %" if share[1] else "-"


def place(function: Function | None) -> str:
    """Where a function stands."""
    return f"{function.path}:{function.line}" if function else "-"


def table(report: "Report") -> list[tuple[str, ...]]:
    """One row a function, and the totals: the kernel's statements, and of the port what is ours."""
    rows: list[tuple[str, ...]] = [("function", "kernel", "port", *HEADS, "alike")]
    for pair in report.pairs:
        counts = (str(pair.totals[name] or "·") for name in COUNTED)
        rows.append((pair.name, place(pair.kernel), place(pair.port), *counts,
                     percent(pair.fidelity)))
    totals = report.totals
    rows.append((f"{len(report.pairs)} functions", "", "",
                 *(str(totals[name]) for name in COUNTED), percent(report.fidelity)))
    return rows


def files(report: "Report") -> list[tuple[str, ...]]:
    """One row a file of the port, with the share that is same or idiom."""
    shares: dict[str, list[int]] = {}
    for pair in report.pairs:
        known = shares.setdefault(pair.port.path, [0, 0, 0, 0])
        alike, every = pair.fidelity
        known[0] += 1
        known[1] += alike
        known[2] += every
        known[3] += pair.totals["unexplained"]
    rows: list[tuple[str, ...]] = [
        ("file of the port", "functions", "statements", "alike", "unexplained")]
    for path, (count, alike, every, loose) in shares.items():
        rows.append((path, str(count), str(every), percent((alike, every)), str(loose)))
    return rows


def summary(report: "Report") -> str:
    """What the totals say, in one sentence: every number is of statements of the kernel."""
    totals = report.totals
    alike, every = report.fidelity
    apart = "".join(f", {totals[name]} {head}" for name, head in zip(COUNTED, HEADS)
                    if name not in (*ALIKE, "added"))
    return (f"{len(report.pairs)} functions with {every} statements of the kernel: "
            f"{alike} alike ({percent((alike, every))}){apart}; {totals['added']} more are ours")


def path_share(report: "Report") -> tuple[int, int]:
    """Of the path that README names, the statements that are alike, and all of them."""
    names = {name for part in PARTS for name in part.functions.split()}
    shares = [pair.fidelity for pair in report.pairs
              if (pair.kernel.name if pair.kernel else pair.name) in names]
    return sum(share[0] for share in shares), sum(share[1] for share in shares)


def path_summary(report: "Report") -> str:
    """What the path's statements came to, in one sentence."""
    alike, every = path_share(report)
    return (f"the path from vmx_init() to vmx_exit(): {every} statements, {alike} alike "
            f"({percent((alike, every))}), {every - alike} adapted, left out or unexplained "
            f"({percent((every - alike, every))})")


def text_of(units: Iterable[Unit]) -> str:
    """The statements of one side of a row, one a line with its number, indented by depth."""
    return "\n".join(f"{unit.line:>5}  {'  ' * depth(unit)}{unit.text}" for unit in units)


def whole_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows for people: a declaration and its value, where both sides have both, are one."""
    result: list[Row] = []
    for row in rows:
        last = result[-1] if result else None
        if last is not None and row.kind == last.kind == "same" and goes_on(last, row):
            result[-1] = dataclasses.replace(
                last, kernel=[together(last.kernel[-1], row.kernel[0])],
                port=[together(last.port[-1], row.port[0])])
        else:
            result.append(row)
    return result


def goes_on(last: Row, row: Row) -> bool:
    """Whether a row's statements are the values of the declarations in the row before."""
    return all(
        one[-1].kind == "decl" and two[0].kind == "=" and one[-1].line == two[0].line
        and two[0].key[2] == ("name", one[-1].key[2])
        for one, two in ((last.kernel, row.kernel), (last.port, row.port)))


def together(declared: Unit, value: Unit) -> Unit:
    """A declaration with its value, as it is written."""
    text = declared.text + value.text[value.text.index("=") - 1:]
    return dataclasses.replace(declared, text=text, end=value.end)


def depth(unit: Unit) -> int:
    """How many blocks a statement stands in."""
    count = 0
    while unit.parent is not None:
        unit, count = unit.parent, count + 1
    return min(count, 8)


def print_pair(console: "Console", pair: "Pair", only_diff: bool) -> None:
    """One function in two columns."""
    from rich.table import Table
    from rich.text import Text

    from kvm_vmx.compare.hanging import Hanging

    grid = Table(box=None, expand=True, pad_edge=False, show_header=True, header_style="bold")
    grid.add_column(f"{pair.name}()  {place(pair.kernel)}", ratio=1, overflow="fold")
    grid.add_column("", width=1)
    grid.add_column(place(pair.port), ratio=1, overflow="fold")
    for row in whole_rows(pair.shown):
        if only_diff and row.kind in ("same", "idiom", "moved", "inactive"):
            continue
        style = STYLES[row.kind]
        note = f"       {row.why}" if row.why and row.kind != "same" else ""
        grid.add_row(Hanging(text_of(row.kernel), style), Text(SIGNS[row.kind], style=style),
                     Hanging(text_of(row.port), style, note))
    console.print(grid)
    counts = "  ".join(f"{head} {pair.totals[name]}" for name, head in zip(COUNTED, HEADS)
                       if pair.totals[name])
    console.print(f"{counts}   alike {percent(pair.fidelity)} of {pair.statements} statements\n")


def asked_for(tree: "Tree") -> dict[str, int]:
    """The symbols of the configuration that a file of the tree names, or that `compare` gives a
    value itself: a .config says ten thousand more."""
    given = [name for name in tree.config if name not in CONFIG]
    named: set[str] = set()
    if len(given) > MANY:
        for text in tree.files.values():
            named.update(SYMBOL.findall(text))
    return {name: value for name, value in tree.config.items()
            if name in CONFIG or len(given) <= MANY or name in named}


def told_config(tree: "Tree") -> str:
    """The configuration as words."""
    return " ".join(f"{name}={value}" for name, value in asked_for(tree).items())


def as_json(report: "Report") -> dict[str, object]:
    """The report for programs."""
    return {
        "schema": "kvm_vmx.compare/2",
        "tree": report.tree.title,
        "config": asked_for(report.tree),
        "statements": report.statements,
        "totals": report.totals,
        "path": dict(zip(("alike", "statements"), path_share(report))),
        "functions": [
            {
                "name": pair.name,
                "statements": pair.statements,
                "totals": {name: pair.totals[name] for name in CLASSES},
                "kernel": where(pair.kernel),
                "port": where(pair.port),
                "rows": [
                    {
                        "class": row.kind,
                        "kernel": [{"line": unit.line, "text": unit.text} for unit in row.kernel],
                        "port": [{"line": unit.line, "text": unit.text} for unit in row.port],
                        "why": row.why,
                    }
                    for row in pair.shown
                ],
            }
            for pair in report.pairs
        ],
    }


def where(function: Function | None) -> dict[str, object] | None:
    """A function's file and line."""
    return {"file": function.path, "line": function.line} if function else None
