# SPDX-License-Identifier: GPL-2.0-only
"""VMREAD and VMWRITE of L2 that go to the VMCS which the link pointer names (SDM 24.10, 30.3)."""

import functools

import pytest
from modes import *
from world import FIELDS, VMCS_A, VMCS_B


SHADOWED = functools.partial(
    dict, SECONDARY_VM_EXEC_CONTROL=1 << 14, CPU_BASED_VM_EXEC_CONTROL=PROC | VALID,
    VMREAD_BITMAP=BITMAPS, VMWRITE_BITMAP=BITMAPS + 0x1000)


def shadowed(code, offers=None, **fields):
    """A guest whose VMREAD and VMWRITE go to the VMCS that the link pointer names."""
    g = plain(code + VMCALL, {"msrs": {0x48B: 0xFFFFFFFF << 32, **(offers or {})},
                              "unfinished": True},
              EXCEPTION_BITMAP=0xFFFFFFFF, **{**SHADOWED(), **fields})
    g.memory.write(BITMAPS, bytes(0x2000))
    revision = int.from_bytes(g.memory.read(VMCS_A, 4), "little")
    g.write(VMCS_B, revision | VALID, 4)
    g.set(VMCS_LINK_POINTER=VMCS_B)
    return g


@pytest.mark.parametrize("code, level, rbx, ends", [
    ("0f79c3" "0f78c1", 0, 0x1234, DONE),           # VMWRITE RAX, RBX; VMREAD RCX, RAX
    ("0f7903" "0f7803", 0, DATA, DONE),             # by memory
    ("0f7903", 0, END, (PF, 0)), ("0f7803", 0, END, (PF, 2)),
    ("0f79c3", 3, 0, (GP, 0)), ("0f78c3", 3, 0, (GP, 0))])
def test_a_shadow_vmcs_by_register_and_memory(code, level, rbx, ends):
    g = shadowed(code, **LEVEL_3 if level else {})
    g.write(DATA, 0x4321)
    g.regs(rax=FIELDS["GUEST_RIP"], rbx=rbx, rcx=0)
    assert told(g.run()) == ends
    if ends is DONE:
        assert 0x4321 in (g.read(DATA), 0) and g.get("GUEST_RFLAGS") & (ZF | CF) == 0
        if rbx == 0x1234:
            assert g.regs()[RCX] == 0x1234


@pytest.mark.parametrize("any_field", [True, False])
def test_what_is_only_read_of_a_shadow_vmcs(any_field):
    """SDM A.6: bit 29 of IA32_VMX_MISC lets VMWRITE write all; else VMfail 13."""
    g = shadowed("0f79c3", {0x485: 0x400E5 | any_field << 29})
    g.regs(rax=FIELDS["VM_EXIT_REASON"], rbx=7)
    assert told(g.run()) is DONE
    assert bool(g.get("GUEST_RFLAGS") & ZF) == (not any_field)
    assert any_field or g.get("VM_INSTRUCTION_ERROR") == 13
