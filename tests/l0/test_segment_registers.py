# SPDX-License-Identifier: GPL-2.0-only
"""What MOV, LLDT, LTR and their siblings load into a segment register, and what they refuse
(SDM 2A MOV, LLDT, LTR; 3A 3.4.5)."""

import pytest
from modes import *

MOV_DS, MOV_SS, LLDT, LTR = "8ed8", "8ed0", "0f00d0", "0f00d8"


def loaded(code, selector, rights=None, make=wide, base=0x1000, high=0, **fields):
    g = make(code + VMCALL, **fields)
    g.set(GUEST_GDTR_LIMIT=0x4F)
    if rights is not None:
        g.write(FREE, descriptor(rights, base=base))
        g.write(FREE + 8, high)
    g.regs(rax=selector)
    return g, told(g.run())


@pytest.mark.parametrize("selector, rights, ends", [
    (0x30, 0xC093, DONE), (0x30, 0xC092, DONE), (0x30, 0xC091, DONE), (0x33, 0xC093, (GP, 0x30)),
    (0x33, 0xC0F3, DONE), (0x30, 0xA09B, DONE), (0x30, 0xA099, (GP, 0x30)), (0x33, 0xA09F, DONE),
    (0x30, 0x0082, (GP, 0x30)), (0x30, 0xC013, (NP, 0x30)), (0x50, None, (GP, 0x50)),
    (0, None, DONE), (3, None, DONE), (0x34, None, (GP, 0x34))])
def test_a_data_segment(selector, rights, ends):
    g, found = loaded(MOV_DS, selector, rights)
    assert found == ends
    if ends is DONE:
        assert g.get("GUEST_DS_SELECTOR") == selector
        assert (g.get("GUEST_DS_AR_BYTES") >> 16 == 0) == (selector > 3)


@pytest.mark.parametrize("selector, rights, ends", [
    (0x33, 0xC093, (GP, 0x30)), (0x33, 0xC0F3, DONE), (0x30, 0xC0F3, DONE), (0x33, 0xA09F, DONE)])
def test_a_data_segment_of_level_3(selector, rights, ends):
    assert loaded(MOV_DS, selector, rights, **LEVEL_3)[1] == ends


@pytest.mark.parametrize("selector, rights, ends", [
    (0x30, 0xC093, DONE), (0x33, 0xC093, (GP, 0x30)), (0x30, 0xC0F3, (GP, 0x30)),
    (0x30, 0xC091, (GP, 0x30)), (0x30, 0xC09B, (GP, 0x30)), (0x30, 0x0082, (GP, 0x30)),
    (0x30, 0xC013, (SS, 0x30)), (0, None, DONE), (1, None, (GP, 0)), (3, None, (GP, 0))])
def test_the_stack_s_segment(selector, rights, ends):
    assert loaded(MOV_SS, selector, rights)[1] == ends


def test_no_null_stack_but_in_64_bit_code_of_an_inner_level():
    assert loaded(MOV_SS, 0, make=narrow)[1] == (GP, 0)
    assert loaded(MOV_SS, 3, **LEVEL_3)[1] == (GP, 0)


def test_a_descriptor_of_the_local_table():
    fields = dict(GUEST_LDTR_AR_BYTES=0x82, GUEST_LDTR_BASE=DATA, GUEST_LDTR_LIMIT=15)
    for selector, ends in ((0xC, DONE), (0x14, (GP, 0x14))):
        for make in (wide, narrow):
            g = make(MOV_DS + VMCALL, **fields)
            g.write(DATA + 8, descriptor(0xC093))
            g.regs(rax=selector)
            assert told(g.run()) == ends


@pytest.mark.parametrize("code, selector, rights, high, ends", [
    (LLDT, 0x30, 0x82, 0, DONE), (LLDT, 0x30, 0x82, 0xFFFF8000, DONE), (LLDT, 0, None, 0, DONE),
    (LLDT, 0x30, 0x82, 0x8000, (GP, 0x30)), (LLDT, 0x30, 0x89, 0, (GP, 0x30)),
    (LLDT, 0x30, 0x92, 0, (GP, 0x30)), (LLDT, 0x30, 0x02, 0, (NP, 0x30)),
    (LLDT, 0x34, 0x82, 0, (GP, 0x34)), (LLDT, 0x50, None, 0, (GP, 0x50)),
    (LTR, 0x30, 0x89, 0, DONE), (LTR, 0, None, 0, (GP, 0)), (LTR, 0x30, 0x8B, 0, (GP, 0x30)),
    (LTR, 0x30, 0x81, 0, (GP, 0x30)), (LTR, 0x30, 0x09, 0, (NP, 0x30)),
    (LTR, 0x30, 0x99, 0, (GP, 0x30)), (LTR, 0x30, 0x82, 0, (GP, 0x30))])
