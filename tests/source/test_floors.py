# SPDX-License-Identifier: GPL-2.0-only
"""The one rule of the house: L1 and L0 share memory and instructions, and nothing else."""

import importlib.util
import re

import pytest
import tree

IMPORT = re.compile(
    r"^\s*(?:from|c?import|include)\b.*$|^\s*cdef extern from .*$|^\s*#\s*include.*$", re.M)


def reaches(source, room):
    """The lines by which source text reaches a room of kvm_vmx."""
    name = re.compile(
        rf"\bkvm_vmx[./]{room}\b|\bfrom\s+\.+{room}\b|\bimport\s+{room}\b|[\"</.]{room}/")
    return [line for line in IMPORT.findall(source) if name.search(line)]


@pytest.mark.parametrize("here, there", [
    ("kvm_vmx/l0", "l1"), ("kvm_vmx/l1", "l0"),
    ("kvm_vmx/l0", "machine"), ("kvm_vmx/l1", "machine"),
    ("kvm_vmx/l0", "trap"), ("kvm_vmx/l1", "trap"), ("kvm_vmx/trap", "machine"),
    ("kvm_vmx/abi", "l0"), ("kvm_vmx/abi", "l1"), ("include", "l0"), ("include", "l1"),
])
def test_no_floor_reaches_across_or_up(here, there):
    files = tree.under(here)
    assert files
    assert {str(path): reaches(tree.text(path), there) for path in files
            if reaches(tree.text(path), there)} == {}


@pytest.fixture(scope="module")
def graph():
    """dev/graph.py."""
    spec = importlib.util.spec_from_file_location("graph", tree.ROOT / "dev/graph.py")
    graph = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(graph)
    return graph


def test_no_arrow_goes_up_and_no_ring_is_ours(graph):
    """What imports, cimports and includes say, drawn by dev/graph.py."""
    arrows = graph.edges(graph.files()) - graph.LATE
    assert len(arrows) > 500 and graph.arrows_up(arrows) == []
    assert {graph.room(one) for arrow in arrows for one in arrow} == {
        room for rooms in graph.FLOORS for room in rooms} - {"profiles"}
    assert {graph.room(one) for ring in graph.cycles(arrows) for one in ring} <= graph.OWN_CYCLES
    up = ("kvm_vmx/abi/types", "kvm_vmx/machine/vm")
    assert graph.arrows_up(arrows | {up}) == [up]
    assert [up[0], up[1]] in graph.cycles({up, up[::-1]})


def test_a_name_means_one_thing(graph):
    """But for names of a part that is played in several rooms: each of those still is."""
    texts = graph.files()
    found = graph.counts(texts)
    twice = [f"{kind} names that mean two things" for kind in ("class", "file")]
    assert [found[what] for what in twice] == [[], []]
    assert set(found["names of a part that stands in several rooms"]) == {
        *graph.FILE_ROLES, *graph.CLASS_ROLES}
    seeded = graph.counts({**texts, "kvm_vmx/run/stats.py": "class HunkLine:\n    pass\n",
                           "kvm_vmx/run/folding.py": "", "kvm_vmx/machine/mtrr.py": ""})
    assert [seeded[what] for what in twice] == [["HunkLine"], ["folding"]]


def test_a_command_is_a_command(graph):
    """Every command.py is one of the subcommands that kvm-vmx has."""
    rooms = [path for path in graph.files() if path.endswith("/command.py")]
    assert len(rooms) >= 10 and not [path for path in rooms
                                     if "\ndef configure(" not in tree.text(path)]


@pytest.mark.parametrize("name", ["GuestMemory", "Registers"])
def test_both_kernels_offer_the_same(name):
    """What bears one name in kernel/ and in machine/ has the same members for who uses it."""
    both = [importlib.import_module(module) for module in (
        "kvm_vmx.kernel.guest",
        {"GuestMemory": "kvm_vmx.machine.vm", "Registers": "kvm_vmx.machine.vcpu"}[name])]
    one, other = ({member for member in dir(getattr(module, name)) if member[0] != "_"}
                  for module in both)
    assert one == other and one


def test_a_reach_is_seen():
    lines = [
        "from kvm_vmx.l1.vmx cimport vmx_init", "cimport kvm_vmx.l1.x86", "from ..l1 import linux",
        "from kvm_vmx import l1", 'cdef extern from "kvm_vmx/l1/foo.h" nogil:',
        "#include <kvm_vmx/l1/foo.h>", '# include "../l1/foo.h"',
    ]
    assert reaches("\n".join(lines), "l1") == lines
    assert reaches("\n".join(lines), "l0") == []


KERNEL_PREFIX = re.compile(r"^(?:evmcs|vmcs|hv|vmx|kvm)_")
DEFINED = re.compile(r"^(?:cdef|cpdef|def|static|extern)\b[^=:]*?\b(\w+)\(", re.M)


def test_l0_uses_its_own_words():
    files = tree.under("kvm_vmx/l0")
    defined = {(str(path), name) for path in files for name in DEFINED.findall(tree.text(path))}
    assert defined
    assert {pair for pair in defined if KERNEL_PREFIX.match(pair[1])} == set()
