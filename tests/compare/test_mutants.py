# SPDX-License-Identifier: GPL-2.0-only
"""Systematic edits of every unit of the files in scope, on both sides: those that mean something
are told in their place, the others are not.

A plain run takes a few batches by chance, --soak all of them; what passes is printed by name.
"""

import collections
import copy
import pathlib
import random

import pytest
from mutants import Source, applied, called_otherwise, independent, mutants, reordered
from seeds import with_text

from kvm_vmx.compare.held import rules
from kvm_vmx.compare.pairing import Units
from kvm_vmx.compare.pysource import PortFile
from kvm_vmx.compare.renaming import own_names
from kvm_vmx.compare.report import Report

ROOT = pathlib.Path(__file__).parents[2]
SHORT = 3  # batches of one side in a plain run


@pytest.fixture(scope="module")
def units(report_v419):
    return Units(report_v419)


class Side:
    """One side's files, their facts, and what is unexplained where one is otherwise."""

    def __init__(self, units):
        self.units = units

    def batches(self, path):
        """(source, batch) of every edit that means something, and of all others."""
        source = Source(self.text(path), path.endswith((".pyx", ".pxd")))
        made = [mutant for fact in self.facts(path) for mutant in mutants(source, fact)]
        for batch in independent(source, [mutant for mutant in made if mutant.meaning]):
            yield source, batch
        silent = [mutant for mutant in made if not mutant.meaning]
        for batch in independent(source, silent):
            yield source, batch


class Kernels(Side):
    """The kernel's files, of which every unit stands in a row."""

    def paths(self):
        return [path for path in rules()["whole"] if path in self.units.kernel.by_file]

    def text(self, path):
        return self.units.report.tree.files[path]

    def facts(self, path):
        """The facts of a file, but the functions that are compared row by row."""
        return [fact for fact in self.units.kernel.by_file[path] if fact.kind != "function"
                or (fact.path, fact.name) not in self.units.ported]

    def told(self, path, text):
        """The rows that nothing explains where the file has this text."""
        units = self.units
        kernel = units.kernel.with_file(with_text(units.report.tree, path, text), path)
        other = Units(units.report, units.port, units.record, kernel)
        return [row for row in [*other.theirs([path]), *other.gone([path])]
                if row.kind == "unexplained"]


class Ports(Side):
    """The port's files, headers among them."""

    def paths(self):
        return sorted(self.units.port.sources)

    def text(self, path):
        return (ROOT / path).read_text()

    def facts(self, path):
        return [fact for fact in self.units.port.by_file[path]]

    def told(self, path, text):
        units = self.units
        port = units.port.with_file(path, text)
        other = Units(units.report, port, units.record, units.kernel)
        return [row for row in other.rows if row.kind == "unexplained"]


def names_of(rows) -> set[str]:
    """What the rows are of, and each word of it."""
    found = set()
    for row in rows:
        found |= {row.fact.name, *row.fact.name.split(".")[-1:], row.fact.name.partition(".")[0],
                  row.fact.name.removeprefix("struct ")}
    return found


def passed(side, path, source, batch) -> list[str]:
    """The edits of a batch that are not told in their place, or told though they mean nothing."""
    rows = side.told(path, applied(source, batch))
    if not batch[0].meaning:
        return [f"{path}: nothing changed, and told: {row}" for row in rows]
    told = names_of(rows)
    bad = []
    for mutant in batch:
        name = mutant.fact.name
        own = name.rpartition(".")[2]
        places = {name, own, f"{own}_again", name.partition(".")[0]}
        if not places & told and not any(own.split("(")[0] in each for each in told):
            text = source.text[mutant.begin:mutant.end]
            bad.append(f"{path}:{mutant.fact.line}: {mutant.fact.kind} {name}: {mutant.what}: "
                       f"{text[:60]!r} -> {mutant.text[:60]!r}")
    return bad


