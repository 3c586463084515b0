# SPDX-License-Identifier: GPL-2.0-only
"""What a declaration at the top level or in a structure declares: names, types, dimensions."""

from collections.abc import Callable, Iterator

from kvm_vmx.compare.declarations import sizes, split
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.lexer import Token
from kvm_vmx.compare.types import DROPPED, INTEGERS, Syntax, SyntaxPart, parse_type

SILENT = {"__ro_after_init", "__percpu", "__read_mostly", "static", "const", "volatile"}
ATTRIBUTES = DROPPED | {"__noclone", "__always_inline", "__ro_after_init", "__percpu", "noinline"}


def declared(part: list[Token],
             folded: Callable[[Syntax], SyntaxPart] = lambda tree: tree
             ) -> Iterator[tuple[str, Syntax]]:
    """(name, (type, dimensions)) of each name that a declaration declares; bits are a dimension."""
    parts = split(part, ",")
    kind: list[Token] = []
    for n, piece in enumerate(parts):
        colon = next((i for i, token in enumerate(piece) if token.text == ":"), len(piece))
        left, bits = piece[:colon], piece[colon + 1:]
        hit = next((i for i, (token, after) in enumerate(zip(left, left[1:]))
                    if (token.text, after.text) == ("(", "*")), None)
        if hit is not None:
            yield from pointer(left, hit)
            continue
        bracket = next((i for i, token in enumerate(left) if token.text == "["), len(left))
        names = [i for i in range(bracket) if left[i].kind == "id"
                 and left[i].text not in ATTRIBUTES]
        if not names:
            continue
        if n == 0:
            kind = [token for token in left[:names[-1]] if token.text != "*"]
        stars = [token for token in left[:names[-1]] if token.text == "*"]
        many = tuple(folded(size) for size in sizes(left[bracket:]) if size != ("raw",))
        more = (("bits", folded(parse(bits))),) if bits else ()
        words = [token for token in kind + stars if token.text not in SILENT]
        yield left[names[-1]].text, (parse_type(words), many + more)


def pointer(left: list[Token], at: int) -> Iterator[tuple[str, Syntax]]:
    """A pointer to a function: what it returns and takes, whatever its parameters are called."""
    names = [token.text for token in left[at:] if token.kind == "id"]
    close = next((i for i in range(at, len(left)) if left[i].text == ")"), len(left))
    last = next((i for i in reversed(range(len(left))) if left[i].text == ")"), close)
    inside = [[token for token in part if token.text not in ATTRIBUTES]
              for part in split(left[close + 2:last], ",")]
    kinds = []
    for part in inside:
        words = [n for n, token in enumerate(part) if token.kind == "id"]
        if not words or [token.text for token in part] == ["void"]:
            continue
        whole = parse_type(part)
        named = len(words) > 1 and whole[1] not in INTEGERS.values() and words[-1] == len(part) - 1
        kinds.append(parse_type(part[:-1]) if named and part[0].text not in ("struct", "enum")
                     or len(words) > 2 and named else whole)
    if names:
        stars = sum(token.text == "*" for token in left[:at])
        returned = parse_type([token for token in left[:at] if token.text != "*"])
        yield names[0], (("pointer", (*returned[:2], stars), *kinds),)
