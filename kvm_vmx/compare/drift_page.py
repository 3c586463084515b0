# SPDX-License-Identifier: GPL-2.0-only
"""What changed between two trees as one self-contained page: old tree, port, new tree."""

import html
import string
from collections.abc import Callable, Collection, Mapping

from kvm_vmx import frame
from kvm_vmx.compare import drift_rows, page_text
from kvm_vmx.compare.drift import Drift, FunctionDrift
from kvm_vmx.compare.drift_git import Blame
from kvm_vmx.compare.drift_rows import Three
from kvm_vmx.compare.opening import version_of
from kvm_vmx.compare.page import SCRIPT, STYLE, column_rules, in_parts, tools
from kvm_vmx.compare.page_text import Said
from kvm_vmx.compare.report import Pair, Report
from kvm_vmx.compare.rows import WORD, Row
from kvm_vmx.compare.views import place

COLUMNS = (("kernel", "old tree"), ("port", "port"), ("new", "new tree"))
SHOWN = {name for name, _ in COLUMNS}
MEANING = {"same": "the same", "changed": "changed", "gone": "gone", "came": "new"}
PLACE = '<td class="place"></td>'
ALIKE = {"same", "idiom", "moved"}
BODY = string.Template("""<header class="page">
<h1>kvm_vmx from $old to $new</h1>
<p>$summary</p>
<p class="key">$key</p>
$facts
<details><summary>keys</summary><p><kbd>n</kbd> <kbd>p</kbd> next and previous change,
<kbd>j</kbd> <kbd>k</kbd> next and previous function, <kbd>/</kbd> search, <kbd>[</kbd> <kbd>]</kbd>
fold and unfold all. A click on a line's number makes the address of this page its link, and shows
where it stands.</p></details>
</header>
<nav class="tools" aria-label="columns">$tools</nav>
<nav id="map" aria-label="functions by change"></nav>
<main data-version="$version" data-root="$root">
<table id="functions">
<thead><tr><th>function</th><th class="place">old tree</th><th class="place">port</th>
<th class="place">new tree</th><th></th>
<th class="n">the same</th><th class="n">to follow</th></tr></thead>
$table
</table>
$still
$sections
</main>
<footer id="place" hidden></footer>""")


class DrawnChange:
    """A changed function with its rows, and how many of them are of each kind."""

    def __init__(self, change: FunctionDrift, pair: Pair | None, note: str):
        self.change, self.pair, self.note = change, pair, note
        self.rows = drift_rows.rows_of(change, pair)
        kinds = [row.kind for row in self.rows]
        self.totals = {kind: kinds.count(kind) for kind in MEANING}


def page(drift: Drift, report: Report, facts: list[str], touched: Blame,
         notes: Callable[[FunctionDrift], str], only: Collection[str] = ()) -> str:
    """The whole page as text.

    `facts` are the lines of what is no function, `touched` tells the commit of a row, `notes` what
    became of each change's function; `only` names the functions to show, all that changed if none.
    """
    pairs = {pair.kernel.name: pair for pair in report.pairs if pair.kernel is not None}
    shown = [DrawnChange(change, pairs.get(change.name), notes(change)) for change in drift.changes
             if change.name in only or not only and changed(change)]
    groups = in_parts(shown, lambda one: one.change.name, lambda one: one.change.old.path)
    versions = [version_of(tree.files.get("Makefile", "")) for tree in (drift.old, drift.new)]
    still = [change.name for change in drift.changes if not changed(change)]
    totals = {kind: sum(one.totals[kind] for one in shown) for kind in MEANING}
    body = BODY.substitute(
        old=html.escape(drift.old.title), new=html.escape(drift.new.title),
        summary=f"{len(drift.changes) - len(still)} of {len(drift.changes)} functions of the path "
                f"changed; {sum(one.change.follow for one in shown)} statements that the port has "
                "from the old tree are to follow.",
        key="".join(f'<span class="{kind}">{word} {totals[kind]}</span>'
                    for kind, word in MEANING.items()),
        facts=listed(facts),
        tools=tools(COLUMNS, SHOWN, "only what changed"), version=html.escape(versions[0]),
        root=html.escape(report.port.root.parents[1].as_uri()),
        table="\n".join(
            f'<tbody><tr class="part"><th colspan="7">{html.escape(title)}</th></tr>\n'
            + "\n".join(entry(one) for one in here) + "</tbody>" for title, here in groups),
        still=f"<details><summary>{len(still)} functions did not change</summary>"
              f"<p>{', '.join(still)}</p></details>" if still and not only else "",
        sections="\n".join(
            f'<h2 class="part">{html.escape(title)}</h2>\n' + "\n".join(
                section(one, drift, versions[1], touched) for one in here)
            for title, here in groups))
    return frame.page(f"kvm_vmx from {drift.old.title} to {drift.new.title}", body,
                      script=SCRIPT.read_text(),
                      style=f"{STYLE.read_text()}\n{column_rules(COLUMNS)}")


