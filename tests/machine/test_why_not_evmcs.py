# SPDX-License-Identifier: GPL-2.0-only
"""Why a module does not use enlightened VMCSs: one broken condition at a time, as data."""

import pathlib
import re

import needed
import pytest

from kvm_vmx import host
from kvm_vmx.compare.opening import open_tree
from kvm_vmx.conditions import ORDER, RECOMMENDED, RUNGS, VERSION_MASK
from kvm_vmx.evidence import Evidence
from kvm_vmx import conditions

TREES = {"4.19": "tree-4.19", "6.1": "tree-6.1", "6.12": "tree-6.12"}
KVM = (0x4000000A, 0x4B4D564B, 0x564B4D56, 0x4D)
MICROSOFT = (0x7263694D, 0x666F736F, 0x76482074)

# {condition: (what the machine is, what the module is asked for)}
BROKEN = {
    "hypervisor": ({"cpuid": {1: (0x606A6, 0x10800, 0x7EFA3223, 0x1F8BFBFF)}}, {}),
    "signature": ({"cpuid": {0x40000000: KVM}}, {}),
    "leaves": ({"cpuid": {0x40000000: (0x40000004, *MICROSOFT)}}, {}),
    "registers": ({"cpuid": {0x40000003: (0x2E1F, 0, 0, 0)}}, {}),
    "config": ({}, {"config": "no-hyperv"}),
    "parameter": ({}, {"enlightened_vmcs": False}),
    "hint": ({"cpuid": {0x40000004: (0x902C2C, 0xFFF, 0, 0)}}, {}),
    "version": ({"cpuid": {0x4000000A: (0x4A0000, 0, 0, 0)}}, {}),
    "assist": ({"no_assist_page": [1]}, {}),
}


@pytest.mark.parametrize("condition", BROKEN)
def test_the_broken_condition_is_named_first(kernel, condition):
    machine, module = BROKEN[condition]
    if "config" in module and not kernel.is_port:
        pytest.skip("a tree's own KVM is built one way")
    with kernel(2, lints=True, **machine) as m:
        try:
            kvm = m.insmod(**module)
        except ValueError:
            pytest.skip("this build has one variant alone")
        assert not kvm.enable_evmcs
        first = kvm.why_not_evmcs[0]
        assert first.id == condition and first.holds is False and first.evidence
        assert (first.file, first.function) == RUNGS[condition].places["4.19"][:2]
        said = [lint.explain() for lint in m.lints if lint == "evmcs_not_used"]
        # who asked for none misses none
        assert bool(said) is (condition not in ("parameter", "config"))
        assert all(first.why in line for line in said)


@pytest.mark.needs("hyperv")
def test_there_is_no_reason_where_they_are_used(kernel):
    with kernel(1, lints=True) as m:
        kvm = m.insmod()
        assert kvm.enable_evmcs and kvm.why_not_evmcs == ()
        assert "evmcs_not_used" not in m.lints


def test_several_are_told_in_the_order_of_the_kernel(kernel):
    with kernel(1, cpuid={0x40000004: (0, 0, 0, 0), 0x4000000A: (0, 0, 0, 0)}) as m:
        kvm = m.insmod(enlightened_vmcs=False)
        found = [finding.id for finding in kvm.why_not_evmcs if finding.id != "config"]
        assert found == ["parameter", "hint", "version"]


@pytest.mark.needs("hyperv")
def test_what_comes_after_the_load_changes_nothing(kernel):
    with kernel(cpus=1, possible_cpus=2, no_assist_page=[1]) as m:
        kvm = m.insmod()
        if kernel.version >= (6, 12):
            # which takes no CPU that it cannot have a page for
            with pytest.raises(OSError, match="CPU 1 online"):
                m.online(1)
        else:
            m.online(1)
        assert kvm.enable_evmcs and kvm.why_not_evmcs == ()


def text_of(tree, place):
    """The text of a function in a kernel's file, with what stands on its first line."""
    source = tree[place.file]
    hit = re.search(rf"^\w[^\n;]*\b{place.function}\([^;{{]*\n?{{.*?^}}", source, re.M | re.S)
    assert hit, place
    return hit[0]


def under_hyperv(tree, place):
    """Whether words in a file are compiled with CONFIG_HYPERV alone."""
    open_now = []
    for line in tree[place.file].splitlines():
        if re.match(r"\s*#\s*if", line):
            open_now.append(line)
        elif re.match(r"\s*#\s*endif", line):
            open_now.pop()
        elif place.words in line:
            return any("CONFIG_HYPERV" in one for one in open_now)
    return False


@pytest.mark.parametrize("release", TREES)
def test_each_row_stands_in_the_kernel_and_in_its_order(release):
    needed.capability(TREES[release])
    tree = open_tree(host.find(TREES[release])).files
    assert under_hyperv(tree, RUNGS["hint"].places[release])
    rows = [(name, RUNGS[name].places[release]) for name in ORDER[release]]
    for name, place in rows:
        assert place.words in text_of(tree, place), name
    # rows in a row of one function are asked in the order in which they stand there
    for (_, place), (_, after) in zip(rows, rows[1:]):
        if place.function == after.function:
            text = text_of(tree, place)
            assert text.index(place.words) <= text.index(after.words), (place, after)


@pytest.mark.host("tree-4.19")
def test_the_numbers_are_the_headers():
    header = pathlib.Path(
        host.find("tree-4.19"), "arch/x86/include/asm/hyperv-tlfs.h").read_text(encoding="utf-8")

    def number(name):
        text = re.search(rf"^#define {name}\s+(\S.*?)\s*(?:/\*|$)", header, re.M)[1]
        one, shift, by = re.fullmatch(r"\(?(\w+)( << (\d+))?\)?", text).groups()
        return int(one, 0) << int(by or 0)

    assert number("HV_X64_ENLIGHTENED_VMCS_RECOMMENDED") == RECOMMENDED
    assert number("HV_X64_ENLIGHTENED_VMCS_VERSION") == VERSION_MASK
    assert number("HYPERV_CPUID_MIN") == conditions.LOWEST_LEAF
    assert number("HYPERV_CPUID_MAX") == conditions.HIGHEST_LEAF
    assert number("HYPERV_CPUID_NESTED_FEATURES") == conditions.NESTED_LEAF
    assert number("HV_X64_MSR_HYPERCALL_AVAILABLE") == conditions.HYPERCALL
    assert number("HV_X64_MSR_VP_INDEX_AVAILABLE") == conditions.VP_INDEX


def test_no_row_judges_without_its_facts():
    """With nothing known no condition is broken, and none but a default holds."""
    for kernel in ORDER:
        found = conditions.walk({}, kernel)
        assert {one.id for one in found if one.holds is not None} == {"parameter"}
    alone = conditions.walk({"vendor": Evidence("HygonGenuine", "x:1")})
    assert [one.id for one in alone if one.holds is False] == ["vmx"]
