# SPDX-License-Identifier: GPL-2.0-only
"""A fault while an event is delivered: its own bit of the exception bitmap, then what it makes.

Expected are the rules of the SDM: volume 3A, table 6-5 (which two exceptions make a double
fault), volume 3C, 26.2 (what an exception bitmap intercepts) and 28.2.4 (what is recorded of
the event that was being delivered).
"""

import pytest
from guest import *

DF, TS, NP, SS, GP, PF = 8, 10, 11, 12, 13, 14
WITH_CODE = {8, 10, 11, 12, 13, 14, 17}
# Table 6-4 of volume 3A; an interrupt, an NMI and what software raises are benign.
CONTRIBUTORY = {0, TS, NP, SS, GP}
FAR = 0xABC0000000
FIRST_CODE = 0x5A4


def exception(vector):
    return VALID | HARD | vector | (CODE_BIT if vector in WITH_CODE else 0)


FIRST = {
    "interrupt": VALID | EXT | 0x31, "NMI": VALID | NMI | 2, "INT n": VALID | SOFT_INT | 0x80,
    "INT 13": VALID | SOFT_INT | 13, "INT1": VALID | PRIVILEGED | 1, "INT3": VALID | SOFT | 3,
    "INTO": VALID | SOFT | 4,
    **{f"vector {n}": exception(n) for n in (0, 1, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19)}}


def kind_of(info):
    """"benign", "contributory", "page fault" or "double fault"."""
    vector = info & 0xFF
    if info & 0x700 != HARD or vector not in CONTRIBUTORY | {PF, DF}:
        return "benign"
    return {PF: "page fault", DF: "double fault"}.get(vector, "contributory")


def error_of(info, second):
    """Volume 3A, 6.13: EXT is clear for what INT n, INT3 and INTO raise."""
    outside = info & 0x700 not in (SOFT_INT, SOFT)
    return {TS: 0x18, NP: (info & 0xFF) << 3 | 2, SS: 0, GP: 0, PF: 2}[second] | (
        outside if second != PF else 0)


def gate_that_faults(g, vector, second):
    """Let the delivery through a vector fault; every other gate has a stack of its own."""
    for n in range(1, 32):
        g.vector(n, ist=1)
    g.vector(vector, ist=7 if second == TS else 0, present=second != NP,
             selector=0 if second == GP else 8)
    return {TS: dict(GUEST_TR_LIMIT=0x30), SS: dict(GUEST_RSP=1 << 50),
            PF: dict(GUEST_RSP=FAR)}.get(second, {})


def expected(info, second, bitmap):
    """(reason, RIP, interruption information, its error, IDT-vectoring information, its error,
    qualification), None where nothing is said."""
    code = FIRST_CODE if info & CODE_BIT else None
    if bitmap >> second & 1:
        return (0, CODE, exception(second), error_of(info, second), info, code,
                FAR - 8 if second == PF else 0)
    kind = kind_of(info)
    if kind == "double fault":
        return 2, CODE, 0, None, 0, None, 0
    if (kind, second == PF) in (("contributory", False), ("page fault", False),
                                ("page fault", True)):
        if bitmap >> DF & 1:
            return 0, CODE, exception(DF), 0, 0, None, 0
        return 18, HANDLER + 0x100 * DF, 0, None, 0, None, 0
    return 18, HANDLER + 0x100 * second, 0, None, 0, None, 0


# INT n of the vector that then faults would go through the bad gate twice: a chain of three.
@pytest.mark.parametrize(("first", "second"), [
    (first, second) for first, info in FIRST.items() for second in (TS, NP, SS, GP, PF)
    if info & 0x7FF != SOFT_INT | second])
def test_first_second_and_bitmap(guest, first, second):
    info = FIRST[first]
    for bitmap in (0, 1 << second, 1 << DF, 1 << second | 1 << DF, ~(1 << second) & 0xFFFFFFFF,
                   ~(1 << second | 1 << DF) & 0xFFFFFFFF):
        g = guest("", EXCEPTION_BITMAP=bitmap, GUEST_RFLAGS=2 | IF, VM_ENTRY_INTR_INFO_FIELD=info,
                  VM_ENTRY_EXCEPTION_ERROR_CODE=FIRST_CODE if info & CODE_BIT else 0,
                  VM_ENTRY_INSTRUCTION_LEN=2 if info & 0x700 in (SOFT_INT, SOFT, PRIVILEGED) else 0)
        g.set(**gate_that_faults(g, info & 0xFF, second))
        found = g.run()
        wanted = expected(info, second, bitmap)
        said = (found.reason, found.rip, found.intr_info, found.error, found.idt_info,
                found.idt_error, found.qualification)
        assert [a for a, b in zip(said, wanted) if b is not None] == [
            b for b in wanted if b is not None], (hex(bitmap), found, wanted)
        if found.reason == 18 and second == PF:
            # a page fault that becomes a double fault has written CR2, too (6.15)
            assert g.run("0f20d0" + VMCALL).reason == 18 and g.regs()[RAX] == FAR - 8


def test_the_event_that_is_named_is_the_one_in_delivery(guest):
    """#UD, then #GP in its delivery, then #NP in that one's: the second pair is what counts."""
    for bitmap, reason, intr, vectoring in (
            (1 << NP, 0, exception(NP), exception(GP)), (1 << DF, 0, exception(DF), 0),
            (1 << GP, 0, exception(GP), VALID | HARD | 6), (0, 18, 0, 0)):
        g = guest("", EXCEPTION_BITMAP=bitmap, VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6)
        g.vector(6, selector=0)
        g.vector(GP, present=0)
        handler = g.vector(DF)
        found = g.run()
        assert (found.reason, found.intr_info, found.idt_info) == (reason, intr, vectoring)
        assert found.rip == (handler if reason == 18 else CODE)


@pytest.mark.parametrize("mask, match, exits", [(0, 0, True), (2, 0, False), (2, 2, True)])
def test_the_filter_of_page_faults_counts_in_a_delivery(mask, match, exits):
    g = Guest("plain", "", EXCEPTION_BITMAP=1 << PF, PAGE_FAULT_ERROR_CODE_MASK=mask,
              PAGE_FAULT_ERROR_CODE_MATCH=match, VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6)
    g.set(**gate_that_faults(g, 6, PF))
    found = g.run()
    assert (found.reason, found.idt_info) == ((0, VALID | HARD | 6) if exits else (18, 0))
