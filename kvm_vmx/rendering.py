# SPDX-License-Identifier: GPL-2.0-only
"""How commands put text on standard output: colour, width and encoding decided in one place.

Colour: --color, then NO_COLOR, then FORCE_COLOR, then whether it is a terminal. Width: COLUMNS,
then the terminal's; into a file or a pipe without COLUMNS columns are as wide as their text.
"""

import os
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console as Console
    from rich.console import ConsoleOptions as ConsoleOptions

COLOURS = ("auto", "always", "never")
# What a column keeps where there is little room, and what stands between two.
LEAST, BETWEEN = 8, "  "
# of two columns beside each other in a file
NOMINAL = 80
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"

_chosen = "auto"


def choose(colour: str) -> None:
    """What --color says, for this process."""
    global _chosen
    _chosen = colour


def is_terminal(stream: TextIO) -> bool:
    """Does somebody look at it? A stream that is closed is none."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def coloured(stream: TextIO | None = None) -> bool:
    """Is text for this stream, by default standard output, coloured?"""
    if _chosen != "auto":
        return _chosen == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream or sys.stdout) and os.environ.get("TERM") not in ("dumb", "unknown")


def width(stream: TextIO | None = None) -> int | None:
    """How many characters fit in a line; None: any number."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns):
        return int(columns)
    stream = stream or sys.stdout
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (AttributeError, OSError, ValueError):
        return None


def console(widest: int | None = None, narrow: int = NOMINAL) -> "Console":
    """A rich console on standard output, which leaves a reader who is gone to the command line.

    widest bounds it, narrow is its width where nothing says one.
    """
    from rich.console import Console

    class Terminal(Console):
        """A console that lets a broken pipe end the command."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    room, colour = width() or narrow, coloured()
    return Terminal(
        width=min(room, widest) if widest else room, color_system="standard" if colour else None,
        force_terminal=colour, no_color=not colour, highlight=False, markup=False, emoji=False)


def cells(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def sayable(text: str, stream: TextIO | None = None) -> str:
    """A text as the stream's encoding can say it, so that columns are measured as they appear."""
    stream = stream or sys.stdout
    if text.isascii():
        return text
    encoding, errors = getattr(stream, "encoding", None) or "utf-8", stream.errors or "strict"
    try:
        return text.encode(encoding, errors).decode(encoding, "surrogateescape")
    except (UnicodeError, LookupError):
        return text


def fitted(widths: list[int], flexible: list[int], room: int) -> list[int]:
    """The widths of columns that fit: the widest of those that may wrap give way, as far as it
    goes."""
    found = list(widths)
    over = sum(found) + len(BETWEEN) * (len(found) - 1) - room
    while over > 0 and flexible:
        wide = max(flexible, key=found.__getitem__)
        if found[wide] <= LEAST:
            break
        found[wide] -= 1
        over -= 1
    return found


def folded(text: str, room: int) -> list[str]:
    """A cell's lines, each with its own indent; a word that is too long is cut."""
    if cells(text) <= room:
        return [text]
    bare = text.lstrip()
    indent = text[:min(len(text) - len(bare), room - 1)]
    room -= len(indent)
    lines = [""]
    for word in bare.split():
        if lines[-1] and cells(lines[-1]) + 1 + cells(word) <= room:
            lines[-1] += f" {word}"
            continue
        while cells(word) > room:
            part = beginning(word, room)
            lines.append(part)
            word = word[len(part):]
        lines.append(word)
    return [indent + line for line in lines if line] or [""]


def beginning(word: str, room: int) -> str:
    """As much of a word as fits, and one character in any case."""
    end = 1
    while end < len(word) and cells(word[:end + 1]) <= room:
        end += 1
    return word[:end]


def print_columns(rows: Sequence[Sequence[str]], right: Collection[int] = (),
                  heads: bool = True) -> None:
    """Rows of text in aligned columns; the columns whose numbers are in `right` align right.

    With heads the first row is their titles. Where a line has not the room, cells wrap.
    """
    said = [[sayable(text) for text in row] for row in rows]
    if not said:
        return
    widths = [max(map(cells, column)) for column in zip(*said)]
    if room := width():
        widths = fitted(widths, [n for n in range(len(widths)) if n not in right], room)
    bold = heads and coloured()
    for number, row in enumerate(said):
        columns = [folded(text, max(room, 1)) for text, room in zip(row, widths)]
        for line in range(max(map(len, columns), default=0)):
            parts = (column[line] if line < len(column) else "" for column in columns)
            padded = (" " * (room - cells(part)) + part if n in right
                      else part + " " * (room - cells(part))
                      for n, (part, room) in enumerate(zip(parts, widths)))
            text = BETWEEN.join(padded).rstrip()
            print(f"{BOLD}{text}{PLAIN}" if bold and number == 0 else text)
