# SPDX-License-Identifier: GPL-2.0-only
"""Tokens of C and of Cython: one regular expression each, comments left out."""

import bisect
import re
from typing import NamedTuple

OPERATORS = (
    r"<<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|##|//|\*\*|"
    r"[-+*/%&|^~!<>=?:;,.()\[\]{}#\\@]"
)
NAME = r"\$?\$?[A-Za-z_]\w*"
NUMBER = r"0[xX][0-9a-fA-F]+[uUlL]*|\d+(?:\.\d+)?[uUlL]*"
STRING = r'"(?:\\.|[^"\\])*"'
CHAR = r"'(?:\\.|[^'\\])*'"

C = re.compile(
    rf"(?P<skip>/\*.*?(?:\*/|\Z)|//[^\n]*|\s+|\\\n)"
    rf"|(?P<str>{STRING})|(?P<chr>{CHAR})|(?P<num>{NUMBER})|(?P<id>{NAME})|(?P<op>{OPERATORS})",
    re.S,
)
CYTHON = re.compile(
    rf"(?P<skip>\#[^\n]*|\s+|\\\n)"
    rf'|(?P<str>b?""".*?"""|b?{STRING}|b?{CHAR})|(?P<num>{NUMBER})|(?P<id>{NAME})'
    rf"|(?P<op>{OPERATORS})",
    re.S,
)


class Token(NamedTuple):
    """One token: its kind (id, num, str, chr, op), its text, its place in the source."""

    kind: str
    text: str
    offset: int


def tokens(source: str, pattern: re.Pattern[str] = C, start: int = 0,
           end: int | None = None) -> list[Token]:
    """The tokens of a piece of source; what fits no rule is an operator of one character."""
    found: list[Token] = []
    position = start
    end = len(source) if end is None else end
    match = pattern.match
    while position < end:
        hit = match(source, position, end)
        if hit is None:
            found.append(Token("op", source[position], position))
            position += 1
            continue
        if hit.lastgroup and hit.lastgroup != "skip":
            found.append(Token(hit.lastgroup, hit.group(), position))
        position = hit.end()
    return found


class Lines:
    """Offsets to line numbers, counted from 1."""

    def __init__(self, source: str):
        self.starts = [0, *(hit.end() for hit in re.finditer("\n", source))]

    def at(self, offset: int) -> int:
        """The line an offset lies in."""
        return bisect.bisect_right(self.starts, offset)
