# SPDX-License-Identifier: GPL-2.0-only
"""The functions, tables and structures of a C file, found by their braces."""

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kvm_vmx.compare import preprocessor
from kvm_vmx.compare.cstatements import statements, table_units
from kvm_vmx.compare.lexer import Lines
from kvm_vmx.compare.preprocessor import Condition
from kvm_vmx.compare.types import Syntax, SyntaxPart
from kvm_vmx.compare.units import Function, Unit

SCAN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|[{};]')
ATTRIBUTE = re.compile(r"\b__\w+(?:\(\([^()]*(?:\([^()]*\))?[^()]*\)\))?")
TABLE = re.compile(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?:\b__\w+\s*)*=\s*\Z")
POINTERS = re.compile(r"\(\s*\*\s*(?:const\s+)?(\w+)\s*\[[^\]]*\]\s*\)\s*\([^()]*\)\s*=\s*\Z")
LONGEST = 800  # characters of a header that are looked at
MOST_UNITS = 4_000  # of a function: ten times the longest of a kernel
BLANK = re.compile(r"\n[ \t]*(?=\n)")
STRUCT = re.compile(r"\b(?:struct|union|enum)\s+(\w+)\s*\Z")


class BracedText(NamedTuple):
    """One top-level pair of braces: what it defines and where."""

    name: str
    kind: str
    header: int
    open: int
    close: int


class CFile:
    """A C file, its braces found at once, its statements when asked for."""

    def __init__(self, path: str, source: str, config: Mapping[str, int] | None = None):
        self.path, self.source = path, source
        self.active = preprocessor.preprocess(source, config)
        self.lines = Lines(source)
        self.rows = source.split("\n")
        self.places: dict[str, BracedText] = {}
        for place in braces(self.active.text):
            known = self.places.get(place.name)
            if known is None or known.kind == "struct" != place.kind:  # of two of one name
                self.places[place.name] = place
        self.parsed: dict[str, Function | None] = {}
        self.around: list[tuple[int, str]] | None = None

    def names(self, kind: str = "function") -> list[str]:
        """The names of the file's functions, in order."""
        return [place.name for place in self.places.values() if place.kind == kind]

    def function(self, name: str) -> Function | None:
        """One function or table with its statements."""
        if name not in self.parsed:
            place = self.places.get(name)
            self.parsed[name] = None if place is None else self.parse(place)
        return self.parsed[name]

    def defined(self, name: str) -> Function:
        """One of the functions and tables that the file has."""
        function = self.function(name)
        assert function, name
        return function

    def body(self, name: str) -> str:
        """What stands between the braces of a definition."""
        place = self.places[name]
        return self.active.text[place.open + 1:place.close]

    def parse(self, place: BracedText) -> Function:
        """The statements of one definition."""
        text = self.active.text
        found = re.compile(r"\S").search(text, place.header)
        assert found  # its brace at least
        first, last = self.lines.at(found.start()), self.lines.at(place.close)
        function = Function(
            place.name, self.path, first, last, header=text[place.header:place.open].strip(),
        )
        if place.kind == "table":
            function.units = table_units(place.name, text, place.open, place.close, self.lines)
        else:
            function.units = statements(text, found.start(), place.open, place.close, self.lines)
        function.units = [named(unit, place.name) for unit in function.units]
        function.inactive = [
            Unit(("inactive",), n, n, self.rows[n - 1].strip())
            for n in sorted(self.active.inactive) if first <= n <= last
        ]
        function.condition = self.condition(first)
        del function.units[MOST_UNITS:]
        inside = [condition for condition in self.active.conditions[:MOST_UNITS]
                  if first < condition.line <= last]
        function.units = with_conditions(function.units, inside)
        return function

    def condition(self, line: int) -> str:
        """The innermost #if around a line."""
        if self.around is None:
            self.around = list(branches(self.active.conditions))
        place = bisect.bisect_right(self.around, line, key=lambda branch: branch[0])
        return self.around[place - 1][1] if place else ""


def branches(conditions: Iterable[Condition]) -> Iterator[tuple[int, str]]:
    """(line, the innermost #if from there on) of each condition."""
    stack: list[str] = []
    for condition in conditions:
        if condition.text.startswith("#endif"):
            del stack[-1:]
        elif condition.text.startswith(("#else", "#elif")):
            stack[-1:] = [condition.text]
        else:
            stack.append(condition.text)
        yield condition.line, stack[-1] if stack else ""


def named(unit: Unit, name: str) -> Unit:
    """A unit whose __func__ is the name that it stands for."""
    if "__func__" in unit.text:
        unit.key = replace(unit.key, ("name", "__func__"), ("str", name))
    return unit


def replace(tree: SyntaxPart, old: Syntax, new: Syntax) -> SyntaxPart:
    """A tree with each `old` in it exchanged."""
    if tree == old:
        return new
    return tuple(replace(part, old, new) for part in tree) if isinstance(tree, tuple) else tree


def with_conditions(units: list[Unit], conditions: Sequence[Condition]) -> list[Unit]:
    """Each condition of the preprocessor before the first unit that begins behind it."""
    found: list[Unit] = []
    at = 0
    for condition in conditions:
        while at < len(units) and units[at].line <= condition.line:
            found.append(units[at])
            at += 1
        found.append(Unit(("#", condition.text), condition.line, condition.line, condition.text,
                          None, "#"))
    return found + units[at:]


def braces(text: str) -> Iterator[BracedText]:
    """The top-level definitions of a preprocessed file."""
    depth, header, opened = 0, 0, 0
    for hit in SCAN.finditer(text):
        mark = hit[0]
        if mark == "{":
            if depth == 0:
                opened = hit.start()
            depth += 1
        elif mark == "}":
            depth = max(depth - 1, 0)
            if depth == 0:
                header = paragraph(text, header, opened)
                name, kind = title(text[header:opened])
                if name:
                    yield BracedText(name, kind, header, opened, hit.start())
                if kind != "table":
                    header = hit.end()
        elif mark == ";" and depth == 0:
            header = hit.end()


def paragraph(text: str, begin: int, end: int) -> int:
    """Where the last lines without a blank one between them begin."""
    end -= len(text[begin:end]) - len(text[begin:end].rstrip())
    for hit in reversed(list(BLANK.finditer(text, begin, end))):
        return hit.end()
    return begin


def title(header: str) -> tuple[str, str]:
    """What a header defines: a function, a table, a structure, or nothing of a name."""
    bare = header.rstrip()[-LONGEST:]
    if bare.endswith("="):
        hit = TABLE.search(bare) or POINTERS.search(bare)
        return (hit[1], "table") if hit else ("", "")
    if not bare.endswith(")"):
        if hit := STRUCT.search(bare):
            return hit[1], "struct"
        bare = ATTRIBUTE.sub(" ", bare).rstrip()
        if not bare.endswith(")"):
            return "", ""
    depth, place = 0, len(bare) - 1
    while place >= 0:
        depth += (bare[place] == ")") - (bare[place] == "(")
        if depth == 0:
            break
        place -= 1
    hit = re.search(r"(\w+)\s*\Z", bare[max(place - 80, 0):max(place, 0)])
    return (hit[1], "function") if hit else ("", "")
