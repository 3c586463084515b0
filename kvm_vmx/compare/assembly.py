# SPDX-License-Identifier: GPL-2.0-only
"""The assembly of a function, cut at its line ends, an instruction a row, beside the port's.

The port has its assembly in the macros of include/asm, which units.toml names for each function
of the kernel; macros are expanded on both sides. What is not the same has the reason given there,
and the whole block is held to what was read.
"""

import codecs
import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kvm_vmx.compare.declarations import CLOSE, OPEN, split
from kvm_vmx.compare.folding import Definition
from kvm_vmx.compare.lexer import C, Token, tokens
from kvm_vmx.compare.toplevel import short

if TYPE_CHECKING:
    from kvm_vmx.compare.report import Report

LABEL = re.compile(r"(?:[.\w]+: ?)+")
TARGET = re.compile(r"\b\d+([fb])\b")
MEMORY = re.compile(r"(?:%c\[\w+\]|[\d*]+)?\(%\w+\)|%0\b")
ENDS = re.compile(r"[\n;]+")
SPACES = re.compile(r"\s+")
COMMA = re.compile(r"\s*,\s*")
SELF = {"__ex", "__ex_clear", "__ASM_SIZE", "__stringify"}  # what stands for its first argument
WORDS = {"_ASM_PTR": ".quad ", "CC_SET": ""}
DEEPEST = 24  # macros in one another


@dataclasses.dataclass(slots=True, eq=False)
class AsmRow:
    """One instruction of the kernel beside the port's, its class and why."""

    kind: str
    kernel: str
    port: str
    why: str = ""


@dataclasses.dataclass(slots=True, eq=False)
class Block:
    """The assembly of one function: where it stands on both sides, and its rows."""

    name: str
    kernel: str
    line: int
    port: str
    rows: list[AsmRow]
    digest: str

    @property
    def loose(self) -> list[AsmRow]:
        """The rows that nothing explains."""
        return [row for row in self.rows if row.kind == "unexplained"]


def template(part: list[Token]) -> list[Token]:
    """The tokens of what an asm statement prints: up to its first colon outside brackets."""
    begin = next((n for n, token in enumerate(part) if token.text == "("), -1) + 1
    depth = 0
    for n in range(begin, len(part)):
        text = part[n].text
        depth += (text in OPEN) - (text in CLOSE)
        if depth < 0 or (depth == 0 and text == ":"):
            return part[begin:n]
    return part[begin:]


class Expander:
    """Assembly as text, out of literals and macros; `defined` is what Constants asks as well."""

    def __init__(self, defined: Mapping[str, Definition]):
        self.defined = defined

    def text(self, part: list[Token], depth: int = 0) -> str:
        """What the tokens print."""
        found, at = [], 0
        while at < len(part) and depth < DEEPEST:
            token = part[at]
            at += 1
            if token.kind == "str":
                found.append(codecs.decode(token.text[1:-1], "unicode_escape"))
                continue
            if token.kind != "id":
                continue
            arguments = None
            if at < len(part) and part[at].text == "(":
                end = closing(part, at)
                arguments, at = split(part[at + 1:end], ","), end + 1
            found.append(self.named(token.text, arguments, depth + 1))
        return "".join(found)

    def named(self, name: str, arguments: list[list[Token]] | None, depth: int) -> str:
        """What a macro prints, or a name that is none."""
        if name in SELF and arguments:
            inner = arguments[0]
            if any(token.kind == "str" or token.text in self.defined for token in inner):
                return self.text(inner, depth) if name != "__stringify" else self.plain(inner)
            return " ".join(token.text for token in inner)
        if name.startswith("_ASM_") and len(name) == 7:
            return f"r{name[5:].lower()}"
        if name in WORDS:
            return WORDS[name]
        found = self.defined.get(name)
        if not found or found[0] != "macro":
            return name
        body = tokens(found[2], C)
        return self.text(put(body, found[1], arguments) if found[1] else body, depth)

    def plain(self, part: list[Token]) -> str:
        """The words of a macro that prints no literal: bytes."""
        found = [self.defined.get(token.text) for token in part]
        return " ".join(entry[2] if entry and entry[0] == "macro" else token.text
                        for token, entry in zip(part, found))


