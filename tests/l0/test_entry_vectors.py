# SPDX-License-Identifier: GPL-2.0-only
"""Every VM-entry check vector: through a plain VMCS, and where the field exists an eVMCS."""

import pytest
from world import BASE, DATA, EVMCS, FIELDS, TABLE, World, config_a_msrs

from kvm_vmx.machine.fields import other_members
from kvm_vmx.machine.outcome import VMfailValid, VMsucceed

ERROR, REASON, QUALIFICATION = 0x4400, 0x4402, 0x6400
# leaf 0xa: four general counters, three fixed ones
COUNTERS = {0xA: (4 << 8, 0, 0, 3)}
MEMBERS = {encoding: member for encoding, member, _ in TABLE}
# Fields of a later revision of the eVMCS, at offsets that v4.19 calls padding.
LATER = {name: row["offset"] for name, row in other_members().items() if name.isupper()}
# Controls whose fields an eVMCS has no place for: preemption timer and posted interrupts; APIC
# accesses, APIC registers, virtual interrupts, pause loops, VM functions, shadow VMCS, PML.
UNCOVERED = {"PIN_BASED_VM_EXEC_CONTROL": 0xC0, "SECONDARY_VM_EXEC_CONTROL": 0x26701,
             "VM_EXIT_CONTROLS": 1 << 22}


@pytest.fixture(scope="module")
def plain():
    return World(msrs=config_a_msrs(), unfinished=True, cpuid=COUNTERS, maxphyaddr=46)


@pytest.fixture(scope="module", params=["kvm-6.12", "tlfs-strict"])
def enlightened(request):
    # with EAX[21]: a debug control may be used, and is judged by its bits
    leaves = {**COUNTERS, 0x4000000A: (0x2A0101, 1, 0, 0)}
    return World(msrs=config_a_msrs(), unfinished=True, cpuid=leaves, maxphyaddr=46,
                 profile=request.param)


def fields_of(base, changes):
    """The fields that a vector changes; BASE0 is BASE with RFLAGS 0."""
    fields = {name: int(value, 16) for name, value in changes.items() if name[0] != "@"}
    return {"GUEST_RFLAGS": 0, **fields} if base == "BASE0" else fields


def named(base, outcome, error, reason, qualification):
    """What the vectors call a result: CTL7, HST8, PASS, GST[/q] or ENTER."""
    if isinstance(outcome, VMfailValid):
        assert outcome.error == error
        return {7: "CTL7", 8: "HST8"}[error]
    assert isinstance(outcome, VMsucceed)
    if reason != 0x80000021:
        return "ENTER"
    if base == "BASE0":
        return "PASS"
    return f"GST/{qualification}" if qualification else "GST"


def through_plain(world, base, changes):
    """The result with a plain VMCS; the error field keeps what it held unless the entry fails."""
    world.plain(**fields_of(base, changes))
    cpu = world.cpu
    assert cpu.vmwrite(0xFFFFFFFF, 0).error == 12
    outcome = cpu.vmlaunch()
    error = cpu.vmread(ERROR).value
    assert isinstance(outcome, VMfailValid) or error == 12
    return named(base, outcome, error, cpu.vmread(REASON).value, cpu.vmread(QUALIFICATION).value)


def through_enlightened(world, base, changes):
    """The result with an eVMCS, written as stores into its page."""
    fields = fields_of(base, changes)
    world.enlighten(**{MEMBERS[name]: value for name, value in fields.items() if name in MEMBERS})
    for name, offset in LATER.items():
        if name in fields:
            world.memory.write_u64(EVMCS + offset, fields[name])
    outcome = world.cpu.vmlaunch()
    return named(base, outcome, world.get(EVMCS, "vm_instruction_error"),
                 world.get(EVMCS, "vm_exit_reason"), world.get(EVMCS, "exit_qualification"))


def has_members(row):
    return all(name in MEMBERS or name in LATER for name in row[1] if name[0] != "@")


def is_covered(base, changes):
    """Does the vector leave alone what an eVMCS has no fields for?"""
    fields = {**{name: BASE.get(FIELDS[name], 0) for name in UNCOVERED}, **fields_of(base, changes)}
    return not any(fields[name] & bits for name, bits in UNCOVERED.items())


@pytest.mark.parametrize("case", DATA["cases"])
def test_vectors_of(plain, case):
    wrong = [
        (label, expected, got)
        for base, changes, expected, label in DATA["cases"][case]
        if (got := through_plain(plain, base, changes)) != expected
    ]
    assert not wrong


def ignored(profile, changes):
    """MSR lists and CR3 targets, which kvm-6.12 does not read from an eVMCS (R58)."""
    return profile == "kvm-6.12" and any(
        "_MSR_" in name or name == "CR3_TARGET_COUNT" for name in changes)


@pytest.mark.rule("R34", "R58", "R61", "R63", "K15")
@pytest.mark.parametrize("case", DATA["cases"])
def test_enlightened_vectors_of(enlightened, case):
    """The same results; a control without its field is error 7, whatever else is wrong."""
    profile, wrong = enlightened.partition.profile.name, []
    for base, changes, expected, label in filter(has_members, DATA["cases"][case]):
        if not is_covered(base, changes):
            expected = "CTL7"
        elif ignored(profile, changes):
            expected = "PASS"
        got = through_enlightened(enlightened, base, changes)
        if got != expected:
            wrong.append((label, expected, got))
    assert not wrong


def test_every_vector_has_an_enlightened_form():
    rows = [row for rows in DATA["cases"].values() for row in rows]
    assert len(rows) == 1393
    assert all(map(has_members, rows))
    differ = sum(not is_covered(*row[:2]) and row[2] != "CTL7" for row in rows)
    assert differ == 2


def test_every_field_of_the_vectors_is_known():
    names = {name for rows in DATA["cases"].values() for row in rows for name in row[1]}
    assert {name for name in names if name[0] != "@"} <= set(FIELDS)
