# SPDX-License-Identifier: GPL-2.0-only
"""Whole rounds of a guest: launch and resume, what waits for L1, a page that was only zeroed."""

import pytest
from guest import CODE, EXT_INTR, IF, PIN, RAX, VMCALL
from world import EVMCS, FIELDS, LAYOUT, TABLE, World

HLT, EXIT_INTERRUPT, EXIT_VMCALL = "f4", 1, 18


@pytest.mark.case("L2X-01")
def test_launch_vmcall_resume(guest):
    """L1 answers in RAX and steps over the VMCALL; L2 finds its stack as it was."""
    # mov eax, 0xabcd; vmcall; sub eax, 0xffff; mov rbx, rsp; vmcall
    g = guest("b8cdab0000" + VMCALL + "2dffff0000" "4889e3" + VMCALL)
    stack = g.get("GUEST_RSP")
    first = g.run()
    assert (first.reason, first.length, first.rip) == (EXIT_VMCALL, 3, CODE + 5)
    assert g.regs()[RAX] == 0xABCD
    g.regs(rax=0xFFFF)
    assert g.run(GUEST_RIP=first.rip + 3).reason == EXIT_VMCALL
    registers = g.regs()
    assert registers[RAX] == 0 and registers[3] == stack == g.get("GUEST_RSP")


@pytest.mark.parametrize("activity", [0, 1], ids=["active", "halted"])
@pytest.mark.case("L2X-14")
def test_an_interrupt_that_waits_for_l1(guest, activity):
    """It ends the entry before an instruction of L2 runs, and stays L1's to take."""
    g = guest(HLT, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, GUEST_ACTIVITY_STATE=activity,
              GUEST_RFLAGS=2 | IF)
    g.cpu.pending_interrupt = 0xF1
    found = g.run()
    assert (found.reason, found.rip, found.intr_info) == (EXIT_INTERRUPT, CODE, 0)
    assert g.cpu.counters()["l2_instructions"] == 0
    assert g.cpu.pending_interrupt == 0xF1, "without acknowledgement"
    assert g.get("GUEST_ACTIVITY_STATE") == activity


@pytest.mark.rule("R40")
@pytest.mark.case("EVM-39")
def test_a_zeroed_page_loads_everything():
    """All clean bits 0 on a page never seen: the first entry has every field from it."""
    world = World()
    world.enlighten()
    assert world.get(EVMCS, "hv_clean_fields") == 0
    page = world.memory.read(EVMCS, 1024)
    assert world.cpu.vmresume().ok
    copy = world.cpu.evmcs_copy
    for encoding, member, group in TABLE:
        offset, size = LAYOUT[member]
        if group != "NONE" and not FIELDS[encoding] >> 10 & 3 == 2:
            assert copy[offset:offset + size] == page[offset:offset + size], member
