# SPDX-License-Identifier: GPL-2.0-only
"""All refusals at once: the first is the entry's own answer, and none hides another's fault."""

import itertools
import random

import pytest
from test_entry_vectors import fields_of, has_members, is_covered
from test_named_checks import COUNTERS, E, ROWS, STATES, why_enlightened, world
from world import DATA, FIELDS

AT_ENTRY = ("exit 34",)         # found in a list in memory, once the fields have passed


@pytest.fixture(scope="module")
def plain():
    return world(cpuid=COUNTERS)


@pytest.fixture(scope="module")
def enlightened():
    return world(cpuid={**COUNTERS, 0x4000000A: (0x2A0101, 1, 0, 0)}, profile="tlfs-strict")


@pytest.mark.parametrize("case", DATA["cases"])
def test_the_first_is_what_the_entry_says(plain, enlightened, case):
    for base, changes, expected, label in DATA["cases"][case]:
        fields = fields_of(base, changes)
        plain.plain(**fields)
        before = plain.cpu.refusals()
        asked = [(plain.cpu.vmlaunch().why, before)]
        if has_members((base, changes)) and is_covered(base, changes):
            why = why_enlightened(enlightened, fields)
            # an entry that succeeds has changed what is asked
            asked.append((why, enlightened.cpu.refusals() if why else []))
        for why, found in asked:
            if why is None or ROWS[why.id]["ends"] in AT_ENTRY:
                assert found == [], label
            else:
                assert found[0] == why, (label, found)
            assert len({one.id for one in found}) == len(found)


SINGLE = {id: state for id, state in STATES.items() if ROWS[id]["ends"] not in AT_ENTRY}


# What changes the mode of the guest, or makes it unrestricted, changes the rules for the others.
MODES = {id for id, state in SINGLE.items()
         if not state.get("VM_ENTRY_CONTROLS", E) & 0x200 or state.get("GUEST_RFLAGS", 0) >> 17 & 1
         or state.get("SECONDARY_VM_EXEC_CONTROL", 0) & 0x80}
# What a state breaks besides.
BESIDES = {"posted_without_virtual": ["tpr_shadow_needed"], "ldtr_table": ["ldtr_fine"],
           "host_address_space": ["host_guest_wider"],
           **{id: ["guest_rflags_vm"] for id in SINGLE if id.startswith("vm86_")}}


def pairs():
    """Two states that touch no field both, and neither is what the other's check looks at."""
    def looked_at(id):
        return {ROWS[id]["field"], ROWS[id]["other"]}

    for a, b in itertools.combinations(sorted(SINGLE.keys() - MODES), 2):
        first, second = SINGLE[a], SINGLE[b]
        if not (first.keys() & second.keys() or looked_at(a) & second.keys()
                or looked_at(b) & first.keys()):
            yield a, b


def test_two_faults_are_both_told(plain):
    chosen = random.Random(5).sample(sorted(pairs()), 600)
    for a, b in chosen:
        plain.plain(**SINGLE[a], **SINGLE[b])
        found = [one.id for one in plain.cpu.refusals()]
        assert found[0] in (a, b) and {a, b} <= set(found), (a, b, found)


@pytest.mark.parametrize("id", SINGLE)
def test_a_state_of_one_fault_has_no_other(plain, id):
    plain.plain(**SINGLE[id])
    assert [one.id for one in plain.cpu.refusals()] == [id, *BESIDES.get(id, [])]


def test_asking_changes_nothing(plain):
    plain.plain(**STATES["guest_rflags_if"])
    why = plain.cpu.vmlaunch().why
    value = plain.cpu.vmread(FIELDS["GUEST_RFLAGS"]).value
    assert plain.cpu.refusals() == plain.cpu.refusals() == [why]
    assert plain.cpu.vmread(FIELDS["GUEST_RFLAGS"]).value == value
    assert plain.cpu.vmlaunch().why == why


def test_without_a_vmcs_there_is_nothing_to_ask(plain):
    assert world().cpu.refusals() == []
