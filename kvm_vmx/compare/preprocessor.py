# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of a C file are active, by evaluating #if with a small configuration.

Nothing is included or expanded: what the configuration does not name is undefined.
"""

import collections
import re
from collections.abc import Mapping
from typing import NamedTuple

CONFIG = {
    "CONFIG_HYPERV": 1, "CONFIG_X86_64": 1, "CONFIG_64BIT": 1, "CONFIG_X86": 1, "CONFIG_SMP": 1,
    "CONFIG_JUMP_LABEL": 1, "CONFIG_HAVE_JUMP_LABEL": 1, "HAVE_JUMP_LABEL": 1,
    "CONFIG_CC_HAS_ASM_GOTO": 1, "CC_HAVE_ASM_GOTO": 1, "CONFIG_KEXEC_CORE": 1,
    "CONFIG_KVM": 1, "CONFIG_KVM_INTEL": 1, "CONFIG_KVM_HYPERV": 1, "CONFIG_MODULES": 1,
    "CONFIG_HYPERVISOR_GUEST": 1, "CONFIG_HAS_IOMEM": 1,
    "CONFIG_CPU_FREQ": 0, "CONFIG_PREEMPT_NOTIFIERS": 1, "CONFIG_X86_LOCAL_APIC": 1,
    "CONFIG_HIBERNATION": 0, "CONFIG_HYPERV_TSCPAGE": 0, "__KERNEL__": 1,
}

DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)((?:[^\n\\]|\\\n|\\.)*)", re.M)
HIDDEN = re.compile(r'/\*.*?(?:\*/|\Z)|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
TERM = re.compile(r"\s*(&&|\|\||[!<>=]=|[!<>()]|\w+|\S)")


class Condition(NamedTuple):
    """One #if, #else or #endif: its line, its text, whether what follows is active."""

    line: int
    text: str
    active: bool


class Active(NamedTuple):
    """A file with its inactive lines and directives blanked, each offset where it was."""

    text: str
    inactive: frozenset[int]
    conditions: tuple[Condition, ...]


def blank(text: str) -> str:
    """As many characters, newlines kept, the rest spaces."""
    return re.sub(r"[^\n]", " ", text)


def preprocess(source: str, config: Mapping[str, int] | None = None) -> Active:
    """Evaluate the conditions of a file; comments are blanked on the way."""
    config = CONFIG if config is None else config
    source = HIDDEN.sub(lambda hit: hit[0] if hit[0][0] == '"' else blank(hit[0]), source)
    # one [active, some branch was taken, the surroundings are active] an #if
    stack: list[list[bool]] = []
    pieces: list[str] = []
    inactive: set[int] = set()
    conditions: list[Condition] = []
    end, line = 0, 1

    def emit(text: str) -> None:
        nonlocal line
        lines = text.count("\n")
        if not stack or stack[-1][0]:
            pieces.append(text)
        else:
            inactive.update(n for n, row in enumerate(text.split("\n"), line) if row.strip())
            pieces.append(blank(text))
        line += lines

    for hit in DIRECTIVE.finditer(source):
        emit(source[end:hit.start()])
        end = hit.end()
        word, rest = hit[1], hit[2].replace("\\\n", " ").strip()
        surroundings = not stack or stack[-1][0]
        if word in ("if", "ifdef", "ifndef"):
            value = surroundings and truth(word, rest, config)
            stack.append([value, value, surroundings])
        elif word == "elif" and stack:
            top = stack[-1]
            top[0] = top[2] and not top[1] and truth("if", rest, config)
            top[1] = top[1] or top[0]
        elif word == "else" and stack:
            top = stack[-1]
            top[0] = top[2] and not top[1]
        elif word == "endif" and stack:
            stack.pop()
        if word in ("if", "ifdef", "ifndef", "elif", "else", "endif"):
            text = " ".join(f"#{word} {rest}".split())
            conditions.append(Condition(line, text, not stack or stack[-1][0]))
        elif not surroundings:
            inactive.update(range(line, line + hit[0].count("\n") + 1))
        pieces.append(blank(hit[0]))
        line += hit[0].count("\n")
    emit(source[end:])
    return Active("".join(pieces), frozenset(inactive), tuple(conditions))


def truth(word: str, rest: str, config: Mapping[str, int]) -> bool:
    """The value of one condition."""
    if word != "if":
        name = rest.split()[0] if rest.split() else ""
        return bool(config.get(name, 0)) == (word == "ifdef")
    terms = collections.deque(hit[1] for hit in TERM.finditer(rest))
    terms.append("")
    try:
        return bool(either(terms, config))
    except (IndexError, ValueError, RecursionError):
        return False


def either(terms: collections.deque[str], config: Mapping[str, int]) -> int:
    """`a || b`"""
    value = both(terms, config)
    while terms[0] == "||":
        terms.popleft()
        other = both(terms, config)
        value = value or other
    return value


def both(terms: collections.deque[str], config: Mapping[str, int]) -> int:
    """`a && b`"""
    value = relation(terms, config)
    while terms[0] == "&&":
        terms.popleft()
        other = relation(terms, config)
        value = value and other
    return value


def relation(terms: collections.deque[str], config: Mapping[str, int]) -> int:
    """`a == b` and its kin"""
    value = atom(terms, config)
    compare = {
        "==": int.__eq__, "!=": int.__ne__, "<": int.__lt__, ">": int.__gt__, "<=": int.__le__,
        ">=": int.__ge__,
    }.get(terms[0])
    if compare:
        terms.popleft()
        value = int(compare(int(value), int(atom(terms, config))))
    return value


def atom(terms: collections.deque[str], config: Mapping[str, int]) -> int:
    """A name, a number, defined(X), IS_ENABLED(X), !a, (a)"""
    term = terms.popleft()
    if term == "!":
        return not atom(terms, config)
    if term == "(":
        value = either(terms, config)
        terms.popleft()
        return value
    if term in ("defined", "IS_ENABLED", "IS_BUILTIN", "IS_REACHABLE"):
        name = terms.popleft()
        if name == "(":
            name = terms.popleft()
            terms.popleft()
        return bool(config.get(name, 0))
    if term[0].isdigit():
        return int(term.rstrip("uUlL"), 0)
    value = config.get(term, 0)
    if terms[0] == "(":  # a function-like macro that nobody defined
        while terms.popleft() != ")":
            pass
    return value
