# SPDX-License-Identifier: GPL-2.0-only
"""JMP, CALL, RET and IRET that load CS (SDM 2A, 6.8): which descriptors they take, from which
level, and that one which cannot be done has changed nothing."""

import pytest
from modes import *

# JMP and CALL through DATA, by 4 and by 8 bytes of offset
JMP, CALL = "ff2c2500006000", "ff1c2500006000"
JMP_8, CALL_8 = "48" + JMP, "48" + CALL
RETF, RETF_8, IRET, IRET_8 = "cb", "48cb", "cf", "48cf"


def through(code, rights, selector, offset=HANDLER, size=4, limit=0xFFFFF, **fields):
    """Where a transfer through the pointer at DATA ends, to a descriptor at 0x30."""
    g = wide(code, **fields)
    g.set(GUEST_GDTR_LIMIT=0x4F)
    g.write(FREE, descriptor(rights, limit=limit))
    g.write(DATA, offset, size)
    g.write(DATA + size, selector, 2)
    g.code(VMCALL, HANDLER)
    return g, told(g.run())


@pytest.mark.parametrize("rights, selector, level, ends", [
    (0xA09B, 0x30, 0, DONE), (0xA09A, 0x30, 0, DONE), (0xA09B, 0x33, 0, (GP, 0x30)),
    (0xA09F, 0x33, 0, DONE), (0xA0FB, 0x30, 0, (GP, 0x30)), (0xA0FF, 0x30, 0, (GP, 0x30)),
    (0xE09B, 0x30, 0, (GP, 0x30)), (0xA01B, 0x30, 0, (NP, 0x30)), (0xC093, 0x30, 0, (GP, 0x30)),
    (0x0089, 0x30, 0, (GP, 0x30)), (0xA09B, 0x03, 0, (GP, 0)), (0xA09B, 0x50, 0, (GP, 0x50)),
    (0xA09B, 0x34, 0, (GP, 0x34)), (0xA09B, 0x33, 3, (GP, 0x30)), (0xA09F, 0x33, 3, DONE),
    (0xA0FB, 0x33, 3, DONE), (0xA0FB, 0x30, 3, DONE)])
@pytest.mark.parametrize("code", [JMP, CALL])
def test_to_code(code, rights, selector, level, ends):
    g, found = through(code, rights, selector, **LEVEL_3 if level else {})
    assert found == ends
    moved = g.get("GUEST_CS_SELECTOR"), g.get("GUEST_RIP")
    assert moved == ((0x30 | level, HANDLER) if ends is DONE else (0x1B if level else 8, CODE))
    pushed = 8 * (code == CALL and ends is DONE)
    assert g.get("GUEST_RSP") == STACK - pushed
    if ends is DONE:
        assert g.read(FREE + 5, 1) & 1 and g.get("GUEST_CS_AR_BYTES") & 1
    if pushed:
        assert [g.read(STACK - 8, 4), g.read(STACK - 4, 4)] == [CODE + 7, 0x1B if level else 8]


@pytest.mark.parametrize("code, size", [(JMP, 4), (CALL, 4), (JMP_8, 8), (CALL_8, 8)])
def test_to_an_offset_that_is_none(code, size):
    """Beyond the limit of compatibility code, and no canonical address of 64-bit code."""
    assert through(code, 0x409B, 0x30, 0x1000, size, limit=0xFFF)[1] == (GP, 0)
    if size == 8:
        g, found = through(code, 0xA09B, 0x30, 1 << 63, size)
        assert (found, g.get("GUEST_RSP")) == ((GP, 0), STACK)


def test_descriptors_that_cannot_be_read_or_marked():
    """A table's page that is not there, or that may not be written."""
    for table, entry, why in ((END - 0x30, 0, PF), (GDT, 0x85, PF)):
        g = wide(JMP, GUEST_GDTR_BASE=table)
        g.set(GUEST_GDTR_LIMIT=0x4F)
        g.write(FREE, descriptor(0xA09A))
        g.write(DATA, HANDLER, 4)
        g.write(DATA + 4, 0x30, 2)
        if entry:
            g.write(PD, entry)
        assert told(g.run())[0] == why and g.get("GUEST_CS_SELECTOR") == 8


@pytest.mark.parametrize("code, rsp", [(CALL_8, 0xC00008), (CALL_8, 0xC00000)])
def test_a_return_address_that_cannot_be_pushed(code, rsp):
    """Where the second word cannot be, the first one has moved nothing."""
    g = wide(code, GUEST_RSP=rsp)
    g.write(PD + 8 * 5, 0)
    g.write(DATA, HANDLER)
    g.write(DATA + 8, 8, 2)
    assert told(g.run())[0] == PF and g.get("GUEST_RSP") == rsp


