# SPDX-License-Identifier: GPL-2.0-only
"""The comparison as one self-contained page: kernel C, port, generated C, machine code."""

import html
import pathlib
import string
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from kvm_vmx import frame
from kvm_vmx.compare import page_text, page_units
from kvm_vmx.compare.build_record import Became, generated, machine_code
from kvm_vmx.compare.opening import version_of
from kvm_vmx.compare.page_text import Said
from kvm_vmx.compare.path import PARTS
from kvm_vmx.compare.report import Pair, Report
from kvm_vmx.compare.rows import CLASSES, Row
from kvm_vmx.compare.scope import scope
from kvm_vmx.compare.views import (
    COUNTED, path_summary, percent, place, summary, told_config, whole_rows)

if TYPE_CHECKING:
    from kvm_vmx.compare.pairing import Units

STYLE = pathlib.Path(__file__).with_name("page.css")
SCRIPT = pathlib.Path(__file__).with_name("page.js")
COLUMNS = (("kernel", "kernel C"), ("port", "port"), ("generated", "generated C"),
           ("machine", "machine code"))
SHOWN = {"kernel", "port"}
MEANING = {
    "same": "the same", "idiom": "by idiom", "adapted": "adapted", "omitted": "left out",
    "added": "ours", "moved": "moved", "unexplained": "unexplained",
}
Compared = TypeVar("Compared")     # a function as a page has it
ALIKE = {"same", "idiom", "moved", "inactive"}
BODY = string.Template("""<header class="page">
<h1>kvm_vmx beside $tree</h1>
<p>$summary.</p>
<p>$path.</p>
<p class="key">$key</p>
<details><summary>the configuration of the tree's #if</summary><code>$config</code></details>
<details><summary>keys</summary><p><kbd>n</kbd> <kbd>p</kbd> next and previous difference,
<kbd>j</kbd> <kbd>k</kbd> next and previous function, <kbd>/</kbd> search, <kbd>[</kbd> <kbd>]</kbd>
fold and unfold all. A click on a line's number makes the address of this page its link, and shows
where it stands.</p></details>
$missing
</header>
<nav class="tools" aria-label="columns">$tools</nav>
<nav id="map" aria-label="functions by class"></nav>
<main data-version="$version" data-root="$root">
<table id="functions">
<thead><tr><th>function</th><th>kernel</th><th>port</th><th></th><th class="n">alike</th>
<th class="n">$loose</th></tr></thead>
$table
</table>
$out
$sections
</main>
$data
<footer id="place" hidden></footer>""")


def page(report: Report, units: "Units | None" = None) -> str:
    """The whole page as text; `units` are those besides the functions."""
    paths = dict.fromkeys(pair.port.path for pair in report.pairs)
    made, no_c = generated(paths)
    code, no_code = machine_code()
    notes = [note for note in (no_c, no_code) if note]
    version = version_of(report.tree.files.get("Makefile", ""))
    groups = grouped(report.pairs)
    drawn = page_units.Drawn(units)
    root = report.port.root.parents[1]
    body = BODY.substitute(
        tree=html.escape(report.tree.title),
        summary=summary(report), path=path_summary(report),
        loose="unexplained" if report.totals["unexplained"] else "",
        key="".join(f'<span style="background:var(--{name})">{MEANING[name]} '
                    f"{report.totals[name]}</span>" for name in COUNTED),
        config=told_config(report.tree),
        missing="".join(f"<p>{html.escape(note)}</p>" for note in notes), tools=tools(),
        table="\n".join(
            f'<tbody><tr class="part"><th colspan="6">{html.escape(title)}</th></tr>\n'
            + "\n".join(entry(pair) for pair in pairs) + "</tbody>" for title, pairs in groups)
        + "".join(
            f'<tbody><tr class="part"><th colspan="6">{html.escape(title)}</th></tr>\n'
            + "\n".join(unit_entry(part) for part in parts) + "</tbody>"
            for title, parts in drawn.groups),
        version=html.escape(version), root=html.escape(root.as_uri()), data=drawn.data(),
        out=out_of_scope(report),
        sections="\n".join(
            f'<h2 class="part">{html.escape(title)}</h2>\n'
            + "\n".join(section(pair, report, made, code) for pair in pairs)
            for title, pairs in groups)
        + "".join(f'<h2 class="part">{html.escape(title)}</h2>\n' + "\n".join(
            page_units.section(part, bar(part)) for part in parts)
            for title, parts in drawn.groups),
    )
    return frame.page(f"kvm_vmx beside {report.tree.title}", body, script=SCRIPT.read_text(),
                      style=f"{STYLE.read_text()}\n{column_rules()}")


