# SPDX-License-Identifier: GPL-2.0-only
"""Every kind of change in a function's body, on both sides, each as a piece of text exchanged."""

import re
from typing import NamedTuple

import carrying
from mutants import KEYWORDS, SURER, TYPES, idle_tokens, other_number
from mutate import OPERATORS, spans

from kvm_vmx.compare.lexer import C, CYTHON, tokens

JUMPS = {"return", "goto", "break", "continue"}
NO_STATEMENT = (KEYWORDS | TYPES.keys() | {"pass", "global", "asm"}) - JUMPS
REGISTERS = re.compile(r"(%%?r?)(ax|bx|cx|dx|si|di)\b")
NEXT = {"ax": "bx", "bx": "cx", "cx": "dx", "dx": "si", "si": "di", "di": "ax"}
NARROW = {"u64": "u32", "u32": "u16", "u16": "u8", "int": "short", "long": "int", "ulong": "u16"}
NO_CALL = KEYWORDS | TYPES.keys() | {"defined", "asm", "__attribute__", "elif", "lambda"}
GOES_ON = {"else", "while", "elif", ";", ",", ")"}
BEFORE = {";", "{", "}", "else", ":"}  # a statement in C


class Edit(NamedTuple):
    """An edit of a file: what it is, in which function, whether it means anything, and the text
    that stands between two offsets then."""

    what: str
    name: str
    meaning: bool
    begin: int
    end: int
    text: str


class Body:
    """A function's text: `found` are its tokens, `first` the place of the first of its body."""

    def __init__(self, name: str, source: str, found, first: int):
        self.name, self.source, self.first = name, source, first
        self.found = found
        self.inside = [token for token in found if token.offset >= first]
        brackets, self.cast = casts(found)
        self.idle = idle_tokens(found) | brackets

    def put(self, what: str, token, text: str, meaning: bool = True) -> Edit:
        """A token exchanged."""
        return Edit(what, self.name, meaning, token.offset, token.offset + len(token.text), text)

    def words(self):
        """Each number, name, member, type, operator or text exchanged for another."""
        beside = {id(one) for one, colon, word in zip(self.found, self.found[1:], self.found[2:])
                  if (colon.text, word.text) == (":", "default")}
        before = None
        for token, after in zip(self.found, [*self.found[1:], None]):
            text, own = token.text, token.offset >= self.first
            follows = after.text if after else ""
            member = before in (".", "->")
            if id(token) in self.idle or id(token) in beside:
                pass
            elif token.kind == "num":
                yield self.put("number", token, other_number(text))
            elif token.kind == "str" and len(text) > 3 and not text.startswith('"""'):
                yield self.put("text", token, f"{text[:-1]}.{text[-1]}", not self.built(token))
            elif id(token) in self.cast:  # a wider one is the same number, and may be silent
                if text in NARROW:
                    yield self.put("cast", token, NARROW[text])
            elif text in OPERATORS and own:
                yield self.put("operator", token, SURER.get(text, OPERATORS[text]))
            elif text in ("!", "not") and before != "is":
                yield self.put("negation", token, "")
            elif text in TYPES and before not in ("struct", ".", "->"):
                yield self.put("type", token, TYPES[text])
            elif token.kind != "id" or not own:
                pass
            elif member:
                yield self.put("member", token, f"{text}_other")
            elif text.isupper() and len(text) > 3:
                yield self.put("name", token, f"{text}_OTHER")
            elif follows == "(" and text not in NO_CALL:
                yield self.put("call", token, f"{text}_other")
            before = text

    def built(self, token) -> bool:
        """Whether a text is the compiler's own message, of a build that fails."""
        return "BUILD_BUG_ON_MSG" in self.source[:token.offset].rpartition(";")[2]

    def assembly(self):
        """An instruction left out, exchanged with the next, or of another register."""
        inside, literals = False, []
        for token in self.inside:
            inside = token.text in ("asm", "__asm__") or inside and token.text != ";"
            if inside and token.kind == "str" and len(token.text) > 6:
                literals.append(token)
        yield from instructions(self.name, self.source, literals)

    def arguments(self):
        """Two arguments of a call, exchanged."""
        source = self.source
        for name, bracket in zip(self.inside, self.inside[1:]):
            if bracket.text != "(" or name.kind != "id" or name.text in KEYWORDS | {"elif"}:
                continue
            places = spans(source, self.inside, bracket)
            for (a, b), (c, d) in list(zip(places, places[1:]))[:2]:
                one, other = source[a:b], source[c:d]
                if one.split() != other.split():
                    yield Edit("arguments", self.name, True, a, d, other + source[b:c] + one)

    def plain(self):
        """Comments, spaces and brackets, and numbers in another base, where nobody minds them."""
        for one, other in zip(self.inside, self.inside[1:]):
            end = one.offset + len(one.text)
            if other.text in ("=", "==", "+", "-", "&", "|") and self.source[end] == " ":
                yield Edit("spaces", self.name, False, end, end, "  ")
            if one.kind == "num" and one.text.isdigit() and one.text[0] in "123456789":
                yield self.put("base", one, hex(int(one.text)), False)