def back(code, size, words, rsp=DATA, make=wide, **fields):
    """Where a return ends with these words on the stack."""
    g = make(code, GUEST_RSP=rsp, **fields)
    g.set(GUEST_GDTR_LIMIT=0x7F)
    for n, word in enumerate(words):
        if rsp + size * (n + 1) <= END:
            g.write(rsp + size * n, word & (1 << 8 * size) - 1, size)
    g.code(VMCALL, HANDLER)
    return g


@pytest.mark.parametrize("rights, selector, level, ends", [
    (0xA09B, 0x30, 0, DONE), (0xA09B, 0x33, 0, (GP, 0x30)), (0xA09F, 0x33, 0, DONE),
    (0xA0FF, 0x30, 0, (GP, 0x30)), (0xA0FB, 0x33, 0, DONE), (0xA0FB, 0x33, 3, DONE),
    (0xA0FB, 0x30, 3, (GP, 0x30)), (0xE0FB, 0x33, 0, (GP, 0x30)), (0xA07B, 0x33, 0, (NP, 0x30)),
    (0xC093, 0x30, 0, (GP, 0x30)), (0xA09B, 0, 0, (GP, 0))])
@pytest.mark.parametrize("code", [RETF_8, IRET_8])
def test_back_to_code(code, rights, selector, level, ends):
    flags = [2] if code == IRET_8 else []
    g = back(code, 8, [HANDLER, selector, *flags, 0x604000, 0x23], **LEVEL_3 if level else {})
    if level == 0 and selector & 3 == 0 and flags:
        g.write(DATA + 32, 0x10)
    g.write(FREE, descriptor(rights))
    assert told(g.run()) == ends
    if ends is DONE:
        outer = code == IRET_8 or (selector & 3) > level
        assert g.get("GUEST_RSP") == (0x604000 if outer else DATA + 16)
        assert g.get("GUEST_CS_SELECTOR") == selector


@pytest.mark.parametrize("stack, ends", [
    (0x23, DONE), (0x20, (GP, 0x20)), (0x10, (GP, 0x10)), (0, (GP, 0)), (3, (GP, 0)),
    (0x3B, (SS, 0x38)), (0x43, (GP, 0x40)), (0x4B, (GP, 0x48)), (0x53, (GP, 0x50)),
    (0x8B, (GP, 0x88))])
def test_the_stack_of_a_level(stack, ends):
    """Not present, not writable, code, and a system segment at 0x38 to 0x50."""
    for code, flags in ((RETF_8, []), (IRET_8, [2])):
        g = back(code, 8, [HANDLER, 0x1B, *flags, 0x604000, stack])
        for n, rights in enumerate((0xC073, 0xC0F1, 0xC0FB, 0x00E2)):
            g.write(FREE + 8 + 8 * n, descriptor(rights))
        assert told(g.run()) == ends
        assert g.get("GUEST_SS_SELECTOR") == (0x23 if ends is DONE else 0x10)


@pytest.mark.parametrize("selector, stack, ends", [
    (0x31, 1, DONE), (0x31, 0, (GP, 0)), (0x31, 2, (GP, 0)), (0x39, 1, (GP, 0))])
def test_no_stack_but_in_64_bit_code_of_an_inner_level(selector, stack, ends):
    """SDM 6.14.3: RPL of the null selector is the level; 0x38 is compatibility code."""
    g = back(RETF_8, 8, [HANDLER, selector, 0x604000, stack])
    g.write(FREE, descriptor(0xA0BB))
    g.write(FREE + 8, descriptor(0xC0BB))
    assert told(g.run()) == ends
    if ends is DONE:
        assert (g.get("GUEST_SS_SELECTOR"), g.get("GUEST_SS_AR_BYTES")) == (1, 0x10020)


def test_segments_that_an_outer_level_may_not_have():
    """Data of an inner level goes; data of its own, conforming code, and what is unusable stay."""
    g = back(RETF_8, 8, [HANDLER, 0x1B, 0x604000, 0x23], GUEST_DS_SELECTOR=0x10,
             GUEST_ES_SELECTOR=0x30, GUEST_ES_AR_BYTES=0xA09F, GUEST_ES_BASE=0,
             GUEST_FS_SELECTOR=0x20, GUEST_FS_AR_BYTES=0xC0F3,
             GUEST_GS_SELECTOR=0x28, GUEST_GS_AR_BYTES=0xC09B)
    assert told(g.run()) is DONE
    usable = {name: not g.get(f"GUEST_{name}_AR_BYTES") >> 16 for name in ("DS", "ES", "FS", "GS")}
    assert usable == {"DS": False, "ES": True, "FS": True, "GS": False}
    assert g.get("GUEST_GS_SELECTOR") == 0 and g.get("GUEST_ES_SELECTOR") == 0x30


