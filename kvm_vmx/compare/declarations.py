# SPDX-License-Identifier: GPL-2.0-only
"""The trees of signatures, array sizes and loop headers, alike for both dialects."""

from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.lexer import Token
from kvm_vmx.compare.terms import name
from kvm_vmx.compare.types import DROPPED, WORDS, Syntax, parse_type

OPEN, CLOSE = {"(", "[", "{"}, {")", "]", "}"}


def signature_key(signature: list[Token]) -> Syntax:
    """("def", what it returns, its parameters); where it is static or inline does not count."""
    end = len(signature) - 1
    while end > 0 and signature[end].text != ")":
        end -= 1
    depth, begin = 0, end
    while begin > 0:
        depth += (signature[begin].text == ")") - (signature[begin].text == "(")
        if depth == 0:
            break
        begin -= 1
    parameters: list[Syntax] = []
    for part in split(signature[begin + 1:end], ","):
        names = [n for n, token in enumerate(part) if token.kind == "id"]
        if not names or [token.text for token in part] == ["void"]:
            continue
        last = names[-1]
        if any(token.text == "(" for token in part):
            parameters.append(callback(part) or ("raw", *(token.text for token in part)))
        else:
            stars = sum(token.text == "[" for token in part)
            kind = parse_type(part[:last])
            parameters.append(("decl", (*kind[:2], kind[2] + stars), name(part[last].text)))
    return ("def", parse_type(signature[:max(begin - 1, 0)]), *parameters)


def callback(part: list[Token]) -> Syntax | None:
    """("callback", type, name, types of its parameters) of a pointer to a function that has no
    other in it; None of anything else."""
    texts = [token.text for token in part]
    if texts.count("(") != 2 or texts[-1] == "nogil" and texts[-2:] != ["noexcept", "nogil"]:
        return None
    part = part[:-2] if texts[-1] == "nogil" else part
    open_ = texts.index("(")
    if texts[open_ + 1] != "*" or texts[open_ + 3:open_ + 5] != [")", "("] \
            or part[-1].text != ")":
        return None
    inside = [piece for piece in split(part[open_ + 5:-1], ",")
              if piece and [token.text for token in piece] != ["void"]]
    return ("callback", parse_type(part[:open_]), name(texts[open_ + 2]),
            *(parse_type(unnamed(piece)) for piece in inside))


def unnamed(part: list[Token]) -> list[Token]:
    """A parameter's tokens without its name, if it has one behind a type."""
    known = any(token.text == "*" for token in part) or \
        sum(token.kind == "id" and token.text not in DROPPED for token in part) > 1
    return part[:-1] if known and part[-1].kind == "id" and part[-1].text not in WORDS else part


def split(part: list[Token], separator: str) -> list[list[Token]]:
    """A token list cut at a separator that stands in no brackets."""
    pieces: list[list[Token]] = [[]]
    depth = 0
    for token in part:
        depth += (token.text in OPEN) - (token.text in CLOSE)
        if token.text == separator and depth == 0:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def sizes(brackets: list[Token]) -> list[Syntax]:
    """The dimensions of a declared array."""
    found: list[Syntax] = []
    inside: list[Token] = []
    depth = 0
    for token in brackets:
        depth += (token.text in OPEN) - (token.text in CLOSE)
        if token.text == "[" and depth == 1:
            inside = []
        elif token.text == "]" and depth == 0:
            found.append(parse(inside))
        else:
            inside.append(token)
    return found


def after(tree: Syntax) -> Syntax:
    """The number behind a tree's."""
    if tree[0] == "num":
        return ("num", tree[1] + 1)
    return ("bin", "+", tree, ("num", 1))


def counted(parts: list[Syntax | None]) -> Syntax:
    """`for (i = a; i < b; i++)` as ("for", i, a, b, step)."""
    given = [part for part in parts if part]
    if len(given) == len(parts) == 3:
        start, test, stride = given
        if start[:2] == ("=", "=") and test[0] == "bin" and stride[:2] == ("=", "+=") \
                and start[2] == test[2] == stride[2] and test[1] in ("<", "<="):
            return ("for", start[2], start[3], test[3] if test[1] == "<" else after(test[3]),
                    stride[3])
    return ("for", *parts) if given else ("while", ("name", "True"))
