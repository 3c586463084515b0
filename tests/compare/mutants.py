# SPDX-License-Identifier: GPL-2.0-only
"""Every kind of change in every unit of a file: each edit as the lines that it puts in a place.

A mutant belongs to one fact, or to the function around it; `meaning` says whether a compiler
would make something else of it.
"""

import re
from typing import NamedTuple

from mutate import OPERATORS

from kvm_vmx.compare.lexer import C, CYTHON, tokens

TYPES = {"u8": "u16", "u16": "u32", "u32": "u64", "u64": "u32", "bool": "int", "int": "long",
         "__u32": "__u64", "__u64": "__u32", "long": "short", "char": "short", "bint": "u8",
         "ulong": "u32", "void": "char", "s64": "u32", "__s64": "__u32", "gpa_t": "u32"}
KEYWORDS = {"struct", "union", "enum", "static", "const", "define", "unsigned", "if", "else",
            "return", "for", "while", "sizeof", "extern", "inline", "goto", "switch", "case",
            "default", "break", "continue", "typedef", "volatile", "ifdef", "endif", "do",
            "__read_mostly", "cdef", "ctypedef", "not", "and", "or", "in", "True", "False"}
SURER = {"|": "&", "<<": "&"}  # by which a number of one bit is another one, whatever the bit
FEW = 3  # edits of one kind in one unit
DROPPED = {"constant", "macro", "member", "variable", "key", "parameter", "call", "symbol", "table",
           "function", "field", "typedef"}
SPACE = re.compile(r"[ \t]+")


class Mutant(NamedTuple):
    """An edit of a file: what it is, of which fact, whether it means anything, and the text that
    stands between two offsets then."""

    what: str
    fact: object
    meaning: bool
    begin: int
    end: int
    text: str


class Source:
    """A file's text, and where its lines begin."""

    def __init__(self, text: str, cython: bool):
        self.text, self.cython = text, cython
        self.starts = [0, *(hit.end() for hit in re.finditer("\n", text)), len(text)]

    def span(self, fact) -> tuple[int, int]:
        """Where the lines of a fact begin and end."""
        return self.starts[fact.line - 1], self.starts[min(fact.end, len(self.starts) - 1)]

    def tokens(self, fact, begin: int, end: int):
        """The tokens of a fact: of a member or an enumerator that shares its line, its own."""
        found = tokens(self.text, CYTHON if self.cython else C, begin, end)
        found = [token for token in found if token.text.strip()]
        if fact.kind not in ("constant", "member") or (found and found[0].text == "#"):
            return found
        own, separator = fact.name.rpartition(".")[2], ";" if fact.kind == "member" else ","
        pieces = [[]]
        for token in found:
            if token.text == separator:
                pieces.append([])
            else:
                pieces[-1].append(token)
        named = [piece for piece in pieces if any(token.text == own for token in piece)]
        return named[0] if len(pieces) > 2 and named else found


def mutants(source: Source, fact) -> list[Mutant]:
    """All edits of one fact."""
    begin, end = source.span(fact)
    found = source.tokens(fact, begin, end)
    if not found or fact.kind in ("order", "attributes", "condition", "inactive"):
        return []
    made = [*replaced(source, fact, found), *lines(source, fact, begin, end)]
    made += neutral(source, fact, found, begin, end)
    return made


