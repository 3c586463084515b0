# SPDX-License-Identifier: GPL-2.0-only
"""The statements of a hunk: pieces of C that begin and end anywhere, each with its sign."""

import dataclasses
import re
from typing import TYPE_CHECKING

from kvm_vmx.compare.csource import title
from kvm_vmx.compare.cstatements import StatementReader
from kvm_vmx.compare.declarations import signature_key
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.lexer import C, Lines, tokens
from kvm_vmx.compare.types import Syntax
from kvm_vmx.compare.units import Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.mail import Hunk

LABEL = re.compile(r"\w+:\s*$")
COMMENT = re.compile(r'/\*.*?\*/|//.*|("(?:\\.|[^"\\])*")')
ENTRY = re.compile(r"\b(EVMCS1_FIELD)\(\s*(\w+)\s*,\s*(\w+)\s*,"
                   r"\s*HV_VMX_ENLIGHTENED_CLEAN_FIELD_(\w+)\s*\)")


@dataclasses.dataclass(eq=False)
class Statement:
    """One statement of a hunk's side: what it says, where, and its sign, a blank if it stays."""

    sign: str
    unit: Unit
    function: str
    begin: int
    end: int
    number: int
    text: str = ""
    top: bool = False
    tabs: int = 0


class Piece(StatementReader):
    """Reads statements of a piece of a function: what closes or continues a block that began
    before it is passed over."""

    def statement(self, parent: Unit | None) -> None:
        """One statement, if one begins here."""
        word = self.text()
        if word == "}":
            self.at += 1
        elif word in ("case", "default"):
            begin = self.at
            label = self.until(":")[1:]
            self.emit(("case", parse(label) if label else None), begin, self.at, parent)
        else:
            super().statement(parent)


def sides(hunk: "Hunk") -> tuple[list[Statement], list[Statement]]:
    """The statements of the old and of the new side, what is on both without its sign."""
    old, new = (Side(hunk, drop).found for drop in "+-")
    waiting: dict[tuple[str, Syntax], list[Statement]] = {}
    for statement in old:
        if statement.sign == "-":
            waiting.setdefault((statement.function, statement.unit.key), []).append(statement)
    for statement in new:
        same = waiting.get((statement.function, statement.unit.key))
        if statement.sign == "+" and same:
            statement.sign = same.pop(0).sign = " "
    return old, new


