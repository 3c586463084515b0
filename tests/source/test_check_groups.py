# SPDX-License-Identifier: GPL-2.0-only
"""Each VM-entry check names the clean groups that it reads: those of the fields in its text."""

import functools
import re

import pytest
import tree

CHECKS = ("control_checks", "guest_checks", "segment_checks")
SECONDARY = {"CONTROL_GRP1", "CONTROL_PROC"}
# What a check is told: the secondary controls in force, the exit control of 64-bit mode.
GIVEN = {"secondary": SECONDARY, "wide": {"CONTROL_GRP1"}}


def bodies():
    """The text of each function of the checks, its parameters in it."""
    text = "".join(tree.text(f"kvm_vmx/l0/entry/{name}.pxi") for name in CHECKS)
    return {found[1]: found[0] for found in re.finditer(
        r"^cdef \w+ (\w+)\((?:.|\n(?=[ \n]))*", text, re.M)}


def groups_of_fields():
    """Member: clean groups. What has no group makes GRP1 dirty or is looked at each time."""
    table = tree.text("include/asm/evmcs_fields.h")
    found = {
        member: {"ALL": {"CONTROL_GRP1"}, "NONE": set()}.get(group, {group})
        for member, group in re.findall(r"^EVMCS_FIELD\(\w+, (\w+), (\w+)\)", table, re.M)}
    slotless = re.findall(r"L0_FIELD\(\w+, ([a-z]\w+).*?, L0_GROUP\((\w+)\)\)",
                          tree.text("kvm_vmx/l0/vmcs/fields.h"))
    found |= {member: {group} for member, group in slotless}
    # read with one group where it comes from an eVMCS, with another where VMWRITE sets it
    return found | {"tsc_multiplier": {"CONTROL_GRP1", "CONTROL_GRP2"}}


BODIES, FIELDS = bodies(), groups_of_fields()


@functools.cache
def read_by(function):
    """The clean groups of all that a function reads, what it calls included."""
    body = BODIES[function]
    found = set()
    for member in re.findall(r"\b(?:v\.f|f|v)\.([a-z]\w+)", body):
        found |= FIELDS.get(member, set())
    for name, groups in GIVEN.items():
        if re.search(rf"\b{name}\b", body) and f"cdef bint {name}" not in body:
            found |= groups
    for called in set(re.findall(r"\b(\w+)\(", body)) & BODIES.keys() - {function}:
        found |= read_by(called)
    return frozenset(found)


def declared():
    """NAME_GROUPS of check_groups.pxd, as sets of groups."""
    found = {"SECONDARY": SECONDARY}
    text = re.sub(r"\n {8,}", " ", tree.text("kvm_vmx/l0/check_groups.pxd"))
    for name, value in re.findall(r"^    (\w+_GROUPS) = (.*)$", text, re.M):
        terms = re.findall(r"\w+", value.replace("GROUP_", ""))
        found[name] = set().union(*(found.get(term, {term}) for term in terms))
    return found


GROUPS = declared()
CHECKED = {name: name[:-7].lower() + "_refusal" for name in GROUPS
           if name.endswith("_GROUPS") and name != "RUN_GROUPS"}


def test_every_check_is_known():
    assert len(CHECKED) == 21


@pytest.mark.parametrize("name", CHECKED)
def test_a_check_runs_where_a_group_that_it_reads_is_dirty(name):
    assert GROUPS[name] == read_by(CHECKED[name])


@pytest.mark.parametrize("name", CHECKED)
def test_a_check_is_behind_its_groups(name):
    used = re.findall(rf"dirty & {name}\b[^\n]*\n?[^\n]*", "".join(BODIES.values()))
    assert len(used) == 1 and f"{CHECKED[name]}(" in used[0] + BODIES[CHECKED[name]]