def some(items: list) -> list:
    """A few of many, evenly."""
    return items if len(items) <= FEW else [items[n * (len(items) - 1) // (FEW - 1)]
                                            for n in range(FEW)]


def replaced(source, fact, found):
    """Another number, name, type, operator or text in the place of one."""
    idle = idle_tokens(found)
    numbers = [t for t in found if t.kind == "num" and id(t) not in idle]
    for token in some(numbers):
        yield edit("number", fact, token, other_number(token.text))
    own = fact.name.rpartition(".")[2]
    skipped = KEYWORDS | TYPES.keys() | {own}
    behind = {id(b) for a, b in zip(found, found[1:]) if a.text == "#"}
    behind |= {id(b) for a, b in zip(found, found[1:]) if a.text == "enum"}
    if fact.kind == "member" and any(t.text == "(" for t in found):
        behind |= {id(t) for t in found[[t.text for t in found].index("("):]}
    names = [t for t in found if t.kind == "id" and t.text not in skipped and id(t) not in behind]
    if fact.kind not in ("macro", "function"):
        for token in some(names):
            yield edit("name", fact, token, f"{token.text}_other")
    elif fact.kind == "function":
        for token in some([t for t in names if t.text.isupper()]):
            yield edit("name", fact, token, f"{token.text}_OTHER")
    for token in some([t for t in found if t.text in TYPES and fact.kind in (
            "member", "variable", "function", "table")]):
        yield edit("type", fact, token, TYPES[token.text])
    for token in some([t for t in found if t.text in OPERATORS and t.kind == "op"
                       and fact.kind not in ("member",) and id(t) not in idle]):
        yield edit("operator", fact, token, SURER.get(token.text, OPERATORS[token.text]))
    for token in some([t for t in found if t.kind == "str" and len(t.text) > 3
                       and not t.text.startswith('"""')]):
        yield edit("text", fact, token, token.text[:-1] + "." + token.text[-1])


def idle_tokens(found) -> set[int]:
    """What makes no other value: a shift of 0 or by 0, and how far 0 is shifted; + 0."""
    idle = set()
    for one, operator, other in zip(found, found[1:], found[2:]):
        if operator.text in ("<<", ">>") and one.text.strip("uUlL") == "0":
            idle |= {id(operator), id(other)}
        elif operator.text in ("<<", ">>", "+") and other.text.strip("uUlL") == "0":
            idle.add(id(operator))
    return idle


def edit(what: str, fact, token, text: str, meaning: bool = True) -> Mutant:
    """One token exchanged."""
    return Mutant(what, fact, meaning, token.offset, token.offset + len(token.text), text)


def other_number(text: str) -> str:
    """A number one more than it is."""
    digits = text.rstrip("uUlL")
    base = 8 if len(digits) > 1 and digits[0] == "0" and digits.isdigit() else 0
    try:
        return f"{int(digits, base) + 1}{text[len(digits):]}"
    except ValueError:
        return "7654"


def lines(source, fact, begin: int, end: int):
    """The fact left out, said again under another name, or behind the next one."""
    text = source.text[begin:end]
    alone = single(source, fact, begin, end)
    if fact.kind in DROPPED and alone:
        yield Mutant("left out", fact, True, begin, end, "\n" if source.cython else "")
    if fact.kind in ("constant", "member") and alone and text.count("\n") == 1:
        own = fact.name.rpartition(".")[2]
        again = re.sub(rf"\b{re.escape(own)}\b", f"{own}_again", text, count=1)
        if again != text and "=" not in own:
            yield Mutant("new", fact, True, end, end, again)
    if fact.kind == "function" and not source.cython and alone:
        yield Mutant("new", fact, True, end, end, f"\nstatic int {fact.name}_again(void)\n{{\n"
                     "\treturn 1;\n}\n")


def single(source, fact, begin: int, end: int) -> bool:
    """Whether a fact has its lines for itself."""
    text = source.text[begin:end]
    if fact.kind in ("constant", "member") and not text.lstrip().startswith("#"):
        pieces = text.count(",") if fact.kind == "constant" else text.count(";")
        if source.cython:
            return "," not in text and ":" not in text and text.startswith("    ")
        return pieces == 1 and "{" not in text and "}" not in text and text.startswith("\t")
    if source.cython:
        return text.startswith(("    #define", "    DEFINE_STATIC")) \
            or (fact.kind in ("variable", "parameter") and "," not in text.partition("(")[0])
    return not text.rstrip("\n").endswith("{")


def neutral(source, fact, found, begin: int, end: int):
    """What no compiler minds: a comment, spaces, a number in another base, brackets."""
    if fact.kind == "typedef":
        return
    last = found[-1]
    behind = last.offset + len(last.text)
    if source.cython:
        line_end = source.text.find("\n", last.offset)
        if not inside_c(source, begin):
            yield Mutant("comment", fact, False, line_end, line_end, "  # nobody minds")
    elif not last.text.startswith("\\"):
        yield Mutant("comment", fact, False, behind, behind, " /* nobody minds */")
    wide = SPACE.search(source.text, found[0].offset, behind)
    if wide and not in_string(found, wide.start()):
        yield Mutant("spaces", fact, False, wide.start(), wide.end(), wide[0] + "  ")
    for token in [t for t in found if t.kind == "num"][:1]:
        if source.text[token.offset + len(token.text)].isalnum():
            continue  # a label of assembly
        digits = token.text.rstrip("uUlL")
        if digits.isdigit() and not (len(digits) > 1 and digits[0] == "0") \
                and fact.kind not in ("function", "call", "symbol"):
            yield edit("base", fact, token, hex(int(digits)) + token.text[len(digits):], False)


def inside_c(source, at: int) -> bool:
    """Whether a place of a Cython file is in C."""
    return source.text.count('"""', 0, at) % 2 == 1


def in_string(found, at: int) -> bool:
    """Whether a place is inside a literal."""
    return any(t.kind in ("str", "chr") and t.offset < at < t.offset + len(t.text) for t in found)


def independent(source, made) -> list[list[Mutant]]:
    """The mutants in batches: of a batch no two touch, and none is of a name that another's fact
    speaks of, so that each must be told by itself."""
    batches = []
    for mutant in made:
        fact = mutant.fact
        mine = set(range(fact.line - 1, fact.end + 2))
        words = set(re.findall(r"\w+", source.text[slice(*source.span(fact))]))
        name = set(re.findall(r"\w+", fact.name)) - {"struct"}
        for batch, taken, names, spoken in batches:
            if taken.isdisjoint(mine) and words.isdisjoint(names) and name.isdisjoint(spoken):
                break
        else:
            batch, taken, names, spoken = [], set(), set(), set()
            batches.append((batch, taken, names, spoken))
        batch.append(mutant)
        taken |= mine
        names |= name
        spoken |= words
    return [batch for batch, *_ in batches]


def names_of(rows) -> set[str]:
    """What the rows are of, and each word of it."""
    found = set()
    for row in rows:
        found |= {row.fact.name, *row.fact.name.split(".")[-1:], row.fact.name.partition(".")[0],
                  row.fact.name.removeprefix("struct ")}
    return found


def is_told(mutant, told) -> bool:
    """Whether a mutant is told in its place: `told` are the names of the rows."""
    name = mutant.fact.name
    own = name.rpartition(".")[2]
    places = {name, own, f"{own}_again", name.partition(".")[0]}
    return bool(places & told) or any(own.split("(")[0] in each for each in told)


OWNERS = {".", "->", "struct", "union", "enum"}  # before a name that is no local's
PLAIN = re.compile(r"^\t(?!return|goto|case|else|break|continue)(?:const |unsigned |struct )*\w+ "
                   r"\**\w+(?:, \**\w+)*;$")


def reordered(rows: list[str]) -> list[str]:
    """A function's lines with each pair of plain declarations exchanged."""
    found, at = [], 0
    while at < len(rows):
        if at + 1 < len(rows) and PLAIN.match(rows[at]) and PLAIN.match(rows[at + 1]):
            found += [rows[at + 1], rows[at]]
            at += 2
        else:
            found.append(rows[at])
            at += 1
    return found


def called_otherwise(text: str, names, cython: bool = False) -> str:
    """A function's text with its own names called otherwise, wherever they are no member's."""
    pieces, at, before = [], 0, ""
    for token in tokens(text, CYTHON if cython else C):
        if token.kind == "id" and token.text in names and before not in OWNERS:
            pieces += [text[at:token.offset], f"{token.text}_too"]
            at = token.offset + len(token.text)
        before = token.text
    return "".join([*pieces, text[at:]])
