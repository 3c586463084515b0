# SPDX-License-Identifier: GPL-2.0-only
"""The statements of a C function as units: flat, in order, each knowing its block."""

from kvm_vmx.compare.declarations import CLOSE, OPEN, counted, signature_key, sizes, split
from kvm_vmx.compare.expressions import parse, spelled
from kvm_vmx.compare.terms import name, step
from kvm_vmx.compare.lexer import C, Lines, Token, tokens
from kvm_vmx.compare.types import DROPPED, WORDS, Syntax, parse_type
from kvm_vmx.compare.units import Unit

ENDS = {"return", "goto", "continue", "break"}
QUALIFIERS = WORDS | {"register", "extern"}


def statements(text: str, header: int, open_: int, close: int, lines: Lines) -> list[Unit]:
    """The units of a function: its signature first."""
    reader = StatementReader(text, tokens(text, C, open_ + 1, close), lines)
    signature = tokens(text, C, header, open_)
    reader.units.append(Unit(
        signature_key(signature), lines.at(header), lines.at(open_ - 1),
        " ".join(text[header:open_].split()),
    ))
    try:
        while reader.at < len(reader.tokens):
            reader.statement(None)
    except RecursionError:  # nested deeper than any reader follows
        reader.at = len(reader.tokens)
    return reader.units


def table_units(name: str, text: str, open_: int, close: int, lines: Lines) -> list[Unit]:
    """The entries of an initialised table, each as the assignment that it stands for."""
    reader = StatementReader(text, tokens(text, C, open_ + 1, close), lines)
    while reader.at < len(reader.tokens):
        begin = reader.at
        while reader.at < len(reader.tokens) and reader.text() != ",":
            reader.skip()
        entry = reader.tokens[begin:reader.at]
        reader.at += 1
        equal = next((n for n, token in enumerate(entry) if token.text == "="), None)
        if not equal:
            continue
        value = parse(entry[equal + 1:])
        if entry[0].text == ".":
            target: Syntax = (".", ("name", name), entry[1].text)
        else:
            target = ("[]", ("name", name), parse(entry[1:equal - 1]))
        reader.emit(("=", "=", target, value), begin, begin + len(entry), None)
    return reader.units


def parse_text(text: str) -> list[Unit]:
    """The units of some statements without a function around them."""
    reader = StatementReader(text, tokens(text, C), Lines(text))
    while reader.at < len(reader.tokens):
        reader.statement(None)
    return reader.units


