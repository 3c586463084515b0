# SPDX-License-Identifier: GPL-2.0-only
"""Profile kvm-6.12 against what the functions of Linux 6.12 compute for an L1 with its CPUID."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import kvm_612
import needed
import pytest
from world import ROOT, World

from kvm_vmx.l0.cpuid_dump import INDEXED
from kvm_vmx.l0.offers import undone_leaves
from kvm_vmx.l0.profile import PROFILES
from kvm_vmx import host, tarball, xz

pytestmark = pytest.mark.long
RECORD = ROOT / "tests/data/kvm_6.12_nested.json"
WANTED = ("arch/x86/kvm", "arch/x86/include", "include/asm-generic/hyperv-tlfs.h")
PROFILE = PROFILES["kvm-6.12"]
MSRS = [index for index in kvm_612.INDEXES if index in kvm_612.recorded(RECORD)["msr"]]
LEAVES = [*kvm_612.recorded(RECORD)["leaf"]]


@pytest.fixture(scope="module")
def tree():
    """A tree of Linux 6.12; what is wanted of a tarball stays unpacked in the user's cache."""
    needed.capability("tree-6.12", "gcc")
    place = pathlib.Path(host.find("tree-6.12"))
    if place.is_dir():
        return place
    stamp = place.stat()
    cache = host.cache() / "tests/linux-6.12"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{stamp.st_size:x}-{stamp.st_mtime_ns:x}"
    if not folder.exists():
        new = tempfile.mkdtemp(dir=cache)
        try:
            if not xz.unpack(place, WANTED, new):
                subprocess.run(["tar", "-xf", place, "-C", new, *tarball.only(WANTED)],
                               check=True, timeout=600)
            # it has its name when it is whole; another run may have been quicker
            if not folder.exists():
                os.rename(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def expected():
    """What such a tree has computed."""
    return kvm_612.recorded(RECORD)


def test_the_record_is_what_the_tree_computes(tree, expected, tmp_path):
    assert kvm_612.evaluate(tree, PROFILE.cpuid, tmp_path) == expected


@pytest.mark.parametrize("announced", [0, 1])
def test_perf_global_ctrl_follows_its_announcement(tree, announced, tmp_path):
    """nested_evmcs_filter_control_msr() asks leaf 0x4000000A EBX[0]; and so does the profile."""
    cpuid = {0x4000000A: (0xA0101, announced, 0, 0)}
    found = kvm_612.evaluate(tree, {**PROFILE.cpuid, **cpuid}, tmp_path, access=False)["msr"]
    cpu = World(vmx=False, cpuid=cpuid).cpu
    assert {index: cpu.rdmsr(index).value for index in found} == found


@pytest.mark.parametrize("index", MSRS, ids=hex)
def test_a_capability_msr(index, expected):
    """Read as L1 reads it; where the profile has another value, it says why."""
    found = World(vmx=False).cpu.rdmsr(index).value
    assert found == PROFILE.msrs[index]
    reason = PROFILE.departures.get(f"msr.{index:#x}")
    assert (found == expected["msr"][index]) == (reason is None), reason


@pytest.mark.parametrize("leaf", LEAVES, ids=hex)
def test_a_leaf_of_hyper_v(leaf, expected):
    found = list(World(vmx=False).cpu.cpuid(leaf))
    if leaf > PROFILE.cpuid[0x40000000][0]:
        assert found == [0, 0, 0, 0] and "debugger" in PROFILE.departures["cpuid.0x40000000"]
        return
    reason = PROFILE.departures.get(f"cpuid.{leaf:#x}")
    assert (found == expected["leaf"][leaf]) == (reason is None), reason


def test_no_departure_has_lost_its_value():
    keys = {f"msr.{index:#x}" for index in MSRS} | {f"cpuid.{leaf:#x}" for leaf in LEAVES}
    assert PROFILE.departures.keys() <= keys


# which leaf and register a word of the record is
WORD = {"features_eax": (0x40000003, 0), "features_ebx": (0x40000003, 1),
        "features_edx": (0x40000003, 3), "hints_eax": (0x40000004, 0), "hints_ebx": (0x40000004, 1)}
DENIED = 6


def offering(word, mask, **others):
    """The leaves that offer these bits and no other; None where L0 refuses to."""
    leaves = {0x40000003: [others.get("eax", 0), 0, 0, 0], 0x40000004: [0, 0, 0, 0]}
    leaf, register = WORD[word]
    leaves[leaf][register] |= mask
    leaves = {number: tuple(registers) for number, registers in leaves.items()}
    return None if undone_leaves({0x40000000: (0x4000000A,), **leaves}) else leaves


EVERY = 16          # in the plain run, of what nobody names


def some(numbers, named, turn, soak):
    """What is named of these numbers and what is beside it, its high half and the next indexes; and
    of all others each one in a soak, else those whose turn it is."""
    beside = {place for n in named for place in (n, n ^ 1, n - 2, n + 2) if place in numbers}
    return numbers if soak else sorted(beside | {*numbers[turn % EVERY::EVERY]})


@pytest.mark.soak
@pytest.mark.parametrize("word", ["features_eax", "features_edx"])
def test_which_msrs_a_bit_brings(word, expected, soak):
    """hv_check_msr_access(), asked about every bit of the word; 6.12 has no GUEST_IDLE."""
    idle = {1 << 10: [0x400000F0]} if word == "features_eax" else {}
    rows = expected["access"][f"{word} msr"] | idle
    named = {msr for row in rows.values() for msr in row}
    for bit in range(32):
        cpuid = offering(word, 1 << bit)
        if cpuid is None:
            # of these the debugger's is the one that KVM has
            assert rows.get(1 << bit, [0x400000F1])[0] == 0x400000F1
            continue
        cpu = World(vmx=False, cpuid=cpuid, enforce_cpuid=True).cpu
        found = {msr for msr in some(range(0x40000000, 0x40001000), named, bit, soak)
                 if cpu.rdmsr(msr).ok or cpu.wrmsr(msr, 0).ok}
        assert found == set(rows.get(1 << bit, ())), (word, bit)


@pytest.mark.soak
def test_which_calls_are_denied(expected, soak):
    """hv_check_hypercall_access(): what no bit announces, one, or both of two."""
    rows = [(word.split()[0], mask, codes) for word, masks in expected["access"].items()
            if word.endswith("call") for mask, codes in masks.items()]
    every = {code for _, _, codes in rows for code in codes}
    for turn, (word, mask, _) in enumerate([("hints_eax", 0, ()), *rows]):
        if word == "hints_ebx" and mask not in (1, 1 << 31):
            continue
        allowed = {code for other, part, codes in rows for code in codes
                   if other == word and part & mask == part}
        world = World(vmx=False, cpuid=offering(word, mask, eax=0x60), enforce_cpuid=True)
        assert world.cpu.wrmsr(0x40000000, 1).ok
        denied = {code for code in some(range(0x10000), every, turn, soak)
                  if world.cpu.hypercall(code, 0x90000, 0x91000).value & 0xFFFF == DENIED}
        assert denied == every - allowed, (word, hex(mask))


def test_the_leaves_of_which_ecx_chooses_a_part(tree):
    """cpuid_function_is_indexed() of 6.12: each of its leaves has subleaves here."""
    text = kvm_612.Tree(tree).function("cpuid_function_is_indexed", "../include/asm/cpuid.h")
    known = {int(leaf, 0) for leaf in re.findall(r"case (0x[0-9a-f]+|\d+):", text)}
    assert len(known) > 8 and known <= INDEXED


@pytest.mark.soak
def test_which_fields_vmread_and_vmwrite_know(expected, soak):
    """vmcs12_field_offsets: all of its fields, whatever is on offer, and no other."""
    world = World()
    world.plain()
    for turn, known in enumerate((lambda encoding: world.cpu.vmread(encoding).ok,
                                  lambda encoding: world.cpu.vmwrite(encoding, 0).ok)):
        tried = some(range(0x10000), expected["field"], turn, soak)
        assert {encoding for encoding in tried if known(encoding)} == set(expected["field"])


@pytest.mark.soak
@pytest.mark.parametrize("turn, profile", list(enumerate(PROFILES)), ids=list(PROFILES))
def test_the_highest_index_of_a_field(turn, profile, expected, soak):
    """SDM A.9: VMX_VMCS_ENUM is about the fields that VMREAD knows."""
    world = World(profile=profile)
    world.plain()
    tried = some(range(0x8000), expected["field"], turn, soak)
    known = [encoding for encoding in tried if world.cpu.vmread(encoding).ok]
    assert world.cpu.rdmsr(0x48A).value == max(encoding >> 1 & 0x1FF for encoding in known) << 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            kvm_612.record(RECORD, kvm_612.evaluate(
                pathlib.Path(sys.argv[1]), PROFILE.cpuid, pathlib.Path(folder)))
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr)
