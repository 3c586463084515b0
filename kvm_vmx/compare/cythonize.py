# SPDX-License-Identifier: GPL-2.0-only
"""A statement of C as Cython writes it: the trees printed, the idioms run backwards.

What was printed is read again and must agree with the statement of C by the rules of the
comparison; a statement for which that fails has no text here, and Cannot says why.
"""

import re
from collections.abc import Callable, Collection, Mapping

from kvm_vmx.compare import idioms, opcodes
from kvm_vmx.compare.pysource import port_units
from kvm_vmx.compare.sequences import SEQUENCES, Sequence
from kvm_vmx.compare.terms import CHAINED, CYTHON_BINARY
from kvm_vmx.compare.types import Syntax, SyntaxPart
from kvm_vmx.compare.unify import EXPRESSIONS, bind, unify
from kvm_vmx.compare.units import Unit

CONTEXTUAL = {idioms.ONES}      # what only holds where the type beside it is wide enough
BITWISE = {"&", "|", "^", "<<", ">>"}
SEPARATOR = "\n"


class Cannot(Exception):
    """Why a statement has no spelling here."""


class Printer:
    """Prints statements; `known` are the names of the port, for types that end in _t there."""

    def __init__(self, known: Collection[str]):
        self.known = known

    def statement(self, unit: Unit) -> list[str]:
        """The lines of a statement, a block's header with its colon."""
        rows = self.sequence(unit) or self.plain(unit)
        self.check(unit, rows)
        return rows

    def sequence(self, unit: Unit) -> list[str] | None:
        """A statement that is several in Cython."""
        for rule in SEQUENCES:
            bound: dict[str, SyntaxPart] = {}
            if rule.name != "void return" and len(rule.c) == 1 and bind(rule.c[0], unit.key, bound):
                return self.filled(rule, bound)
        return None

    def filled(self, rule: Sequence, bound: Mapping[str, Syntax]) -> list[str]:
        """The lines of an idiom with what its variables stand for."""
        idiom = next(idiom for idiom in idioms.STATEMENTS
                     if (idiom.name, idiom.why) == (rule.name, rule.why)
                     and len(port_units(idiom.cython)) == len(rule.port)
                     and [u.key for u in port_units(idiom.cython)] == rule.port)
        text = idiom.cython
        for name in sorted(bound, key=len, reverse=True):
            value = bound[name]
            words = ", ".join(map(self.tree, value[1:])) if value[:1] == ("rest",) \
                else self.tree(value)
            text = text.replace(name, words)
        return text.split(SEPARATOR)

    def plain(self, unit: Unit) -> list[str]:
        """A statement that is one in Cython too."""
        key, kind = unit.key, unit.kind
        if kind in ("if", "elif", "while"):
            return [f"{kind} {self.tree(key[1])}:"]
        if kind == "else":
            return ["else:"]
        if kind == "for" and len(key) == 5:
            return [f"for {self.tree(key[1])} in range({self.bounds(key[2:])}):"]
        if kind == "decl":
            return [self.declaration(key)]
        if kind == "return":
            return ["return" if key[1] is None else f"return {self.tree(key[1])}"]
        if kind in ("break", "continue"):
            return [kind]
        if kind == "#" and (hit := re.fullmatch(r"#if (IS_ENABLED\(CONFIG_\w+\))", unit.text)):
            raise Cannot(f"`if {hit[1]}:` around what follows")
        if kind in ("=", "call"):
            return [self.tree(key)]
        if kind == "asm" and (call := opcodes.meaning(key)):
            return [self.tree(call)]
        raise Cannot({"label": "a label, and the port has a function for it",
                      "goto": "a jump, and the port calls a function for the label",
                      "asm": "assembly, which asm/vmx_insn.h has here", "switch": "a switch",
                      "case": "a label of a switch, and the port has an elif for it",
                      "fallthrough": "a case that falls through",
                      "#": "a condition of the preprocessor"}.get(kind, "no statement is known"))

    def bounds(self, parts: Syntax) -> str:
        """What range() takes."""
        begin, end, step = parts
        if step != ("num", 1):
            return ", ".join(map(self.tree, parts))
        return self.tree(end) if begin == ("num", 0) else f"{self.tree(begin)}, {self.tree(end)}"

    def declaration(self, key: Syntax) -> str:
        """A declaration without its value."""
        if key[-1] == "static":
            raise Cannot("a static variable of a function")
        sizes = "".join(f"[{self.tree(size)}]" for size in key[3:])
        base, stars = self.type(key[1])
        return f"cdef {base} {stars}{key[2]}{sizes}"

    def type(self, tree: Syntax) -> tuple[str, str]:
        """A type's name as the port has it, and its stars."""
        base, stars = str(tree[1]), tree[2]
        named = {"uint": "unsigned int", "uchar": "unsigned char"}.get(base, base)
        if f"{named}_t" in self.known:
            named = f"{named}_t"
        return named, "*" * stars

    def tree(self, tree: Syntax, floor: int = 0) -> str:
        """An expression; parentheses where it is weaker than what is around it."""
        for rule in EXPRESSIONS:
            bound: dict[str, SyntaxPart] = {}
            if rule.why not in CONTEXTUAL and rule.c[0] != "name" and bind(rule.c, tree, bound):
                tree = substitute(rule.cython, bound)
                break
        text, strength = self.spelled(tree)
        return f"({text})" if strength < floor else text

    def spelled(self, tree: Syntax) -> tuple[str, int]:
        """An expression and how strongly it holds together."""
        kind = tree[0]
        method: Callable[[Syntax], tuple[str, int]] | None = getattr(
            self, f"{NAMES.get(kind, kind)}_", None)
        if method is None:
            raise Cannot({"raw": "it is not understood", "paste": "it pastes literals",
                          "post": "it counts inside an expression", "asm": "assembly",
                          "init": "an initialiser", "literal": "a literal of a structure",
                          "chr": "a character"}.get(kind, f"{kind} has no spelling"))
        return method(tree)

    def name_(self, tree: Syntax) -> tuple[str, int]:
        return tree[1], 20

    def num_(self, tree: Syntax) -> tuple[str, int]:
        value = tree[1]
        return (hex(value) if isinstance(value, int) and value > 255 else str(value)), 20

    def str_(self, tree: Syntax) -> tuple[str, int]:
        return f'"{tree[1]}"', 20

    def call_(self, tree: Syntax) -> tuple[str, int]:
        arguments = ", ".join(self.tree(part) for part in tree[2:])
        return f"{self.tree(tree[1], 18)}({arguments})", 18

    def member_(self, tree: Syntax) -> tuple[str, int]:
        return f"{self.tree(tree[1], 18)}.{tree[2]}", 18

    def index_(self, tree: Syntax) -> tuple[str, int]:
        return f"{self.tree(tree[1], 18)}[{self.tree(tree[2])}]", 18

    def addr_(self, tree: Syntax) -> tuple[str, int]:
        return f"&{self.tree(tree[1], 16)}", 16

    def un_(self, tree: Syntax) -> tuple[str, int]:
        if tree[1] == "not":
            if tree[2][:1] == ("bin",) and tree[2][1] in BITWISE:
                return f"not {self.tree(tree[2], 20)}", 6
            return f"not {self.tree(tree[2], 6)}", 6
        return f"{tree[1]}{self.tree(tree[2], 16)}", 16

    def bin_(self, tree: Syntax) -> tuple[str, int]:
        operator = "//" if tree[1] == "/" else tree[1]
        strength = CYTHON_BINARY[operator]
        left = strength + (operator in CHAINED)
        sides = (self.tree(part, 20 if plainer(part, operator) else floor)
                 for part, floor in ((tree[2], left), (tree[3], strength + 1)))
        return f" {operator} ".join(sides), strength

    def choice_(self, tree: Syntax) -> tuple[str, int]:
        return (f"{self.tree(tree[2], 4)} if {self.tree(tree[1], 4)} "
                f"else {self.tree(tree[3], 3)}"), 3

    def assign_(self, tree: Syntax) -> tuple[str, int]:
        operator = "//=" if tree[1] == "/=" else tree[1]
        if tree[3][0] == "=" and not tree[1] == tree[3][1] == "=":
            raise Cannot("an assignment inside another")
        return f"{self.tree(tree[2])} {operator} {self.tree(tree[3])}", 0

    def cast_(self, tree: Syntax) -> tuple[str, int]:
        base, stars = self.type(tree[1])
        return f"<{base}{' ' * bool(stars)}{stars}>{self.tree(tree[2], 16)}", 16

    def sizeof_(self, tree: Syntax) -> tuple[str, int]:
        inner = tree[1]
        if inner[0] == "type":
            base, stars = self.type(inner)
            return f"sizeof({base}{' ' * bool(stars)}{stars})", 18
        return f"sizeof({self.tree(inner)})", 18

    def check(self, unit: Unit, rows: list[str]) -> None:
        """What was printed must agree with the statement, by the comparison's own rules."""
        text = SEPARATOR.join(rows)
        if rows[-1].endswith(":"):
            text += "\n    pass"
        found = [each for each in port_units(text) if each.kind != "pass"]
        key = unit.kind == "asm" and opcodes.meaning(unit.key) or unit.key
        agrees = len(found) == 1 and unify(key, found[0].key, set())
        if not agrees and not any(rule.fits([unit], found) for rule in SEQUENCES
                                  if len(rule.c) == 1 and len(rule.port) == len(found)):
            raise Cannot("what it would be here does not agree with it")


def plainer(part: Syntax, operator: str) -> bool:
    """Whether a part of an operation reads better in parentheses than by strength."""
    return part[:1] == ("bin",) and part[1] in BITWISE and part[1] != operator \
        and operator not in ("and", "or")


NAMES = {".": "member", "[]": "index", "?:": "choice", "=": "assign"}


def substitute(pattern: SyntaxPart, bound: Mapping[str, SyntaxPart]) -> SyntaxPart:
    """An idiom's other side with what its variables stand for."""
    if not isinstance(pattern, tuple):
        return pattern
    if pattern[0] == "name" and pattern[1].startswith("$"):
        return bound.get(pattern[1], pattern)
    found: list[SyntaxPart] = []
    for part in pattern:
        part = substitute(part, bound)
        if isinstance(part, tuple) and part[:1] == ("rest",):
            found.extend(part[1:])
        else:
            found.append(part)
    return tuple(found)
