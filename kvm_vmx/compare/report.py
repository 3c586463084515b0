# SPDX-License-Identifier: GPL-2.0-only
"""The report: the port's functions against a kernel tree, with totals."""

import collections
import dataclasses
import functools
from collections.abc import Collection
from typing import TYPE_CHECKING

from kvm_vmx.compare import rows as rows_, within
from kvm_vmx.compare.port import Port, Subject, with_labels
from kvm_vmx.compare.preprocessor import CONFIG
from kvm_vmx.compare.renaming import as_known, note
from kvm_vmx.compare.toplevel import is_held
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.trees import Tree


@dataclasses.dataclass(eq=False)
class Pair:
    """One function of the port beside the kernel's, row by row."""

    name: str
    kernel: Function | None
    port: Function
    rows: list[rows_.Row]
    ours: str = ""

    @functools.cached_property
    def shown(self) -> list[rows_.Row]:
        """The rows as a reader sees them: those of a mark apart, where statements are alike."""
        void = self.port.units[0].key[1][1:] == ("void", 0)
        return within.split(self.rows, void) if self.kernel else self.rows

    @property
    def totals(self) -> collections.Counter[str]:
        """How many statements of the kernel are of each class; of ours, how many of the port."""
        count: collections.Counter[str] = collections.Counter()
        for row in self.shown:
            count[row.kind] += rows_.weight(row)
        return count

    @property
    def statements(self) -> int:
        """How many statements the kernel's function has."""
        return sum(unit.kind != "#" for row in self.rows if row.kind != "inactive"
                   for unit in row.kernel)

    @property
    def fidelity(self) -> tuple[int, int]:
        """Statements of the kernel that stand here as they are or by idiom, and all of them."""
        return sum(self.totals[name] for name in rows_.ALIKE), self.statements


class Report:
    """All functions of the port against one tree."""

    def __init__(self, port: Port, tree: "Tree", only: Collection[str] | None = None):
        self.port, self.tree = port, tree
        self.whole = only is None
        self.pairs: list[Pair] = []
        self.usual: Report | None = None    # the same under the port's own configuration
        self.own: dict[str, str] = {}
        for name, subject in port.subjects.items():
            if self.part_of(name):
                continue
            if subject.ours and not self.known(subject):
                self.own[name] = subject.ours
            elif only is None or name in only:
                self.pairs.append(self.pair(name, subject))

    def known(self, subject: Subject) -> bool:
        """Whether the tree has the function, so that no mark can call it ours."""
        return self.tree.function(subject.kernel_name, subject.kernel_file) is not None

    def part_of(self, name: str) -> bool:
        """Whether a function of the port stands for a label of another."""
        cut = len(name)
        while (cut := name.rfind("_", 0, cut)) > 0:
            other = self.port.subjects.get(name[:cut])
            if other:
                kernel = self.tree.function(other.kernel_name, other.kernel_file)
                label = ("label", name[cut + 1:])
                if kernel and any(unit.key == label for unit in
                                  (*kernel.units, *as_known(name[:cut], "kernel", kernel).units)):
                    return True
        return False

    def pair(self, name: str, subject: Subject) -> Pair:
        """One function and its rows. Where its own names are others than they were, it is read
        under those, if that explains it all."""
        kernel = self.tree.function(subject.kernel_name, subject.kernel_file)
        if kernel is None:
            row = rows_.Row("unexplained", [], subject.function.units[:1],
                            f"the tree has no {subject.kernel_name}()")
            return Pair(name, None, subject.function, [row])
        before = as_known(name, "kernel", kernel)
        port, _ = with_labels(subject, before, self.port.subjects)
        old = as_known(name, "port", port)
        if before is not kernel or old is not port:
            pair = self.beside(name, subject, before, old)
            if not pair.totals["unexplained"]:
                note(pair.rows)
                return pair
        port, _ = with_labels(subject, kernel, self.port.subjects)
        pair = self.beside(name, subject, kernel, port)
        if pair.totals["unexplained"] and self.tree.config != CONFIG:
            return self.configured(subject, pair)
        return pair

    def configured(self, subject: Subject, pair: Pair) -> Pair:
        """The pair under the configuration that the port is of, with what this one adds to it as
        left out; the pair itself where that is not the function that was compared."""
        if self.usual is None:
            self.usual = Report(self.port, type(self.tree)(self.tree.title, self.tree.files),
                                only=())
        kernel = self.usual.tree.function(subject.kernel_name, subject.kernel_file)
        file = self.usual.tree.file(kernel.path) if kernel else None
        if kernel is None or file is None or pair.kernel is None \
                or not is_held(kernel.name, file):
            return pair
        known = self.usual.pair(pair.name, subject)
        if known.totals["unexplained"]:
            return pair
        usual = {unit.line for unit in kernel.units}
        more = [unit for unit in pair.kernel.units if unit.line not in usual and unit.kind != "#"]
        rows = [row for row in known.rows if row.kind != "inactive"]
        for unit in more:
            row = rows_.Row("omitted", [unit], [], "of a configuration that the port is not of")
            at = next((n for n, other in enumerate(rows)
                       if other.kernel and other.kernel[0].line > unit.line), len(rows))
            rows.insert(at, row)
        return Pair(pair.name, pair.kernel, known.port, rows)

    def beside(self, name: str, subject: Subject, kernel: Function, port: Function) -> Pair:
        """Two functions and their rows."""
        kernel, port = self.dressed(kernel, port, subject)
        void = port.units[0].key[1][1:] == ("void", 0)
        return Pair(name, kernel, port, rows_.compare(kernel, port, void))

    def dressed(self, kernel: Function, port: Function,
                subject: Subject) -> tuple[Function, Function]:
        """Both sides with what only the surroundings say: the stub of another configuration."""
        stub = self.tree.stub(kernel)
        if stub is not None:
            units = kernel.units
            first = next((n for n in range(1, len(units)) if units[n].kind != "decl"), len(units))
            kernel = dataclasses.replace(kernel, units=[*units[:first], stub, *units[first:]])
        if kernel.units and kernel.units[0].kind != "def":
            port = dataclasses.replace(port, units=[
                dataclasses.replace(port.units[0], silent="initialiser"), *port.units[1:]])
        return kernel, port

    @property
    def totals(self) -> dict[str, int]:
        """How many statements of each class in all: those of the kernel add up to `statements`
        where nothing is unexplained, those that are ours stand beside."""
        count: collections.Counter[str] = sum(
            (pair.totals for pair in self.pairs), collections.Counter())
        return {name: count[name] for name in rows_.CLASSES}

    @property
    def statements(self) -> int:
        """How many statements the kernel's functions have in all."""
        return sum(pair.statements for pair in self.pairs)

    @property
    def fidelity(self) -> tuple[int, int]:
        """The shares of all functions, added up."""
        shares = [pair.fidelity for pair in self.pairs]
        return sum(share[0] for share in shares), sum(share[1] for share in shares)


def stub_unit(function: Function, condition: str, other: Function | None) -> Unit | None:
    """The unit that stands for a function's empty shape under another configuration."""
    value = None
    if other is not None:
        body = [unit for unit in other.units[1:] if unit.kind != "#"]
        if len(body) > 1 or (body and body[0].kind != "return"):
            return None
        value = body[0].key[1] if body else None
    test = ("un", "not", ("call", ("name", "IS_ENABLED"), ("name", condition)))
    line = other.line if other else function.line
    text = " ".join(other.header.split()) if other else f"#if IS_ENABLED({condition})"
    return Unit(("stub", test, value), line, line, text, None, "#else")
