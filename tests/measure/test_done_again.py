# SPDX-License-Identifier: GPL-2.0-only
"""What a dirty clean group makes L0 do again, seen from outside: break one thing of one group.

An entry passes with some fields; then fields of a single group are spoiled and that group alone is
dirty. How the entry fails tells whose checks have looked: error 7 the controls', error 8 the
host's, exit 33 the guest's.
"""

import random

import pytest
from test_dirty_checks import GROUPS, LEAVES, MEMBERS, UNGROUPED, VECTORS
from world import BASE, EVMCS, FIELDS, GROUP_BITS, LAYOUT, World, config_a_msrs

from kvm_vmx.machine.fields import done_again
from kvm_vmx.machine.outcome import Stopped
from kvm_vmx.measure.paired import AGAIN

STEPS = 40_000
PASSED, WAITS, BAD_GUEST, BAD_LIST = "passed", "waits", 0x80000021, 0x80000022
CHECKS = {7: "control checks", 8: "host checks", BAD_GUEST: "guest checks"}
OF_GROUP = {group: [name for name in MEMBERS if GROUPS[name] == group]
            for group in set(GROUPS.values()) - UNGROUPED}
HOST_IS_WIDE, GUEST_IS_WIDE = 1 << 9, 1 << 9
PROC = BASE[FIELDS["CPU_BASED_VM_EXEC_CONTROL"]]

NARROW = {"VM_ENTRY_CONTROLS": 0x11FF, "GUEST_CS_AR_BYTES": 0xC09B, "GUEST_CR0": 0x80000031}
FLAT = {**NARROW, "GUEST_CR0": 0x31,
        "SECONDARY_VM_EXEC_CONTROL": 0x82, "EPT_POINTER": 0x301E,
        "CPU_BASED_VM_EXEC_CONTROL": PROC | 1 << 31}
# What chance would find late: fields that pass, then one of a group that its name does not tell.
RARE = {
    "an address in GRP2": (
        {"CPU_BASED_VM_EXEC_CONTROL": PROC | 1 << 21,
         "VIRTUAL_APIC_PAGE_ADDR": 0x9000}, {"VIRTUAL_APIC_PAGE_ADDR": 0x9001}, 7),
    "an EFER that is loaded now": (
        {"GUEST_IA32_EFER": 1 << 63},
        {"VM_ENTRY_CONTROLS": BASE[FIELDS["VM_ENTRY_CONTROLS"]] | 1 << 15}, BAD_GUEST),
    "paging off, and no unrestricted guest": (
        FLAT, {"CPU_BASED_VM_EXEC_CONTROL": PROC & ~(1 << 31)}, BAD_GUEST),
}


@pytest.fixture
def world():
    """A processor with an enlightened VMCS."""
    world = World(msrs=config_a_msrs(), cpuid=LEAVES, maxphyaddr=46, unfinished=True)
    world.enlighten()
    world.outside = world.cpu.save()
    return world


def write(world, fields):
    """Fields into the page; L2 goes on where it began."""
    for name, value in fields.items():
        world.put(EVMCS, MEMBERS[name], value)
    world.put(EVMCS, "guest_rip", fields.get("GUEST_RIP", BASE[FIELDS["GUEST_RIP"]]))


def entry(world, dirty):
    """How an entry with these dirty groups ends."""
    world.set_clean(0xFFFF & ~dirty)
    outcome = world.cpu.vmresume()
    if isinstance(outcome, Stopped):
        # it passed, and L2 is in a state that nothing ends: back to before all entries
        world.cpu.restore(world.outside)
        return WAITS
    if not outcome.ok:
        return outcome.error
    reason = world.get(EVMCS, "vm_exit_reason")
    return reason if reason >> 31 else PASSED


def spoiled(world, group, chance):
    """Fields of one group as a test vector has them, or with some bits changed."""
    fields = chance.choice(VECTORS)
    fields = {name: value for name, value in fields.items() if GROUPS[name] == group}
    for name in () if fields else chance.choices(OF_GROUP[group], k=2):
        size = 8 * LAYOUT[MEMBERS[name]][1]
        fields[name] = world.get(EVMCS, MEMBERS[name]) ^ 1 << chance.randrange(size)
    return fields


