# SPDX-License-Identifier: GPL-2.0-only
"""An entry checks what its dirty groups concern: the result is that of all checks."""

import random

import pytest
from world import BASE, DATA, EVMCS, FIELDS, GROUP_BITS, TABLE, VMCS_A, World, config_a_msrs

LEAVES = {0xA: (4 << 8, 0, 0, 3), 0x4000000A: (0x2A0101, 1, 0, 0)}
MEMBERS = {encoding: member for encoding, member, _ in TABLE}
GROUPS = {encoding: group for encoding, _, group in TABLE}
# without a clean bit: read at every entry, whatever is dirty
UNGROUPED = {"ALL", "NONE"}
LEFT = ("vm_instruction_error", "vm_exit_reason", "exit_qualification")
VECTORS = [
    {name: int(value, 16) for name, value in changes.items()}
    for rows in DATA["cases"].values() for _, changes, _, _ in rows
    if all(name in MEMBERS for name in changes)]
STEPS = 700


def worlds(**second):
    options = {"msrs": config_a_msrs(), "cpuid": LEAVES, "maxphyaddr": 46}
    return World(**options, unfinished=True), World(**options, **second, unfinished=True)


def steps(seed, soak):
    """What to write before each entry: a vector's fields on what BASE has, another's on that."""
    rng = random.Random(seed)
    changed = set()
    for _ in range(STEPS * (100 if soak else 1)):
        first, second = rng.choices(VECTORS, k=2)
        yield {**{name: BASE.get(FIELDS[name], 0) for name in changed}, **first}
        yield second
        changed = first.keys() | second.keys()


@pytest.mark.rule("R34", "R37")
@pytest.mark.parametrize("seed", range(3))
def test_dirty_groups_of_an_evmcs(seed, soak):
    """Beside a machine that reads and checks all of the page at each entry."""
    pair = worlds(cache_policy="never")
    for world in pair:
        world.enlighten()
        assert world.cpu.vmlaunch().ok
    results = set()
    for fields in steps(seed, soak):
        dirty = sum({1 << GROUP_BITS[GROUPS[name]] for name in fields
                     if GROUPS[name] not in UNGROUPED})
        found = []
        for world in pair:
            for name, value in fields.items():
                world.put(EVMCS, MEMBERS[name], value)
            # L2 goes on where it began
            world.put(EVMCS, "guest_rip", fields.get("GUEST_RIP", BASE[FIELDS["GUEST_RIP"]]))
            world.set_clean(0xFFFF & ~dirty)
            outcome = world.cpu.vmresume()
            found.append((repr(outcome), *(world.get(EVMCS, name) for name in LEFT)))
        assert found[0] == found[1], fields
        results.add(found[0][:3])
    assert len(results) > 4, "errors 7 and 8, exit 33, and what L2 did"


@pytest.mark.parametrize("seed", range(3))
def test_fields_written_to_a_plain_vmcs(seed, soak):
    """Beside a machine whose VMCS becomes current anew before each entry."""
    pair = first, second = worlds()
    for world in pair:
        world.plain()
    launched = False
    for fields in steps(seed, soak):
        fields = {**fields, "GUEST_RIP": fields.get("GUEST_RIP", BASE[FIELDS["GUEST_RIP"]])}
        for world in pair:
            for name, value in fields.items():
                assert world.cpu.vmwrite(FIELDS[name], value).ok
        assert second.cpu.vmclear(VMCS_A).ok and second.cpu.vmptrld(VMCS_A).ok
        exits = first.cpu.counters()["exits"]
        found = [first.cpu.vmresume() if launched else first.cpu.vmlaunch(),
                 second.cpu.vmlaunch()]
        launched = launched or first.cpu.counters()["exits"] > exits
        left = [[world.cpu.vmread(FIELDS[name]).value for name in (
            "VM_INSTRUCTION_ERROR", "VM_EXIT_REASON", "EXIT_QUALIFICATION")] for world in pair]
        assert (repr(found[0]), left[0]) == (repr(found[1]), left[1]), fields
