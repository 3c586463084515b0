# SPDX-License-Identifier: GPL-2.0-only
"""Pin the port's marks anew to what they stand for in a tree of the baseline."""

from kvm_vmx.compare import marks
from kvm_vmx.compare.align import named_units
from kvm_vmx.compare.marks import Mark
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Pair, Report
from kvm_vmx.compare.rows import Row
from kvm_vmx.compare.trees import Tree


def pinned_anew(port: Port, tree: Tree) -> tuple[Report, list[str]]:
    """The port against the tree, each mark without a fitting pin pinned to what nothing else
    explains beside it; and a line for each that a reader should look at."""
    told = []
    for pair in Report(port, tree).pairs:
        if pair.totals["unexplained"]:
            told.extend(repin(port, tree, pair))
    report = Report(port, tree)
    for row in (row for pair in report.pairs for row in pair.rows if row.kind == "omitted"):
        if row.mark and row.mark.pin is None:  # it names its statement: where that stands
            row.mark.pin = marks.pin(row.mark.kind, row.kernel, row.port)
    return report, told


def repin(port: Port, tree: Tree, pair: Pair) -> list[str]:
    """Pin the marks of one function, if one fits nowhere; a line for each that is new or other."""
    if not any(row.mark for row in pair.rows if row.kind == "unexplained"):
        return []
    held = {mark: mark.pin for mark in pair.port.marks}
    report = Report(port, tree, only=())
    best = None     # the fewest that nothing explains, and the pins with which that is so
    for how in ("digest", "size", "any"):
        for mark in held:
            mark.pin = None
            mark.choice = tuple(pin for pin in held.values() if pin and pin.kind == mark.kind)
            sizes = tuple({(pin.kernel, pin.port) for pin in mark.choice})
            mark.sizes = {"digest": None, "size": sizes or None, "any": ()}[how]
        again = report.pair(pair.name, port.subjects[pair.name])
        found = {row.mark: marks.pin(row.mark.kind, row.kernel, row.port, again.port.units)
                 for row in again.rows if row.mark in held and row.kind != "unexplained"
                 and not named(row.mark, row)}
        loose = again.totals["unexplained"]
        if best is None or loose < best[0]:
            best = loose, found
    assert best
    for mark in held:
        mark.choice, mark.sizes, mark.pin = (), None, best[1].get(mark)
    return [f"{pair.port.path}:{mark.line}: {mark.what}: {mark.reason}: {mark.pin}"
            for mark in held if mark.pin and mark.pin not in held.values()]


def named(mark: Mark, row: Row) -> bool:
    """Whether a mark names its one statement itself, so that nobody need read it anew."""
    return mark.kind == "-" and [unit.key for unit in row.kernel] == named_units(mark)


def all_pins(port: Port) -> dict[str, list[str]]:
    """What marks.FILE holds: the pins of each function that has any, in the order of its marks."""
    found = {name: [str(mark.pin or "") for mark in subject.function.marks]
             for name, subject in sorted(port.subjects.items())}
    return {name: pins for name, pins in found.items() if any(pins)}