def test_system_segments(code, selector, rights, high, ends):
    g, found = loaded(code, selector, rights, high=high)
    assert found == ends
    if ends is DONE and rights:
        name = "LDTR" if code == LLDT else "TR"
        assert g.get(f"GUEST_{name}_SELECTOR") == selector
        assert g.get(f"GUEST_{name}_BASE") == high << 32 | 0x1000
        # a task that is loaded is busy, in the table too
        assert g.read(FREE + 5, 1) == rights | 2 * (code == LTR)
    elif ends is DONE:
        assert g.get("GUEST_LDTR_AR_BYTES") >> 16 == 1


def test_system_segments_of_32_bit_code():
    for code, rights, ends in ((LTR, 0x81, DONE), (LTR, 0x89, DONE), (LLDT, 0x82, DONE),
                               (LTR, 0x83, (GP, 0x30))):
        g, found = loaded(code, 0x30, rights, make=narrow, high=0xFFFFFFFFFFFFFFFF)
        assert found == ends


def test_system_segments_whose_descriptor_ends_or_is_read_only():
    """The upper half lies behind what is mapped; the busy bit cannot be set."""
    g = wide(LLDT, GUEST_GDTR_BASE=END - 0x38)
    g.write(END - 8, descriptor(0x82))
    g.regs(rax=0x30)
    g.set(GUEST_GDTR_LIMIT=0x4F)
    assert told(g.run())[0] == PF
    g = wide(LTR)
    g.write(PD, 0x85)
    g.write(FREE, descriptor(0x89))
    g.write(FREE + 8, 0)
    g.regs(rax=0x30)
    g.set(GUEST_GDTR_LIMIT=0x4F)
    assert told(g.run())[0] == PF and g.get("GUEST_TR_SELECTOR") != 0x30


@pytest.mark.parametrize("code", ["0f0010", "0f0018", "0f0000", "0f0111", "0f0101", "8e18", "8c18",
                                  "0f0120", "0f0130"])
def test_operands_that_are_not_there(code):
    """LLDT LTR SLDT LGDT SGDT, MOV both ways, SMSW LMSW."""
    g = wide(code)
    g.regs(rax=END, rcx=END)
    assert told(g.run())[0] == PF


@pytest.mark.parametrize("size", [0, 1, 9, 2])
def test_a_table_s_register_at_the_end_of_memory(size):
    for code in ("0f0111", "0f0101"):
        g = wide(code)
        g.regs(rcx=END - size)
        assert told(g.run())[0] == PF


@pytest.mark.parametrize("code, level", [("0f00e0", 0), ("0f00f0", 0), ("0f00f8", 0)])
def test_what_the_group_has_not(code, level):
    assert told(wide(code).run()) == (UD, 0)


def test_sldt_and_smsw_by_the_operand_s_size():
    """A register is written whole, memory by a word."""
    for code, register, mask in (("0f00c0", RAX, 0xFFFFFFFF), ("480f00c0", RAX, 2**64 - 1),
                                 ("660f00c0", RAX, 0xFFFF), ("0f01e0", RAX, 0xFFFFFFFF)):
        g = wide(code + VMCALL, GUEST_LDTR_SELECTOR=0x48)
        g.regs(rax=2**64 - 1)
        assert told(g.run()) is DONE
        value = g.get("GUEST_CR0") & mask if code == "0f01e0" else 0x48
        kept = 2**64 - 1 - 0xFFFF if mask == 0xFFFF else 0
        assert g.regs()[register] == value | kept
    for code in ("0f0001", "0f0121"):
        g = wide(code + VMCALL, GUEST_LDTR_SELECTOR=0x48)
        g.regs(rcx=DATA)
        g.write(DATA, 2**64 - 1)
        assert told(g.run()) is DONE and g.read(DATA + 2, 6) == 2**48 - 1


def test_lgdt_in_16_bit_operands_has_24_bits():
    g = narrow("660f0111" + VMCALL)
    g.regs(rcx=DATA)
    g.write(DATA, 0x11223344556677)
    assert told(g.run()) is DONE
    assert (g.get("GUEST_GDTR_LIMIT"), g.get("GUEST_GDTR_BASE")) == (0x6677, 0x334455)
