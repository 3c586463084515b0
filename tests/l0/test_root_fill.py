# SPDX-License-Identifier: GPL-2.0-only
"""Loops that fill memory, which an L1 may do a page at a time: as if instruction by instruction."""

import pytest
from root import *

AT = 0x30F00
# mov [rdi],al; add rdi,1; cmp rdi,rsi; jne back
FILL = "408807" "4883c701" "4839f7" "75f4"


def state(root, first=AT, size=0x1400):
    return (root.cpu.registers, root.flags(), root.memory.read(first, size),
            root.cpu.get(Field.GUEST_RIP), root.cpu.instructions["l1"])


def both(code, rdi=AT, rsi=AT + 0x1234, count=40_000, prepare=lambda root: None, **registers):
    """What the loop leaves at once, and in turns of one instruction, up to so many."""
    found = []
    for turn in (count, min(7, count)):
        root = Root()
        prepare(root)
        root.step("90")
        root.step(code + "f4", count=turn, rax=0x5A, rdi=rdi, rsi=rsi, **registers)
        for done in range(turn, count, 7):
            root.cpu.run(min(7, count - done))
        found.append(state(root))
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 0xFF, 0x100, 0x101, 0x1234])
def test_whatever_there_is_to_fill(length):
    fast, slow = both(FILL, rsi=AT + length, count=4 * length + 21)
    assert fast == slow and fast[2][:length + 1] == b"\x5a" * length + b"\0"


@pytest.mark.parametrize("count", [3, 8, 9, 13, 100, 1001, 1002, 1003])
def test_a_turn_that_ends_within_it(count):
    fast, slow = both(FILL, count=count)
    assert fast == slow


@pytest.mark.parametrize("code", [
    "418807" "4883c701" "4839f7" "75f4",        # another register
    "408a07" "4883c701" "4839f7" "75f4",        # a load
    "4088c7" "4883c701" "4839f7" "75f4",        # into a register
    "408807" "48ffc790" "4839f7" "75f4",        # by INC
    "40880448" "83c401" "4839f4" "75f4",        # at two registers, up to RSP
    "40880548" "83c501" "4839f5" "75f4",        # at a place of its own, up to RBP
    "408807" "4983c701" "4839f7" "75f4",        # adds to R15, and never ends
    "408807" "4883ef01" "4839f7" "75f4",        # downwards
    "408807" "4883c702" "4839f7" "75f4",        # by two
    "408807" "4883c701" "4c39f7" "75f4",        # up to R14
    "408807" "4883c701" "483bf7" "75f4",        # compared the other way
    "408807" "4883c701" "483937" "75f4",        # up to what memory says
    "408807" "4883c701" "4839f7" "7cf4",        # while less
    "408807" "4883c701" "4839f7" "7502" "ebf2", # by a jump behind it
    "408807" "4883c601" "4839f7" "75f4",        # the end moves away
    "408807" "4883c701" "4839fe" "75f4",        # the compared one is the end
    "40883f" "4883c701" "4839f7" "75f4",        # its own address is stored
    "408807" "4883c701" "4839ff" "75f4",        # once
    "90" "408807" "4883c701" "4839f7" "75f3",   # one instruction more
])
def test_loops_that_are_another(code):
    fast, slow = both(code, count=700, r14=0)
    assert fast == slow


def test_what_is_filled_is_the_loop():
    """It stores into its own page, before and over itself."""
    fast, slow = both(FILL, rdi=CODE - 64, rsi=CODE + 4, count=600)
    assert fast == slow


def test_a_page_that_may_not_be_written():
    def prepare(root):
        # the fourth table of 2 MByte: no entry for what is filled
        root.cpu.set(Field.GUEST_CR0, 0x80010031)

    fast, slow = both(FILL, rdi=0xFFFF00, rsi=0x1000100, count=3000, prepare=prepare)
    assert fast[0] == slow[0] and fast[3] == slow[3]


def test_each_instruction_traps():
    """With TF, a handler comes between: its IRET goes on."""
    def prepare(root):
        root.memory.write(HANDLERS + 16, b"\x48\xcf")
        root.cpu.set(Field.GUEST_RFLAGS, 0x102)

    fast, slow = both(FILL, rsi=AT + 50, count=420, prepare=prepare)
    assert fast == slow and fast[2][:50] == b"\x5a" * 50


def test_an_interrupt_that_waits():
    """It is held back by IF, and comes where the flag is set."""
    def prepare(root):
        root.store(0xFEE000F0, 0x1FF)
        root.store(0xFEE00300, 1 << 18 | 0x44)

    fast, slow = both(FILL + "fb90", rsi=AT + 50, count=210, prepare=prepare)
    assert fast == slow and HANDLERS + 16 * 0x44 < fast[3] < HANDLERS + 16 * 0x46