class Side:
    """One side of a hunk, cut into functions and what stands between them."""

    def __init__(self, hunk: "Hunk", drop: str):
        self.lines = [line for line in hunk.lines if line.sign != drop]
        self.rows = uncommented([line.text for line in self.lines])
        self.found: list[Statement] = []
        heading, kind = title(hunk.heading.rstrip("{").rstrip())
        self.table = hunk.heading.endswith("{") and kind != "function"
        self.function = "" if self.table else heading if kind == "function" else ""
        # the lines of the function's body, and those that wait for their end
        self.body: list[int] = []
        self.pending: list[int] = []
        for n, row in enumerate(self.rows):
            self.take(n, row)
        self.flush()

    def take(self, n: int, row: str) -> None:
        """One line: of a function's body, or of what stands in no function."""
        first = row[:1]
        if first == "#":
            if n and self.rows[n - 1].endswith("\\") and not self.rows[n - 1][:1] == "#":
                return
            self.directive(n)
        elif n and self.of_directive(n):
            return
        elif self.function or not (self.table or self.pending or first.strip()):
            if first in ("", " ", "\t", "{") or LABEL.match(row):
                self.body.append(n)
                return
            self.flush()
            self.function = ""
            if first != "}":
                self.outside(n, row)
        elif self.table and first in ("", " ", "\t"):
            self.entries(n, row)
        elif self.table:
            self.table = False
            self.pending = []
            if first != "}":
                self.outside(n, row)
        else:
            self.outside(n, row)

    def of_directive(self, n: int) -> bool:
        """Whether a line continues one of the preprocessor's."""
        while n and self.rows[n - 1].endswith("\\"):
            n -= 1
            if self.rows[n].startswith("#"):
                return True
        return False

    def outside(self, n: int, row: str) -> None:
        """A line that no function holds."""
        if row[:1] == "{" and self.pending:
            header = " ".join(self.rows[m].strip() for m in self.pending)
            name, kind = title(header)
            if kind == "function":
                self.signature(name, header)
                self.function, self.body = name, []
                return
        if row.strip():
            self.pending.append(n)
        end = row.rstrip()
        if end.endswith("{") and row[:1].strip():
            self.flush()
            self.table = True
        elif end.endswith((";", ")", "}")) and self.pending and balanced(
                "".join(self.rows[m] for m in self.pending)) and (
                    end[-1] != ")" or self.macro_call()):
            self.flush()

    def macro_call(self) -> bool:
        """Whether what waits is a call of a macro without a semicolon and no function's head."""
        return bool(re.match(r"[A-Z_]+\(", self.rows[self.pending[0]]))

    def signature(self, name: str, header: str) -> None:
        """The head of a function that the hunk holds."""
        unit = Unit(signature_key(tokens(header, C)), 0, 0, " ".join(header.split()))
        self.add(unit, self.pending[0], self.pending[-1], name)
        self.pending = []

    def flush(self) -> None:
        """End the function or the declaration that is open."""
        if self.function and self.body:
            self.parse(self.body, self.function)
        elif self.body:
            self.parse(self.body, "")
        if self.pending:
            text = " ".join(self.rows[n].strip() for n in self.pending)
            key = ("top", *(token.text for token in tokens(text, C)))
            self.add(Unit(key, 0, 0, " ".join(text.split())), self.pending[0], self.pending[-1],
                     "", top=True)
        self.body, self.pending = [], []

    def parse(self, body: list[int], function: str) -> None:
        """The statements of some lines of a function."""
        wanted = set(body)
        text = "\n".join(row if n in wanted else "" for n, row in enumerate(self.rows))
        reader = Piece(text, tokens(text, C), Lines(text))
        try:
            while reader.at < len(reader.tokens):
                reader.statement(None)
        except (RecursionError, IndexError):    # cut where no statement ends
            pass
        for unit in reader.units:
            if unit.silent or unit.kind == "fallthrough":
                continue
            self.add(unit, unit.line - 1, unit.end - 1, function)

    def directive(self, n: int) -> None:
        """A line of the preprocessor with those that continue it."""
        last = n
        while self.rows[last].endswith("\\") and last + 1 < len(self.rows):
            last += 1
        text = " ".join(" ".join(row.rstrip("\\") for row in self.rows[n:last + 1]).split())
        key = ("top", *(token.text for token in tokens(text, C)))
        self.add(Unit(key, 0, 0, text), n, last, self.function, top=True)

    def entries(self, n: int, row: str) -> None:
        """A line of a table: the entries that end in it."""
        self.pending.append(n)
        text = " ".join(self.rows[m].strip() for m in self.pending)
        if not balanced(text) or not text.rstrip().endswith((",", "}", ";")):
            return
        hit = ENTRY.search(text)
        key: Syntax = ("entry", *hit.groups()) if hit else \
            ("top", *(token.text for token in tokens(text, C)))
        if text.strip():
            self.add(Unit(key, 0, 0, " ".join(text.split())), self.pending[0], n, "", top=True)
        self.pending = []

    def add(self, unit: Unit, begin: int, end: int, function: str, top: bool = False) -> None:
        """One statement; its sign is that of any of its lines that has one."""
        lines = self.lines[begin:end + 1]
        sign = next((line.sign for line in lines if line.sign != " "), " ")
        number = lines[0].number if lines else 0
        row = lines[0].text if lines else ""
        tabs = len(row.expandtabs()) - len(row.expandtabs().lstrip())
        self.found.append(
            Statement(sign, unit, function, begin, end, number, unit.text, top, tabs // 8))


def balanced(text: str) -> bool:
    """Whether every bracket that opens is closed."""
    return sum(text.count(mark) for mark in "([{") <= sum(text.count(mark) for mark in ")]}")


def uncommented(rows: list[str]) -> list[str]:
    """The lines without comments, even one that began before them or that a cut leaves open."""
    found: list[str] = []
    inside = False
    for n, row in enumerate(rows):
        if not inside and n < 8 and "*/" in row and "/*" not in row.partition("*/")[0] \
                and all(row_[:1] in " \t" or not row_ for row_ in rows[:n + 1]):
            found = [""] * n
            row = row.partition("*/")[2]
        if inside:
            bare = row.strip()
            if "*/" in row:
                inside, row = False, row.partition("*/")[2]
            elif bare.startswith("*") or not bare:
                found.append("")
                continue
            else:
                inside = False
        row = COMMENT.sub(lambda hit: hit[1] or " ", row)
        if "/*" in row and '"' not in row.partition("/*")[0]:
            inside, row = True, row.partition("/*")[0]
        found.append(row.rstrip())
    return found