def test_the_masks_are_those_of_the_checks_that_look(world):
    """Nothing looks again that the masks do not name, and all that they name is seen to look."""
    chance, seen, changed = random.Random(7), dict.fromkeys(CHECKS, 0), set()
    for _ in range(STEPS):
        fields, group = chance.choice(VECTORS), chance.choice(sorted(OF_GROUP))
        write(world, {**{name: BASE.get(FIELDS[name], 0) for name in changed}, **fields})
        changed = set(fields)
        if entry(world, 0xFFFF) is PASSED:
            fields = spoiled(world, group, chance)
            write(world, fields)
            changed |= set(fields)
            how = entry(world, 1 << GROUP_BITS[group])
            if how in CHECKS:
                seen[how] |= 1 << GROUP_BITS[group]
    for before, spoil, how in RARE.values():
        write(world, {**{name: BASE.get(FIELDS[name], 0) for name in changed}, **before})
        changed = {*before, *spoil}
        assert entry(world, 0xFFFF) is PASSED, before
        write(world, spoil)
        (group,) = {GROUPS[name] for name in spoil}
        assert entry(world, 1 << GROUP_BITS[group]) == how, spoil
        seen[how] |= 1 << GROUP_BITS[group]
    seen[7] |= event_that_an_entry_left()
    seen[8] |= host_without_64_bit_mode()
    assert {CHECKS[how]: hex(mask) for how, mask in seen.items()} == {
        name: hex(mask) for name, mask in done_again().items() if name in CHECKS.values()}


def event_that_an_entry_left():
    """CR0 counts for the controls while an event is to be injected, and an exit clears that: so an
    entry that fails at its MSR list, and one without list that finds no protected mode."""
    world = World(msrs=config_a_msrs(), cpuid=LEAVES, maxphyaddr=46, unfinished=True,
                  profile="tlfs-strict")
    world.enlighten()
    write(world, {**FLAT, "VM_ENTRY_INTR_INFO_FIELD": 0x80000B0D, "VM_ENTRY_MSR_LOAD_COUNT": 1,
                  "VM_ENTRY_MSR_LOAD_ADDR": 0x9000})
    assert entry(world, 0xFFFF) == BAD_LIST
    write(world, {"VM_ENTRY_MSR_LOAD_COUNT": 0, "GUEST_CR0": 0x30})
    assert GROUPS["GUEST_CR0"] == "CRDR"
    return (entry(world, 1 << GROUP_BITS["CRDR"]) == 7) << GROUP_BITS["CRDR"]


def host_without_64_bit_mode():
    """The entry's controls count for the host where L1 is not in 64-bit mode."""
    world = World(msrs=config_a_msrs(), cpuid=LEAVES, maxphyaddr=46, unfinished=True)
    world.cpu.efer = 0
    world.enlighten()
    exit_controls = BASE[FIELDS["VM_EXIT_CONTROLS"]] & ~HOST_IS_WIDE
    write(world, {**NARROW, "VM_EXIT_CONTROLS": exit_controls})
    assert entry(world, 0xFFFF) is PASSED
    write(world, {"VM_ENTRY_CONTROLS": NARROW["VM_ENTRY_CONTROLS"] | GUEST_IS_WIDE})
    assert GROUPS["VM_ENTRY_CONTROLS"] == "CONTROL_ENTRY"
    return (entry(world, 1 << GROUP_BITS["CONTROL_ENTRY"]) == 8) << GROUP_BITS["CONTROL_ENTRY"]


def test_the_bitmap_is_read_again_for_these_groups_alone():
    found = 0
    for bit in GROUP_BITS.values():
        world = World()
        bitmap = BASE[FIELDS["MSR_BITMAP"]]
        world.enlighten(
            cpu_based_vm_exec_control=PROC | 1 << 28, hv_enlightenments_control=2)
        assert entry(world, 0xFFFF) is PASSED
        world.memory.write(bitmap, b"\1")
        write(world, {})
        assert entry(world, 1 << bit) is PASSED
        found |= world.cpu.msr_exits(0, False) << bit
    assert found == done_again()["the MSR bitmap's page"]


def test_tier_2_takes_what_l0_says():
    assert AGAIN == done_again()