class CBody(Body):
    """A function of the kernel, by its text without comments."""

    def __init__(self, file, name: str):
        place = file.places[name]
        text = file.active.text
        super().__init__(name, text, tokens(text, C, place.header, place.close), place.open + 1)

    def all(self) -> list[Edit]:
        """All edits."""
        return [*self.words(), *self.arguments(), *self.statements(), *self.assembly(),
                *self.plain(), *self.neutral()]

    def simple(self):
        """(first, last) of each statement that is an expression or a jump."""
        found = self.inside
        for n, token in enumerate(found):
            before = found[n - 1].text if n else "{"
            after = found[n + 1] if n + 1 < len(found) else None
            if before not in BEFORE or token.kind != "id" or token.text in NO_STATEMENT \
                    or not after or after.text == ":" \
                    or (after.kind == "id" and token.text not in JUMPS):
                continue
            if after.text == "*" and found[n + 2].kind == "id" and found[n + 3].text in ";=":
                continue
            end = next((m for m in range(n, len(found)) if found[m].text in ";{}"), None)
            if end is not None and found[end].text == ";":
                yield n, end

    def braced_case(self, close: int) -> bool:
        """Whether a brace closes those of a case: what follows is the case's all the same."""
        depth = 0
        for n in range(close, 0, -1):
            depth += {"}": 1, "{": -1}.get(self.inside[n].text, 0)
            if depth == 0:
                return self.inside[n - 1].text == ":"
        return False

    def statements(self):
        """A statement left out, exchanged with the next, moved out of its block; without else."""
        found, text = self.inside, self.source
        done = list(self.simple())
        for n, (first, last) in enumerate(done):
            begin, end = found[first].offset, found[last].offset + 1
            after = found[last + 1:last + 3]
            if found[first].text != "break":
                yield Edit("left out", self.name, True, begin, end, ";")
            if n + 1 < len(done) and done[n + 1][0] == last + 1:
                stop = found[done[n + 1][1]].offset + 1
                other = text[found[last + 1].offset:stop]
                if other != text[begin:end]:
                    yield Edit("order", self.name, True, begin, stop,
                               f"{other} {text[begin:end]}")
            if len(after) == 2 and after[0].text == "}" and after[1].text not in GOES_ON \
                    and found[first].text != "break" and not self.braced_case(last + 1):
                stop = after[0].offset + 1
                yield Edit("block", self.name, True, begin, stop, f"}} {text[begin:end]}")
        for token in found:
            if token.text == "else":
                yield self.put("else", token, "")

    def neutral(self):
        """A comment behind each statement, brackets around what is returned."""
        for first, last in self.simple():
            end = self.inside[last].offset
            yield Edit("comment", self.name, False, end + 1, end + 1, " /* nobody minds */")
            if self.inside[first].text == "return" and last > first + 1:
                begin = self.inside[first + 1].offset
                yield Edit("brackets", self.name, False, begin, end,
                           f"({self.source[begin:end]})")


