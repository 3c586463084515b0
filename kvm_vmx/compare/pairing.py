# SPDX-License-Identifier: GPL-2.0-only
"""The facts of a tree beside the port's: each in one row with its class, and why.

A file in scope gives all its facts, another one those that the port has. Facts pair by kind and
name. What is not equal, left out or ours needs a reason (units.toml, or the topics of --scope) and
is held to the digests of units_4.19.json: a fact that is other than it was read is unexplained.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator

from kvm_vmx.compare import assembly, scope
from kvm_vmx.compare.folding import same_number
from kvm_vmx.compare.facts import Fact
from kvm_vmx.compare.held import (
    CURE, RULES, Digests, HeldRecord, Side, grouped, held, reason, rules, sorted_)
from kvm_vmx.compare.integers import TYPES
from kvm_vmx.compare.kernelfacts import ALONE, WORD, KernelFacts, extremes
from kvm_vmx.compare.lacking import ABSENT, Lacking, named
from kvm_vmx.compare.portfacts import PortFacts
from kvm_vmx.compare.preprocessor import CONFIG
from kvm_vmx.compare.renaming import known_names
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.rows import ALIKE
from kvm_vmx.compare.unify import unify

SYSFS = "the permissions are those of a file that is not here"
UNUSED = "nothing that is ported uses it"


@dataclasses.dataclass(slots=True, eq=False)
class UnitRow:
    """One fact of the kernel beside the port's, its class and why."""

    kind: str
    kernel: Fact | None
    port: list[Fact]
    why: str = ""

    @property
    def fact(self) -> Fact:
        """The fact that names the row."""
        return self.kernel or self.port[0]

    def __str__(self) -> str:
        places = [f"{fact.path}:{fact.line}" for fact in (self.kernel, *self.port) if fact]
        return f"{self.fact.kind} {self.fact.name}  {' '.join(places)}: {self.why}"


