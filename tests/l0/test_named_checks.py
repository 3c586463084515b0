# SPDX-License-Identifier: GPL-2.0-only
"""Every check of VM entry has a name: a state in which it refuses is found by its row's id."""

import pytest
from test_entry_vectors import (
    COUNTERS, LATER, MEMBERS, fields_of, has_members, is_covered,
)
from world import ASSIST, BASE, DATA, EVMCS, EVMCS_B, FIELDS, VMCS_A, World, config_a_msrs

from kvm_vmx.machine.checks import checks

ROWS = {row["id"]: row for row in checks()}
CONTROLS = {"pin": "PIN_BASED_VM_EXEC_CONTROL", "proc": "CPU_BASED_VM_EXEC_CONTROL",
            "secondary": "SECONDARY_VM_EXEC_CONTROL", "exit": "VM_EXIT_CONTROLS",
            "entry": "VM_ENTRY_CONTROLS"}
ENDS = {"CTL7": "VMfailValid 7", "HST8": "VMfailValid 8", "GST": "exit 33",
        "GST/4": "exit 33, qualification 4", "GST/2": "exit 33, qualification 2"}
VECTORS = [(case, number) for case in DATA["cases"] for number in range(len(DATA["cases"][case]))]


def world(**options):
    return World(msrs=config_a_msrs(), unfinished=True, maxphyaddr=46, **options)


@pytest.fixture(scope="module")
def plain():
    return world(cpuid=COUNTERS)


@pytest.fixture(scope="module")
def enlightened():
    return world(cpuid={**COUNTERS, 0x4000000A: (0x2A0101, 1, 0, 0)}, profile="tlfs-strict")


def why_plain(world, fields):
    world.plain(**fields)
    return world.cpu.vmlaunch().why


def why_enlightened(world, fields):
    world.enlighten(**{MEMBERS[name]: value for name, value in fields.items() if name in MEMBERS})
    for name, offset in LATER.items():
        if name in fields:
            world.memory.write_u64(EVMCS + offset, fields[name])
    return world.cpu.vmlaunch().why


@pytest.mark.parametrize("case", DATA["cases"])
def test_a_vector_that_fails_names_its_check_and_no_other_does(plain, enlightened, case):
    for base, changes, expected, label in DATA["cases"][case]:
        fields = fields_of(base, changes)
        found = [why_plain(plain, fields)]
        if has_members((base, changes)) and is_covered(base, changes):
            found.append(why_enlightened(enlightened, fields))
        for why in found:
            if expected == "PASS":
                # BASE0 is refused by its RFLAGS alone
                assert why.id == "guest_rflags" and "bit 1 must be 1" in why.sentence, label
            elif expected == "ENTER":
                assert why is None, label
            else:
                assert ROWS[why.id]["ends"] == ENDS[expected], (label, why)
                assert why.field == ROWS[why.id]["field"] and why.sentence.startswith(why.field)
        assert len({why and (why.id, why.value, why.sentence) for why in found}) == 1, label
