# SPDX-License-Identifier: GPL-2.0-only
"""Both sides of a comparison as something to edit: slices of independent edits, and which of each
slice are told in their place."""

import collections
import copy
import pathlib
import random
from typing import NamedTuple

import bodies
import mutants
from bodies import CBody, PortBody
from seeds import with_text

from kvm_vmx.compare.held import rules
from kvm_vmx.compare.pairing import Units
from kvm_vmx.compare.report import Report

ROOT = pathlib.Path(__file__).parents[2]
SEED = 419


class Slice(NamedTuple):
    """Edits of one file that are made at once: (kind of unit, kind of edit, whether it means
    anything, the edit) of each."""

    path: str
    number: int
    edits: list

    def text(self, source: str) -> str:
        """The file's text with them."""
        return bodies.applied(source, [edit for *_, edit in self.edits])


def chosen(side, least: int | None, most: int | None = None) -> list[Slice]:
    """Slices of a side, by a seed: all of them if `least` is None, else as many as hold so many
    edits and one of each kind in each kind of unit of each file; `most` are as many slices."""
    chance = random.Random(SEED)
    paths = side.paths()
    if most:
        some = chance.sample(paths, min(4 * most, len(paths)))
        paths = sorted(some, key=lambda path: -len(side.text(path)))[:most]
    found = []
    for path in paths:
        made = list(side.slices(path))
        found += [max(chance.choices(made, k=4), key=lambda one: len(one.edits))] \
            if most and made else made
    if least is None or most:
        return found
    chance.shuffle(found)
    taken, kinds, count = [], set(), 0
    for each in sorted(found, key=lambda one: -len(one.edits)):
        here = {(each.path, *edit[:3]) for edit in each.edits}
        if not here <= kinds:
            taken.append(each)
            kinds |= here
            count += len(each.edits)
    for each in found:
        if count < least and each not in taken:
            taken.append(each)
            count += len(each.edits)
    return taken


def judged(side, each: Slice) -> list[str]:
    """The edits of a slice that are not told in their place, or told though they mean nothing."""
    text = side.text(each.path)
    told = side.told(each, each.text(text))
    bad = []
    for unit, what, meaning, edit in each.edits:
        if told(edit) is not meaning:
            line = text.count("\n", 0, edit.begin) + 1
            bad.append(f"{each.path}:{line}: {unit}: {what}: {text[edit.begin:edit.end][:60]!r} -> "
                       f"{edit.text[:60]!r}: {'not told' if meaning else 'told'}")
    return bad


class Facts:
    """The units of one side's files."""

    def __init__(self, units):
        self.units = units

    def slices(self, path):
        """Slices of every edit that means something, and of all others."""
        source = mutants.Source(self.text(path), path.endswith((".pyx", ".pxd")))
        made = [mutant for fact in self.facts(path) for mutant in mutants.mutants(source, fact)]
        number = 0
        for meaning in (True, False):
            for batch in mutants.independent(
                    source, [mutant for mutant in made if mutant.meaning is meaning]):
                yield Slice(path, number, [(one.fact.kind, one.what, meaning, one)
                                           for one in batch])
                number += 1

    def told(self, each, text):
        """Whether an edit is told: of one without meaning, whether any is."""
        rows = [row for row in self.rows(each.path, text) if row.kind == "unexplained"]
        names = mutants.names_of(rows)
        return lambda edit: mutants.is_told(edit, names) if edit.meaning else bool(rows)


class KernelFacts(Facts):
    """The kernel's files, of which every unit stands in a row."""

    title = "units of the kernel"

    def paths(self):
        return [path for path in rules()["whole"] if path in self.units.kernel.by_file]

    def text(self, path):
        return self.units.report.tree.files[path]

    def facts(self, path):
        """The facts of a file, but the functions that are compared row by row."""
        return [fact for fact in self.units.kernel.by_file[path] if fact.kind != "function"
                or (fact.path, fact.name) not in self.units.ported]

    def rows(self, path, text):
        units = self.units
        kernel = units.kernel.with_file(with_text(units.report.tree, path, text), path)
        other = Units(units.report, units.port, units.record, kernel)
        return [*other.theirs([path]), *other.gone([path])]


