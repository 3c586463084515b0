# SPDX-License-Identifier: GPL-2.0-only
"""What expressions are made of: the operators' strengths, names, numbers."""

import keyword

from kvm_vmx.compare.types import SUFFIX_TYPES, Syntax

# Strength of the binary operators, loosest first.
C_BINARY = {
    "||": 4, "&&": 5, "|": 6, "^": 7, "&": 8, "==": 9, "!=": 9, "<": 10, ">": 10, "<=": 10,
    ">=": 10, "<<": 11, ">>": 11, "+": 12, "-": 12, "*": 13, "/": 13, "%": 13,
}
CYTHON_BINARY = {
    "or": 4, "and": 5, "==": 7, "!=": 7, "<": 7, ">": 7, "<=": 7, ">=": 7, "in": 7, "|": 8,
    "^": 9, "&": 10, "<<": 11, ">>": 11, "+": 12, "-": 12, "*": 13, "/": 13, "//": 13, "%": 13,
}
CHAINED = {"==", "!=", "<", ">", "<=", ">=", "in"}
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
NOT = 6
NEUTRAL = {"&&": "and", "||": "or", "//": "/"}
CONSTANTS = {"true": "True", "false": "False"}


class Unparsed(Exception):
    """The tokens form no expression of the dialect."""


def name(text: str) -> str:
    """A name as both sides spell it: Cython's own words carry a trailing underscore there."""
    if text.endswith("_") and keyword.iskeyword(text[:-1]):
        return text[:-1]
    return CONSTANTS.get(text, text)


def step(tree: Syntax) -> Syntax:
    """`x++` where nobody looks at its value is `x += 1`."""
    return ("=", tree[1], tree[2], ("num", 1)) if tree[0] == "post" else tree


def membership(left: Syntax, right: Syntax) -> Syntax:
    """`x in (a, b)`, spelled out."""
    if right[0] != "tuple":
        raise Unparsed
    tree = ("bin", "==", left, right[1])
    for item in right[2:]:
        tree = ("bin", "or", tree, ("bin", "==", left, item))
    return tree


def number(text: str) -> Syntax:
    """A number by its value; a suffix is the cast that it stands for."""
    digits = text.rstrip("uUlL")
    suffix = text[len(digits):].lower()
    if "." in digits:
        return ("num", digits)
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    value = ("num", int(digits, 8 if octal else 0))
    return ("cast", ("type", SUFFIX_TYPES[suffix], 0), value) if suffix else value
