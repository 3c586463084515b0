# SPDX-License-Identifier: GPL-2.0-only
"""What stands at the top level of a C file: macros, enumerators, structures, variables, functions.

The file is cut once by its braces and semicolons. Each item keeps its text without comments, all
branches of its #if in it, so that its digest is the same under every configuration.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from kvm_vmx.compare import csource
from kvm_vmx.compare.declarations import split
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.folding import Definition
from kvm_vmx.compare.held import held
from kvm_vmx.compare.lexer import C, Token, tokens
from kvm_vmx.compare.preprocessor import DIRECTIVE, HIDDEN, blank
from kvm_vmx.compare.types import Syntax

SCAN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|[{};()]')
WORDS = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|\w+|[^\w\s]')
HEX = re.compile(r"0[xX]([0-9a-fA-F]+?)([uUlL]*)\Z")
CONTINUED = re.compile(r"\\\r?\n")
DEFINED = re.compile(r"(\w+)(\(([^()]*)\))?\s*", re.S)
ENUM = re.compile(r"\s*(?:typedef\s+|static\s+|const\s+)*enum\b\s*(\w*)\s*\{")
STRUCT = re.compile(r"\s*(?:typedef\s+|static\s+|const\s+|__\w+\s+)*(struct|union)\b\s*"
                    r"(?:__packed\s*)?((?:\w+\s*)?)\{")
ATTRIBUTE = re.compile(r"\b__\w+\(+[^()]*(?:\([^()]*\)[^()]*)*\)+")
INVOKED = re.compile(r"\s*(?:static\s+|extern\s+)*([A-Za-z_]\w*)\s*\(")
NAMED = re.compile(r"(\w+)\s*((?:\[[^\]]*\]\s*)*)(?:__\w+(?:\([^()]*\))?\s*)*\Z")


class Item(NamedTuple):
    """One thing of a file: its kind, its name, its lines, its text without comments.

    `at` and `open` are where it and its braces begin in the active text, `inner` what stands in
    the braces or behind the name."""

    kind: str
    name: str
    line: int
    end: int
    text: str
    inner: str = ""
    at: int = 0


def squeezed(text: str) -> str:
    """A text without what no compiler looks at: white space, and the base of a number."""
    words = WORDS.findall(CONTINUED.sub(" ", text))
    if "0x" in text or "0X" in text:
        words = [HEX.sub(lambda hit: f"{int(hit[1], 16)}{hit[2]}", word)
                 if word[:2] in ("0x", "0X") else word for word in words]
    return " ".join(words)


def short(*texts: str) -> str:
    """Six digits over some texts."""
    return hashlib.blake2s("|".join(texts).encode(), digest_size=3).hexdigest()


def is_held(name: str, file: csource.CFile) -> bool:
    """Whether a function, all branches of its #if in it, has the words that were compared."""
    digests = {short(squeezed(item.text)) for item in TopLevel(file).items
               if item.kind == "function" and item.name == name}
    known = held()["kernel"].get(file.path, {}).get(f"function {name}", "")
    return bool(digests & set(known.removeprefix("?").split("|")))


