# SPDX-License-Identifier: GPL-2.0-only
"""Systematic edits of every unit of the files in scope, on both sides: those that mean something
are told in their place, the others are not.

A plain run takes a few batches by chance, --soak all of them; what passes is printed by name.
"""

import collections
import pathlib
import random

import pytest
from mutants import Source, applied, independent, mutants
from seeds import with_text

from kvm_vmx.compare.held import rules
from kvm_vmx.compare.pairing import Units

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
        todo = [(path, *chance.choice(made)) for path in paths
                if (made := list(side.batches(path)))]
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