class PortFacts(Facts):
    """The port's files, headers among them."""

    title = "units of the port"

    def paths(self):
        return sorted(self.units.port.sources)

    def text(self, path):
        return (ROOT / path).read_text()

    def facts(self, path):
        return [fact for fact in self.units.port.by_file[path] if fact.kind != "own"]

    def rows(self, path, text):
        units = self.units
        other = Units(units.report, units.port.with_file(path, text), units.record, units.kernel)
        return [*other.theirs(other.kernel.by_file), *other.ours(), *other.lost()]


class Bodies:
    """The functions of one side, each edited in one place at a time."""

    def __init__(self, units):
        self.units, self.report = units, units.report
        self.by_file = collections.defaultdict(dict)  # {path: {function: the pair it belongs to}}
        self.fill()

    def paths(self):
        return sorted(self.by_file)

    def slices(self, path):
        """The n-th edits of all functions of a file, each function's in an order of chance."""
        made = collections.defaultdict(list)
        for name, owner in self.by_file[path].items():
            for edit in self.body(path, name).all():
                made[edit.meaning, owner].append(edit)
        for (_, owner), edits in made.items():
            random.Random(f"{SEED} {owner}").shuffle(edits)
        number = 0
        for meaning in (True, False):
            todo = [edits for (means, _), edits in made.items() if means is meaning]
            for n in range(max(map(len, todo), default=0)):
                yield Slice(path, number, [("function", edits[n].what, meaning, edits[n])
                                           for edits in todo if n < len(edits)])
                number += 1

    def told(self, each, text):
        """Whether the function of an edit has a row that nothing explains."""
        of = self.by_file[each.path]
        names = {of[edit.name] for *_, edit in each.edits}
        pairs = list(self.pairs(each.path, text, names))
        loose = {pair.name for pair in pairs if pair.totals["unexplained"]}
        loose |= names - {pair.name for pair in pairs}
        return lambda edit: of[edit.name] in loose


class KernelBodies(Bodies):
    """The kernel's functions that are ported."""

    title = "functions of the kernel"

    def fill(self):
        for pair in self.report.pairs:
            if pair.kernel and pair.kernel.units[0].kind == "def":
                self.by_file[pair.kernel.path][pair.kernel.name] = pair.name

    def text(self, path):
        return self.report.tree.files[path]

    def body(self, path, name):
        return CBody(self.report.tree.file(path), name)

    def pairs(self, path, text, names):
        return Report(self.report.port, with_text(self.report.tree, path, text), names).pairs


class PortBodies(Bodies):
    """The port's functions, those that stand for a label with the one it is of; and its own."""

    title = "functions of the port"

    def fill(self):
        names = {pair.name for pair in self.report.pairs}
        for path, source in self.units.port.sources.items():
            own = {fact.name for fact in self.units.port.by_file[path] if fact.kind == "own"}
            for name in getattr(source, "file", self).functions if path[-2] == "y" or \
                    path.endswith(".pxd") else ():
                owner = name
                while owner not in names and "_" in owner and name not in own:
                    owner = owner.rpartition("_")[0]
                if owner in names or name in own:
                    self.by_file[path][name] = owner

    def text(self, path):
        return self.units.port.sources[path].file.source

    def body(self, path, name):
        return PortBody(self.units.port.sources[path].file, name)

    def pairs(self, path, text, names):
        port = copy.copy(self.report.port)
        port.subjects = dict(port.subjects)
        other = self.units.port.with_file(path, text)
        file = other.sources[path].file
        for name, (function, *_) in file.functions.items():
            if name in port.subjects:
                port.subjects[name] = port.subject(file, name, function)
        now = {fact.name: fact.digest for fact in other.by_file[path] if fact.kind == "own"}
        own = {name for name in names if name in now}
        for name in own:
            held = self.units.record["port"][path][f"own {name}"]
            yield Own(name, collections.Counter(unexplained=int(held != now[name])))
        yield from Report(port, self.report.tree, names - own).pairs


class Own(NamedTuple):
    """A function of the port's own as a pair: whether it is held."""

    name: str
    totals: collections.Counter


SIDES = [KernelFacts, PortFacts, KernelBodies, PortBodies]
