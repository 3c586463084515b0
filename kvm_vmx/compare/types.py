# SPDX-License-Identifier: GPL-2.0-only
"""Types as C and Cython spell them, and the one spelling they are compared by."""

from typing import Any, TypeAlias

from kvm_vmx.compare.lexer import Token

# What a tree holds: by its kind a word, a number, a tree or None. Each kind has its own order of
# them, and who reads a tree knows it by its kind; no type says which is where.
SyntaxPart: TypeAlias = Any
# A tree of C or Cython: its kind, then its parts.
Syntax: TypeAlias = tuple[SyntaxPart, ...]

SUFFIX_TYPES = {
    "u": "u32", "l": "long", "ul": "ulong", "lu": "ulong", "ll": "s64", "ull": "u64", "llu": "u64",
}
DROPPED = {
    "struct", "union", "enum", "const", "volatile", "static", "register", "inline", "extern",
    "__user", "__iomem", "__percpu", "__rcu", "__maybe_unused", "__always_unused",
    "__always_inline", "noinline", "__init", "__exit", "__initdata", "__read_mostly", "asmlinkage",
    "__noclone", "__ref", "__cpuinit", "__visible", "__hot", "__cold", "notrace", "__must_check",
    "cdef",
    "__always_inline__", "noinstr", "__force",
    "__x86_shared", "__attribute_const__",
}
INTEGERS = {
    "unsigned": "uint", "unsigned int": "uint", "int unsigned": "uint", "unsigned long": "ulong",
    "long unsigned": "ulong", "unsigned long int": "ulong", "unsigned long long": "u64",
    "long long": "s64", "unsigned char": "uchar", "unsigned short": "ushort", "bool": "bint",
    "long int": "long", "signed int": "int", "__u8": "u8", "__u16": "u16", "__u32": "u32",
    "__u64": "u64", "__s32": "s32", "__s64": "s64", "_Bool": "bint", "noinline_void": "void",
    "uint8_t": "u8", "uint16_t": "u16", "uint32_t": "u32", "uint64_t": "u64",
}
WORDS = {
    "struct", "union", "enum", "const", "volatile", "unsigned", "signed", "int", "long", "short",
    "char", "void", "bool", "bint", "ulong", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64",
    "__u8", "__u16", "__u32", "__u64", "__s32", "__s64", "uint8_t", "uint16_t", "uint32_t",
    "uint64_t", "static", "register", "float", "double",
}


def is_type(tokens: list[Token]) -> bool:
    """Whether the tokens can only be a type."""
    if not tokens or tokens[0].kind != "id":
        return False
    first = tokens[0].text
    if first not in WORDS and not first.endswith("_t"):
        return False
    names_over = False
    for token in tokens:
        if token.text in ("*", "**"):
            names_over = True
        elif token.kind != "id" or (names_over and token.text not in DROPPED):
            return False
    return True


def parse_type(tokens: list[Token]) -> Syntax:
    """The tree of a type: ("type", base, stars), alike for `struct x *` and `x_t *`."""
    stars = sum({"*": 1, "**": 2}.get(token.text, 0) for token in tokens)
    words = [token.text for token in tokens if token.kind == "id" and token.text not in DROPPED]
    if any(token.text == "enum" for token in tokens):
        words = ["int"]  # Cython's ints hold the numbers of C's enumerations
    base = " ".join(words)
    base = INTEGERS.get(base, base)
    return ("type", base.removesuffix("_t"), stars)
