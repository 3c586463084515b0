# SPDX-License-Identifier: GPL-2.0-only
"""Whether a cast that only the port has can change a value, by the port's own declarations.

C converts by itself where a value is stored, returned or passed, and where the other operand is
wider; a cast there says the same aloud. One that cuts a value off, gives it another sign, or
makes another type of an address that is followed, is no idiom.
"""

import functools
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from kvm_vmx.compare.declarations import signature_key
from kvm_vmx.compare.lexer import CYTHON, tokens
from kvm_vmx.compare.types import Syntax, SyntaxPart, parse_type
from kvm_vmx.compare.units import Unit

ROOT = pathlib.Path(__file__).parents[1]
Key = TypeVar("Key")
DECLARED = re.compile(
    r"^[ ]*(?:cdef |inline |public |extern |volatile |const )*"
    r"((?:const |struct |unsigned )*\w+ ?\**) ?(\**\w+)((?:\[\w+\])*(?:, \**\w+(?:\[\w+\])*)*)"
    r"(?: = .*|\(.*)?$", re.M)
STRUCT = re.compile(r"\s*(?:cdef |ctypedef )?(?:packed )?(?:struct|union) (\w+).*:$")
MODULAR = {"&", "|", "^", "+", "-", "*"}
COMPARISONS = {"==", "!=", "<", ">", "<=", ">="}


class Integer(NamedTuple):
    """A type of integers: its width and whether it has a sign."""

    bits: int
    signed: bool


ADDRESS, CONSTANT = "address", "constant"
Value: TypeAlias = Integer | str | None     # ADDRESS, CONSTANT; None: it is not known
TYPES = {
    "u8": Integer(8, False), "uchar": Integer(8, False), "u16": Integer(16, False),
    "ushort": Integer(16, False), "u32": Integer(32, False), "uint": Integer(32, False),
    "u64": Integer(64, False), "ulong": Integer(64, False), "size": Integer(64, False),
    "s8": Integer(8, True), "char": Integer(8, True), "s16": Integer(16, True),
    "short": Integer(16, True), "int": Integer(32, True), "s32": Integer(32, True),
    "long": Integer(64, True), "s64": Integer(64, True), "bint": Integer(1, False),
    "gpa": Integer(64, False), "gva": Integer(64, False), "hpa": Integer(64, False),
}


def integer(kind: Syntax) -> Value:
    """A ("type", ...) tree as an Integer, an address, or None."""
    return ADDRESS if kind[2] else TYPES.get(kind[1])


Name: TypeAlias = str | tuple[str, str]     # of a member: with the structure that it is in


class Declared(NamedTuple):
    """The types of the port's variables and functions by name, of its members by (struct, name)."""

    kinds: dict[Name, Syntax]
    signatures: dict[str, Syntax]


@functools.cache
def declared() -> Declared:
    """What the port's files declare; a name that they declare twice in two ways is unknown."""
    kinds: dict[Name, set[Syntax]] = {}
    signatures: dict[str, set[Syntax]] = {}
    for part in ("l1", "abi"):
        for path in sorted((ROOT / part).rglob("*.p[xy][dx]")):
            owner, depth, body = "", 0, False
            for line in filter(str.strip, path.read_text().split("\n")):
                indent = len(line) - len(line.lstrip())
                owner = owner if indent > depth else ""
                if not indent:
                    body = "(" in line and line.endswith(":")
                if indent and body:
                    continue
                if hit := STRUCT.match(line):
                    owner, depth = hit[1].removesuffix("_t"), indent
                elif hit := DECLARED.match(line.partition(" #")[0]):
                    for name, kind in variables(*hit.groups()):
                        kinds.setdefault((owner, name) if owner else name, set()).add(kind)
                    if "(" in line and line.rstrip().endswith((":", "nogil", ")")) and not owner:
                        key = signature_key(tokens(line, CYTHON))
                        signatures.setdefault(hit[2].strip("*"), set()).add(key)
    return Declared(agreed(kinds), agreed(signatures))


def agreed(said: dict[Key, set[Syntax]]) -> dict[Key, Syntax]:
    """What is said of each name of which one thing alone is said."""
    return {name: next(iter(found)) for name, found in said.items() if len(found) == 1}


