# SPDX-License-Identifier: GPL-2.0-only
"""The functions of a Cython file of the port, with their statements and marks."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kvm_vmx.compare.declarations import CLOSE, OPEN, signature_key, sizes, split
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.terms import name
from kvm_vmx.compare.lexer import CYTHON, Lines, Token, tokens
from kvm_vmx.compare.marks import Mark, read_mark
from kvm_vmx.compare.types import Syntax, parse_type
from kvm_vmx.compare.units import Function, Unit

KERNEL_FILE = re.compile(r"# C: ([\w/.-]+\.[ch])\b")
KERNEL_NAME = re.compile(r"# C: (\w+)\s*$")
COMMENT = re.compile(r"#.*")
TRAILING = re.compile(r"\n?\n? +#")
DEFINITION = re.compile(r"(?:cdef|cpdef|def)\b[^:=]*?(\w+)\s*\(")
OPENERS = {"if", "elif", "else", "for", "while", "try", "finally", "with"}


class Logical(NamedTuple):
    """One logical line: its tokens and its indentation."""

    tokens: list[Token]
    indent: int


class PortFile:
    """One .pyx or .pxd of the port: its functions, and the kernel file each is of."""

    def __init__(self, path: str, source: str, pins: Mapping[str, Sequence[str]] | None = None):
        self.path, self.source, self.pins = path, source, pins or {}
        self.lines = Lines(source)
        self.rows = source.split("\n")
        self.logical = logical_lines(source, self.lines)
        self.comments = comments(source, self.lines)
        self.origins = [(n, hit[1]) for n, row in enumerate(self.rows, 1)
                        if (hit := KERNEL_FILE.match(row))]
        # by name: the function, and between which logical lines it stands
        self.functions: dict[str, tuple[Function, int, int]] = {}
        self.kernel_file: dict[str, str] = {}
        self.kernel_name: dict[str, str] = {}
        self.read_functions()

    def read_functions(self) -> None:
        """Cut the file into functions at the lines that begin in column 0."""
        heads = [n for n, line in enumerate(self.logical) if line.indent == 0]
        heads.append(len(self.logical))
        for head, after in zip(heads, heads[1:]):
            line = self.logical[head]
            text = self.text(line.tokens)
            hit = DEFINITION.match(text)
            if not hit or not text.endswith(":") or " class " in text or text.startswith("def "):
                continue
            last = self.logical[after - 1].tokens[-1]
            first = self.lines.at(line.tokens[0].offset)
            function = Function(
                hit[1], self.path, first, self.lines.at(last.offset), header=text,
            )
            while more := TRAILING.match("\n".join(self.rows[function.end:function.end + 3])):
                function.end += more[0].count("\n") + 1
            self.functions[hit[1]] = (function, head, after)
            function.units = self.units(head, after)
            self.add_marks(function)

    def add_marks(self, function: Function) -> None:
        """The marks in a function, and those right above its first line."""
        first = function.line
        while self.rows[first - 2].startswith("#") and first > 4:
            first -= 1
        file = self.kernel_file_at(function.line)
        for line, text in sorted(self.comments.items()):
            if not first <= line <= function.end:
                continue
            if hit := KERNEL_FILE.match(text):
                file = hit[1] if line <= function.line or line == function.line + 1 else file
            elif hit := KERNEL_NAME.match(text):
                self.kernel_name[function.name] = hit[1]
            elif text.startswith(("# C-", "# C~", "# C+")):
                function.marks.append(self.mark(line, text, function))
        self.kernel_file[function.name] = file

    def mark(self, line: int, text: str, function: Function) -> Mark:
        """One mark, with the comment lines that continue it."""
        alone = self.rows[line - 1].lstrip().startswith("#")
        last = line
        while alone and self.rows[last].lstrip().startswith("# ") \
                and not self.rows[last].lstrip().startswith("# C"):
            last += 1
            text += " " + self.rows[last - 1].strip().removeprefix("#").strip()
        outside = line < function.line
        pins = self.pins.get(function.name, ())
        pin = pins[len(function.marks)] if len(function.marks) < len(pins) else ""
        return read_mark(text, line, line if alone or outside else -line, pin)

    def kernel_file_at(self, line: int) -> str:
        """The kernel file that the nearest `# C: path` in column 0 above a line names."""
        return next((path for place, path in reversed(self.origins) if place < line), "")

    def text(self, part: list[Token]) -> str:
        """The source of some tokens, white space and comments folded."""
        begin, end = part[0].offset, part[-1].offset + len(part[-1].text)
        first, last = self.lines.at(begin), self.lines.at(end)
        if first == last:
            return self.source[begin:end]
        rows = self.source[begin:end].split("\n")
        rows = [COMMENT.sub("", row) if '"' not in row else row for row in rows]
        return " ".join(" ".join(row.rstrip("\\").split()) for row in rows)

    def units(self, head: int, after: int) -> list[Unit]:
        """The statements of the function whose logical lines run from head to after."""
        found: list[Unit] = []
        self.emit(found, cython_signature(self.logical[head].tokens), self.logical[head].tokens)
        blocks: list[tuple[int, Unit]] = []  # (indent of the header, its unit)
        for line in self.logical[head + 1:after]:
            while blocks and line.indent <= blocks[-1][0]:
                blocks.pop()
            parent = blocks[-1][1] if blocks else None
            opener = self.statement(found, line.tokens, parent)
            if opener is not None:
                blocks.append((line.indent, opener))
        return found

    def emit(self, found: list[Unit], key: Syntax, part: list[Token], parent: Unit | None = None,
             silent: str = "") -> Unit:
        """Append one unit."""
        first = self.lines.at(part[0].offset)
        last = self.lines.at(part[-1].offset)
        unit = Unit(key, first, last, self.text(part), parent, silent)
        found.append(unit)
        return unit

    def statement(self, found: list[Unit], part: list[Token], parent: Unit | None) -> Unit | None:
        """One logical line; the unit of a block's header is returned."""
        word = part[0].text
        if word in OPENERS:
            colon = colon_of(part)
            unit = self.emit(found, header_key(part[:colon]), part[:colon + 1], parent)
            if colon + 1 < len(part):
                self.statement(found, part[colon + 1:], unit)
                return None
            return unit
        if word == "cdef":
            self.declare(found, part, parent)
        elif word in ("global", "pass"):
            self.emit(found, (word,), part, parent, word)
        elif word == "return":
            value = parse(part[1:], True) if len(part) > 1 else None
            self.emit(found, ("return", value), part, parent)
        elif word in ("break", "continue"):
            self.emit(found, (word,), part, parent)
        elif part[0].kind == "str" and len(part) == 1:
            self.emit(found, ("doc",), part, parent, "doc")
        else:
            self.emit(found, parse(part, True), part, parent)
        return None

    def declare(self, found: list[Unit], part: list[Token], parent: Unit | None) -> None:
        """cdef: one declaration a name, one assignment for each initial value."""
        pieces = split(part[1:], ",")
        kind: list[Token] = []
        for n, piece in enumerate(pieces):
            equal = next((i for i, token in enumerate(piece) if token.text == "="), len(piece))
            left = piece[:equal]
            bracket = next((i for i, token in enumerate(left) if token.text == "["), len(left))
            word = next(i for i in reversed(range(bracket)) if left[i].kind == "id")
            if n == 0:
                kind = [token for token in left[:word] if token.text != "*"]
            stars = [token for token in left[:word] if token.text == "*"]
            title = name(left[word].text)
            key = ("decl", parse_type(kind + stars), title, *sizes(left[bracket:]))
            self.emit(found, key, part[:1] + left if n == 0 else left, parent)
            if equal < len(piece):
                value = parse(piece[equal + 1:], True)
                self.emit(found, ("=", "=", ("name", title), value), piece[word:], parent)