def grouped(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """(title, functions): the compared functions in parts."""
    return in_parts(pairs, lambda pair: pair.kernel.name if pair.kernel else pair.name,
                    lambda pair: pair.kernel.path if pair.kernel else pair.port.path)


def in_parts(items: Sequence[Compared], name_of: Callable[[Compared], str],
             path_of: Callable[[Compared], str]) -> list[tuple[str, list[Compared]]]:
    """(title, items): the parts of the path as README has them, eVMCS first, then the rest of
    each kernel file."""
    by_name = {name_of(item): item for item in items}
    found: list[tuple[str, list[Compared]]] = []
    seen: set[int] = set()
    for part in PARTS:
        here = [by_name[name] for name in part.functions.split() if name in by_name]
        seen.update(id(item) for item in here)
        found.append((part.name, here))
    rest: dict[str, list[Compared]] = {}
    for item in items:
        if id(item) not in seen:
            rest.setdefault(path_of(item), []).append(item)
    found += [(f"what these call: {path}", here) for path, here in sorted(rest.items())]
    return [(title, here) for title, here in found if here]


def column_rules(columns: Sequence[tuple[str, str]] = COLUMNS) -> str:
    """How many columns the grid has: one rule for each set of boxes that are ticked."""
    rules: list[tuple[int, str]] = []
    for chosen in range(1 << len(columns)):
        names = [name for n, (name, _) in enumerate(columns) if chosen >> n & 1]
        ticked = "".join(f":has(#show-{name}:checked)" for name in names)
        rules.append((len(names), f"body{ticked} .rows {{ --columns: {len(names) or 1}; }}"))
    return "\n".join(rule for _, rule in sorted(rules))


def tools(columns: Sequence[tuple[str, str]] = COLUMNS, shown: Collection[str] = frozenset(SHOWN),
          only: str = "only what differs") -> str:
    """The search, and the boxes that show and hide columns and rows."""
    boxes = ['<input type="search" id="find" placeholder="name or text" aria-label="search">'
             '<span id="found" role="status"></span>']
    boxes += [
        f'<label><input type="checkbox" id="show-{name}"{" checked" if name in shown else ""}> '
        f"{title}</label>"
        for name, title in columns
    ]
    boxes.append(f'<label><input type="checkbox" id="only-diff"> {only}</label>')
    boxes.append('<label><input type="checkbox" id="comments" checked> comments</label>')
    boxes.append('<a href="#functions">all functions</a>')
    return "\n".join(boxes)


def bar(pair: Pair | page_units.PageSection) -> str:
    """A function's statements by class, as a strip."""
    totals = pair.totals
    parts = (f'<i class="{name}" style="flex:{totals[name]}"></i>'
             for name in COUNTED if totals[name])
    return f'<span class="bar">{"".join(parts)}</span>'


def entry(pair: Pair) -> str:
    """A function's row in the table at the top; the script adds places and strip."""
    return (f'<tr><td><a href="#{pair.name}">{pair.name}</a></td><td></td><td></td><td></td>'
            f'<td class=n>{percent(pair.fidelity)}</td>'
            f'<td class=n>{pair.totals["unexplained"] or ""}</td></tr>')


def unit_entry(part: page_units.PageSection) -> str:
    """A section of units in the table at the top."""
    return (f'<tr><td><a href="#{html.escape(part.id)}">{html.escape(part.title)}</a></td>'
            "<td></td><td></td><td></td>"
            f'<td class=n>{percent(part.fidelity)}</td>'
            f'<td class=n>{part.totals["unexplained"] or ""}</td></tr>')


def out_of_scope(report: Report) -> str:
    """What the kernel's files hold beside it, by reason."""
    reasons: dict[str, list[str]] = {}
    for found in scope(report) if report.whole else ():
        if found.reason:
            reasons.setdefault(found.reason, []).append(found.name)
    rows = "\n".join(f"<tr><td>{html.escape(why)}</td><td>{', '.join(names)}</td></tr>"
                     for why, names in sorted(reasons.items()))
    count = sum(map(len, reasons.values()))
    return (f"<details><summary>{count} more functions of these files are out of scope</summary>"
            f"<table><tbody>{rows}</tbody></table></details>") if count else ""


def section(pair: Pair, report: Report, made: Became, code: Became) -> str:
    """One function: its header, and a grid of its rows."""
    alike = " alike" if all(row.kind in ALIKE for row in pair.rows) else ""
    file = report.tree.file(pair.kernel.path) if pair.kernel else None
    said = (page_text.kernel_comments(pair.kernel, file.rows) if pair.kernel and file else {},
            page_text.port_comments(pair.port, report.port.files[pair.port.path].rows))
    rows = "\n".join(grid_row(row, pair, said, made, code) for row in whole_rows(pair.shown))
    return (f'<section id="{pair.name}" class="function{alike}"><details open><summary>'
            f"<h2>{pair.name}()</h2> {bar(pair)}<small>{place(pair.kernel)}</small>"
            f"<small>{place(pair.port)}</small>"
            f"<small>{percent(pair.fidelity)} alike</small></summary>\n"
            f'<div class="rows">\n{rows}\n</div></details></section>')


def grid_row(row: Row, pair: Pair, said: tuple[Said, Said], made: Became, code: Became) -> str:
    """One statement in all columns."""
    assert row.kind in CLASSES
    lines = dict.fromkeys(
        line for unit in row.port for line in range(unit.line, unit.end + 1))
    notes = f"<em>{html.escape(row.why)}</em>" if row.why and row.kind != "same" else ""
    theirs, ours = page_text.different(row)
    cells = (
        ("kernel", page_text.statements(row.kernel, "c", theirs, said[0])),
        ("port", page_text.statements(row.port, "cython", ours, said[1]) + notes),
        ("g", behind(lines, pair.port.path, made)),
        ("m", behind(lines, pair.port.path, code)),
    )
    inside = "".join(f"<div class={name}>{text}</div>" for name, text in cells)
    return f'<div class="row {row.kind}">{inside}</div>'


def behind(lines: Iterable[int], path: str, found: Became) -> str:
    """What some lines of the port became."""
    return "\n".join(html.escape(text) for line in lines for text in found.get((path, line), ()))
