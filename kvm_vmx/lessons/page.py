# SPDX-License-Identifier: GPL-2.0-only
"""The course as static pages: a lesson with its recorded run under a slider, and an index."""

import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape

from kvm_vmx import frame
from kvm_vmx.lessons import NAMES, glossary, load
from kvm_vmx.lessons.drawing import figures, glance_legend, legend
from kvm_vmx.lessons.figure import Figure
from kvm_vmx.lessons.record import Cell, Picture, Record
from kvm_vmx.lessons.sources import Line

HERE = pathlib.Path(__file__).parent
STYLE, SCRIPT = HERE / "page.css", HERE / "page.js"
COMMAND = re.compile(r"(kvm-vmx .*?)(?:\s{2,}(.*))?")
BITS = re.compile(r"[01]+(?: +[01]+)*")
BYTES = re.compile(r"[0-9a-f]{2}(?: [0-9a-f]{2}){2,}")
WITHHELD = "Work it out first; the page that is made with <code>-c</code> has the answer."
HANDED_IN = "Hand it in, in the sheet of this number."
# The widest and the least that a column may ask for, and what is between two, in characters.
WIDEST, LEAST, GAP = 34, 5, 2
BUTTONS = (("first", "«", "the first step"), ("back", "‹", "one step back"),
           ("next", "›", "one step on"), ("last", "»", "the last step"))


def form(text: str) -> str:
    """How a cell's text is set: a box for each bit, or for each byte."""
    if BYTES.fullmatch(text):
        return "bytes"
    return "bits" if BITS.fullmatch(text) and text.count("0") + text.count("1") >= 12 else ""


def paragraphs(texts: Iterable[str], markup: Callable[[str], str] = escape) -> str:
    """Each text as a paragraph; where it is set in columns it stays so."""
    return "".join(f"<pre>{escape(text)}</pre>" if "  " in text.strip() else
                   f"<p>{markup(text)}</p>" for text in texts)


def linked() -> Callable[[str], str]:
    """What makes markup of a text of the course: each word leads to the page of all words, once."""
    seen: set[str] = set()
    return lambda text: glossary.linked(text, seen)


def section(title: str, inside: str, name: str = "") -> str:
    """A part of the page under its title."""
    named = f' id="{name}"' if name else ""
    return f"<section{named}><h2>{title}</h2>{inside}</section>\n"


def lesson_page(record: Record, lines: Sequence[Line], check: bool, *, course: bool = False) -> str:
    """One lesson; in a course, with the way to its neighbours."""
    picture = record.picture
    drawn = figures(record, picture)
    shown = section("The lines it explains", line_list(lines, check))
    body = "".join([
        neighbours(record.name) if course else "",
        head(record),
        "<main>\n",
        section("What this is", paragraphs(record.about, linked() if course else escape)),
        section("The run", paragraphs(record.run)),
        section("The picture", player(picture, drawn, columns(record, check))
                + steps(picture), "picture"),
        section("Nothing of it here", paragraphs([record.mended])) if record.mended else "",
        section("The question", paragraphs([record.question]), "question"),
        section("The answer", answer(record, shown if record.secret else "", check), "answer"),
        section("Change this and run again", changes(record.change)) if record.change else "",
        section("What the emulator leaves out", paragraphs([record.leaves_out]))
        if record.leaves_out else "",
        "" if record.secret else shown,
        "</main>\n", frame.data("data", as_data(record, drawn, check))])
    return frame.page(f"{record.name}: {record.title}", body, style=STYLE.read_text(),
                      script=SCRIPT.read_text())


def as_data(record: Record, drawn: list[Figure], check: bool) -> dict[str, object]:
    """What the script needs: the runs, the one with the answer last where there is one."""
    runs = [(record.picture, drawn)]
    if check and record.solved:
        runs.append((record.solved, figures(record, record.solved)))
    return {"columns": record.picture.columns, "runs": [{
        "steps": [{"caption": step.caption,
                   "rows": [[[cell.text, cell.kind, form(cell.text)] for cell in row]
                            for row in step.rows]} for step in picture.steps],
        "figures": [figure.as_json(len(runs) > 1) for figure in shown],
    } for picture, shown in runs]}


def head(record: Record) -> str:
    """Title, and the command that makes this run again; a case that tells is not in it."""
    case = f" --case {record.case}" if record.named(check=False) else ""
    made = (f"sheet {record.number}" if record.number else
            f"<code>kvm-vmx lesson {record.name} --seed {record.seed}{escape(case)}</code>")
    return (f'<header class="page"><h1><b>{record.name}</b> {escape(record.title)}</h1>'
            f"<p>{made} "
            f"<span>{record.minutes or load(record.name).MINUTES} minutes</span></p></header>\n")


