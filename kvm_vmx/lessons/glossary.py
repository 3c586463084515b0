# SPDX-License-Identifier: GPL-2.0-only
"""The words of the course, from glossary.toml: what each is, and where it is said first."""

import functools
import pathlib
import re
import tomllib
from html import escape
from typing import NamedTuple


class Term(NamedTuple):
    """A word: what it is, the lesson that says it first, its other spellings."""

    name: str
    says: str
    lesson: str
    also: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Its place on the page of all words."""
        return re.sub(r"\W+", "-", self.name.lower())

    @property
    def spellings(self) -> tuple[str, ...]:
        """All that it is called."""
        return (self.name, *self.also)


@functools.cache
def terms() -> tuple[Term, ...]:
    """All words, in the order in which the course says them."""
    table = tomllib.loads(pathlib.Path(__file__).with_name("glossary.toml").read_text())
    return tuple(Term(name, row["says"], row["lesson"], tuple(row.get("also", ())))
                 for name, row in table.items())


@functools.cache
def spelled() -> tuple[re.Pattern[str], dict[str, Term]]:
    """What finds any word in a text, the longest first, and whose spelling each is."""
    whose = {spelling: term for term in terms() for spelling in term.spellings}
    words = "|".join(map(re.escape, sorted(whose, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.#/-])(?:{words})(?![\w(-])"), whose


def found(text: str) -> list[Term]:
    """The words in a text, each time that they stand there."""
    pattern, whose = spelled()
    return [whose[hit[0]] for hit in pattern.finditer(text)]


def linked(text: str, seen: set[str]) -> str:
    """Markup in which each word leads to the page of all words, the first time that it comes;
    seen has those that did."""
    pattern, whose = spelled()

    def link(hit: re.Match[str]) -> str:
        term = whose[hit[0]]
        if term.name in seen:
            return escape(hit[0])
        seen.add(term.name)
        return f'<a href="glossary.html#{term.anchor}">{escape(hit[0])}</a>'

    parts, at = [], 0
    for hit in pattern.finditer(text):
        parts += [escape(text[at:hit.start()]), link(hit)]
        at = hit.end()
    return "".join([*parts, escape(text[at:])])


def body() -> str:
    """The page of all words, each with the lesson that says it first."""
    rows = "".join(
        f'<dt id="{term.anchor}"><b>{escape(term.name)}</b> '
        f'<a href="{term.lesson}.html">{term.lesson}</a></dt><dd>{escape(term.says)}</dd>\n'
        for term in terms())
    return ('<nav class="course" aria-label="course"><i></i><a href="index.html">the course</a>'
            '<i></i></nav>\n<header class="page"><h1>The words of the course</h1><p>In the order '
            "in which it says them, each with the lesson that says it first.</p></header>\n"
            f'<main><dl class="words">{rows}</dl></main>')