class TopLevel:
    """The items of a C file, in order."""

    def __init__(self, file: csource.CFile):
        self.file, self.active = file, file.active
        self.known: dict[str, Definition] | None = None  # what its names stand for
        self.stripped = HIDDEN.sub(lambda hit: hit[0] if hit[0][0] == '"' else blank(hit[0]),
                                   file.source)
        self.inactive = self.active.inactive
        self.items = [*self.macros(), *self.conditions(), *self.definitions()]

    def macros(self) -> Iterator[Item]:
        """#define, active or not: the latter ones are told apart by their kind."""
        begin, line = 0, 1
        for hit in DIRECTIVE.finditer(self.stripped):
            line += self.stripped.count("\n", begin, hit.start())
            begin = hit.start()
            if hit[1] != "define":
                continue
            found = DEFINED.match(hit[2].lstrip())
            if not found or not hit[2][:1].isspace():
                continue
            body = CONTINUED.sub(" ", hit[2].lstrip()[found.end():]).strip()
            kind = "macro" if found[2] is None else "function macro"
            if line in self.inactive:
                kind = "inactive"
            elif not body and found[2] is None and found[1].endswith("_H"):
                continue  # the guard of a header
            yield Item(kind, found[1], line, line + hit[0].count("\n"), hit[0],
                       f"({found[3]}) {body}" if found[2] else body)

    def conditions(self) -> Iterator[Item]:
        """#if outside functions: each text with how often it stands there."""
        spans = sorted((self.file.lines.at(place.open), self.file.lines.at(place.close))
                       for place in self.file.places.values())
        count: dict[str, list[int]] = {}
        at = 0
        for condition in self.active.conditions:
            while at < len(spans) and spans[at][1] < condition.line:
                at += 1
            inside = at < len(spans) and spans[at][0] <= condition.line
            word = condition.text.split()[0]
            if inside or word == "#endif":
                continue
            if condition.text.startswith("#ifndef") and condition.text.endswith("_H"):
                continue
            count.setdefault(condition.text, []).append(condition.line)
        for text, lines in count.items():
            yield Item("condition", text, lines[0], lines[0], f"{text} {len(lines)}")

    def definitions(self) -> Iterator[Item]:
        """What braces and semicolons end."""
        text = self.active.text
        depth = brackets = 0
        begin, opened = 0, None
        for hit in SCAN.finditer(text):
            mark = hit[0]
            if mark == "(":
                brackets += depth == 0
            elif mark == ")":
                brackets -= depth == 0 and brackets > 0
            elif mark == "{":
                if depth == 0 and not brackets:
                    opened = hit.start()
                depth += 1
            elif mark == "}":
                depth = max(depth - 1, 0)
                if depth == 0 and opened is not None and self.ends(text[begin:opened]):
                    yield from self.item(begin, opened, hit.end())
                    begin, opened, brackets = hit.end(), None, 0
            elif mark == ";" and depth == 0 and not brackets:
                yield from self.item(begin, opened, hit.end())
                begin, opened = hit.end(), None
        if text[begin:].strip():
            yield from self.item(begin, None, len(text))

    @staticmethod
    def ends(header: str) -> bool:
        """Whether the brace behind a header ends the item: a function's."""
        return csource.title(header)[1] == "function" and not header.rstrip().endswith("=")

    def item(self, begin: int, opened: int | None, end: int) -> Iterator[Item]:
        """One item, and what stands before it without a semicolon of its own."""
        text = self.active.text
        if opened is not None:
            start = csource.paragraph(text, begin, opened)
            if text[begin:start].strip():
                yield from self.item(begin, None, start)
            begin = start
        while begin < end and text[begin].isspace():
            begin += 1
        if text[begin:end].strip(" ;\n\t") == "":
            return
        body = text[begin:end].rstrip().removesuffix(";")
        kind, name, inner = classified(body, None if opened is None else opened - begin)
        line, last = self.file.lines.at(begin), self.file.lines.at(max(end - 1, begin))
        yield Item(kind, name, line, last, self.stripped[begin:end], inner, begin)


def classified(body: str, opened: int | None) -> tuple[str, str, str]:
    """The kind, the name and the inner text of an item."""
    if opened is not None:
        header, close = body[:opened], body.rfind("}")
        inner = body[opened + 1:close]
        if header.rstrip().endswith("="):
            return "variable", csource.title(header)[0] or squeezed(header), body[opened:]
        if hit := ENUM.match(body):
            return "enum", hit[1] or first_word(inner), inner
        if hit := STRUCT.match(body):
            behind = re.findall(r"\b(?!__)\w+", body[close + 1:])
            return hit[1], hit[2].strip() or (behind[0] if behind else first_word(inner)), inner
        name, kind = csource.title(header)
        return (kind or "other", name or squeezed(header)[:60], inner)
    if body.lstrip().startswith("typedef"):
        words = re.findall(r"\w+", body)
        return "typedef", words[-1], body
    hit = INVOKED.match(body)
    if hit and "=" not in body[:hit.end()] and not is_prototype(body):
        inside = body[hit.end():].rstrip()
        arguments = split(tokens(inside.removesuffix(")"), C), ",")
        words = [token.text for token in arguments[-1 if hit[1].startswith("DEFINE_PER") else 0]]
        return "call", f"{hit[1]}({' '.join(words)})", squeezed(inside)
    head, equal, value = body.partition("=")
    if not equal and "(" in ATTRIBUTE.sub(" ", body) or is_prototype(body) and not equal \
            and re.search(r"\)\s*\Z", body):
        return "prototype", csource.title(body)[0] or squeezed(body)[:60], ""
    found = NAMED.search(head.rstrip())
    if re.match(r"\s*(?:struct|union|enum)\s+\w+\s*\Z", body):
        return "prototype", squeezed(body), ""
    if re.match(r"\s*extern\b", body):
        return "prototype", found[1] if found else squeezed(body)[:60], ""
    return "variable", found[1] if found else squeezed(body)[:60], value


def is_prototype(body: str) -> bool:
    """Whether two words stand in a row before the first bracket: a type and a name."""
    words = re.findall(r"\w+|\*|[^\w\s*]", body.partition("(")[0])
    return len([word for word in words if word not in ("static", "extern", "inline")]) > 1


def first_word(text: str) -> str:
    """The first name of a text."""
    hit = re.search(r"[A-Za-z_]\w*", text)
    return hit[0] if hit else ""


def enumerators(inner: str) -> list[tuple[str, list[Token]]]:
    """(name, the tokens of its value, none if it counts on) of each enumerator."""
    found = []
    for part in split(tokens(inner, C), ","):
        if part and part[0].kind == "id":
            found.append((part[0].text, part[2:]))
    return found


def entries(inner: str) -> list[Syntax]:
    """The tree of each entry of an initialiser that begins with its brace."""
    tree = parse(tokens(inner, C))
    return list(tree[1:]) if tree[0] == "init" else [tree]