class PortBody(Body):
    """A function of the port, by its logical lines."""

    def __init__(self, file, name: str):
        _, head, after = file.functions[name]
        self.lines = file.logical[head + 1:after]
        self.marked = carrying.marked(file, name)
        last = self.lines[-1].tokens[-1] if self.lines else file.logical[head].tokens[-1]
        found = tokens(file.source, CYTHON, file.logical[head].tokens[0].offset,
                       last.offset + len(last.text))
        super().__init__(name, file.source, found,
                         self.lines[0].tokens[0].offset if self.lines else last.offset)

    def all(self) -> list[Edit]:
        """All edits."""
        return [*self.words(), *self.arguments(), *self.statements(), *self.carried(),
                *self.plain(), *self.neutral()]

    def carried(self):
        """A mark and its statements behind the line that follows them."""
        for begin, end, text in carrying.edits(self.source, self.lines, self.marked):
            yield Edit("carried", self.name, True, begin, end, text)

    @staticmethod
    def ends(line) -> tuple[int, int]:
        """Where a line begins and ends."""
        last = line.tokens[-1]
        return line.tokens[0].offset, last.offset + len(last.text)

    @staticmethod
    def simple(line) -> bool:
        """Whether a line is a statement of its own."""
        return line.tokens[-1].text != ":" and line.tokens[0].text not in NO_STATEMENT \
            and line.tokens[0].kind == "id"

    def statements(self):
        """A statement left out, exchanged with the next, moved out of its block."""
        text, lines = self.source, self.lines
        for n, line in enumerate(lines):
            if not self.simple(line):
                continue
            begin, end = self.ends(line)
            yield Edit("left out", self.name, True, begin, end, "pass")
            after = lines[n + 1] if n + 1 < len(lines) else None
            if after and self.simple(after) and after.indent == line.indent:
                first, stop = self.ends(after)
                if text[first:stop] != text[begin:end]:
                    yield Edit("order", self.name, True, begin, stop,
                               text[first:stop] + text[end:first] + text[begin:end])
            before = lines[n - 1] if n else None
            if line.indent > 4 and before and before.indent >= line.indent \
                    and (after is None or after.indent < line.indent) \
                    and (after is None or after.tokens[0].text not in ("else", "elif")):
                around = max(other.indent for other in lines[:n] if other.indent < line.indent)
                yield Edit("block", self.name, True, begin - line.indent, begin, " " * around)

    def neutral(self):
        """A comment behind each line, brackets around what is returned."""
        for line in self.lines:
            begin, end = self.ends(line)
            if "\n" not in self.source[begin:end] and "#" not in self.source[end:].split("\n")[0]:
                yield Edit("comment", self.name, False, end, end, "  # nobody minds")
            if line.tokens[0].text == "return" and len(line.tokens) > 1:
                first = line.tokens[1].offset
                yield Edit("brackets", self.name, False, first, end,
                           f"({self.source[first:end]})")


def instructions(name: str, source: str, literals):
    """Edits of the literals of assembly that follow one another."""
    for one, other in zip(literals, [*literals[1:], None]):
        begin, end = one.offset, one.offset + len(one.text)
        yield Edit("instruction", name, True, begin, end, '""')
        moved = REGISTERS.sub(lambda hit: hit[1] + NEXT[hit[2]], one.text, count=1)
        if moved != one.text:
            yield Edit("register", name, True, begin, end, moved)
        if other and other.text != one.text:
            yield Edit("instructions", name, True, begin, other.offset + len(other.text),
                       other.text + source[end:other.offset] + one.text)


def casts(found) -> tuple[set[int], set[int]]:
    """The angle brackets of Cython's casts, and the types between them."""
    brackets, kinds = set(), set()
    for n, token in enumerate(found):
        before = found[n - 1] if n else None
        if token.text != "<" or (before and (before.kind in ("id", "num")
                                             and before.text not in KEYWORDS
                                             or before.text in (")", "]"))):
            continue
        end = n + 1
        while end < len(found) and (found[end].kind == "id" or found[end].text in "*.[]"):
            end += 1
        if end < len(found) and found[end].text == ">":
            brackets |= {id(token), id(found[end])}
            kinds |= {id(one) for one in found[n + 1:end]}
    return brackets, kinds


def applied(text: str, edits) -> str:
    """A file's text with some edits in it."""
    for edit in sorted(edits, key=lambda one: -one.begin):
        text = text[:edit.begin] + edit.text + text[edit.end:]
    return text
