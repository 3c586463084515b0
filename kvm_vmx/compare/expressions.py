# SPDX-License-Identifier: GPL-2.0-only
"""Expressions of C and of Cython as one tree, so that equal trees mean equal expressions.

A tree is a nested tuple, its first item the kind: ("name", n), ("num", value), ("str", text),
("call", f, args...), (".", object, member), ("[]", object, index), ("addr", x), ("un", op, x),
("bin", op, a, b), ("?:", condition, a, b), ("=", op, target, value), ("cast", type, x),
("type", base, stars), ("sizeof", x), ("init", items...), ("paste", parts...).
"""

from collections.abc import Iterator

from kvm_vmx.compare.lexer import Token
from kvm_vmx.compare.terms import (
    ASSIGNMENTS, C_BINARY, CHAINED, CYTHON_BINARY, NEUTRAL, NOT, Unparsed, membership, name, number)
from kvm_vmx.compare.types import Syntax, is_type, parse_type


class Parser:
    """One expression out of tokens; `cython` says which dialect."""

    def __init__(self, tokens: list[Token], cython: bool):
        self.tokens, self.cython, self.at = tokens, cython, 0
        self.binary = CYTHON_BINARY if cython else C_BINARY

    def peek(self, ahead: int = 0) -> str:
        """The text of a coming token, "" behind the last."""
        place = self.at + ahead
        return self.tokens[place].text if place < len(self.tokens) else ""

    def take(self, text: str | None = None) -> Token:
        """The next token, which must be `text` if that is given."""
        if self.at >= len(self.tokens) or (text is not None and self.peek() != text):
            raise Unparsed
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, text: str) -> bool:
        """Take the next token if it is `text`."""
        if self.peek() == text:
            self.at += 1
            return True
        return False

    def assignment(self) -> Syntax:
        """An assignment or what is looser than a binary operator."""
        left = self.conditional()
        operator = self.peek()
        if operator in ASSIGNMENTS:
            self.take()
            return ("=", operator, left, self.assignment())
        return left

    def conditional(self) -> Syntax:
        """`c ? a : b`, which Cython spells `a if c else b`."""
        first = self.operation(4)
        if self.cython and self.accept("if"):
            condition = self.operation(4)
            self.take("else")
            return ("?:", condition, first, self.conditional())
        if not self.cython and self.accept("?"):
            if self.accept(":"):
                return ("?:", first, first, self.conditional())
            chosen = self.assignment()
            self.take(":")
            return ("?:", first, chosen, self.conditional())
        return first

    def operation(self, floor: int) -> Syntax:
        """Binary operators at least as strong as `floor`."""
        if self.cython and self.peek() == "not" and floor <= NOT:
            self.take()
            left: Syntax = ("un", "not", self.operation(NOT))
        else:
            left = self.unary()
        last = ""
        while True:
            operator = self.peek()
            strength = self.binary.get(operator, 0)
            if strength < floor:
                return left
            if self.cython and last in CHAINED and operator in CHAINED:
                raise Unparsed  # `a < b < c` is two comparisons here, in C a comparison of one
            last = operator
            self.take()
            right = self.operation(strength + 1)
            if operator == "in":
                left = membership(left, right)
            else:
                left = ("bin", NEUTRAL.get(operator, operator), left, right)

    def unary(self) -> Syntax:
        """Prefix operators, casts, sizeof."""
        text = self.peek()
        if text in ("-", "~", "+"):
            self.take()
            return ("un", text, self.unary())
        if text == "&":
            self.take()
            return ("addr", self.unary())
        if text == "sizeof":
            self.take()
            return self.sizeof()
        if self.cython:
            if text == "<":
                self.take()
                kind = self.type_until(">")
                return ("cast", kind, self.unary())
            return self.postfix(self.primary())
        if text == "!":
            self.take()
            return ("un", "not", self.unary())
        if text == "*":
            self.take()
            return ("[]", self.unary(), ("num", 0))
        if text in ("++", "--"):
            self.take()
            return ("=", text[0] + "=", self.unary(), ("num", 1))
        if text == "(" and self.cast_ahead():
            self.take()
            kind = self.type_until(")")
            if self.peek() == "{":
                return ("literal", kind, self.postfix(self.primary()))
            return ("cast", kind, self.unary())
        return self.postfix(self.primary())

    def cast_ahead(self) -> bool:
        """Whether the parentheses ahead hold a type and an operand follows them."""
        end = self.at + 1
        while end < len(self.tokens) and self.tokens[end].text not in ("(", ")"):
            end += 1
        if end + 1 >= len(self.tokens) or self.tokens[end].text != ")":
            return False
        if not is_type(self.tokens[self.at + 1:end]):
            return False
        after = self.tokens[end + 1]
        return after.kind != "op" or after.text in ("(", "-", "~", "!", "*", "&", "{", "+")

    def type_until(self, close: str) -> Syntax:
        """A type up to its closing bracket, which is taken too."""
        begin = self.at
        while self.peek() != close:
            self.take()
        self.take()
        return parse_type(self.tokens[begin:self.at - 1])

    def sizeof(self) -> Syntax:
        """The operand of sizeof: a type, or an expression."""
        if self.peek() == "(":
            end = self.at + 1
            while end < len(self.tokens) and self.tokens[end].text not in ("(", ")"):
                end += 1
            inside = self.tokens[self.at + 1:end]
            closed = end < len(self.tokens) and self.tokens[end].text == ")"
            if closed and (is_type(inside) or len(inside) == 1):
                self.at = end + 1
                return ("sizeof", parse_type(inside))
        operand = self.unary()
        return ("sizeof", operand)

    def primary(self) -> Syntax:
        """A name, a constant, something in brackets."""
        token = self.take()
        if token.kind == "num":
            return number(token.text)
        if token.kind in ("str", "chr"):
            return self.string(token)
        if token.text == "(":
            return self.parenthesis()
        if token.text == "{":
            return ("init", *self.items("}"))
        if token.text == "[" and self.cython:
            return ("init", *self.items("]"))
        if token.kind != "id":
            raise Unparsed
        if token.text in ("struct", "union", "enum"):
            begin = self.at - 1
            self.take()
            while self.accept("*"):
                pass
            return parse_type(self.tokens[begin:self.at])
        if not self.cython and (self.peek().startswith(('"', "$")) and self.peek() != "$$"):
            return ("paste", token.text, self.primary())
        return ("name", name(token.text))

    def parenthesis(self) -> Syntax:
        """What stands in parentheses: an expression, or a tuple of Cython's."""
        if self.peek() == "{":
            raise Unparsed
        inner = self.assignment()
        if self.peek() == "," and self.cython:
            items = [inner]
            while self.accept(","):
                if self.peek() != ")":
                    items.append(self.assignment())
            inner = ("tuple", *items)
        self.take(")")
        return inner

    def string(self, token: Token) -> Syntax:
        """Adjacent literals are one; a character is its number, as in C."""
        if token.kind == "chr" and not self.cython:
            return ("chr", token.text[1:-1])
        parts = []
        while True:
            text = token.text[1:] if token.text.startswith("b") else token.text
            parts.append(text.strip("\"'") if len(text) < 2 else text[1:-1])
            if self.at < len(self.tokens) and self.tokens[self.at].kind == "str":
                token = self.take()
            else:
                return ("str", "".join(parts))

    def items(self, close: str) -> Iterator[Syntax]:
        """Arguments or initialisers up to the closing bracket."""
        while self.peek() != close:
            if self.peek() == "." and not self.cython:
                self.take()
                member = ("name", self.take().text)
                self.take("=")
                yield ("member", member, self.assignment())
            elif self.peek() == "[" and close == "}":
                self.take()
                index = self.assignment()
                self.take("]")
                self.take("=")
                yield ("element", index, self.assignment())
            else:
                yield self.argument(close)
            if not self.accept(",") and self.peek() != close:
                raise Unparsed
        self.take(close)

    def argument(self, close: str) -> Syntax:
        """One argument: an expression, or a type as some macros take it."""
        end = self.at
        while end < len(self.tokens) and self.tokens[end].text not in (",", close, "("):
            end += 1
        inside = self.tokens[self.at:end]
        if not self.cython and inside and self.tokens[end:] and is_type(inside) \
                and self.tokens[end].text != "(":
            self.at = end
            return parse_type(inside)
        return self.assignment()

    def postfix(self, tree: Syntax) -> Syntax:
        """Calls, members, subscripts and the steps behind an operand."""
        while True:
            text = self.peek()
            if text == "(":
                self.take()
                tree = ("call", tree, *self.items(")"))
            elif text in (".", "->"):
                self.take()
                tree = (".", tree, self.take().text)
            elif text == "[":
                self.take()
                index = self.assignment()
                self.take("]")
                tree = ("[]", tree, index)
            elif text in ("++", "--") and not self.cython:
                self.take()
                tree = ("post", text[0] + "=", tree)
            else:
                return tree


def parse(tokens: list[Token], cython: bool = False) -> Syntax:
    """The tree of an expression; tokens that form none stand for themselves."""
    parser = Parser(tokens, cython)
    try:
        tree = parser.assignment()
        if parser.at == len(tokens):
            return tree
    except (Unparsed, KeyError, ValueError, RecursionError):
        pass
    if cython and bracketed(tokens):
        return parse(tokens[1:-1], cython)
    return ("raw", *spelled(tokens))


def bracketed(tokens: list[Token]) -> bool:
    """Whether one pair of brackets is around all of it."""
    depth = 0
    for n, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth <= 0:
            return len(tokens) > 2 and n == len(tokens) - 1 and token.text == ")"
    return False


def spelled(tokens: list[Token]) -> list[str]:
    """The words of tokens, a number without a suffix by its value."""
    return [worth(token.text) if token.kind == "num" else token.text for token in tokens]


def worth(text: str) -> str:
    """A number's value as digits, or the number."""
    try:
        kind, value = number(text)[:2]
    except ValueError:
        return text
    return str(value) if kind == "num" else text
