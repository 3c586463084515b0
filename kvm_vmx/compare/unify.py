# SPDX-License-Identifier: GPL-2.0-only
"""Whether a tree of C and one of Cython mean the same, by equality and by idioms."""

import functools
import itertools
from collections.abc import Iterable

from kvm_vmx.compare import idioms
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.lexer import C, CYTHON, tokens
from kvm_vmx.compare.types import Syntax, SyntaxPart

CAST = "cast"
KEPT = 1 << 17  # pairs of statements: trees of several versions ask the same
NARROW = {"u8", "u16", "bint", "s8", "s16", "char", "uchar", "short", "ushort"}


class IdiomRule:
    """An idiom of expressions with its patterns as trees."""

    def __init__(self, idiom: idioms.Idiom, c: Syntax, cython: Syntax):
        self.why, self.c, self.cython = idiom.why, c, cython


EXPRESSIONS = tuple(
    IdiomRule(idiom, parse(tokens(idiom.c, C)), parse(tokens(idiom.cython, CYTHON), True))
    for idiom in idioms.EXPRESSIONS
)


def bind(pattern: object, tree: object, bound: dict[str, SyntaxPart]) -> bool:
    """Match a pattern, noting what its variables stand for."""
    if not isinstance(pattern, tuple):
        return pattern == tree
    if pattern[0] == "name" and pattern[1].startswith("$"):
        if pattern[1] in bound:
            return bool(bound[pattern[1]] == tree)
        bound[pattern[1]] = tree
        return True
    if not isinstance(tree, tuple) or not tree:
        return False
    last = pattern[-1]
    if isinstance(last, tuple) and last[0] == "name" and last[1].startswith("$$"):
        fixed = len(pattern) - 1
        if len(tree) < fixed:
            return False
        bound[last[1]] = ("rest", *tree[fixed:])
        return all(bind(a, b, bound) for a, b in zip(pattern[:-1], tree))
    return len(pattern) == len(tree) and all(bind(a, b, bound) for a, b in zip(pattern, tree))


def unify(c: object, p: object, used: set[str], truth: bool = False) -> bool:
    """Whether the tree of C and the tree of Cython agree; the reasons it took go to `used`.

    `truth` says that nobody asks more of the value than whether it is 0.
    """
    if c == p:
        return True
    if not isinstance(p, tuple) or not isinstance(c, tuple) or not p or not c:
        return False
    if len(c) == len(p) and c[0] == p[0]:
        mine: set[str] = set()
        if all(unify(a, b, mine, only) for a, b, only in zip(c, p, truths(p, truth))):
            used |= mine
            return True
    if truth and p[:2] == ("bin", "!=") and p[3] == ("num", 0):
        mine = {"truth"}
        if unify(c, p[2], mine):
            used |= mine
            return True
    if p[0] == CAST and (p[1][2] or p[1][1] not in NARROW):
        mine = {"cast"}
        if unify(c, p[2], mine):
            used |= mine
            return True
    for rule in candidates(c[0], p[0], callee(c), callee(p)):
        in_c: dict[str, SyntaxPart] = {}
        in_p: dict[str, SyntaxPart] = {}
        mine = {rule.why}
        if bind(rule.cython, p, in_p) and bind(rule.c, c, in_c) and all(
            unify(in_c[name], in_p[name], mine) for name in in_c if name in in_p
        ):
            used |= mine
            return True
    return False


@functools.lru_cache(KEPT)
def agreement(c: Syntax, p: Syntax, truth: bool) -> frozenset[str] | None:
    """The reasons for which two statements agree, none if they are equal; None if they do not."""
    used: set[str] = set()
    return frozenset(used) if unify(c, p, used, truth) else None


def truths(tree: Syntax, truth: bool) -> Iterable[bool]:
    """For each item of a tree, whether only its truth counts."""
    kind = tree[0]
    if kind in ("if", "elif", "while", "until") or tree[:2] == ("un", "not"):
        return itertools.repeat(True)
    if kind == "bin" and tree[1] in ("and", "or"):
        return itertools.repeat(True)
    if kind == "?:":
        return False, True, truth, truth
    if kind == "return" or tree[:2] == ("=", "="):
        return *(False for _ in tree[1:]), truth
    return itertools.repeat(False)


def callee(tree: Syntax) -> str:
    """The name of the function that a call calls."""
    return tree[1][1] if tree[0] == "call" and tree[1][0] == "name" else ""


@functools.cache
def candidates(c_kind: str, p_kind: str, c_callee: str, p_callee: str) -> tuple[IdiomRule, ...]:
    """The idioms whose patterns can begin with trees of these kinds."""
    return tuple(
        rule for rule in EXPRESSIONS
        if rule.cython[0] in (p_kind, "name") and rule.c[0] in (c_kind, "name")
        and callee(rule.c) in ("", c_callee) and callee(rule.cython) in ("", p_callee)
    )


@functools.cache
def rooted(c_kind: str, p_kind: str) -> bool:
    """Whether statements of these kinds can agree by an idiom."""
    return any(
        rule.c[0] != rule.cython[0] and rule.c[0] in (c_kind, "name")
        and rule.cython[0] in (p_kind, "name") for rule in EXPRESSIONS
    )
