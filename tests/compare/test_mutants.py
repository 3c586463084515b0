# SPDX-License-Identifier: GPL-2.0-only
"""Systematic edits of every unit of the files in scope and of every ported function, on both sides:
those that mean something are told in their place, the others are not.

A plain run takes a few by chance. --soak takes thousands of each side, at least one of each kind in
each kind of unit of each file, by a seed; with KVM_VMX_MUTANTS=all it takes all of them. Each slice
that is done is kept in pytest's cache, so that a run that was cut short goes on where it was, and
the table of them all is printed at the end. What passes is printed by name.
"""

import copy
import os

import pytest
from mutants import called_otherwise, reordered
from seeds import with_text
from sides import SIDES, Slice, chosen, judged
from tally import Tally

from kvm_vmx.compare.pairing import Units
from kvm_vmx.compare.pysource import PortFile
from kvm_vmx.compare.renaming import own_names
from kvm_vmx.compare.report import Report

LEAST = 5_000  # edits of each side that --soak makes, if there are as many
SHORT = 1  # slices of each side in a plain run


@pytest.fixture(scope="module")
def units(units_v419):
    return units_v419


@pytest.fixture(scope="module")
def tally(request, units):
    kept = request.config.cache.mkdir("mutants") if request.config.getoption("--soak") else None
    tally = Tally(kept, units)
    yield tally
    print(f"\n\n{tally.table()}")


@pytest.mark.soak
@pytest.mark.parametrize("kind", SIDES)
def test_no_edit_passes_unseen(units, tally, soak, kind):
    side = kind(units)
    if soak:
        least = LEAST if os.environ.get("KVM_VMX_MUTANTS") != "all" else None
        todo = chosen(side, least)
    else:
        todo = chosen(side, 0, SHORT)
    for each in todo:
        assert isinstance(each, Slice)
        if not tally.known(kind.__name__, each):
            tally.add(kind.__name__, each, judged(side, each))
    bad = tally.passed(kind.__name__)
    print(f"\n{kind.title}: {tally.count(kind.__name__)} edits, {len(bad)} pass")
    assert bad == []


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
                     if not any(f"_{name}" in other for other in file.functions
                                if other.startswith(function.name))}
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