class StatementReader:
    """Reads statements off a token list."""

    def __init__(self, source: str, found: list[Token], lines: Lines):
        self.source, self.tokens, self.lines = source, found, lines
        self.at = 0
        self.units: list[Unit] = []
        self.switches = 0  # how many switches stand between here and the next loop around

    def text(self, ahead: int = 0) -> str:
        """The text of a coming token."""
        place = self.at + ahead
        return self.tokens[place].text if place < len(self.tokens) else ""

    def skip(self) -> None:
        """One token, or all that stands in the brackets it opens."""
        depth = 0
        while self.at < len(self.tokens):
            text = self.tokens[self.at].text
            depth += (text in OPEN) - (text in CLOSE)
            self.at += 1
            if depth <= 0:
                return

    def until(self, *ends: str) -> list[Token]:
        """The tokens up to one of `ends` outside brackets, which is taken too."""
        begin = self.at
        while self.at < len(self.tokens) and self.text() not in ends:
            self.skip()
        self.at += 1
        return self.tokens[begin:self.at - 1]

    def brackets(self) -> list[Token]:
        """What stands in the parentheses that come next."""
        begin = self.at
        self.skip()
        return self.tokens[begin + 1:self.at - 1]

    def emit(self, key: Syntax, begin: int, end: int, parent: Unit | None,
             silent: str = "") -> Unit:
        """Append the unit that the tokens from begin to end spell."""
        at = min(end, len(self.tokens)) - 1
        first, last = self.tokens[min(begin, at)], self.tokens[at]
        text = self.source[first.offset:last.offset + len(last.text)]
        unit = Unit(
            key, self.lines.at(first.offset), self.lines.at(last.offset),
            " ".join(text.split()), parent, silent,
        )
        self.units.append(unit)
        return unit

    def statement(self, parent: Unit | None) -> None:
        """One statement with all that stands in it."""
        word, begin = self.text(), self.at
        if not word:  # the source ends too early
            return
        if word == ";":
            self.at += 1
        elif word == "{":
            self.block(parent)
        elif word in ("if", "while", "for", "switch", "do", "else"):
            getattr(self, word + "_")(parent)
        elif word in ("return", "goto"):
            rest = self.until(";")[1:]
            value = rest[0].text if word == "goto" else parse(rest) if rest else None
            self.emit((word, value), begin, self.at, parent)
        elif word in ("break", "continue"):
            self.until(";")
            leaves = ("switch",) if word == "break" and self.switches else ()
            self.emit((word, *leaves), begin, self.at, parent)
        elif word in ("asm", "__asm__", "asm_volatile_goto"):
            part = self.until(";")
            self.emit(("asm", *(token.text for token in part)), begin, self.at, parent)
        elif self.text(1) == ":" and self.tokens[begin].kind == "id":
            self.at += 2
            self.emit(("label", word), begin, self.at, parent)
        elif self.loop_macro():
            self.at += 1
            arguments = [parse(part) for part in split(self.brackets(), ",")]
            self.loop(self.emit(("each", word, *arguments), begin, self.at, parent))
        elif self.declaration():
            self.declare(parent)
        else:
            part = self.until(";")
            if part:
                self.emit(step(parse(part)), begin, self.at, parent)

    def loop(self, unit: Unit) -> None:
        """The body of a loop."""
        outside, self.switches = self.switches, 0
        self.statement(unit)
        self.switches = outside

    def block(self, parent: Unit | None) -> None:
        """The statements between braces."""
        self.at += 1
        while self.at < len(self.tokens) and self.text() != "}":
            self.statement(parent)
        self.at += 1

    def loop_macro(self) -> bool:
        """Whether `name(...)` is followed by a statement and not by its end."""
        if self.tokens[self.at].kind != "id" or self.text(1) != "(":
            return False
        here = self.at
        self.at += 1
        self.skip()
        behind = self.tokens[self.at] if self.at < len(self.tokens) else None
        self.at = here
        return behind is not None and (behind.text == "{" or behind.kind == "id")

    def declaration(self) -> bool:
        """Whether a declaration begins here: a type's word, or two names in a row."""
        first = self.tokens[self.at]
        if first.kind != "id":
            return False
        if first.text in QUALIFIERS or first.text in DROPPED:
            return True
        ahead = 1
        while self.text(ahead) == "*":
            ahead += 1
        if self.at + ahead >= len(self.tokens) or self.tokens[self.at + ahead].kind != "id":
            return False
        return ahead == 1 or self.text(ahead + 1) in ("=", ";", ",", "[")

    def declare(self, parent: Unit | None) -> None:
        """One declaration unit a name, and one assignment for each initial value."""
        begin = self.at
        parts = split(self.until(";"), ",")
        kind: list[Token] = []
        lasting: list[str] = []
        place = begin
        for n, part in enumerate(parts):
            equal = next((i for i, token in enumerate(part) if token.text == "="), len(part))
            left = part[:equal]
            bracket = next((i for i, token in enumerate(left) if token.text == "["), len(left))
            word = next((i for i in reversed(range(bracket)) if left[i].kind == "id"), None)
            if word is None:  # no C: the tokens stand for themselves
                self.emit(("raw", *(token.text for token in part)), place, self.at, parent)
                return
            if n == 0:
                kind = [token for token in left[:word] if token.text != "*"]
                lasting = ["static" for token in kind if token.text == "static"]
            stars = [token for token in left[:word] if token.text == "*"]
            title = name(left[word].text)
            key: Syntax = ("decl", parse_type(kind + stars), title, *sizes(left[bracket:]),
                           *lasting)
            key += (("raw", *spelled(kind)),) if any(t.text == "{" for t in kind) else ()
            self.emit(key, place, place + equal, parent)
            if equal < len(part):
                value = parse(part[equal + 1:])
                self.emit(
                    ("=", "=", ("name", title), value), place + word, place + len(part), parent)
            place += len(part) + 1

    def if_(self, parent: Unit | None, word: str = "if", begin: int | None = None) -> None:
        """if, its body, and the else that may follow."""
        begin = self.at if begin is None else begin
        self.at += 1
        condition = parse(self.brackets())
        unit = self.emit((word, condition), begin, self.at, parent)
        self.statement(unit)
        if self.text() == "else":
            self.else_(parent)

    def else_(self, parent: Unit | None) -> None:
        """else, or else if, which continues the chain."""
        begin = self.at
        self.at += 1
        if self.text() == "if":
            self.if_(parent, "elif", begin)
        else:
            self.statement(self.emit(("else",), begin, begin + 1, parent))

    def while_(self, parent: Unit | None) -> None:
        """while"""
        begin = self.at
        self.at += 1
        condition = parse(self.brackets())
        self.loop(self.emit(("while", condition), begin, self.at, parent))

    def do_(self, parent: Unit | None) -> None:
        """do ... while"""
        begin = self.at
        self.at += 1
        self.loop(self.emit(("do",), begin, begin + 1, parent))
        begin = self.at
        condition = parse(self.until(";")[1:])
        self.emit(("until", condition), begin, self.at, parent)

    def for_(self, parent: Unit | None) -> None:
        """for: a counted loop as the range it runs over, any other by its three parts."""
        begin = self.at
        self.at += 1
        parts = [step(parse(part)) if part else None for part in split(self.brackets(), ";")]
        self.loop(self.emit(counted(parts), begin, self.at, parent))

    def switch_(self, parent: Unit | None) -> None:
        """switch, as the chain of if, elif and else that it is."""
        begin = self.at
        self.at += 1
        subject = parse(self.brackets())
        self.emit(("switch", subject), begin, self.at, parent, "switch")
        self.at += 1
        self.switches += 1
        word = "if"
        while self.at < len(self.tokens) and self.text() != "}":
            word = self.group(subject, word, parent)
        self.switches -= 1
        self.at += 1

    def group(self, subject: Syntax, word: str, parent: Unit | None) -> str:
        """The labels of one case and its statements; the word the next one begins with."""
        begin, default = self.at, False
        condition: Syntax | None = None
        while self.text() in ("case", "default"):
            default = default or self.text() == "default"
            label = self.until(":")[1:]
            if label:
                test = case(subject, label)
                condition = test if condition is None else ("bin", "or", condition, test)
        if begin == self.at:  # a statement before the first label
            self.statement(parent)
            return word
        key = ("else",) if default else (word, condition)
        unit = self.emit(key, begin, self.at, parent)
        count = len(self.units)
        while self.at < len(self.tokens) and self.text() not in ("case", "default", "}"):
            self.statement(unit)
        inside = [inner for inner in self.units[count:] if inner.parent is unit]
        if inside and inside[-1].kind == "break":
            inside[-1].silent = "switch"
            if default and len(inside) == 1:
                unit.silent = "switch"
        elif self.text() != "}" and (not inside or inside[-1].kind not in ENDS):
            self.emit(("fallthrough",), self.at, self.at + 1, unit).text = "(falls through)"
        return "elif"


def case(subject: Syntax, label: list[Token]) -> Syntax:
    """The test of one label of a switch: a value, or a range as the two comparisons that it is."""
    dots = next((n for n, token in enumerate(label) if token.text == "..."), None)
    if dots is None:
        return ("bin", "==", subject, parse(label))
    return ("bin", "and", ("bin", ">=", subject, parse(label[:dots])),
            ("bin", "<=", subject, parse(label[dots + 1:])))