def put(body: list[Token], parameters: list[str],
        arguments: list[list[Token]] | None) -> list[Token]:
    """A macro's body with its arguments in it; `#x` is the argument as a literal."""
    given, at = dict(zip(parameters, arguments or [])), 0
    found: list[Token] = []
    while at < len(body):
        token = body[at]
        at += 1
        if token.text == "#" and at < len(body) and body[at].text in given:
            text = "".join(part.text for part in given[body[at].text])
            found.append(Token("str", f'"{text}"', token.offset))
            at += 1
        elif token.text in given:
            found.extend(given[token.text])
        else:
            found.append(token)
    return found


def closing(part: list[Token], at: int) -> int:
    """Where the bracket at a place is closed."""
    depth = 0
    for n in range(at, len(part)):
        depth += (part[n].text in OPEN) - (part[n].text in CLOSE)
        if depth == 0:
            return n
    return len(part)


def instructions(text: str) -> list[str]:
    """One line an instruction, its labels before it."""
    found, label = [], ""
    for line in ENDS.split(text):
        line = label + SPACES.sub(" ", line.replace("%%", "%")).strip()
        hit = LABEL.match(line)
        label = f"{line} " if hit and hit[0].strip() == line.strip() else ""
        if line and not label:
            found.append(COMMA.sub(", ", line))
    return [*found, *([label.strip()] if label else [])]


def bare(line: str) -> str:
    """An instruction as it is aligned: without its label, any label's number and address alike."""
    return MEMORY.sub("M", TARGET.sub(r"N\1", LABEL.sub("", line, count=1)))


def rows(kernel: list[str], port: list[str], why: str, is_held: bool) -> list[AsmRow]:
    """Both sides in rows: instructions side by side that differ in a label or an address alone."""
    found = []
    match = difflib.SequenceMatcher(None, list(map(bare, kernel)), list(map(bare, port)), False)
    for _, i1, i2, j1, j2 in match.get_opcodes():
        beside = list(zip(kernel[i1:i2], port[j1:j2])) if i2 - i1 == j2 - j1 else \
            [*((line, "") for line in kernel[i1:i2]), *(("", line) for line in port[j1:j2])]
        for one, other in beside:
            if one == other:
                found.append(AsmRow("same", one, other))
            elif one and other and numbered(one) == numbered(other):
                found.append(AsmRow("idiom", one, other, "a label by another number"))
            elif is_held and why:
                kind = "adapted" if one and other else "omitted" if one else "added"
                found.append(AsmRow(kind, one, other, why))
            else:
                found.append(AsmRow("unexplained", one, other,
                                    "not the assembly that was compared"))
    return found


def numbered(line: str) -> str:
    """An instruction whatever the numbers of its labels are."""
    return TARGET.sub(r"N\1", LABEL.sub("", line, count=1))


def has_assembly(report: "Report") -> bool:
    """Whether any function of a report has assembly."""
    return any(unit.kind == "asm" for pair in report.pairs if pair.kernel
               for unit in pair.kernel.units)


def blocks(report: "Report", theirs: Expander, ours: Expander,
           entries: Mapping[str, Mapping[str, str]], record: Mapping[str, str]) -> list[Block]:
    """The assembly of each ported function that units.toml has an entry for."""
    found = []
    for pair in report.pairs:
        entry = entries.get(pair.name)
        if pair.kernel is None or entry is None:
            continue
        units = [unit for unit in pair.kernel.units if unit.kind == "asm"]
        if not units:
            continue
        part = [Token("str" if text[0] == '"' else "id" if text[0].isalpha() or text[0] == "_"
                      else "op", text, 0) for text in units[0].key[1:]]
        kernel = instructions(theirs.text(template(part)))
        port = instructions(ours.text(tokens(entry["port"], C)))
        digest = short(*kernel, "|", *port)
        is_held = record.get(pair.name) == digest
        found.append(Block(pair.name, pair.kernel.path, units[0].line, entry["file"],
                           rows(kernel, port, entry.get("why", ""), is_held), digest))
    return found
