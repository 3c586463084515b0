# SPDX-License-Identifier: GPL-2.0-only
"""A compared patch as one self-contained page: three columns, remarks where they were made."""

import html
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvm_vmx import frame
from kvm_vmx.compare.page_text import coloured
from kvm_vmx.compare.patch_fate import KINDS
from kvm_vmx.compare.patch_view import AHEAD, summary

if TYPE_CHECKING:
    from kvm_vmx.compare.mail import Remark
    from kvm_vmx.compare.patch import Comparison, Looked
    from kvm_vmx.compare.patch_fate import Fate
    from kvm_vmx.compare.patch_places import Spot

STYLE = pathlib.Path(__file__).with_name("patch_page.css")
CLASSES = {"same": "same", "renamed": "moved", "moved": "moved", "changed": "changed",
           "changed after review": "reviewed", "not taken up": "dropped"}
AUTHORS = 6     # colours of those who speak


def page(comparison: "Comparison", tree: str) -> str:
    """The whole page as text."""
    body = [f"<header><h1>{text(title(comparison))}</h1>"]
    body += [f"<p>{text(line)}</p>" for line in summary(comparison, tree)]
    body.append(f'<p class="key">{"".join(key(comparison))}</p></header><main>')
    authors: dict[str, int] = {}
    gaps: dict[int, int] = {}
    last = None
    for looked in comparison.hunks:
        if looked.patch is not last:
            last, gaps = looked.patch, {id(hunk): net for hunk, net in looked.patch.missing()}
            body.append(f"<h2>{text(last.subject)}</h2>"
                        f"<p>{text(last.author)} {text(last.date)}</p>")
            body += [remark(one, authors) for one in last.remarks]
        body.append(hunk_of(looked, tree, comparison.newer, gaps.get(id(looked.hunk)), authors))
    body.append("</main>")
    return frame.page(title(comparison), "\n".join(body), style=STYLE.read_text())


def title(comparison: "Comparison") -> str:
    """What the page is of."""
    return comparison.patches[0].subject or "a patch beside the port"


def text(words: str) -> str:
    """Words as markup."""
    return html.escape(words, quote=False)


def key(comparison: "Comparison") -> Iterator[str]:
    """What the colours mean, with how many statements of each."""
    for kind in KINDS:
        word = AHEAD[kind] if comparison.newer else kind
        yield f'<span class="{CLASSES[kind]}">{word} {comparison.totals[kind]}</span>'


def hunk_of(looked: "Looked", tree: str, newer: bool, gap: int | None,
            authors: dict[str, int]) -> str:
    """One hunk."""
    hunk, waiting = looked.hunk, list(looked.hunk.remarks)
    notes = "".join(f"<li>{text(note)}</li>" for note in (
        f"hunks that add {gap} lines net are not quoted before this one" if gap else "",
        hunk.cut, *hunk.notes) if note)
    parts = [f'<section id="h{hunk.number}"><h3><a href="#h{hunk.number}">@@</a> '
             f"{text(hunk.heading or '(no function)')}"
             f"<small>{text(hunk.file)}:{hunk.new[0]}</small></h3>",
             f"<ul>{notes}</ul>" if notes else "",
             '<div class="three"><div class="head">as mailed</div>'
             f'<div class="head">{text(tree)}</div><div class="head">the port</div>']
    for fate in looked.fates:
        while waiting and waiting[0].number < fate.statement.number:
            parts.append(remark(waiting.pop(0), authors))
        parts.append(row(fate, newer))
    parts += [remark(one, authors) for one in waiting]
    return "\n".join([*parts, "</div></section>"])


def row(fate: "Fate", newer: bool) -> str:
    """One statement in three columns."""
    name, statement = CLASSES[fate.kind], fate.statement
    word = "" if fate.kind == "same" else AHEAD[fate.kind] if newer else fate.kind
    note = ", ".join(part for part in (word, fate.why) if part)
    said = f"<em>{text(note)}</em>" if note else ""
    cells = (f"<b>{statement.sign}</b>{coloured(statement.text, 'c')}{said}",
             spot(fate.kernel, "c"), spot(fate.port, "cython"))
    return "".join(f'<div class="cell {name}">{cell}</div>' for cell in cells)


def spot(found: "Spot | None", language: str) -> str:
    """A statement of one side with its place."""
    if found is None:
        return ""
    place = f"{found.path.rpartition('/')[2]}:{found.line}" if found.line else ""
    why = f"<em>{text(found.why)}</em>" if found.why else ""
    return f"<small>{text(place)}</small>{coloured(found.text, language)}{why}"


def remark(said: "Remark", authors: dict[str, int]) -> str:
    """What somebody said, in the colour of who it was."""
    number = authors.setdefault(said.author, len(authors) % AUTHORS)
    return (f'<blockquote class="by{number}"><cite>{text(said.author or "somebody")}, line '
            f"{said.number}</cite><p>{text(said.text)}</p></blockquote>")

