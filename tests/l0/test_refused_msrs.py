# SPDX-License-Identifier: GPL-2.0-only
"""What L0 refuses of L2's own RDMSR and WRMSR has a name, as what it refuses of L1 has."""

import pytest
from world import BASE, FIELDS, World

RDMSR, WRMSR, CPUID = b"\x0f\x32", b"\x0f\x30", b"\x0f\xa2"
BITMAP = 0x9000


def ecx(number):
    return b"\xb9" + number.to_bytes(4, "little")


def eax(number):
    return b"\xb8" + number.to_bytes(4, "little")


def run(code, **fields):
    """An L2 that executes the code with all MSRs its own: the world, and the entry's outcome."""
    world = World(cpuid={0xA: (0, 0, 0, 0)})
    world.guest_code(code + CPUID)
    proc = BASE[FIELDS["CPU_BASED_VM_EXEC_CONTROL"]] | 1 << 28
    world.plain(**{"CPU_BASED_VM_EXEC_CONTROL": proc, "MSR_BITMAP": BITMAP,
                   "EXCEPTION_BITMAP": 1 << 13, **fields})
    outcome = world.cpu.vmlaunch()
    return world, outcome


@pytest.mark.parametrize(("code", "check", "said"), [
    (ecx(0x1234) + RDMSR, "rdmsr_missing", "L2's RDMSR of MSR 0x1234: there is no such"),
    (ecx(0x1234) + eax(5) + WRMSR, "wrmsr_missing", "MSR 0x1234"),
    (ecx(0x277) + eax(2) + WRMSR, "msr_pat", "each byte must be a memory type"),
    (ecx(0x480) + WRMSR, "wrmsr_read_only", "it is only read"),
], ids=lambda value: value if isinstance(value, str) and " " not in value else "")
def test_the_check_that_refused_it_is_told(code, check, said):
    world, outcome = run(code)
    assert outcome.ok and outcome.why is None, "the entry itself has succeeded"
    why = world.cpu.why_not
    assert (why.id, why.sentence.startswith("L2's ")) == (check, True)
    assert said in why.sentence


def test_an_msr_of_l2_that_is_there_is_told_of_nothing():
    world, outcome = run(ecx(0x277) + RDMSR)
    assert outcome.ok and world.cpu.why_not is None


def test_a_value_of_the_entrys_list_is_the_entrys_refusal():
    """And no instruction's: what was refused before it stays what it was."""
    world = World()
    before = world.cpu.wrmsr(0x277, 2).why
    world.plain(VM_ENTRY_MSR_LOAD_COUNT=1, VM_ENTRY_MSR_LOAD_ADDR=0x9000)
    world.memory.write(0x9000, (0x277).to_bytes(8, "little") + (2).to_bytes(8, "little"))
    outcome = world.cpu.vmlaunch()
    assert outcome.why.id == "item_value" and world.cpu.why_not == outcome.why
    assert before.id == "msr_pat"
