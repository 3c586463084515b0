# SPDX-License-Identifier: GPL-2.0-only
"""Instructions in a row, and the loop that fills memory: the same as one instruction at a time."""

import random

import pytest
from guest import CODE
from on_board import PAGE, STANDS, TABLE, OnBoard
from random_insn import PAGES, SIZE, State
from random_program import COUNTER, PASSES, counter, program

SEED = 1611
NAMES = {"rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rsi": 6, "rdi": 7}
TF_RF = 1 << 8 | 1 << 16
NX, EFER = 1 << 63, 0xC0000080


def loop(value, at, end):
    """MOV r8, (A); ADD $1, A; CMP B, A; JNE back: as compilers without a library fill memory."""
    return bytes([0x40, 0x88, value << 3 | at, 0x48, 0x83, 0xC0 | at, 1,
                  0x48, 0x39, 0xC0 | end << 3 | at, 0x75, 0xF4, 0xF4])


def begun(board, code, before):
    board.memory.write(CODE, code + b"\x90" * 16)
    board.memory.write(PAGES, before.memory)
    board.begin(before)


def one_by_one(board, code, before, most):
    """The states behind each instruction, as many as are wanted or until it faults."""
    begun(board, code, before)
    states = [before]
    while len(states) <= most and board.processor.run(1) == "paused":
        states.append(board.state())
    return states


def same(found, wanted):
    return found._replace(flags=found.flags & ~TF_RF) == wanted._replace(
        flags=wanted.flags & ~TF_RF)


@pytest.mark.parametrize("value, at, end", [
    ("rax", "rdi", "rsi"), ("rcx", "rdx", "rbx"), ("rsi", "rdi", "rsi"), ("rsp", "rax", "rcx"),
    ("rdx", "rcx", "rsp"), ("rsp", "rdi", "rsp")])
@pytest.mark.parametrize("start, length", [(5, 90), (4000, 250), (0, 1), (4095, 2), (8000, 400)])
def test_each_round_of_a_fill_is_as_by_itself(value, at, end, start, length):
    """Stopped behind any instruction, filled memory, registers, flags and RIP are those of as many
    steps; across a page, up to its end, and where the next page is absent."""
    rng = random.Random(f"{value}{at}{end}{start}")
    value, at, end = NAMES[value], NAMES[at], NAMES[end]
    registers = [rng.getrandbits(64) for _ in range(16)]
    registers[at], registers[end] = PAGES + start, PAGES + start + length
    before = State(tuple(registers), CODE, 2, rng.randbytes(SIZE))
    code = loop(value, at, end)
    board = OnBoard()
    states = one_by_one(board, code, before, 4 * length)
    assert len(states) > min(4 * length, 700)
    some = rng.sample(range(1, len(states)), min(12, len(states) - 1))
    for steps in sorted({*range(1, 10), *some, len(states) - 1}):
        if steps >= len(states):
            continue
        begun(board, code, before)
        assert board.processor.run(steps) == "paused"
        assert same(board.state(), states[steps]), steps


def test_a_fill_does_not_overtake_its_own_code():
    """Where it would write over the loop, each round is fetched anew."""
    board = OnBoard()
    # its code lies in the page that it fills
    start = PAGES + 0x40
    code = loop(0, 7, 6)
    registers = [0x90, *[0] * 15]
    registers[7], registers[6] = start - 16, start + 64
    before = State(tuple(registers), start, 2, bytes(0x40) + code + bytes(SIZE - 0x40 - len(code)))
    found = []
    for most in (1, 200):
        begun(board, b"", before)
        board.processor.set(0x681E, start)
        done = 0
        while done < 200 and board.processor.run(most) == "paused":
            done += most
        found.append(board.state())
    assert same(found[0], found[1]) and found[0].rip != start


@pytest.mark.parametrize("is_code", [True, False])
def test_a_page_that_a_row_reads_is_not_code_for_that(is_code):
    """A loop that is known by its second turn reads a page and at last jumps to it: that its
    address translates for a read says nothing of a fetch (SDM 3A 4.6.1)."""
    registers = [0] * 16
    registers[NAMES["rbx"]], registers[NAMES["rcx"]] = PAGES + PAGE, EFER
    # RDMSR; OR $NXE, EAX; WRMSR; MOV $20, ECX; XOR EAX, EAX
    begin = bytes.fromhex("0f32" "0d00080000" "0f30" "b914000000" "31c0")
    # 1: MOV (RBX), RDX; DEC ECX; JS to where RBX points; JMP 1b
    turn = bytes.fromhex("488b13" "ffc9" "0f88")
    there = PAGES + PAGE - CODE - len(begin + turn) - 4
    code = begin + turn + there.to_bytes(4, "little") + bytes.fromhex("ebf3")
    # there: INC EAX; UD2
    memory = bytes(PAGE) + bytes.fromhex("ffc00f0b") + bytes(SIZE - PAGE - 4)
    board = OnBoard()
    begun(board, code, State(tuple(registers), CODE, 2, memory))
    board.memory.write_u64(TABLE + PAGE + 8 * ((PAGES >> 12) + 1 & 511),
                           PAGES + PAGE | 7 | (0 if is_code else NX))
    assert board.processor.run(1000) == STANDS
    found = board.state()
    assert (found.rip - PAGES - PAGE, found.registers[0]) == ((2, 1) if is_code else (0, 0))


@pytest.mark.soak
def test_a_row_is_as_by_itself(soak):
    """Random programs, whole and instruction by instruction."""
    import second_opinion

    rng = random.Random(SEED)
    maker, whole, single = second_opinion.Ours(), OnBoard(), OnBoard()
    for _ in range(2000 if soak else 25):
        made = program(rng, maker)
        row = whole.run(made.code, made.before, PASSES)
        # where nothing that was decoded is kept
        assert same(maker.run(made.code, made.before, PASSES).state, row), made.code.hex()
        single.memory.write(COUNTER, counter(PASSES))
        steps = one_by_one(single, made.code, made.before, 10_000)
        assert len(steps) < 10_000
        assert same(row, single.state()), made.code.hex()
