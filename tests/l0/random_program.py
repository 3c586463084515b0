# SPDX-License-Identifier: GPL-2.0-only
"""Random programs of 64-bit code: a loop that passes a row of random instructions some times.

An instruction joins where it does not fault in the state that the ones before it have left, so
that the first pass comes through; what a later one meets is as it comes. Of two processors that
run a program the SDM wants one outcome: what it leaves undefined is left out, or, of flags,
overwritten by a comparison before the next instruction can look.
"""

import random
from typing import NamedTuple

from guest import CODE, DATA
from random_insn import (
    SHIFTS, STATUS, STRINGS, Case, State, instruction, state, undefined_flags)

PASSES, LONGEST = 3, 24
MOST = 100 * PASSES * LONGEST          # instructions, for who would run for ever
# In a page of its own, which no address that an instruction makes comes to.
COUNTER = DATA + 0x100000
CMP = bytes.fromhex("4839d8")               # cmp %rbx, %rax: all six flags, nothing else
UD2 = bytes.fromhex("0f0b")


def counter(passes: int) -> bytes:
    """Its page, which a stack may have wandered to before."""
    return passes.to_bytes(4096, "little")


class Program(NamedTuple):
    """Its bytes, where the last instruction of the loop ends, and the state that it begins in."""

    code: bytes
    end: int
    before: State


def undefined(case: Case) -> bool:
    """May it leave a register or memory undefined, or is it one that unicorn does otherwise?
    REP counts elements and not instructions; each has its own test."""
    if case.repeat or case.two and (0xC8 <= case.opcode <= 0xCF and case.size == 2
                                    or case.opcode in (0xA4, 0xA5, 0xAC, 0xAD) and case.size == 2):
        return True
    if case.two:
        return case.opcode in (0xB1, 0xBC, 0xBD, 0xC7)
    # QEMU's ENTER does not look whether the final stack pointer could be written at (SDM 2A ENTER)
    return case.opcode == 0x63 and case.size == 2 or case.opcode in STRINGS | {0xC8}


def flags_in_doubt(case: Case, before: State) -> bool:
    """May a flag be undefined behind it, in this state or in another?"""
    by_cl = not case.two and case.opcode in SHIFTS - {0xC0, 0xC1, 0xD0, 0xD1} or \
        case.two and case.opcode in (0xA5, 0xAD)
    return by_cl or bool(undefined_flags(case, before) & STATUS)


def program(rng: random.Random, processor) -> Program:
    """One that the processor comes through once; processor.step() tries each instruction."""
    first = now = state(rng)
    row: list[bytes] = []
    while len(row) < LONGEST:
        case = instruction(rng)
        if undefined(case):
            continue
        found = processor.step(case.code, now)
        if found.fault is not None:
            continue
        row.append(case.code)
        now = found.state._replace(rip=CODE)
        if flags_in_doubt(case, now):
            row.append(CMP)
            now = processor.step(CMP, now).state._replace(rip=CODE)
        if rng.random() < .15:
            row.append(jump_taken(rng, now.flags))
    body = b"".join(row)
    # sub $1, counter(%rip); jnz the first instruction; ud2
    code = body + b"\x83\x2d" + (COUNTER - CODE - len(body) - 7).to_bytes(4, "little") + b"\x01"
    code += b"\x0f\x85" + (-len(code) - 6).to_bytes(4, "little", signed=True)
    return Program(code + UD2, len(code), first)


def jump_taken(rng: random.Random, flags: int) -> bytes:
    """A conditional jump that these flags take, over an instruction that a later pass may meet."""
    case = instruction(rng)
    over = b"" if undefined(case) else case.code + CMP
    held = rng.choice([n for n in range(16) if taken(n, flags)])
    return bytes([0x70 | held, len(over)]) + over


def taken(condition: int, flags: int) -> bool:
    """Does a condition hold (SDM volume 1, appendix B)?"""
    c, p, z, s, o = (bool(flags & bit) for bit in (1, 4, 0x40, 0x80, 0x800))
    held = (o, c, z, c or z, s, p, s != o, z or s != o)[condition >> 1]
    return held != bool(condition & 1)