def variables(base: str, first: str, more: str) -> Iterator[tuple[str, Syntax]]:
    """(name, type) of each variable that one line declares."""
    for text in [first + more.partition(",")[0], *re.findall(r", ([^,]+)", more)]:
        name = re.findall(r"\w+", text)[0]
        kind = parse_type(tokens(base + "*" * (text.count("*") + text.count("[")), CYTHON))
        yield name, kind


class Casts:
    """The casts of one function of the port; `units` declare its parameters and variables."""

    def __init__(self, units: Sequence[Unit]):
        self.known = {unit.key[2]: (*unit.key[1][:2], unit.key[1][2] + len(unit.key) - 3)
                      for unit in units if unit.kind == "decl"}
        self.returns: Syntax | None = None
        if units and units[0].kind == "def":
            self.returns = units[0].key[1]
            self.known |= {part[2]: part[1] for part in units[0].key[2:] if part[0] == "decl"}

    def harmless(self, c: Syntax, p: Syntax) -> bool:
        """Whether every cast of a statement of the port stands in C's too, or changes nothing."""
        both = set(casts(c))
        return all(cast in both or self.fits(cast, place, other)
                   for cast, place, other in self.placed(p))

    def placed(self, tree: SyntaxPart, place: str = "value",
               other: Value = None) -> Iterator[tuple[Syntax, str, Value]]:
        """(cast, where it stands, the type that it meets there) of each cast in a tree."""
        if not isinstance(tree, tuple) or not tree:
            return
        kind = tree[0]
        if kind == "cast":
            yield tree, place, other
            yield from self.placed(tree[2], "value", integer(tree[1]))
        elif kind == "return":
            meets = integer(self.returns) if self.returns else None
            yield from self.placed(tree[1], "value", meets)
        elif kind == "=":
            yield from self.placed(tree[2])
            place = "value" if tree[1] == "=" or tree[1][:-1] in MODULAR else "operand"
            yield from self.placed(tree[3], place, self.type_of(tree[2]))
        elif kind == "for":
            for bound in tree[2:]:
                yield from self.placed(bound, "value", self.type_of(tree[1]))
        elif kind == "un" and tree[1] in ("~", "-"):
            yield from self.placed(tree[2], "inverted" if place == "operand" else place, other)
        elif kind == "?:":
            yield from self.placed(tree[1], "truth")
            for part in tree[2:]:
                yield from self.placed(part, place, other)
        elif kind == "bin":
            yield from self.operands(tree, place, other)
        elif kind in ("if", "elif", "while", "un"):
            yield from self.placed(tree[-1], "truth")
        elif kind in (".", "[]", "addr"):
            yield from self.placed(tree[1], "followed")
            if kind == "[]":
                yield from self.placed(tree[2])
        elif kind == "call":
            yield from self.arguments(tree)
        elif kind not in ("num", "str", "name", "decl", "type", "sizeof", "raw"):
            for part in tree[1:]:
                yield from self.placed(part)

    def arguments(self, tree: Syntax) -> Iterator[tuple[Syntax, str, Value]]:
        """The casts of a call's arguments."""
        name = tree[1][1] if tree[1][0] == "name" else ""
        known = declared().signatures.get(name, ())[2:]
        for n, part in enumerate(tree[2:]):
            meets = known[n] if n < len(known) and known[n][0] == "decl" else None
            yield from self.placed(part, "value", meets and integer(meets[1]))

    def operands(self, tree: Syntax, place: str,
                 other: Value) -> Iterator[tuple[Syntax, str, Value]]:
        """The casts of a binary operator's two operands."""
        _, operator, left, right = tree
        if operator in ("and", "or"):
            yield from self.placed(left, "truth")
            yield from self.placed(right, "truth")
        elif operator in ("<<", ">>"):
            yield from self.placed(left, "base" if operator == "<<" else "operand", other)
            yield from self.placed(right)
        elif operator in MODULAR and place == "value" and isinstance(other, Integer):
            yield from self.placed(left, place, other)
            yield from self.placed(right, place, other)
        else:
            yield from self.placed(left, "operand", self.type_of(right))
            yield from self.placed(right, "operand", self.type_of(left))

    def fits(self, cast: Syntax, place: str, other: Value) -> bool:
        """Whether a cast says aloud what C does by itself."""
        to, have = integer(cast[1]), self.type_of(cast[2])
        if not isinstance(to, Integer):
            return place == "value" or other == ADDRESS
        keeps = constant_fits(cast[2], to) if have == CONSTANT else widens(have, to)
        if place == "value" and isinstance(other, Integer) and other != TYPES["bint"]:
            return to.bits >= other.bits  # what it cuts off would not be kept
        if place in ("value", "truth"):
            return keeps
        if place == "base":
            return keeps and have == CONSTANT
        if not keeps or to.signed or place == "followed":
            return False
        if not isinstance(other, Integer):
            return other == CONSTANT and place == "operand"
        return not other.signed and to.bits >= other.bits

    def type_of(self, tree: Syntax) -> Value:
        """The Integer of an expression, or that it is an address or a constant; None: unknown."""
        kind = tree[0]
        if kind == "num":
            return CONSTANT
        if kind in ("name", ".", "call", "[]"):
            known = self.kind_of(tree)
            return integer(known) if known else CONSTANT if constant(tree) else None
        if kind == "cast":
            return integer(tree[1])
        if kind in ("addr", "str"):
            return ADDRESS
        if kind == "sizeof":
            return TYPES["size"]
        if kind == "un":
            return TYPES["bint"] if tree[1] == "not" else self.signed(tree)
        if kind == "bin":
            return self.binary(tree)
        return together(self.type_of(tree[2]), self.type_of(tree[3])) if kind == "?:" else None

    def kind_of(self, tree: Syntax) -> Syntax | None:
        """The declared type of a variable, a member, an element or what a function returns."""
        if tree[0] == "name":
            return self.known.get(tree[1]) or declared().kinds.get(tree[1])
        if tree[0] == ".":
            owner = self.kind_of(tree[1])
            return declared().kinds.get((owner[1], tree[2])) if owner else None
        if tree[0] == "[]":
            kind = self.kind_of(tree[1])
            return (*kind[:2], kind[2] - 1) if kind and kind[2] else None
        if tree[0] == "call" and tree[1][0] == "name":
            returned: Syntax | None = declared().signatures.get(tree[1][1], (None, None))[1]
            return returned
        return None

    def signed(self, tree: Syntax) -> Value:
        """The type of -x and ~x: of a constant it is an int."""
        inner = self.type_of(tree[2])
        return TYPES["int"] if inner == CONSTANT else inner

    def binary(self, tree: Syntax) -> Value:
        """The type of two operands' result."""
        if tree[1] in COMPARISONS or tree[1] in ("and", "or"):
            return TYPES["bint"]
        left = self.type_of(tree[2])
        return left if tree[1] in ("<<", ">>") else together(left, self.type_of(tree[3]))


def constant(tree: Syntax) -> bool:
    """Whether a tree is a name in capitals."""
    return tree[0] == "name" and str(tree[1]).isupper()


def casts(tree: SyntaxPart) -> Iterator[Syntax]:
    """All casts in a tree."""
    if isinstance(tree, tuple):
        if tree[:1] == ("cast",):
            yield tree
        for part in tree:
            yield from casts(part)


def together(one: Value, two: Value) -> Value:
    """The type that C finds for two operands."""
    if one == CONSTANT or two == CONSTANT:
        return two if one == CONSTANT else one
    if isinstance(one, Integer) and isinstance(two, Integer):
        return max(one, two, TYPES["int"], key=lambda kind: (kind.bits, not kind.signed))
    return None


def widens(have: Value, to: Integer) -> bool:
    """Whether every value of one type is one of the other."""
    return isinstance(have, Integer) and have.bits <= to.bits and (
        have.signed == to.signed or (to.signed and have.bits < to.bits))


def constant_fits(tree: Syntax, to: Integer) -> bool:
    """Whether a constant keeps its value; one that has a name is taken to be of 32 bits."""
    if tree[0] == "num" and isinstance(tree[1], int):
        return tree[1] < 1 << (to.bits - to.signed)
    return to.bits >= 32
