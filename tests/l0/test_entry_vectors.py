# SPDX-License-Identifier: GPL-2.0-only
"""Every VM-entry check vector, through a plain VMCS."""

import pytest
from world import DATA, FIELDS, World, config_a_msrs

from kvm_vmx.machine.outcome import VMfailValid, VMsucceed

ERROR, REASON, QUALIFICATION = 0x4400, 0x4402, 0x6400
# leaf 0xa: four general counters, three fixed ones
COUNTERS = {0xA: (4 << 8, 0, 0, 3)}


@pytest.fixture(scope="module")
def world():
    return World(msrs=config_a_msrs(), cpuid=COUNTERS, maxphyaddr=46)


def result_of(world, base, changes):
    """What the vectors call the result: CTL7, HST8, PASS, GST[/q] or ENTER."""
    fields = {name: int(value, 16) for name, value in changes.items() if name[0] != "@"}
    if base == "BASE0":
        fields = {"GUEST_RFLAGS": 0, **fields}
    world.plain(**fields)
    cpu = world.cpu
    assert cpu.vmwrite(0xFFFFFFFF, 0).error == 12
    outcome = cpu.vmlaunch()
    if isinstance(outcome, VMfailValid):
        assert outcome.error == cpu.vmread(ERROR).value
        return {7: "CTL7", 8: "HST8"}[outcome.error]
    assert isinstance(outcome, VMsucceed)
    if cpu.vmread(REASON).value != 0x80000021:
        return "ENTER"
    assert cpu.vmread(ERROR).value == 12
    if base == "BASE0":
        return "PASS"
    why = cpu.vmread(QUALIFICATION).value
    return f"GST/{why}" if why else "GST"


@pytest.mark.parametrize("case", DATA["cases"])
def test_vectors_of(world, case):
    wrong = [
        (label, expected, got)
        for base, changes, expected, label in DATA["cases"][case]
        if (got := result_of(world, base, changes)) != expected
    ]
    assert not wrong


def test_every_field_of_the_vectors_is_known():
    names = {name for rows in DATA["cases"].values() for row in rows for name in row[1]}
    assert {name for name in names if name[0] != "@"} <= set(FIELDS)