def neighbours(name: str) -> str:
    """The lesson before, the course, the lesson behind."""
    at = NAMES.index(name)
    before = f'<a rel="prev" href="{NAMES[at - 1]}.html">← {NAMES[at - 1]}</a>' if at else "<i></i>"
    behind = (f'<a rel="next" href="{NAMES[at + 1]}.html">{NAMES[at + 1]} →</a>'
              if at + 1 < len(NAMES) else "<i></i>")
    return (f'<nav class="course" aria-label="course">{before}'
            f'<a href="index.html">lesson {at + 1} of {len(NAMES)}</a>{behind}</nav>\n')


def columns(record: Record, check: bool) -> str:
    """The columns of the state, each as wide as its longest text needs in any step of the run, so
    that none moves while the slider does."""
    pictures = [record.picture, *([record.solved] if check and record.solved else [])]
    widths = [max(len(name), LEAST) for name in record.picture.columns]
    for picture in pictures:
        for step in picture.steps:
            for row in step.rows:
                widths = [max(wide, min(len(cell.text), WIDEST))
                          for wide, cell in zip(widths, row)]
    total = sum(wide + GAP for wide in widths)
    return "<colgroup>" + "".join(
        f'<col style="width:{100 * (wide + GAP) / total:.1f}%">' for wide in widths) + "</colgroup>"


def steps(picture: Picture) -> str:
    """All steps of the run in one table, as on a terminal: for paper, and without a script."""
    titles, rows = picture.timeline()
    lines = "".join("<tr>" + "".join(
        frame.element("td", {"class": f"k-{cell.kind}"} if cell.kind else {}, escape(cell.text))
        for cell in row) + "</tr>" for row in rows)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in titles)
    return (f'<table class="steps"><caption>Step by step</caption><thead><tr>{head}</tr></thead>'
            f"<tbody>{lines}</tbody></table>\n")


def player(picture: Picture, drawn: list[Figure], wide: str) -> str:
    """The slider, the pictures, the state; without a script all stand at the last step that is
    told, and the table of all steps is below."""
    last, at = len(picture.steps) - 1, picture.told()
    *own, whole = drawn
    buttons = {name: f'<button type="button" id="{name}" aria-label="{label}" title="{label}">'
                     f"{sign}</button>" for name, sign, label in BUTTONS}
    return (
        f'<div class="player">{buttons["first"]}{buttons["back"]}'
        f'<input type="range" id="slider" min="0" max="{last}" value="{at}" '
        f'data-told="{at}" aria-label="step of the run">{buttons["next"]}{buttons["last"]}'
        f'<output id="count" for="slider">{at + 1} of {last + 1}</output></div>\n'
        f'<p id="caption" aria-live="polite">{escape(picture.steps[at].caption)}</p>\n'
        + "".join(figure(one, picture, at) for one in own) + table(picture, at, wide)
        + figure(whole, picture, at, 'class="whole"'))


def figure(one: Figure, picture: Picture, at: int, attributes: str = "") -> str:
    """One picture with its title; the strip has the groups' colours below."""
    extra = ""
    if any("data-tip" in parts[1] for parts in one.still):
        extra = (f'<p id="tip">Point at a dot for its field.</p><p class="legend">'
                 f"{legend(picture)}</p>")
    elif attributes:
        extra = f'<p class="legend">{glance_legend(one)}</p>'
    return (f"<figure {attributes}>{one.svg(at)}<figcaption>{escape(one.title)}</figcaption>"
            f"{extra}</figure>\n")


def table(picture: Picture, at: int, wide: str) -> str:
    """The state at one step."""
    rows = picture.steps[at].rows
    end = picture.steps[-1].rows
    titles = "".join(f'<th scope="col">{title(name, [row[n].text for row in end])}</th>'
                     for n, name in enumerate(picture.columns))
    lines = "".join("<tr>" + "".join(map(state_cell, row, picture.columns, range(len(row))))
                    + "</tr>" for row in rows)
    return (f'<table id="state">{wide}<thead><tr>{titles}</tr></thead>'
            f"<tbody>{lines}</tbody></table>\n")


