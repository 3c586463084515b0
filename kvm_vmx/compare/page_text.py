# SPDX-License-Identifier: GPL-2.0-only
"""The text of the page's cells: statements with colours, the words that differ, and comments."""

import functools
import html
import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from kvm_vmx.compare.rows import WORD, Row
from kvm_vmx.compare.units import Function, Unit
from kvm_vmx.compare.views import depth

# Short marks of their own for what is coloured: there are tens of thousands.
COLOURS = (("Comment", "q"), ("Keyword", "i"), ("Literal.String", "s"), ("Literal.Number", "u"))
C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
MARK = re.compile(r"# C[-~+:]")
NEUTRAL = {"->": ".", "&&": "and", "||": "or", "!": "not"}
PLAIN = re.compile(r"\W|cdef|static|struct|inline|noexcept|nogil|if|return|_t$")
MOST = 40  # lines of comments before one statement
Said: TypeAlias = dict[int, list[str]]      # by the line of a statement: the comments before it


class Highlighter(Protocol):
    """What is used of a lexer of Pygments."""

    def get_tokens(self, text: str) -> Iterable[tuple[object, str]]:
        """The kind and the text of each token."""


@functools.cache
def lexers() -> dict[str, Highlighter]:
    """The lexers of both languages."""
    # Pygments has no types of its own
    from pygments.lexers import CLexer, CythonLexer  # type: ignore[import-untyped]

    return {"c": CLexer(ensurenl=False, stripnl=False),
            "cython": CythonLexer(ensurenl=False, stripnl=False)}


@functools.lru_cache(maxsize=20_000)
def coloured(text: str, language: str, loud: frozenset[str] = frozenset()) -> str:
    """A statement as markup: its colours, and the words in `loud` emphasised."""
    found = []
    for kind, part in lexers()[language].get_tokens(text):
        name = next((tag for title, tag in COLOURS if title in str(kind)), "")
        said = html.escape(part, quote=False)
        if part in loud:
            said = f"<mark>{said}</mark>"
        found.append(f"<{name}>{said}</{name}>" if name and part.strip() else said)
    return "".join(found)


def different(row: Row) -> tuple[frozenset[str], frozenset[str]]:
    """The words of each side that the other one has not, where both sides have statements."""
    if row.kind not in ("adapted", "unexplained", "idiom") or not row.kernel or not row.port:
        return frozenset(), frozenset()
    sides = [{word for unit in units for word in WORD.findall(unit.text)
              if not PLAIN.fullmatch(word)} for units in (row.kernel, row.port)]
    same = {NEUTRAL.get(word, word) for word in sides[0]} \
        & {NEUTRAL.get(word, word) for word in sides[1]}
    one, other = (frozenset(word for word in side if NEUTRAL.get(word, word) not in same)
                  for side in sides)
    return one, other


def statements(units: Iterable[Unit], language: str, loud: frozenset[str], comments: Said) -> str:
    """The statements of one side, a line each, what is said before them in front."""
    found = []
    for unit in units:
        indent = "  " * depth(unit)
        said = "\n".join(indent + text for text in comments.get(unit.line, ()))
        found.append(f"{f'<q>{html.escape(said, quote=False)}</q>' if said else ''}"
                     f"<b>{unit.line}</b>{indent}{coloured(unit.text, language, loud)}")
    return "\n".join(found)


def kernel_comments(function: Function, rows: Sequence[str]) -> Said:
    """{line of a statement: the comments before it and on it} of a function of the kernel."""
    found: Said = {}
    first = function.line - 2
    while first >= 0 and rows[first].lstrip().startswith(("/*", "*", "//")) \
            and function.line - first < MOST:
        first -= 1
    last = first + 1
    inside = range(function.line, function.end + 1)
    for line in sorted({unit.line for unit in function.units if unit.line in inside}):
        text = "\n".join(rows[last:max(line, last)])
        said = [part.strip() for hit in C_COMMENT.finditer(text) for part in hit[0].split("\n")]
        if said:
            found[line] = [f" {part}" if part.startswith("*") else part for part in said][:MOST]
        last = max(line, last)
    return found


def port_comments(function: Function, rows: Sequence[str]) -> Said:
    """Likewise of the port; its marks are the notes of their rows."""
    found: Said = {}
    last, skip = function.line, False
    for line in sorted({unit.line for unit in function.units}):
        said = []
        for row in rows[last:line - 1]:
            bare = row.strip()
            skip = bool(MARK.match(bare)) or skip and bare.startswith("# ")
            if bare.startswith("# ") and not skip:
                said.append(bare)
        if said:
            found[line] = said
        last, skip = max(line, last), False
    return found