@pytest.mark.parametrize("code, words", [
    (RETF_8, [HANDLER, 0x1B, 0x604000, 0x23]), (IRET_8, [HANDLER, 0x1B, 2, 0x604000, 0x23])])
def test_a_stack_that_ends_within_the_frame(code, words):
    for there in range(len(words)):
        g = back(code, 8, words, rsp=END - 8 * there)
        assert told(g.run())[0] == PF
        assert (g.get("GUEST_RSP"), g.get("GUEST_CS_SELECTOR")) == (END - 8 * there, 8)


@pytest.mark.parametrize("code, words, sizes", [("cb", 2, 2), ("cf", 3, 2)])
def test_a_stack_of_real_mode_that_ends_within_the_frame(code, words, sizes):
    for there in range(words):
        g = real(plain, code, GUEST_RSP=0x10000 - sizes * there - 1, EXCEPTION_BITMAP=0xFFFFFFFF)
        assert told(g.run())[0] == SS


@pytest.mark.parametrize("code, words", [("cb", [0x7100, 0]), ("cf", [0x7100, 0, 2]),
                                         ("ca0600", [0x7100, 0]), ("66cf", [0x7100, 0, 2])])
def test_back_in_real_mode(code, words):
    size = 4 if code.startswith("66") else 2
    g = real(plain, code, GUEST_RSP=0x6000, EXCEPTION_BITMAP=0xFFFFFFFF)
    for n, word in enumerate(words):
        g.write(0x6000 + size * n, word, size)
    g.code(VMCALL, 0x7100)
    assert told(g.run()) is DONE
    assert g.get("GUEST_RSP") == 0x6000 + size * len(words) + 6 * (code == "ca0600")


def test_far_transfers_of_real_mode_and_their_limits():
    # CALL and JMP through [0x500], by 2 and by 4 bytes of offset; the pushes
    for code, rsp, offset, ends in (
            ("ff1e0005", 0x6000, 0x7100, DONE), ("ff2e0005", 0x6000, 0x7100, DONE),
            ("66ff1e0005", 0x6000, 0x7100, DONE), ("66ff1e0005", 0x6000, 0x10000, (GP, 0)),
            ("66ff2e0005", 0x6000, 0x10000, (GP, 0)), ("ff1e0005", 1, 0x7100, (SS, 0)),
            ("ff1e0005", 3, 0x7100, (SS, 0))):
        g = real(plain, code, GUEST_RSP=rsp, EXCEPTION_BITMAP=0xFFFFFFFF)
        size = 4 if code.startswith("66") else 2
        g.write(0x500, offset, size)
        g.write(0x500 + size, 0, 2)
        g.code(VMCALL, 0x7100)
        assert told(g.run()) == ends, code
        moved = 2 * size if "ff1e" in code and ends is DONE else 0
        assert g.get("GUEST_RSP") == rsp - moved


def test_a_return_by_words_to_an_outer_level():
    """16 bits go into SP; what RET adds goes from both stacks."""
    for code, words in (("66cb", [0x7100, 0x3B, 0x6000, 0x23]),
                        ("66cf", [0x7100, 0x3B, 2, 0x6000, 0x23]),
                        ("66ca0800", [0x7100, 0x3B, 0, 0, 0, 0, 0x6000, 0x23])):
        g = back(code, 2, words, make=narrow)
        g.code(VMCALL, 0x7100)
        assert told(g.run()) is DONE
        more = 8 * (code == "66ca0800")
        assert g.get("GUEST_RSP") == (DATA & ~0xFFFF | 0x6000) + more


def test_a_nested_task_goes_back_by_a_switch():
    """IRET with NT: an exit that names the task before, and no instruction of 64-bit code."""
    g = narrow("cf", GUEST_RFLAGS=2 | 1 << 14, GUEST_TR_BASE=TSS)
    g.write(TSS, 0x48, 2)
    found = g.run()
    assert (found.reason, found.qualification, found.length) == (9, 1 << 30 | 0x48, 1)
    assert told(wide("48cf", GUEST_RFLAGS=2 | 1 << 14).run()) == (GP, 0)


def test_a_frame_of_virtual_8086_mode():
    """From level 0 of 32-bit code it would go there; elsewhere the bit says nothing."""
    words = [HANDLER, 0x28, 0x20002]
    assert told(back("cf", 4, words, make=narrow).run()) == (GP, 0)
    g = back("66cf", 2, [0x7100, 0x28, 2], make=narrow)
    g.code(VMCALL, 0x7100)
    assert told(g.run()) is DONE
    g = back("cf", 4, [HANDLER, 0x3B, 0x20002], make=narrow, **FLAT_3)
    assert told(g.run()) is DONE and not g.get("GUEST_RFLAGS") >> 17 & 1
