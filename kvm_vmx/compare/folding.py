# SPDX-License-Identifier: GPL-2.0-only
"""The values of constants: a #define or an enumerator folded to the number that it is.

Names are looked up where they are defined and not before; what no number comes of stays a tree.
"""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from kvm_vmx.compare.lexer import C, tokens
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.types import Syntax, SyntaxPart

BITS = 64
MASK = (1 << BITS) - 1
UNSIGNED = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "uint": 32, "ulong": 64, "uchar": 8,
            "ushort": 16, "size": 64, "gpa": 64, "hpa": 64, "gva": 64, "gfn": 64}
SIGNED = {"int": 32, "long": 64, "s32": 32, "s64": 64, "short": 16, "s16": 16, "s8": 8, "char": 8}
KNOWN = {"PAGE_SHIFT": 12, "PAGE_SIZE": 4096, "BITS_PER_LONG": 64, "True": 1, "False": 0,
         "NULL": 0, "CONFIG_INSN_TRAP": 1, "CPU_MASK_NONE": 0,
         "U32_MAX": 0xffffffff}
FUNCTIONS: dict[str, Callable[..., int]] = {
    "BIT": lambda n: 1 << n, "BIT_ULL": lambda n: 1 << n, "_BITUL": lambda n: 1 << n,
    "_BITULL": lambda n: 1 << n, "_AC": lambda n: n, "_AT": lambda n: n,
    "UL": lambda n: n, "ULL": lambda n: n,
    "GENMASK": lambda high, low: (2 << high) - (1 << low),
    "GENMASK_ULL": lambda high, low: (2 << high) - (1 << low),
    "ATOMIC_INIT": lambda n: n,
}
OPERATIONS: dict[str, Callable[[int, int], int | None]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "|": lambda a, b: a | b, "&": lambda a, b: a & b, "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b if 0 <= b < 128 else None,
    ">>": lambda a, b: a >> b if 0 <= b < 128 else None,
    "/": lambda a, b: a // b if b else None, "%": lambda a, b: a % b if b else None,
    "==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b), "<": lambda a, b: int(a < b),
    ">": lambda a, b: int(a > b), "<=": lambda a, b: int(a <= b), ">=": lambda a, b: int(a >= b),
    "and": lambda a, b: int(bool(a) and bool(b)), "or": lambda a, b: int(bool(a) or bool(b)),
}
# What a name stands for: a value, the enumerator that it counts on from, or a #define with its
# parameters, None where it has none, and its body.
Definition: TypeAlias = (tuple[Literal["tree"], Syntax] | tuple[Literal["after"], str]
                         | tuple[Literal["macro"], list[str] | None, str])


class Constants:
    """Numbers by name; `find` gives a name's definition, or None."""

    def __init__(self, find: Callable[[str], Definition | None]):
        self.find = find
        self.known: dict[str, int | None] = dict(KNOWN)

    def value(self, name: str) -> int | None:
        """A name's number."""
        if name not in self.known:
            self.known[name] = None  # while it is looked for: one that is defined by itself
            try:
                self.known[name] = self.look(name)
            except RecursionError:
                pass
        return self.known[name]

    def look(self, name: str) -> int | None:
        """The number of a name that is asked for the first time."""
        found = self.find(name)
        if found is None:
            return None
        if found[0] == "after":
            before = self.value(found[1])
            return None if before is None else before + 1
        if found[0] == "tree":
            return self.fold(found[1])
        return self.fold(parse(tokens(found[2], C))) if found[1] is None else None

    def fold(self, tree: Syntax) -> int | None:
        """A tree's number."""
        kind = tree[0]
        if kind == "num":
            return tree[1] if isinstance(tree[1], int) else None
        if kind == "chr":
            return ord(tree[1]) if len(tree[1]) == 1 else None
        if kind == "name":
            return self.value(tree[1])
        if kind == "un":
            inner = self.fold(tree[2])
            if inner is None:
                return None
            value = {"-": -inner, "~": ~inner, "+": inner, "not": int(not inner)}[tree[1]]
            return converted(value, tree[2][1]) if tree[2][0] == "cast" else value
        if kind == "bin":
            left, right = self.fold(tree[2]), self.fold(tree[3])
            operation = OPERATIONS.get(tree[1])
            if left is None or right is None or operation is None:
                return None
            return operation(left, right)
        if kind == "?:":
            chosen = self.fold(tree[1])
            return None if chosen is None else self.fold(tree[2] if chosen else tree[3])
        if kind == "cast":
            return converted(self.fold(tree[2]), tree[1])
        if kind == "call" and tree[1][0] == "name":
            return self.called(tree[1][1], tree[2:])
        return None

    def called(self, name: str, arguments: Syntax) -> int | None:
        """The number of a macro with arguments."""
        if name in ("_AC", "_AT"):
            arguments = (arguments[0 if name == "_AC" else -1],)
        if name in FUNCTIONS:
            values = [self.fold(argument) for argument in arguments]
            if None in values:
                return None
            try:
                return FUNCTIONS[name](*values)
            except (TypeError, ValueError, OverflowError):
                return None
        found = self.find(name)
        if not found or found[0] != "macro" or found[1] is None or len(found[1]) != len(arguments):
            return None
        text = found[2]
        if text.startswith("({"):  # of several statements the last is the value
            text = text[2:].strip().removesuffix(")").strip().removesuffix("}").strip(" ;")
            text = text.rpartition(";")[2]
        body = parse(tokens(text, C))
        return self.fold(substituted(body, dict(zip(found[1], arguments))))


def converted(value: int | None, kind: Syntax) -> int | None:
    """A number after a cast."""
    if value is None or kind[2]:
        return value
    if kind[1] in UNSIGNED:
        return value & ((1 << UNSIGNED[kind[1]]) - 1)
    if kind[1] in SIGNED:
        bits = SIGNED[kind[1]]
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    return int(bool(value)) if kind[1] == "bint" else value


def substituted(tree: SyntaxPart, arguments: Mapping[str, Syntax]) -> SyntaxPart:
    """A tree with names exchanged for trees."""
    if not isinstance(tree, tuple):
        return tree
    if len(tree) == 2 and tree[0] == "name" and tree[1] in arguments:
        return arguments[tree[1]]
    return tuple(substituted(part, arguments) for part in tree)


def same_number(one: int, other: int) -> bool:
    """Whether two numbers are one, as 32 or as 64 bits: C's ints are written with a sign or not."""
    if one == other or (one & MASK) == (other & MASK):
        return True
    narrow = all(-(1 << 31) <= number < (1 << 32) for number in (one, other))
    return narrow and (one & 0xffffffff) == (other & 0xffffffff)
