# SPDX-License-Identifier: GPL-2.0-only
"""VMREAD and VMWRITE reach a field just where a plain VMCS is current, whatever came before."""

import random

import pytest
from world import ASSIST, BASE, EVMCS, FIELDS, VMCS_A, VMCS_B, VMXON, World

from kvm_vmx.machine.outcome import Fault

FIELD, READ_ONLY = FIELDS["GUEST_RSP"], FIELDS["VM_EXIT_REASON"]
STEPS = {}


def step(function):
    STEPS[function.__name__] = function


@step
def vmxon(world, rng):
    world.cpu.wrmsr(0x3A, 5)
    world.cpu.mov_to_cr(4, world.cpu.cr4 | 0x2000)
    world.cpu.vmxon(VMXON)


@step
def vmxoff(world, rng):
    world.cpu.vmxoff()


@step
def vmclear(world, rng):
    world.cpu.vmclear(rng.choice((VMCS_A, VMCS_B, EVMCS)))


@step
def vmptrld(world, rng):
    world.cpu.vmptrld(rng.choice((VMCS_A, VMCS_B, VMCS_A, VMCS_B, VMXON, 0x46000)))


@step
def enter(world, rng):
    rng.choice((world.cpu.vmlaunch, world.cpu.vmresume))()


@step
def enlighten(world, rng):
    if world.cpu.cpl == 0:
        world.enlighten()
        world.cpu.vmlaunch()


@step
def assist_off(world, rng):
    world.memory.write(ASSIST + 40, b"\0")


@step
def privilege(world, rng):
    world.cpu.cpl = rng.choice((0, 0, 3))


@step
def move(world, rng):
    world.cpu.restore(world.cpu.save())


@step
def reset(world, rng):
    if rng.randrange(4) == 0:
        world.partition.reset()


def reached(world):
    """The check that a VMWRITE is to end with, from what else says how the processor stands."""
    found = world.cpu.vmptrst()
    if isinstance(found, Fault):
        return found.why.id
    if world.cpu.active_evmcs is not None:
        return "vmwrite_enlightened"
    return "vmwrite_no_vmcs" if found.value == 2**64 - 1 else "done"


def ended(outcome):
    return "done" if outcome.ok else outcome.why.id


@pytest.mark.parametrize("seed", range(4))
def test_in_every_state_of_the_pointers(seed):
    rng, world, seen = random.Random(seed), World(), set()
    world.guest_code(bytes.fromhex("0fa2ebfc"))
    for turn in range(300):
        STEPS[rng.choice(list(STEPS))](world, rng)
        expected, value = reached(world), rng.getrandbits(40)
        seen.add(expected)
        if expected == "done":
            for field in BASE:
                assert world.cpu.vmwrite(field, BASE[field]).ok
        assert ended(world.cpu.vmwrite(FIELD, value)) == expected, turn
        got = world.cpu.vmread(FIELD)
        if expected == "vmwrite_enlightened":
            # this profile answers, from the page
            assert got.value == world.get(world.cpu.active_evmcs, "guest_rsp")
        else:
            assert ended(got) == expected.replace("write", "read")
            assert expected != "done" or got.value == value
        # no field, the upper half of what has none, what is beside a number
        for none in (0x4C02, FIELD | 1, FIELD | 1 << 32, FIELD | 1 << 16, 0xFFFF, 1 << 63):
            why = expected.replace("done", "vmwrite_component")
            assert ended(world.cpu.vmwrite(none, 0)) == why, hex(none)
            why = why.replace("vmwrite_enlightened", "vmread_no_place").replace("write", "read")
            assert ended(world.cpu.vmread(none)) == why, hex(none)
        # on this profile VMWRITE reaches what is read-only elsewhere
        assert ended(world.cpu.vmwrite(READ_ONLY, turn)) == expected
        assert expected != "done" or world.cpu.vmread(READ_ONLY).value == turn
    assert seen == {"done", "vmwrite_no_vmcs", "vmwrite_enlightened", "insn_not_in_vmx",
                    "insn_privilege"}


def test_no_number_but_a_fields_is_one():
    """All of 16 bits, by the list in the header: two numbers of one place are not one field."""
    world = World()
    world.plain()
    known = set(FIELDS.values())
    for number in range(1 << 16):
        outcome = world.cpu.vmread(number)
        if outcome.ok:
            assert number & ~1 in known, hex(number)
            assert not number & 1 or number >> 13 == 1, hex(number)