def colon_of(part: list[Token]) -> int:
    """Where the colon of a block's header stands."""
    depth = 0
    for n, token in enumerate(part):
        depth += (token.text in OPEN) - (token.text in CLOSE)
        if token.text == ":" and depth == 0:
            return n
    return len(part)


def header_key(part: list[Token]) -> Syntax:
    """The tree of a block's header."""
    word = part[0].text
    if word in ("if", "elif", "while", "with"):
        return (word, parse(part[1:], True))
    if word == "for":
        into = next((n for n, token in enumerate(part) if token.text == "in"), 0)
        over = parse(part[into + 1:], True)
        target = parse(part[1:into], True)
        if over[:2] == ("call", ("name", "range")):
            bounds = over[2:]
            if len(bounds) == 1:
                bounds = (("num", 0), *bounds)
            return ("for", target, *bounds, *([("num", 1)] if len(bounds) == 2 else []))
        return ("for", target, over)
    return (word,)


def cython_signature(part: list[Token]) -> Syntax:
    """("def", what it returns, its parameters) of a cdef function's header."""
    end = next(n for n in reversed(range(len(part))) if part[n].text == ")")
    return signature_key(part[1:end + 1])


def logical_lines(source: str, lines: Lines) -> list[Logical]:
    """The file's tokens by logical line: brackets and backslashes join physical ones."""
    found: list[Logical] = []
    depth = line = 0
    for token in tokens(source, CYTHON):
        here = lines.at(token.offset)
        if depth == 0 and here != line:
            behind = found[-1].tokens[-1] if found else None
            joined = behind and "\\\n" in source[behind.offset + len(behind.text):token.offset]
            if not joined:
                found.append(Logical([], token.offset - lines.starts[here - 1]))
        found[-1].tokens.append(token)
        depth += (token.text in OPEN) - (token.text in CLOSE)
        line = lines.at(token.offset + len(token.text)) if token.kind == "str" else here
    return found


def comments(source: str, lines: Lines) -> dict[int, str]:
    """The comment of each line that has one."""
    found = {}
    position = 0
    while position < len(source):
        hit = CYTHON.match(source, position)
        if hit is None:
            position += 1
            continue
        if hit.lastgroup == "skip" and hit[0].startswith("#"):
            found[lines.at(position)] = hit[0]
        position = hit.end()
    return found


def port_units(text: str) -> list[Unit]:
    """The units of some statements without a function around them."""
    body = "".join(f"    {row}\n" for row in text.split("\n"))
    function, *_ = PortFile("", f"cdef void f():\n{body}").functions["f"]
    return function.units[1:]
