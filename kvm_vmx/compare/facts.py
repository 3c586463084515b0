# SPDX-License-Identifier: GPL-2.0-only
"""The facts of a C file, out of its top-level items: each with a value that can be compared.

An enumeration gives a fact for each enumerator, a structure for each member, a table for each
entry. A value is a number where one comes out, else a tree, else the words of the source.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from kvm_vmx.compare.folding import Constants, Definition, substituted
from kvm_vmx.compare.declarations import sizes, split
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.layout import MemberReader
from kvm_vmx.compare.lexer import C, tokens
from kvm_vmx.compare.renaming import by_use
from kvm_vmx.compare.members import ATTRIBUTES, declared
from kvm_vmx.compare.terms import number
from kvm_vmx.compare.toplevel import Item, TopLevel, entries, enumerators, short, squeezed
from kvm_vmx.compare.types import Syntax

FIELD = re.compile(r"\bEVMCS1?_FIELD\(\s*([A-Z]\w*)\s*,\s*(\w+)\s*,\s*"
                   r"(?:HV_VMX_ENLIGHTENED_CLEAN_FIELD_)?(\w+)\s*\)")
PARAMETER = re.compile(r"module_param(?:_named)?\((\w+)\)")
KEY = re.compile(r"DEFINE_STATIC_KEY_\w+\((\w+)\)")
TABLE = "vmcs_field_to_evmcs_1"

# a number, a tree, or the words of the source; None: of an enumerator no number is known
FactValue: TypeAlias = int | Syntax | str | None


@dataclasses.dataclass(slots=True, eq=False)
class Fact:
    """One fact of one side: what it is, its name, where it stands, what it says."""

    kind: str
    name: str
    path: str
    line: int
    end: int
    text: str
    value: FactValue
    plain: str = ""

    @property
    def digest(self) -> str:
        """Six digits over its value; of a function over its words and once over its statements."""
        return self.plain or short(self.kind, repr(self.value))


class Names:
    """Where the names of some C files are defined, for Constants."""

    def __init__(self, tops: Iterable[TopLevel] = (), more: Mapping[str, Definition] | None = None):
        """The first definition of a name counts; `more` are those of no C file."""
        self.defined = dict(more or {})
        for top in tops:
            for name, found in definitions(top).items():
                self.defined.setdefault(name, found)
        self.constants = Constants(self.defined.get)


def definitions(top: TopLevel) -> dict[str, Definition]:
    """What the names of one file stand for, as Constants asks for it."""
    if top.known is None:
        top.known = {}
        for item in top.items:
            if item.kind == "macro":
                top.known.setdefault(item.name, ("macro", None, item.inner))
            elif item.kind == "function macro":
                top.known.setdefault(item.name, ("macro", *head_and_body(item)))
            elif item.kind == "enum":
                before = None
                for name, value in enumerators(item.inner):
                    tree = parse(value) if value else ("num", 0)
                    found: Definition = ("tree", tree) if value or not before \
                        else ("after", before)
                    top.known.setdefault(name, found)
                    before = name
    return top.known


def plain(tree: Syntax) -> Syntax:
    """A tree of words alone with its numbers by their value."""
    if tree[0] != "raw":
        return tree
    return tuple(str(number(word)) if word[:1].isdigit() else word for word in tree)


def is_word(text: str) -> bool:
    """Whether a character goes on a name."""
    return text.isalnum() or text == "_"


def head_and_body(item: Item) -> tuple[list[str], str]:
    """The parameters of a macro, and what it stands for."""
    inside, _, body = item.inner.removeprefix("(").partition(")")
    return [word.strip() for word in inside.split(",") if word.strip()], body.strip()


class CFacts:
    """The facts of one C file."""

    def __init__(self, top: TopLevel, names: Names, layouts: bool = False,
                 only: Collection[str] | None = None):
        """`only` are the names that anybody asks for, all of them if it is None."""
        self.top, self.path, self.names = top, top.file.path, names
        self.layouts = layouts
        self.facts: list[Fact] = []
        for item in top.items:
            if only is None or item.name in only or item.kind in ("enum", "struct", "union"):
                getattr(self, item.kind.replace(" ", "_"), self.plainly)(item)

    def add(self, kind: str, name: str, item: Item, value: FactValue, text: str = "",
            line: int = 0) -> None:
        """Append one fact; what the configuration makes of it is not in its digest."""
        plain = ""
        if kind in ("table", "order") and "#" in item.text:
            plain = short(kind, squeezed(item.text))
        text = text or item.text
        line = line or item.line
        self.facts.append(Fact(kind, name, self.path, line, max(line, item.end if text is item.text
                               else line), " ".join(text.split()), value, plain))

    def folded(self, tree: Syntax) -> int | Syntax:
        """A tree's number, or the tree."""
        number = self.names.constants.fold(tree)
        return plain(tree) if number is None else number

    def macro(self, item: Item) -> None:
        """#define NAME value"""
        tree = parse(tokens(item.inner, C)) if item.inner else ("none",)
        value: FactValue = self.folded(tree)
        if tree[0] == "cast" and tree[1][2] and isinstance(value, int):  # an address of a type
            value = (tree[1], value)
        self.add("constant", item.name, item, value)

    def function_macro(self, item: Item) -> None:
        """#define NAME(parameters) body: the parameters by their place"""
        parameters, body = head_and_body(item)
        places = {name: ("name", f"$own{n}") for n, name in enumerate(self.around(item.line))}
        places |= {name: ("name", f"${n}") for n, name in enumerate(parameters)}
        tree = parse(tokens(body, C))
        if tree[0] == "raw":
            words = tuple(places[word][1] if word in places else word for word in plain(tree)[1:])
            self.add("macro", item.name, item, (len(parameters), *words))
        else:
            self.add("macro", item.name, item, (len(parameters), substituted(tree, places)))

    def around(self, line: int) -> list[str]:
        """The own names of the function that a macro stands in: only their places count."""
        file = self.top.file
        for place in file.places.values():
            if place.kind == "function" and \
                    file.lines.at(place.open) < line < file.lines.at(place.close):
                return by_use(file.defined(place.name))
        return []

    def inactive(self, item: Item) -> None:
        """#define under a condition that does not hold"""
        self.add("inactive", item.name, item, squeezed(item.text))

    def condition(self, item: Item) -> None:
        """#if outside functions"""
        self.add("condition", item.name, item, item.text)

    def prototype(self, item: Item) -> None:
        """What is defined elsewhere says nothing of its own."""

    def enum(self, item: Item) -> None:
        """An enumeration: its enumerators."""
        for name, value in enumerators(item.inner):
            number = self.names.constants.value(name)
            text = f"{name} = {' '.join(token.text for token in value)}" if value else name
            self.add("constant", name, item,
                     parse(value) if number is None else number, text, self.line_of(item, name))

    def line_of(self, item: Item, name: str) -> int:
        """The line that a name of an item stands in."""
        at = item.text.find(name)
        while at >= 0 and (is_word(item.text[at - 1:at])
                           or is_word(item.text[at + len(name):][:1])):
            at = item.text.find(name, at + 1)
        return item.line + item.text.count("\n", 0, max(at, 0))

    def struct(self, item: Item) -> None:
        """A structure: its members; and the variable that is declared with it."""
        self.members(item.name, item.inner, item)
        behind = item.text[item.text.rfind("}") + 1:].rstrip("; \n")
        if not item.text.lstrip().startswith("typedef"):
            for part in split(tokens(behind, C), ","):
                words = [token.text for token in part if token.kind == "id"
                         and token.text not in ATTRIBUTES]
                if words and words[0].isidentifier() and not words[0].startswith("__"):
                    self.add("variable", words[0], item, (("type", item.name, 0), (), 0))

    union = struct

    def members(self, struct: str, inner: str, item: Item) -> None:
        """The members of a structure in order, those of a structure inside it by its own name."""
        offsets: dict[str, tuple[int, int]] = {}
        if self.layouts:
            reader = MemberReader(self.top.active.text)
            packed = "__packed" in item.text[item.text.rfind("}"):]
            offsets, *_ = reader.place(tokens(inner, C), item.kind == "union", packed)
        order = []
        for part in split(tokens(inner, C), ";"):
            braces = [n for n, token in enumerate(part) if token.text in "{}"]
            if braces:
                first, last = braces[0], braces[-1]
                names = [token.text for token in part[last + 1:] if token.kind == "id"
                         and not token.text.startswith("__")]
                begin, end = part[first].offset + 1, part[last].offset
                title = (part[1].text if part[1].kind == "id" else "") or (names or [""])[0]
                if not names:  # its members are those of what it stands in
                    self.members(struct, inner[begin:end], item)
                    continue
                self.members(title, inner[begin:end], item)
                many = tuple(self.folded(size) for size in sizes(part[last + 1:]))
                kinds: list[tuple[str, Syntax]] = [(names[0], (("type", title, 0), many))]
            else:
                kinds = list(declared(part, self.folded)) if part else []
            for name, value in kinds:
                order.append(name)
                begin, end = part[0].offset, part[-1].offset + len(part[-1].text)
                self.add("member", f"{struct}.{name}", item, (*value, *offsets.get(name, ())[:1]),
                         inner[begin:end], self.line_of(item, name))
        if order:
            self.add("order", f"struct {struct}", item, tuple(order), f"struct {struct}")

    def variable(self, item: Item) -> None:
        """A variable with its type and its initial value, a table with its entries."""
        if item.name == TABLE:
            for name, member, group in FIELD.findall(item.inner):
                self.add("field", name, item, (member, group), f"{name}: {member}, {group}",
                         self.line_of(item, name))
            return
        text = self.top.active.text[item.at:]
        head = text[:text.find("=")] if "=" in squeezed(item.text) else item.text.rstrip("; \n")
        declared_ = next(declared(tokens(head.partition("{")[0], C), self.folded), None)
        kind = declared_[1] if declared_ and "{" not in head else squeezed(head)
        if item.inner.lstrip().startswith("{"):
            rows = [self.folded(entry) for entry in entries(item.inner)]
            self.add("table", item.name, item, (kind, *rows))
        else:
            tree = parse(tokens(item.inner, C)) if item.inner else ("num", 0)
            self.add("variable", item.name, item, (*kind, self.folded(tree))
                     if isinstance(kind, tuple) else (kind, self.folded(tree)))

    def call(self, item: Item) -> None:
        """A macro at the top level: a parameter, a static key, a per-CPU variable, a symbol."""
        if FIELD.match(item.text.lstrip()):
            for name, member, group in FIELD.findall(item.text):
                self.add("field", name, item, (member, group), f"{name}: {member}, {group}",
                         self.line_of(item, name))
            return
        words = [[token.text for token in part]
                 for part in split(tokens(item.inner.rstrip().removesuffix(")"), C), ",")]
        if PARAMETER.match(item.name):
            variable = words[1 if "named" in item.name else 0]
            self.add("parameter", words[0][0], item, (*variable, words[-2][0]))
            self.facts[-1].plain = short(squeezed(item.text))
        elif hit := KEY.match(item.name):
            self.add("key", hit[1], item, item.name.partition("(")[0])
        elif item.name.startswith(("EXPORT_", "MODULE_AUTHOR", "MODULE_DESC", "STACK_FRAME")):
            self.add("symbol", item.name, item, item.inner)
        else:
            self.add("call", item.name, item, item.inner)

    def function(self, item: Item) -> None:
        """A function: the words of it all, and those of its attributes."""
        head = self.file_header(item)
        self.facts.append(Fact("attributes", item.name, self.path, item.line, item.line,
                               head, head))
        self.facts.append(Fact("function", item.name, self.path, item.line, item.end,
                               " ".join(item.text.partition("{")[0].split()), squeezed(item.text),
                               short(squeezed(item.text))))

    def file_header(self, item: Item) -> str:
        """What a function's header says that its signature does not."""
        place = self.top.file.places.get(item.name)
        header = self.top.active.text[place.header:place.open] if place else ""
        return " ".join(sorted(word for word in re.findall(r"\w+", header)
                               if word in ATTRIBUTES - {"struct", "enum", "union", "const"}))

    def plainly(self, item: Item) -> None:
        """Anything else, by its words."""
        self.add(item.kind, item.name, item, squeezed(item.text))
