# SPDX-License-Identifier: GPL-2.0-only
"""Port and kernel as they ran, as one self-contained page: a scenario a section, what both
executed, and each instruction that one side alone did, with its function and line."""

import difflib
import html
import pathlib
from collections import Counter
from typing import NamedTuple

from kvm_vmx import frame
from kvm_vmx.kernel import executed
from kvm_vmx.kernel.executed import Step
from kvm_vmx.kernel.places import Placed

STYLE = pathlib.Path(__file__).with_name("page.css")
UNEXPLAINED = "unexplained"


class ExecutedRun(NamedTuple):
    """A scenario in one mode, as the kernel and as the port executed it."""

    name: str
    kernel: list[Placed]
    port: list[Placed]


def text(words: object) -> str:
    """Words as markup."""
    return html.escape(str(words), quote=False)


def place(one: Placed) -> str:
    """Where an instruction stands, as markup."""
    if one.place is None:
        return "<small>by the table of paravirtual operations</small>"
    return f"<small>{text(one.place.function)}() <i>{text(one.place.line)}</i></small>"


def cell(one: Placed, side: str) -> str:
    """An instruction that one side alone executes."""
    reason = reason_of(one.step, side) or UNEXPLAINED
    return (f'<div class="{side} {"loose" if reason == UNEXPLAINED else ""}">'
            f"<code>{text(executed.told(one.step))}</code>{place(one)}"
            f"<em>{text(reason)}</em></div>")


def reason_of(step: Step, side: str) -> str | None:
    """Why a step is on one side alone."""
    return next((reason.name for reason in executed.reasons() if reason.explains(side, step)),
                None)


def alike(kernel: list[Placed], port: list[Placed]) -> str:
    """A stretch that both executed, folded away: each instruction with both its places."""
    lines = []
    for ours, theirs in zip(kernel, port):
        where = [one.place for one in (ours, theirs) if one.place is not None]
        names = " / ".join(dict.fromkeys(f"{found.function}()" for found in where))
        files = ", ".join(found.line.rpartition("/")[2] for found in where)
        lines.append(f"<li><code>{text(executed.told(ours.step))}</code>"
                     f"<small>{text(names)} <i>{text(files)}</i></small></li>")
    what = "instruction" if len(lines) == 1 else "instructions"
    return (f"<details><summary>{len(lines)} {what} alike</summary><ol>{''.join(lines)}</ol>"
            "</details>")


def section(beside: ExecutedRun) -> tuple[str, Counter[str]]:
    """A scenario as markup, and how many differences it has by reason."""
    ours, theirs = ([one.step for one in side] for side in (beside.kernel, beside.port))
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    parts: list[str] = []
    count: Counter[str] = Counter()
    for kind, start, end, other, other_end in matcher.get_opcodes():
        kernel, port = beside.kernel[start:end], beside.port[other:other_end]
        if kind == "equal":
            parts.append(alike(kernel, port))
            continue
        for side, alone in (("kernel", kernel), ("port", port)):
            count.update(reason_of(one.step, side) or UNEXPLAINED for one in alone)
            parts += [cell(one, side) for one in alone]
    said = ", ".join(f"{number} {reason}" for reason, number in count.most_common())
    opened = " open" if count[UNEXPLAINED] else ""
    return (f'<section><details{opened}><summary><b>{text(beside.name)}</b> '
            f"<span>{len(beside.kernel)} by the kernel, {len(beside.port)} by the port; "
            f"{text(said or 'no difference')}</span></summary>"
            f'<div class="two"><p>the kernel alone</p><p>the port alone</p>{"".join(parts)}</div>'
            "</details></section>"), count


def page(title: str, found: list[ExecutedRun]) -> str:
    """The whole page as text."""
    count: Counter[str] = Counter()
    sections = []
    for beside in found:
        markup, counted = section(beside)
        sections.append(markup)
        count += counted
    both = sum(len(beside.kernel) for beside in found)
    rows = "".join(
        f"<tr><td>{text(reason.name)}</td><td>{count[reason.name]:,}</td><td>{reason.side}</td>"
        f"<td>{text(reason.why)}</td></tr>"
        for reason in executed.reasons() if count[reason.name])
    body = (f"<header><h1>{text(title)}</h1><p>{len(found)} runs, {both:,} instructions of the "
            f"kernel's own code; {sum(count.values()) - count[UNEXPLAINED]:,} that one side alone "
            f"executes are explained, <b>{count[UNEXPLAINED]:,} are not</b>.</p>"
            f'<div class="wide"><table>{rows}</table></div></header><main>{"".join(sections)}'
            "</main>")
    return frame.page(title, body, style=STYLE.read_text())
