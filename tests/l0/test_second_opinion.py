# SPDX-License-Identifier: GPL-2.0-only
"""Random instructions on the processor of L2 and on unicorn's: registers, flags, memory, faults."""

import random

import needed
import pytest

needed.capability("unicorn")

from guest import CODE  # noqa: E402
from random_insn import (  # noqa: E402
    instruction, repeats, shift_count, state, undefined_flags)
from random_program import PASSES, program  # noqa: E402
from second_opinion import UNSAID, Ours, Unicorn  # noqa: E402

SEED = 1604
DEFAULT, SOAK = 3000, 1_000_000


def undefined_result(case, before):
    """Does the SDM leave the result itself undefined?"""
    return case.two and (
        0xC8 <= case.opcode <= 0xCF and case.size == 2
        or case.opcode in (0xA4, 0xA5, 0xAC, 0xAD) and shift_count(case, before) > 8 * case.size)


def known_difference(case, ours, theirs, found):
    """What unicorn does otherwise than processors do."""
    if ours.vector in (12, 13) and (
            theirs.fault is None or case.two and case.opcode == 0xC7 or repeats(case.code)):
        # without paging it cuts addresses to 48 bits, canonical or not; repeated, an instruction
        # then comes to the end of the pages
        return case.modrm is None or case.modrm < 0xC0
    if ours.fault == theirs.fault == "memory" and found == ["memory"]:
        # it writes the part of an operand that lies before an absent page, or behind one
        return ours.state.memory[8:-8] == theirs.state.memory[8:-8]
    if not case.two:
        # QEMU reads 4 bytes for MOVSXD of 2: a page that ends there makes a difference
        return case.opcode == 0x63 and case.size == 2 and theirs.fault == "memory"
    # BSF and BSR of 0, CMPXCHG of 4 bytes: QEMU clears the upper half of what is not written
    return found == ["registers"] and case.opcode in (0xBC, 0xBD, 0xB1) and case.size == 4 and all(
        a & 0xFFFFFFFF == b & 0xFFFFFFFF for a, b in zip(ours.state[0], theirs.state[0]))


def differences(case, before, ours, theirs):
    """The names of what differs."""
    mask = 0xCD5 & ~undefined_flags(case, before)
    if ours.fault or theirs.fault:
        # where a fault stops REP CMPS and REP SCAS, the SDM restores the flags, QEMU does not
        mask = 0
    said = ours.fault if theirs.fault == UNSAID and ours.fault else theirs.fault
    return [name for name, a, b in (
        ("fault", ours.fault, said), ("registers", ours.state[0], theirs.state[0]),
        ("rip", ours.state.rip, theirs.state.rip),
        ("flags", ours.state.flags & mask, theirs.state.flags & mask),
        ("memory", ours.state.memory, theirs.state.memory)) if a != b]


def told(case, before, ours, theirs, found):
    registers = [f"{n}: {a:#x} was {c:#x}, theirs {b:#x}" for n, (a, b, c) in enumerate(zip(
        ours.state.registers, theirs.state.registers, before.registers)) if a != b]
    return (f"{case.code.hex()}: {found}; faults {ours.fault}, {theirs.fault}; "
            f"rip {ours.state.rip:#x}, {theirs.state.rip:#x}; flags {before.flags:#x} to "
            f"{ours.state.flags:#x}, {theirs.state.flags:#x}; {registers}")


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["plain", "evmcs"])
def test_both_processors_agree(mode, soak):
    rng = random.Random(SEED if mode == "plain" else SEED + 1)
    ours, theirs = Ours(mode), Unicorn()
    kinds, faults = set(), {}
    for _ in range((SOAK if soak else DEFAULT) // 2):
        case, before = instruction(rng), state(rng)
        a, b = ours.step(case.code, before), theirs.step(case.code, before)
        faults[a.fault] = faults.get(a.fault, 0) + 1
        kinds.add((case.two, case.opcode))
        if undefined_result(case, before):
            continue
        found = differences(case, before, a, b)
        assert not found or known_difference(case, a, b, found), told(case, before, a, b, found)
    assert len(kinds) > 150 and faults[None] > sum(faults.values()) / 3 and faults["memory"], faults


PROGRAMS, SOAKED = 500, 120_000


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["plain", "evmcs"])
def test_both_processors_agree_on_programs(mode, soak):
    """Without an exit between two instructions, and over code that has run before."""
    rng = random.Random(SEED + 2 if mode == "plain" else SEED + 3)
    ours, theirs = Ours(mode), Unicorn()
    ended = faulted = 0
    for _ in range((SOAKED if soak else PROGRAMS) // 2):
        made = program(rng, ours)
        a, b = (one.run(made.code, made.before, PASSES) for one in (ours, theirs))
        at_end = a.state.rip == CODE + made.end
        if a.vector in (12, 13):
            continue            # without paging unicorn cuts addresses to 48 bits
        ended, faulted = ended + at_end, faulted + (not at_end)
        # behind an instruction that faulted, unicorn has not settled the flags of those before
        mask = 0xCD5 if at_end else 0
        # it writes the part of an operand that lies before an absent page, or behind one
        edge = 0 if at_end else 8
        said = a.fault if b.fault == UNSAID else b.fault
        found = [what for what, x, y in (
            ("fault", a.fault, said), ("registers", a.state.registers, b.state.registers),
            ("rip", a.state.rip, b.state.rip),
            ("flags", a.state.flags & mask, b.state.flags & mask),
            ("memory", a.state.memory[edge:len(a.state.memory) - edge],
             b.state.memory[edge:len(b.state.memory) - edge])) if x != y]
        assert not found, (
            f"{made.code.hex()}: {found}; {a.fault} at {a.state.rip:#x}, theirs {b.fault} at "
            f"{b.state.rip:#x}; flags {a.state.flags:#x}, {b.state.flags:#x}")
    assert ended > PROGRAMS // 20 and faulted > PROGRAMS // 20
