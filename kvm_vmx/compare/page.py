# SPDX-License-Identifier: GPL-2.0-only
"""The comparison as one self-contained page: kernel C, port, generated C, machine code."""

import html
import pathlib
import string

from kvm_vmx import frame
from kvm_vmx.compare.compiled import generated, machine_code
from kvm_vmx.compare.rows import CLASSES
from kvm_vmx.compare.scope import scope
from kvm_vmx.compare.views import COUNTED, depth, percent, place, summary, whole_rows

STYLE = pathlib.Path(__file__).with_name("page.css")
COLUMNS = (("kernel", "kernel C"), ("port", "port"), ("generated", "generated C"),
           ("machine", "machine code"))
SHOWN = {"kernel", "port"}
MEANING = {
    "same": "the same", "idiom": "by idiom", "adapted": "adapted", "omitted": "left out",
    "added": "ours", "moved": "moved", "unexplained": "unexplained",
}
ALIKE = {"same", "idiom", "moved", "inactive"}
BODY = string.Template("""<header class="page">
<h1>kvm_vmx beside $tree</h1>
<p>$summary.</p>
<p class="key">$key</p>
<details><summary>the configuration of the tree's #if</summary><code>$config</code></details>
$missing
</header>
<nav class="tools" aria-label="columns">$tools</nav>
<main>
<table id="functions">
<thead><tr><th>function</th><th>kernel</th><th>port</th><th></th><th class="n">alike</th>
<th class="n">$loose</th></tr></thead>
<tbody>
$table
</tbody>
</table>
$out
$sections
</main>""")


def page(report) -> str:
    """The whole page as text."""
    paths = dict.fromkeys(pair.port.path for pair in report.pairs)
    made, no_c = generated(paths)
    code, no_code = machine_code()
    notes = [note for note in (no_c, no_code) if note]
    body = BODY.substitute(
        tree=html.escape(report.tree.title),
        summary=summary(report),
        loose="unexplained" if report.totals["unexplained"] else "",
        key="".join(f'<span style="background:var(--{name})">{MEANING[name]} '
                    f"{report.totals[name]}</span>" for name in COUNTED),
        config=" ".join(f"{name}={value}" for name, value in report.tree.config.items()),
        missing="".join(f"<p>{html.escape(note)}</p>" for note in notes), tools=tools(),
        table="\n".join(entry(pair) for pair in report.pairs), out=out_of_scope(report),
        sections="\n".join(section(pair, made, code) for pair in report.pairs),
    )
    return frame.page(f"kvm_vmx beside {report.tree.title}", body,
                      style=f"{STYLE.read_text()}\n{column_rules()}")


def column_rules() -> str:
    """How many columns the grid has: one rule for each set of boxes that are ticked."""
    rules = []
    for chosen in range(1 << len(COLUMNS)):
        names = [name for n, (name, _) in enumerate(COLUMNS) if chosen >> n & 1]
        ticked = "".join(f":has(#show-{name}:checked)" for name in names)
        rules.append((len(names), f"body{ticked} .rows {{ --columns: {len(names) or 1}; }}"))
    return "\n".join(rule for _, rule in sorted(rules))


def tools() -> str:
    """The boxes that show and hide columns and rows."""
    boxes = [
        f'<label><input type="checkbox" id="show-{name}"{" checked" if name in SHOWN else ""}> '
        f"{title}</label>"
        for name, title in COLUMNS
    ]
    boxes.append('<label><input type="checkbox" id="only-diff"> only what differs</label>')
    boxes.append('<a href="#functions">all functions</a>')
    return "\n".join(boxes)


def bar(pair) -> str:
    """A function's statements by class, as a strip."""
    totals = pair.totals
    parts = (f'<i style="flex:{totals[name]};background:var(--{name}-bar)" '
             f'title="{MEANING[name]} {totals[name]}"></i>' for name in COUNTED if totals[name])
    return f'<span class="bar">{"".join(parts)}</span>'


def entry(pair) -> str:
    """A function's row in the table at the top."""
    return (f'<tr><td><a href="#{pair.name}">{pair.name}</a></td><td>{place(pair.kernel)}</td>'
            f"<td>{place(pair.port)}</td><td>{bar(pair)}</td>"
            f'<td class="n">{percent(pair.fidelity)}</td>'
            f'<td class="n">{pair.totals["unexplained"] or ""}</td></tr>')


def out_of_scope(report) -> str:
    """What the kernel's files hold beside it, by reason."""
    reasons = {}
    for found in scope(report) if report.whole else ():
        if found.reason:
            reasons.setdefault(found.reason, []).append(found.name)
    rows = "\n".join(f"<tr><td>{html.escape(why)}</td><td>{', '.join(names)}</td></tr>"
                     for why, names in sorted(reasons.items()))
    count = sum(map(len, reasons.values()))
    return (f"<details><summary>{count} more functions of these files are out of scope</summary>"
            f"<table><tbody>{rows}</tbody></table></details>") if count else ""


def section(pair, made, code) -> str:
    """One function: its header, and a grid of its rows."""
    alike = " alike" if all(row.kind in ALIKE for row in pair.rows) else ""
    rows = "\n".join(grid_row(row, pair, made, code) for row in whole_rows(pair.rows))
    return (f'<section id="{pair.name}" class="function{alike}"><h2>{pair.name}() {bar(pair)}'
            f"<small>{place(pair.kernel)}</small><small>{place(pair.port)}</small>"
            f"<small>{percent(pair.fidelity)} alike</small></h2>\n"
            f'<div class="rows">\n{rows}\n</div></section>')


def grid_row(row, pair, made, code) -> str:
    """One statement in all columns."""
    assert row.kind in CLASSES
    lines = dict.fromkeys(
        line for unit in row.port for line in range(unit.line, unit.end + 1))
    notes = f"<em>{html.escape(row.why)}</em>" if row.why and row.kind != "same" else ""
    cells = (
        ("kernel", statements(row.kernel)),
        ("port", statements(row.port) + notes),
        ("generated", behind(lines, pair.port.path, made)),
        ("machine", behind(lines, pair.port.path, code)),
    )
    inside = "".join(f'<div class="{name}">{text}</div>' for name, text in cells)
    return f'<div class="row {row.kind}">{inside}</div>'


def statements(units) -> str:
    """The statements of one side, a line each."""
    return "\n".join(
        f"<b>{unit.line}</b>{'  ' * depth(unit)}{html.escape(unit.text)}" for unit in units)


def behind(lines, path: str, found) -> str:
    """What was made of some lines of a file."""
    return "\n".join(html.escape(text) for line in lines for text in found.get((path, line), ()))