class Units:
    """All units of a tree and of the port but the functions that a report compares."""

    def __init__(self, report: Report, facts: PortFacts | None = None,
                 record: HeldRecord | None = None, kernel: KernelFacts | None = None):
        self.report, self.port = report, facts or PortFacts(report.port)
        self.record = held() if record is None else record
        self.ported = {(pair.kernel.path, pair.kernel.name) for pair in report.pairs
                       if pair.kernel is not None}
        self.lacking = Lacking(report.tree, self.record)
        self.kernel = kernel or KernelFacts(report.tree, {
            *self.port.by_name, *(("function", name) for _, name in self.ported)},
            self.lacking.known(self.port))

    @functools.cached_property
    def now(self) -> dict[Side, Digests]:
        """The digests of both sides, as the record has them."""
        return {"kernel": grouped(self.kernel.facts), "port": grouped(self.port.facts)}

    @functools.cached_property
    def rows(self) -> list[UnitRow]:
        """All rows: the kernel's in the order of its files, then what is ours."""
        return [*self.theirs(self.kernel.by_file), *self.gone(self.kernel.whole), *self.ours(),
                *self.lost()]

    @functools.cached_property
    def used(self) -> set[str]:
        """The names in statements of the kernel that stand in the port as they are."""
        texts = (unit.text for pair in self.report.pairs for row in pair.rows
                 if row.kind in ALIKE for unit in row.kernel)
        return set(WORD.findall(" ".join(texts)))

    def is_held(self, side: Side, fact: Fact) -> bool:
        """Whether a fact is what was read."""
        key = f"{fact.kind} {fact.name}"
        known = self.record[side].get(fact.path, {}).get(key, "")
        return self.now[side][fact.path][key] in known.removeprefix("?").split("|")

    @property
    def branched(self) -> set[tuple[str, str]]:
        """The functions with an #if inside: another configuration gives them other statements."""
        return {(fact.path, fact.name) for fact in self.kernel.facts
                if fact.kind == "function" and "# " in str(fact.value)}

    @functools.cached_property
    def blocks(self) -> list[assembly.Block]:
        """The assembly of the functions that the report compares."""
        theirs = self.kernel.names().defined
        found = assembly.blocks(self.report, assembly.Expander(theirs),
                                assembly.Expander(self.port.names().defined),
                                rules()["assembly"], self.record.get("assembly", {}))
        return [self.lacking.block(block) for block in found]

    def theirs(self, paths: Iterable[str]) -> Iterator[UnitRow]:
        """A row for each fact of some files of the kernel."""
        taken: set[tuple[str, str]] = set()
        for fact in (fact for path in paths for fact in self.kernel.by_file[path]):
            key = fact.kind, fact.name
            if fact.kind in ("function", "attributes"):
                if row := self.function(fact):
                    yield row
                continue
            beside = () if fact.kind in ALONE else self.port.by_name.get(key, ())
            if not beside:
                yield self.left_out(fact)
            elif key not in taken or fact.path in self.kernel.whole:
                taken.add(key)
                yield self.beside(fact, beside)

    def function(self, fact: Fact) -> UnitRow | None:
        """A function that is not ported, or the attributes of one that is."""
        ported = (fact.path, fact.name) in self.ported
        if fact.path not in self.kernel.whole or ported != (fact.kind == "attributes"):
            return None
        beside = self.port.by_name.get((fact.kind, fact.name))
        if beside and not ported:
            return self.checked(UnitRow("adapted", fact, list(beside), reason("adapted", fact)))
        if not ported:
            if not self.is_held("kernel", fact) and self.reads_alike(fact):
                return UnitRow("omitted", fact, [], scope.reason(fact.name))
            return self.checked(UnitRow("omitted", fact, [], scope.reason(fact.name)))
        return self.checked(UnitRow("idiom", fact, [], "they say nothing of what it does"))

    def reads_alike(self, fact: Fact) -> bool:
        """Whether a function has v4.19's statements in other words."""
        known = self.record.get("alike", {}).get(fact.path, {}).get(fact.name)
        return known is not None and self.kernel.alike(fact.path, fact.name) == known

    def left_out(self, fact: Fact) -> UnitRow:
        """A fact of the kernel that the port has not."""
        why = reason("omitted", fact)
        if not why and fact.name.rpartition(".")[2] not in self.used:
            topic = scope.reason(fact.name)
            why = UNUSED if topic == scope.ELSEWHERE else topic
        return self.checked(UnitRow("omitted", fact, [], why))

    def beside(self, fact: Fact, beside: Iterable[Fact]) -> UnitRow:
        """A fact of the kernel beside those of its name in the port."""
        if all(self.agree(fact, other) for other in beside):
            if fact.kind == "parameter":
                return self.checked(UnitRow("idiom", fact, list(beside), SYSFS))
            return UnitRow("same", fact, list(beside))
        return self.checked(UnitRow("adapted", fact, list(beside), reason("adapted", fact)))

    @staticmethod
    def agree(one: Fact, other: Fact) -> bool:
        """Whether two facts say the same."""
        return equal(one.value, other.value)

    def gone(self, paths: Iterable[str]) -> Iterator[UnitRow]:
        """What v4.19 has in some files and the tree has not."""
        usual = self.report.tree.config == CONFIG
        for path in paths:
            now, hidden = self.now["kernel"].get(path, {}), None
            for key, digest in self.record["kernel"].get(path, {}).items():
                kind, _, name = key.partition(" ")
                if key in now or kind in ("attributes", *ALONE):
                    continue
                if not usual or digest.startswith("?"):
                    hidden = self.kernel.hidden(path) if hidden is None else hidden
                    if key in hidden:
                        continue
                yield UnitRow("unexplained", Fact(kind, name, path, 1, 1, "", ""), [],
                              "v4.19 has it, and this tree has not")

    def ours(self) -> Iterator[UnitRow]:
        """The facts of the port that no file of the kernel has."""
        for key, facts in self.port.by_name.items():
            if key not in self.kernel.by_name or key[0] in ALONE:
                for fact in facts:
                    if fact.kind != "attributes":
                        yield self.checked(UnitRow("added", None, [fact], reason("added", fact)))

    def lost(self) -> Iterator[UnitRow]:
        """What the port had when it was compared, and has no more."""
        for path in self.port.sources:
            now = self.now["port"].get(path, {})
            for key in self.record["port"].get(path, {}):
                kind, _, name = key.partition(" ")
                if key not in now:
                    yield UnitRow("unexplained", None, [Fact(kind, name, path, 1, 1, "", "")],
                                  "the port had it when it was compared")

    def checked(self, row: UnitRow) -> UnitRow:
        """A row that needs a reason and what was read, or an unexplained one."""
        changed = [row.kernel] if row.kernel and not self.is_held("kernel", row.kernel) else []
        changed += [fact for fact in row.port if not self.is_held("port", fact)]
        if changed:
            known = self.record["kernel" if changed[0] is row.kernel else "port"]
            new = f"{row.fact.kind} {row.fact.name}" not in known.get(changed[0].path, {})
            read = changed[0].path in self.kernel.whole  # of others not all is recorded
            name = "" if new and read else self.lacking.name(row.kernel, self.kernel.names)
            word = "new" if new else "not what was compared"
            row.kind, row.why = ("omitted", f"not compared: {name}: {ABSENT}") if name else (
                "unexplained", f"{word}: {changed[0].text[:90]}: {CURE}")
        elif not row.why:
            row.why = f"{row.kind}, and no reason for it: {row.fact.text[:90]}: {RULES.name}"
            row.kind = "unexplained"
        return row

    @property
    def totals(self) -> collections.Counter[str]:
        """How many rows of each class."""
        return collections.Counter(row.kind for row in self.rows)

    @property
    def loose(self) -> list[UnitRow | str]:
        """The unexplained rows, those of assembly as text."""
        return [*(row for row in self.rows if row.kind == "unexplained"),
                *(f"assembly {block.name}  {block.kernel}:{block.line} {block.port}: "
                  f"{row.kernel or '-'} | {row.port or '-'}: {row.why}"
                  for block in self.blocks for row in block.loose)]


