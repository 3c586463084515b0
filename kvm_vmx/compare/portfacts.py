# SPDX-License-Identifier: GPL-2.0-only
"""The facts of the port: of its headers, of the C in its Cython files, and of Cython's own.

Cython declares a variable in one place and gives it anew in another: vmx_module_data() stands for
.data and .bss, module_add_param() for module_param(), whose variable begins as it was declared.
"""

import copy
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.declarations import split
from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.facts import CFacts, Fact, FactValue, Names
from kvm_vmx.compare.folding import Definition
from kvm_vmx.compare.lexer import Token
from kvm_vmx.compare.members import declared
from kvm_vmx.compare.pysource import DEFINITION, Logical, PortFile
from kvm_vmx.compare.renaming import told
from kvm_vmx.compare.toplevel import TopLevel, short, squeezed
from kvm_vmx.compare.types import Syntax

if TYPE_CHECKING:
    from kvm_vmx.compare.port import Port

CONFIG = {"CONFIG_HYPERV": 1, "CONFIG_JUMP_LABEL": 1, "CONFIG_INSN_TRAP": 1, "CONFIG_X86_64": 1}
NEW = re.compile(r"(?:cdef|ctypedef) (?:packed )?(struct|union|enum) ?(\w*)")
EXTERN = re.compile(r"cdef extern from")
LAYOUTS = "asm/hyperv-tlfs.h"
CLEARED = re.compile(r"memset\(&?(\w+),0x?0*,sizeof\(\1\)\)")
BOOL = {"1": "bool", "0": "uint"}


def headers(root: pathlib.Path) -> list[pathlib.Path]:
    """The port's own headers: beside the package, or inside it where it is installed."""
    for place in (root.parents[1] / "include", root.parent / "include"):
        if place.is_dir():
            return sorted(place.rglob("*.h"))
    return []


class PortFacts:
    """All facts of the port, by file."""

    def __init__(self, port: "Port"):
        self.sources: dict[str, HeaderFile | CythonFile] = {}
        self.compared = {name for name, subject in port.subjects.items() if not subject.ours}
        for path in headers(port.root):
            name = str(path).rpartition("/include/")[2]
            self.sources[f"include/{name}"] = HeaderFile(f"include/{name}", path.read_text())
        top = port.root.parents[1]
        for path in sorted([*port.root.rglob("*.pyx"), *port.root.rglob("*.pxd")]):
            name = str(path.relative_to(top))
            self.sources[name] = CythonFile(
                port.files.get(name) or PortFile(name, path.read_text()), self.compared)
        names = self.names()
        self.by_file = {path: file.facts(names) for path, file in self.sources.items()}
        self.index()

    def names(self) -> Names:
        """The names of all files."""
        more: dict[str, Definition] = {
            name: ("tree", ("num", value)) for name, value in CONFIG.items()}
        for file in self.sources.values():
            for name, found in file.names().items():
                more.setdefault(name, found)
        return Names([top for file in self.sources.values() for top in file.tops], more)

    def index(self) -> None:
        """The facts of all files by kind and name."""
        self.facts = [fact for facts in self.by_file.values() for fact in facts]
        self.by_name: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.facts:
            self.by_name.setdefault((fact.kind, fact.name), []).append(fact)

    def with_file(self, path: str, text: str) -> "PortFacts":
        """The facts of a port of which one file is other than in this one."""
        other = copy.copy(self)
        old = self.sources[path]
        new = CythonFile(PortFile(path, text, old.file.pins), self.compared) \
            if isinstance(old, CythonFile) else HeaderFile(path, text)
        other.sources = {**self.sources, path: new}
        other.by_file = {**self.by_file, path: new.facts(other.names())}
        other.index()
        return other


class HeaderFile:
    """A header of the port, or the C in a Cython file, which begins at some line of it."""

    def __init__(self, path: str, text: str, line: int = 1):
        self.path = path
        self.tops = [TopLevel(CFile(path, "\n" * (line - 1) + text, CONFIG))]

    def names(self) -> dict[str, Definition]:
        """The names that stand in no C."""
        return {}

    def facts(self, names: Names) -> list[Fact]:
        """The facts of it all."""
        return [fact for top in self.tops
                for fact in CFacts(top, names, self.path.endswith(LAYOUTS)).facts]