def state_cell(cell: Cell, column: str, n: int) -> str:
    """One cell of the state; the first of a row is its name."""
    attributes = {"class": f"k-{cell.kind}" if cell.kind else "", "data-title": column}
    if n == 0:
        return frame.element("th", {"scope": "row", **attributes}, escape(cell.text))
    return frame.element("td", attributes, escape(cell.text))


def title(name: str, texts: Iterable[str]) -> str:
    """A column's title; over bits each letter stands above the bit that it names."""
    bits = next((text for text in texts if form(text) == "bits" and len(text) == len(name)), None)
    if not bits:
        return escape(name)
    return '<span class="boxes">' + "".join(
        " " if bit == " " else f'<span class="bits">{escape(letter)}</span>'
        for letter, bit in zip(name, bits)) + "</span>"


def answer(record: Record, lines: str, check: bool) -> str:
    """Folded where it may be read at all; a case that is secret is told with it."""
    if not check:
        return f"<p>{HANDED_IN if record.number else WITHHELD}</p>"
    case = f"<p>The case was <b>{escape(record.case)}</b>.</p>" if record.secret else ""
    also = "<p>The picture shows it now, too.</p>" if record.solved else ""
    return (f"<details><summary>Show it, once you have your own</summary>{case}"
            f"{paragraphs(record.answer)}{also}"
            f"{steps(record.solved) if record.solved else ''}{lines}</details>")


def changes(texts: Iterable[str]) -> str:
    """Commands as code with their words beside them, indented lines as they are."""
    parts = []
    for text in texts:
        command = COMMAND.fullmatch(text)
        if command:
            parts.append(f"<p><code>{escape(command[1])}</code> {escape(command[2] or '')}</p>")
        elif text.startswith(" "):
            parts.append(f"<pre>{escape(text)}</pre>")
        else:
            parts.append(f"<p>{escape(text)}</p>")
    return "".join(parts)


def line_list(lines: Sequence[Line], check: bool) -> str:
    """Each line of the kernel, and the port's that stands for it; whether the run has executed it
    is part of the answer."""
    return ("<p>The kernel's, and under each the line of the port that stands for it. "
            + ("This run has executed the port's lines, but for those that say otherwise."
               if check else "Which of them this run has executed is for you to say.") + "</p>"
            ) + "".join(
        f'<dl class="line"><dt><b>{escape(line.function)}()</b> {where(line)}</dt>'
        + (f"<dd><code>{escape(line.kernel_text)}</code></dd>" if line.kernel_text else "")
        + f"<dt>{escape(line.port_file)}:{line.port_line}"
        f"{', not executed here' if check and not line.executed else ''}</dt>"
        f"<dd><code>{escape(line.port_text)}</code></dd></dl>" for line in lines)


def where(line: Line) -> str:
    """A kernel line's place, as far as it is known."""
    return escape(line.kernel_file + (f":{line.kernel_line}" if line.kernel_line else ""))


def glossary_page() -> str:
    """The words of the course."""
    return frame.page("kvm_vmx: the words of the course", glossary.body(),
                      style=STYLE.read_text())


def seen(record: Record) -> str:
    """A lesson's picture at the step that is printed."""
    return figures(record, record.picture)[0].svg(record.picture.told())


def index_page(records: Sequence[Record], check: bool) -> str:
    """The course: each lesson with its question and its picture."""
    minutes = sum(load(record.name).MINUTES for record in records)
    cards = "".join(
        f'<li><a href="{record.name}.html"><b>{record.name}</b> {escape(record.title)}</a>'
        f"<small>{load(record.name).MINUTES} minutes</small>{seen(record)}"
        f"<p>{escape(record.question)}</p></li>\n" for record in records)
    answers = ("Each page holds its answer, folded." if check else
               "The answers are withheld: <code>kvm-vmx lesson NAME -c</code> has them.")
    words = '<a href="glossary.html">The words of the course</a> are said when they first come.'
    body = (
        '<header class="page"><h1>KVM on Hyper-V: enlightened VMCSs in '
        f"{len(records)} lessons</h1><p>Each is one experiment on the port of Linux v4.19 and the "
        "emulated Hyper-V under it, recorded as it ran, with one question. "
        f"{minutes} minutes in all. {answers}</p>"
        "<p>A slider moves through each run; so do the keys ← → Home End. "
        "<code>kvm-vmx lesson NAME --seed N</code> makes another variant. "
        f"{words}</p></header>\n"
        f'<main><ol class="lessons">{cards}</ol></main>')
    return frame.page("kvm_vmx: the course", body, style=STYLE.read_text())
