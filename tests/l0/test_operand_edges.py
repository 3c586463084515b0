# SPDX-License-Identifier: GPL-2.0-only
"""Operands in memory that L2 may not have: misaligned, half gone, a user's (SDM 3A 4.6, 6.15)."""

import pytest
from modes import *


@pytest.mark.parametrize("flags", [0, 1 << 18])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("code", ["8b03", "8903"])
def test_alignment_is_checked_in_level_3(code, aligned, flags):
    """SDM 3A 6.15: #AC by CR0.AM, RFLAGS.AC, level 3 and an address."""
    g = wide(code + VMCALL, **LEVEL_3)
    g.set(GUEST_RFLAGS=2 | flags, GUEST_CR0=g.get("GUEST_CR0") | 1 << 18)
    for page in (0xFFE, 0x101):
        g.regs(rbx=DATA + (0x100 if aligned else page))
        found = told(g.run(GUEST_RIP=CODE))
        assert found == ((17, 0) if flags and not aligned else DONE)


@pytest.mark.parametrize("address", [DATA + 0x1000 - 2, DATA + 0x2000 - 2])
@pytest.mark.parametrize("code", ["8b03", "8903", "0103"])
def test_an_operand_on_two_pages_of_which_one_is_gone(guest, code, address):
    """By the guest's tables a page fault, by EPT a violation; nothing of it is stored."""
    g = guest(code + VMCALL, SECONDARY_VM_EXEC_CONTROL=S_EPT, EPT_POINTER=EPT | 0x1E,
              CPU_BASED_VM_EXEC_CONTROL=PROC | VALID)
    g.map_ept()
    g.write(g.ept_entry(DATA + 0x1000), 0)
    g.regs(rbx=address, rax=0x12345678)
    found = g.run()
    assert (found.reason, found.physical & ~0xFFF) == (48, DATA + 0x1000)
    g.write(g.ept_entry(DATA + 0x1000), DATA + 0x1000 | 0x37)
    assert g.read(DATA + 0xFFE, 2) == 0 and g.read(DATA + 0x2000, 2) == 0


@pytest.mark.parametrize("flags, ends", [(0, False), (1 << 18, True)])
@pytest.mark.parametrize("code, kind", [("8b03", 1), ("8903", 3)])
def test_smap_and_what_turns_it_off(guest, code, kind, flags, ends):
    """SDM 3A 4.6.1: RFLAGS.AC lets level 0 at a user page; what a delivery pushes asks nobody."""
    g = guest(code + VMCALL, {"msrs": {0x489: 0x3FFFFF}, "unfinished": True},
              EXCEPTION_BITMAP=1 << PF)
    g.write(PD + 8 * 1, 2 << 21 | 0x83)
    g.write(PD + 8 * 2, 2 << 21 | 0x83)
    g.write(PD + 8 * 3, DATA | 0x87)
    g.set(GUEST_CR4=g.get("GUEST_CR4") | 1 << 21, GUEST_RFLAGS=2 | flags)
    g.regs(rbx=DATA)
    assert told(g.run()) == (DONE if ends else (PF, kind))


@pytest.mark.parametrize("code, level, flags", [("8ed8", 3, 0), ("8ed8", 3, 1 << 18),
                                                ("0f0b", 0, 1 << 18)])
def test_what_the_processor_reads_by_itself_is_no_user_s(code, level, flags):
    """SDM 3A 4.6.1: of tables, SMAP lets nothing at a user page, in level 3 and with AC."""
    g = plain(code, {"msrs": {0x489: 0x3FFFFF}, "unfinished": True}, EXCEPTION_BITMAP=1 << PF,
              **LEVEL_3 if level else {})
    if not level:
        g.write(PD + 8 * 2, 2 << 21 | 0x83)
    g.set(GUEST_CR4=g.get("GUEST_CR4") | 1 << 21, GUEST_RFLAGS=2 | flags)
    g.regs(rax=0x23)
    found = g.run()
    assert told(found) == (PF, 1) and found.qualification & ~0xFFF in (GDT, IDT)
