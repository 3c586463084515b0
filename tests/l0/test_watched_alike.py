# SPDX-License-Identifier: GPL-2.0-only
"""Whoever looks changes nothing: L2 reads, writes and leaves as it does where nobody looks."""

import random

import pytest
from guest import *
from test_lints_between import EVERYTHING, OTHER, PLACE, VIOLATION, VMCALL_EXIT, by_both, told

# mov rax,[rbx]; mov [rsi],rcx; mov rdx,[rsi]; vmcall
CODE_OF_L2 = "488b03" "48890e" "488b16" + VMCALL
# three pages for each of two places of a TLB of 64 entries
PAGES = [PLACE, PLACE + 0x40000, PLACE + 0x80000, OTHER, OTHER + 0x40000, OTHER + 0x80000]


def guest(mode, lints, code=CODE_OF_L2):
    g = Guest(mode, code, {"lints": lints, "cpuid": EVERYTHING},
              SECONDARY_VM_EXEC_CONTROL=S_EPT | S_VPID, VIRTUAL_PROCESSOR_ID=1,
              EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    for n, page in enumerate(PAGES):
        g.write(page, 0x1111 * (n + 1))
    return g


lints_or_none = pytest.mark.parametrize("lints", [False, True])


@by_both
@lints_or_none
@pytest.mark.rule("R74")
@pytest.mark.parametrize("first", ["read", "write"])
def test_a_violation_ends_what_is_cached_of_its_address(first, lints, mode):
    """SDM 3C 28.3.3.1. L1 puts another page there, and needs no INVEPT: nothing is stale."""
    g = guest(mode, lints, "488b03" "48890b" + VMCALL)
    g.regs(rbx=PLACE, rcx=0x7777)
    g.write(g.ept_entry(PLACE), PLACE | 0x31)
    exit = g.run()
    assert (exit.reason, exit.physical, g.regs()[RAX]) == (VIOLATION, PLACE, 0x1111)
    g.write(g.ept_entry(PLACE), OTHER | 0x37)
    assert g.run(GUEST_RIP=CODE if first == "read" else exit.rip).reason == VMCALL_EXIT
    assert g.regs()[RAX] == (0x4444 if first == "read" else 0x1111)
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT
    assert (g.read(PLACE), g.read(OTHER), g.regs()[RAX]) == (0x1111, 0x7777, 0x7777)
    assert told(g) == []


@by_both
@lints_or_none
@pytest.mark.rule("R74")
def test_a_walk_takes_the_place_of_what_was_stale(lints, mode):
    g = guest(mode, lints, "488b03" + VMCALL)

    def read(page):
        g.regs(rbx=page)
        assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT
        return g.regs()[RAX]

    assert read(PAGES[0]) == 0x1111
    g.write(g.ept_entry(PAGES[0]), OTHER | 0x37)
    assert read(PAGES[1]) == 0x2222, "of the same place"
    assert read(PAGES[0]) == 0x4444 and told(g) == []


@by_both
def test_the_same_comes_of_whatever_l1_does(mode, soak):
    """EPT entries change, L2 uses them or not, violations come and are mended, TLBs are flushed."""
    dice = random.Random(mode)
    stale = 0
    for _ in range(3 * (100 if soak else 1)):
        pair = [guest(mode, lints) for lints in (False, True)]
        for _ in range(60):
            page, frame = dice.choice(PAGES), dice.choice(PAGES)
            entry = frame | dice.choice([0x37, 0x37, 0x31, 0x35, 0])
            where = {"rbx": dice.choice(PAGES), "rsi": dice.choice(PAGES),
                     "rcx": dice.getrandbits(16)}
            change, flush = dice.randrange(3), not dice.randrange(12)
            found = []
            for g in pair:
                if change:
                    g.write(g.ept_entry(page), entry)
                if flush:
                    assert g.cpu.invept(2).ok
                g.regs(**where)
                exit = g.run(GUEST_RIP=CODE)
                found.append((exit, g.regs(), [g.read(one) for one in PAGES]))
            assert found[0] == found[1]
        assert told(pair[0]) == []
        stale += len(told(pair[1]))
    assert stale