class CythonFile:
    """One .pyx or .pxd: its enumerations, structures and variables, the C in it, and those of its
    functions that are `compared` with none of the kernel's."""

    def __init__(self, file: PortFile, compared: Collection[str]):
        self.file, self.compared = file, compared
        self.found: list[Fact] = []
        self.tops: list[TopLevel] = []
        self.blocks = list(blocks(file.logical))
        for head, inside in self.blocks:
            if EXTERN.match(file.text(head.tokens)):
                for line in inside:
                    first = line.tokens[0]
                    if first.kind == "str" and first.text.startswith('"""'):
                        self.tops += HeaderFile(
                            file.path, first.text.strip('"').replace("\\\\", "\\"),
                            file.lines.at(first.offset)).tops
        self.known: dict[str, Definition] | None = None

    def names(self) -> dict[str, Definition]:
        """The enumerators, for whoever asks for their values."""
        if self.known is None:
            self.known = {}
            for head, inside in self.blocks:
                hit = NEW.match(self.file.text(head.tokens))
                if hit and hit[1] == "enum":
                    before = None
                    for name, tree, _ in self.enumerators(inside):
                        found: Definition = ("tree", tree) if tree else \
                            ("after", before) if before else ("tree", ("num", 0))
                        self.known.setdefault(name, found)
                        before = name
        return self.known

    def facts(self, names: Names) -> list[Fact]:
        """The facts of it all."""
        self.found, self.constants = [], names.constants
        for top in self.tops:
            self.found += CFacts(top, names).facts
        self.read()
        self.own()
        return self.found

    def own(self) -> None:
        """The functions that are the port's alone, by their statements."""
        for name, (function, *_) in self.file.functions.items():
            if name not in self.compared:
                self.found.append(Fact("own", name, self.file.path, function.line, function.end,
                                       function.header, tuple(told(function))))

    def enumerators(self,
                    inside: list[Logical]) -> Iterator[tuple[str, Syntax | None, list[Token]]]:
        """(name, tree or None, token) of each enumerator of a block."""
        for line in inside:
            for part in split(line.tokens, ","):
                if part and part[0].kind == "id":
                    yield part[0].text, parse(part[2:], True) if part[2:] else None, part

    def add(self, kind: str, name: str, part: list[Token], value: FactValue) -> None:
        """Append one fact."""
        line, end = (self.file.lines.at(token.offset) for token in (part[0], part[-1]))
        self.found.append(Fact(kind, name, self.file.path, line, end,
                               " ".join(self.file.text(part).split()), value))

    def read(self) -> None:
        """The facts of all blocks."""
        for head, inside in self.blocks:
            text = self.file.text(head.tokens)
            hit = NEW.match(text)
            if hit and hit[1] == "enum":
                for name, tree, part in self.enumerators(inside):
                    self.add("constant", name, part,
                             self.constants.value(name) if tree is None else self.folded(tree))
            elif hit and text.endswith(":"):
                self.members(hit[2].removesuffix("_t"), head, inside)
            elif text.startswith("cdef ") and not text.endswith(":") \
                    and not DEFINITION.match(text) and not hit:
                self.variables(head.tokens[1:])
            elif text.endswith(":") and (defined := DEFINITION.match(text)):
                if defined[1] == "vmx_module_data":
                    self.initial(inside)
            else:
                self.parameters([head, *inside])

    def folded(self, tree: Syntax) -> int | Syntax:
        """A tree's number, or the tree."""
        number = self.constants.fold(tree)
        return tree if number is None else number

    def members(self, struct: str, head: Logical, inside: list[Logical]) -> None:
        """The members of a structure, and their order."""
        order: list[str] = []
        for line in inside:
            for name, value in declared(line.tokens, self.folded):
                order.append(name)
                self.add("member", f"{struct}.{name}", line.tokens, value)
        if order:
            self.add("order", f"struct {struct}", head.tokens, tuple(order))

    def variables(self, part: list[Token]) -> None:
        """cdef type name = value"""
        if part and part[0].text in ("inline", "extern"):
            return
        values: dict[str, int | Syntax] = {}
        left: list[Token] = []
        comma = part[0]._replace(kind="op", text=",")
        for piece in split(part, ","):
            equal = next((n for n, token in enumerate(piece) if token.text == "="), len(piece))
            words = [token.text for token in piece[:equal] if token.kind == "id"]
            if equal < len(piece) and words:
                values[words[-1]] = self.folded(parse(piece[equal + 1:], True))
            left += [*([comma] if left else []), *piece[:equal]]
        for name, value in declared(left, self.folded):
            self.add("variable", name, part, (*value, values.get(name, 0)))

    def initial(self, inside: list[Logical]) -> None:
        """The initial values that vmx_module_data() gives."""
        here = {fact.name: fact for fact in self.found if fact.kind == "variable"}
        begins = {parts_of(fact)[0] for fact in self.found if fact.kind == "parameter"}
        for name, fact in here.items():
            # what no boot gives again it keeps from the last one
            if parts_of(fact)[-1] == 0 and name not in begins:
                fact.value = (*parts_of(fact)[:-1], ("none",))
        for line in inside:
            part, of = line.tokens, None
            value: int | Syntax = 0
            if len(part) > 2 and part[1].text == "=" and part[0].text in here:
                of, value = here[part[0].text], self.folded(parse(part[2:], True))
            elif cleared := CLEARED.fullmatch(
                    "".join(token.text for token in part)):
                of = here.get(cleared[1])
            if of is not None:
                of.value = (*parts_of(of)[:-1], value)
                of.text += f"; {self.file.text(part)}"
                of.line = of.end = self.file.lines.at(part[0].offset)

    def parameters(self, lines: Iterable[Logical]) -> None:
        """module_add_param(module, name, variable, whether it is a bool)"""
        for line in lines:
            if line.tokens[0].text == "module_add_param":
                tree = parse(line.tokens, True)
                name = next((token.text.strip('"') for token in line.tokens
                             if token.kind == "str"), "")
                self.add("parameter", name, line.tokens, parameter(tree) or tree)
                self.found[-1].plain = short(squeezed(self.found[-1].text))


def parts_of(fact: Fact) -> Syntax:
    """What the fact of a variable says: its type first, its value last; of a parameter the name of
    its variable first."""
    assert isinstance(fact.value, tuple)
    return fact.value


def parameter(tree: Syntax) -> Syntax | None:
    """The variable that a call of module_add_param() names, and its type; None of another tree."""
    if len(tree) != 6 or tree[0] != "call":
        return None
    variable, kind = tree[4:]
    while variable[0] in ("cast", "addr"):
        variable = variable[-1]
    return (variable[1], BOOL.get(str(kind[1]), "")) if len(kind) > 1 else None


def blocks(logical: Iterable[Logical]) -> Iterator[tuple[Logical, list[Logical]]]:
    """(the line in column 0, the lines inside) of a Cython file."""
    head: Logical | None = None
    inside: list[Logical] = []
    for line in logical:
        if line.indent == 0:
            if head is not None:
                yield head, inside
            head, inside = line, []
        else:
            inside.append(line)
    if head is not None:
        yield head, inside
