# SPDX-License-Identifier: GPL-2.0-only
"""A lesson as a page of a terminal: at most 100 columns, the same for the same run."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kvm_vmx import rendering
from kvm_vmx.lessons.record import Cell, Record
from kvm_vmx.lessons.sources import Line

if TYPE_CHECKING:
    from kvm_vmx.rendering import Console

STYLES = {"": "", "good": "green", "bad": "bold red", "hot": "yellow", "dim": "dim"}
WIDEST = 100


def heading(out: "Console", text: str) -> None:
    """The title of a part."""
    out.print(Text(f"\n{text}", style="bold"))


def paragraph(out: "Console", text: str) -> None:
    """Indented text, wrapped."""
    out.print(Padding(Text(text), (0, 0, 0, 2), expand=False))


def grid(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Columns of cells under their titles."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True,
                  header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.text, style=STYLES[cell.kind]) for cell in row))
    return table


def show(record: Record, lines: Sequence[Line], check: bool, verdicts: Sequence[str] = ()) -> None:
    """The whole page; without check the answer is withheld."""
    out = rendering.console(WIDEST, narrow=WIDEST)
    with out.capture() as text:
        write(out, record, lines, check, verdicts)
    print("\n".join(line.rstrip() for line in text.get().splitlines()))


def write(out: "Console", record: Record, lines: Sequence[Line], check: bool,
          verdicts: Sequence[str]) -> None:
    """Part by part."""
    out.print(Text(f"{record.name}: {record.title}", style="bold reverse"))
    for text in record.about:
        paragraph(out, text)
    heading(out, f"The run (seed {record.seed}"
            + (f", case {record.named(check)}" if record.named(check) else "")
            + ")")
    for text in record.run:
        paragraph(out, text)
    heading(out, "The picture")
    out.print(Padding(grid(*record.shown(check).timeline()), (0, 0, 0, 2), expand=False))
    if record.mended:
        heading(out, "Nothing of it here")
        paragraph(out, record.mended)
    heading(out, "The question")
    paragraph(out, record.question)
    heading(out, "The answer")
    for text in record.answer if check else ["Work it out first; then run this again with -c."]:
        paragraph(out, text)
    if verdicts:
        heading(out, "Your function")
        for text in verdicts:
            paragraph(out, text)
    heading(out, "Change this and run again")
    for text in record.change:
        paragraph(out, text)
    if record.leaves_out:
        heading(out, "What the emulator leaves out")
        paragraph(out, record.leaves_out)
    if check or not record.secret:
        heading(out, "The lines it explains")
        for line in lines:
            show_line(out, line, check)


def show_line(out: "Console", line: Line, check: bool) -> None:
    """A line of the kernel and the one of the port that stands for it; whether the run has
    executed that is part of the answer."""
    place = f"{line.kernel_file}:{line.kernel_line}" if line.kernel_line else line.kernel_file
    for text in (f"{line.function}()  {place}  {line.kernel_text}".rstrip(),
                 f"    {line.port_file}:{line.port_line}  "
                 f"{'not executed: ' if check and not line.executed else ''}{line.port_text}"):
        out.print(Padding(Text(text, no_wrap=True, overflow="ellipsis"), (0, 0, 0, 2),
                          expand=False))
