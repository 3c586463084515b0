# SPDX-License-Identifier: GPL-2.0-only
"""A cell of the terminal's columns: lines that are too long go on under their own beginning."""

import textwrap
from collections.abc import Iterator

from rich.measure import Measurement
from rich.text import Text
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvm_vmx.rendering import Console, ConsoleOptions

LEAST = 12  # columns that are left for text, however deep it stands


class Hanging:
    """Text in lines `number  statement`, and a note below it; each wraps with its own indent."""

    def __init__(self, text: str, style: str = "", note: str = "", note_style: str = "italic"):
        self.text, self.style, self.note, self.note_style = text, style, note, note_style

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> Measurement:
        rows = [*self.text.split("\n"), *self.note.split("\n")]
        return Measurement(LEAST, max(map(len, rows), default=LEAST))

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator[Text]:
        parts = [(self.text, self.style), (self.note, f"{self.style} {self.note_style}")]
        for text, style in parts:
            for row in text.split("\n") if text else ():
                yield from (Text(part, style=style, no_wrap=True)
                            for part in wrapped(row, options.max_width))


def wrapped(row: str, width: int) -> list[str]:
    """One line in as many as it takes, the later ones two columns deeper than its text."""
    bare = row.lstrip()
    head = bare.partition("  ")[0]
    number = head if head.isdigit() else ""
    indent = len(row) - len(bare) + (len(bare) - len(bare[len(number):].lstrip()) if number else 0)
    indent = min(indent + 2, max(width - LEAST, 0))
    return textwrap.wrap(row, max(width, LEAST), subsequent_indent=" " * indent,
                         drop_whitespace=True, break_on_hyphens=False, tabsize=2) or [""]