def listed(facts: list[str]) -> str:
    """What is no function: names, table and structure; which files functions went to is folded."""
    moves = [line for line in facts if line.startswith("moved ")]
    lines = [line for line in facts if line not in moves]
    items = ["".join(f"<li>{html.escape(line)}</li>" for line in some) for some in (lines, moves)]
    return f"<ul>{items[0]}</ul>" + (
        f"<details><summary>functions that moved to other files</summary><ul>{items[1]}</ul>"
        "</details>" if moves else "")


def changed(change: FunctionDrift) -> bool:
    """Whether a function is otherwise in the new tree, or elsewhere."""
    return bool(change.gone or change.came or change.moved or change.new is None)


def entry(one: DrawnChange) -> str:
    """A function's row in the table at the top; the script adds places and strip."""
    change = one.change
    return (f'<tr><td><a href="#{change.name}">{change.name}</a></td>{PLACE * 3}<td></td>'
            f'<td class="n">{change.same}</td><td class="n">{change.follow or ""}</td></tr>')


def bar(totals: Mapping[str, int]) -> str:
    """A function's rows by kind, as a strip."""
    parts = (f'<i class="{kind}" style="flex:{count}"></i>'
             for kind, count in totals.items() if count)
    return f'<span class="bar">{"".join(parts)}</span>'


def section(one: DrawnChange, drift: Drift, version: str, touched: Blame) -> str:
    """One function: its header, and a grid of its rows."""
    change, pair = one.change, one.pair
    before, after = (
        page_text.kernel_comments(function, tree.present(function.path).rows) if function else {}
        for tree, function in ((drift.old, change.old), (drift.new, change.new)))
    lines, last = [], None
    for row in one.rows:
        port, last = (row.port if row.port is not last else None), row.port or last
        lines.append(grid_row(row, port, (before, after), change, touched))
    note = f"<small>{html.escape(one.note)}</small>" if one.note else ""
    follow = f"<small>{change.follow} to follow</small>" if change.follow else ""
    return (f'<section id="{change.name}" class="function"><details open><summary>'
            f"<h2>{change.name}()</h2> {bar(one.totals)}<small>{place(change.old)}</small>"
            f"<small>{place(pair.port) if pair else ''}</small>"
            f'<small data-version="{html.escape(version)}">'
            f"{place(change.new) if change.new else 'gone'}</small>{note}{follow}</summary>\n"
            f'<div class="rows">\n{"".join(lines)}\n</div></details></section>')


def grid_row(row: Three, port: Row | None, said: tuple[Said, Said], change: FunctionDrift,
             touched: Blame) -> str:
    """One row in three columns; `port` is what stands for it here, if that was not said before."""
    commit = drift_rows.commit_of(row, change, touched)
    left, right = loud(row)
    ours = page_text.statements(port.port, "cython", frozenset(), {}) if port else ""
    if port and port.why and port.kind not in ALIKE:
        ours += f"<em>{html.escape(port.why)}</em>"
    told = f"<em>{html.escape(commit)}</em>" if commit else ""
    cells = (
        ("kernel", page_text.statements([row.old], "c", left, said[0]) if row.old else ""),
        ("port", ours),
        ("new", (page_text.statements([row.new], "c", right, said[1]) if row.new else "") + told))
    inside = "".join(f'<div class="{name}">{text}</div>' for name, text in cells)
    return f'<div class="row {row.kind}">{inside}</div>\n'


def loud(row: Three) -> tuple[frozenset[str], frozenset[str]]:
    """The words of each tree that the other one has not, of a row that changed."""
    if row.kind != "changed" or not row.old or not row.new:
        return frozenset(), frozenset()
    one, other = ({word for word in WORD.findall(unit.text) if word.strip()}
                  for unit in (row.old, row.new))
    return frozenset(one - other), frozenset(other - one)
