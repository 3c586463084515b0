# SPDX-License-Identifier: GPL-2.0-only
"""The comparison cannot be fooled: a small edit on either side leaves an unexplained row."""

import random

import pytest
from mutate import KINDS, carried, edited_c, edited_port, unexplained
from snippets import HEAD, PAIRS, c_function, pins_of, port_function

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.pysource import PortFile

EDITS, SOAK = 200, 5000


@pytest.mark.soak
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("kind", KINDS)
def test_snippets(name, kind, soak):
    c, text = PAIRS[name]
    kernel, port = c_function(c), port_function(text)
    chance = random.Random(f"{name} {kind}")
    for _ in range(400 if soak else 16):
        edited = edited_c(kernel, c, kind, chance, {"CONFIG_HYPERV": 1})
        assert edited is None or unexplained(edited, port) > 0, edited.units
        edited = edited_port(port, HEAD + text, kind, chance)
        assert edited is None or unexplained(kernel, edited) > 0, edited.units


def own_text(file, function):
    """The source of one function, comments and conditions included."""
    return "\n".join(file.rows[function.line - 1:function.end]) + "\n"


@pytest.mark.soak
def test_the_kernels_functions(report_v419, soak):
    tree, chance = report_v419.tree, random.Random(419)
    pairs = []
    for pair in report_v419.pairs:
        source = own_text(tree.file(pair.kernel.path), pair.kernel)
        alone = CFile(pair.kernel.path, source, tree.config).function(pair.kernel.name)
        if alone is None or pair.kernel.units[0].kind != "def":
            continue
        stubs = [(n, u) for n, u in enumerate(pair.kernel.units) if u.kind == "stub"]
        for place, unit in stubs:
            alone.units.insert(place, unit)
        assert unexplained(alone, pair.port) == 0, pair.name
        pairs.append((pair, alone, source))
    assert len(pairs) > 400
    done = 0
    while done < (SOAK if soak else EDITS):
        pair, kernel, source = chance.choice(pairs)
        edited = edited_c(kernel, source, chance.choice(KINDS), chance, tree.config)
        if edited is None:
            continue
        done += 1
        assert unexplained(edited, pair.port) > 0, (pair.name, [u.text for u in edited.units])


@pytest.mark.soak
def test_the_ports_functions(report_v419, soak):
    port, chance = report_v419.port, random.Random(914)
    pairs = [pair for pair in report_v419.pairs if pair.kernel.units[0].kind == "def"]
    done = 0
    while done < (SOAK if soak else EDITS):
        pair = chance.choice(pairs)
        file = port.files[pair.port.path]
        function = file.functions[pair.port.name][0]
        if len(function.units) != len(pair.port.units):
            continue  # it stands in several functions, one a label
        first = min([function.line, *(mark.line for mark in function.marks)])
        source = HEAD + "\n".join(file.rows[first - 1:function.end]) + "\n"
        alone = PortFile(pair.port.path, source, pins_of(function)).functions[pair.port.name][0]
        if unexplained(pair.kernel, alone):
            continue
        edited = edited_port(alone, source, chance.choice(KINDS), chance)
        if edited is None:
            continue
        done += 1
        assert unexplained(pair.kernel, edited) > 0, (pair.name, [u.text for u in edited.units])


def carries(pair, chance, places: int):
    """The port's function with each mark and its statements carried elsewhere: before and behind
    their neighbours, and to some places by chance."""
    units = [unit for unit in pair.port.units if unit.kind != "decl" and not unit.silent]
    for mark in pair.port.marks:
        if not mark.pin or not mark.pin.port:
            continue
        at = [n for n, unit in enumerate(units) if unit.line > mark.line]
        near = range(max(at[0] - 2, 0), min(at[0] + mark.pin.port + 2, len(units))) if at else ()
        for n in {*near, *(chance.randrange(len(units)) for _ in range(places))}:
            if (edited := carried(pair.port, mark, units[n])) is not None:
                yield f"{pair.name}: line {mark.line} behind {units[n].text}", edited


@pytest.mark.soak
def test_no_mark_moves_with_its_statements_unseen(report_v419, soak):
    chance, bad, done = random.Random(20), [], 0
    pairs = [pair for pair in report_v419.pairs
             if pair.kernel.units[0].kind == "def" and any(mark.pin for mark in pair.port.marks)]
    for pair in pairs:
        added = any(mark.pin and not mark.pin.kernel for mark in pair.port.marks)
        if not (soak or added or chance.random() < .3):
            continue
        for what, edited in carries(pair, chance, 9 if soak else 1):
            done += 1
            if not unexplained(pair.kernel, edited):
                bad.append(what)
    assert done > (1000 if soak else 100)
    assert bad == []