@pytest.mark.soak
@pytest.mark.parametrize("kind", [Kernels, Ports])
def test_no_edit_passes_unseen(units, soak, kind):
    side, chance = kind(units), random.Random(419)
    if soak:
        todo = [(path, *batch) for path in side.paths() for batch in side.batches(path)]
    else:
        paths = chance.sample(side.paths(), SHORT)
        todo = [(path, *max(chance.choices(made, k=4), key=lambda batch: len(batch[1])))
                for path in paths if (made := list(side.batches(path)))]
    count, bad = collections.Counter(), []
    for path, source, batch in todo:
        bad += passed(side, path, source, batch)
        for mutant in batch:
            count[mutant.fact.kind, mutant.what if mutant.meaning else "neutral"] += 1
    print(f"\n{kind.__name__}: {sum(count.values())} edits, {len(bad)} pass")
    for (unit, what), number in sorted(count.items()):
        print(f"  {unit:16} {what:10} {number:6}")
    assert bad == []
    assert not soak or sum(count.values()) > 2500


def own_way(tree, path):
    """A file in which every function calls its own names otherwise and declares in another order;
    assembly names its operands itself."""
    file = tree.file(path)
    rows = list(file.rows)
    for name in reversed(file.names()):
        function = file.function(name)
        if any(unit.kind == "asm" for unit in function.units):
            continue
        first, last = function.line - 1, function.end
        text = called_otherwise("\n".join(rows[first:last]), set(own_names(function)))
        rows[first:last] = reordered(text.split("\n"))
    return "\n".join(rows)


FUNCTIONS = ("arch/x86/kvm/vmx.c", "arch/x86/hyperv/hv_init.c", "arch/x86/kvm/cpuid.c",
             "arch/x86/kernel/cpu/mshyperv.c", "kernel/jump_label.c", "arch/x86/kvm/x86.c",
             "arch/x86/kvm/vmx_evmcs.h", "virt/kvm/kvm_main.c")


@pytest.mark.soak
def test_names_of_a_functions_own_say_nothing(units, soak):
    tree = units.report.tree
    for path in FUNCTIONS if soak else FUNCTIONS[1:4]:
        tree = with_text(tree, path, own_way(tree, path))
    only = None if soak else {
        name for name, subject in units.report.port.subjects.items()
        if subject.kernel_file in FUNCTIONS[1:4]}
    report = Report(units.report.port, tree, only)
    loose = [(pair.name, row.why) for pair in report.pairs for row in pair.rows
             if row.kind == "unexplained"]
    assert loose == []
    assert any("renamed: " in row.why for pair in report.pairs for row in pair.rows)
    kernel = units.kernel
    for path in FUNCTIONS if soak else FUNCTIONS[1:4]:
        kernel = kernel.with_file(tree, path)
    again = Units(units.report, units.port, units.record, kernel)
    assert [str(row) for row in again.theirs(FUNCTIONS if soak else FUNCTIONS[1:4])
            if row.kind == "unexplained"] == []


@pytest.mark.soak
def test_names_of_the_ports_own_say_nothing(units, soak):
    """In the port, too: each function of a file with its locals called otherwise."""
    report = units.report
    port = copy.copy(report.port)
    port.subjects = dict(port.subjects)
    paths = sorted(port.files) if soak else ["kvm_vmx/l1/hv_init.pyx", "kvm_vmx/l1/cpuid.pyx"]
    changed = set()
    for path in paths:
        file = port.files[path]
        rows = list(file.rows)
        for function, *_ in sorted(file.functions.values(), key=lambda one: -one[0].line):
            first, last = function.line - 1, function.end
            names = {name for name in own_names(function)
                     if not any(f"_{label}" in function.name for label in (name,))}
            rows[first:last] = called_otherwise("\n".join(rows[first:last]), names,
                                                True).split("\n")
        new = PortFile(path, "\n".join(rows), file.pins)
        for name, (function, *_) in new.functions.items():
            port.subjects[name] = port.subject(new, name, function)
            changed.add(name)
    other = Report(port, report.tree, changed)
    loose = [(pair.name, row.why) for pair in other.pairs for row in pair.rows
             if row.kind == "unexplained"]
    assert len(other.pairs) > (400 if soak else 10) and loose == []