def equal(one: object, other: object) -> bool:
    """Whether two values are equal: numbers as C sees them, types by width, trees by the idioms."""
    if isinstance(one, int) and isinstance(other, int):
        return same_number(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        if len(one) == len(other) == 3 and one[0] == other[0] == "type" \
                and one[2] == other[2] == 0:
            if one[1] in TYPES and TYPES[one[1]] == TYPES.get(other[1]):
                return True
        if len(one) == len(other) and all(map(equal, one, other)):
            return True
        return bool(one and other and isinstance(one[0], str) and isinstance(other[0], str)
                    and unify(one, other, set()))
    return one == other


def recorded(report: Report, facts: PortFacts) -> HeldRecord:
    """What HELD holds of a tree and the port: the tree under every configuration's extremes."""
    tree = report.tree
    known: Digests = {}
    units = Units(report, facts, {"kernel": {}, "port": {}})
    branched = units.branched
    same = {(row.kernel.path, f"{row.kernel.kind} {row.kernel.name}") for row in units.rows
            if row.kernel and row.kind == "same"}
    for config in ({}, *extremes(tree)):
        kernel = units.kernel if not config else KernelFacts(
            type(tree)(tree.title, tree.files, config), units.kernel.wanted)
        for path, digests in grouped(kernel.facts).items():
            of = known.setdefault(path, {})
            for key, digest in digests.items():
                kind, _, name = key.partition(" ")
                ported = (path, name) in units.ported
                if path not in kernel.whole and (path, key) in same \
                        or kind == "attributes" and not ported \
                        or kind == "function" and ported and (path, name) not in branched:
                    continue
                if digest not in re.split(r"[?|]+", of.get(key, "")):
                    of[key] = f"{of[key]}|{digest}" if key in of else "?" * bool(config) + digest
    return {"kernel": sorted_(known), "port": sorted_(grouped(
        fact for fact in facts.facts if fact.kind != "attributes")),
        "assembly": {block.name: block.digest for block in units.blocks},
        "locals": {
            "kernel": {pair.name: known_names(pair.kernel) for pair in report.pairs if pair.kernel},
            "port": {pair.name: known_names(pair.port) for pair in report.pairs}},
        "foreign": sorted({name for fact in units.kernel.facts for name in named(fact.value)}
                          & {*facts.names().defined} - {*units.kernel.names().defined}),
        "homes": {pair.name: pair.kernel.path for pair in report.pairs if pair.kernel
                  and pair.kernel.path != report.port.subjects[pair.name].kernel_file},
        "alike": {path: {item.name: units.kernel.alike(path, item.name) for item in top.items
                         if item.kind == "function" and (path, item.name) not in units.ported
                         and top.file.function(item.name)}
                  for path, top in units.kernel.tops.items() if path in units.kernel.whole}}
