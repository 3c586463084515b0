# SPDX-License-Identifier: GPL-2.0-only
"""Random instructions of 64-bit code, and what the SDM leaves undefined behind each.

Half of what could be an address is one, in the pages from PAGES on.
"""

from typing import NamedTuple

from guest import CODE, DATA

CF, PF, AF, ZF, SF, OF = 1, 4, 0x10, 0x40, 0x80, 0x800
STATUS = CF | PF | AF | ZF | SF | OF
DF = 0x400
PAGES, SIZE = DATA, 0x2000
STACK_TOP = DATA + 0x1800
BASE_FS, BASE_GS = DATA + 0x100, DATA + 0x900


class State(NamedTuple):
    """What an instruction can change."""

    registers: tuple[int, ...]
    rip: int
    flags: int
    memory: bytes


def repeats(code):
    """Is it a string instruction with REP?"""
    for n, byte in enumerate(code):
        if byte in (0xF2, 0xF3):
            return any(b in STRINGS for b in code[n + 1:n + 4])
        if byte not in LEGACY:
            return False
    return False


STRINGS = {0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF}
LEGACY = {0x66, 0x67, 0x64, 0x65, 0x2E, 0x3E}
SHIFTS = {0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3}

# one byte: opcode, has ModRM, bytes of immediate ("z": 2 or 4; "v": 2, 4 or 8)
ONE = [(8 * n + i, i < 4, (0, 0, 0, 0, 1, "z")[i]) for n in range(8) for i in range(6)]
ONE += [(o, True, 0) for o in (0x63, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8D, 0xD0,
                               0xD1, 0xD2, 0xD3, 0xF6, 0xF7, 0xFE) for _ in range(2)]
ONE += [(o, True, 1) for o in (0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6)]
ONE += [(o, True, "z") for o in (0x69, 0x81, 0xC7)]
ONE += [(o, False, 0) for o in (*range(0x50, 0x60), *range(0x90, 0x9A), 0x9E, 0x9F, 0xC9, 0xD7,
                                *STRINGS, *STRINGS, *STRINGS, 0xF5, 0xF8, 0xF9, 0xFC, 0xFD)]
ONE += [(o, False, 1) for o in (0x6A, 0xA8, *range(0xB0, 0xB8))]
ONE += [(o, False, "z") for o in (0x68, 0xA9)] + [(o, False, "v") for o in range(0xB8, 0xC0)]
ONE += [(0xC8, False, 3)]
TWO = [(o, True, 0) for o in (0x0D, *range(0x18, 0x20), *range(0x40, 0x50), *range(0x90, 0xA0),
                              0xA3, 0xA5, 0xAB, 0xAD, 0xAF, 0xB0, 0xB1, 0xB3, 0xB6, 0xB7, 0xB8,
                              0xBB,
                              0xBC, 0xBD, 0xBE, 0xBF, 0xC0, 0xC1, 0xC7)]
TWO += [(o, True, 1) for o in (0xA4, 0xAC, 0xBA)] * 3 + [(o, False, 0) for o in range(0xC8, 0xD0)]


LOCKED = {(True, o) for o in (0xAB, 0xB3, 0xBA, 0xBB, 0xB0, 0xB1, 0xC0, 0xC1, 0xC7)} | {
    (False, o) for o in (0x86, 0x87, 0xF6, 0xF7, 0xFE,
                         *(8 * n + i for n in range(7) for i in (0, 1)))}
NO_REX = (0x9E, 0x9F, 0xC6, 0xC7)


class Case(NamedTuple):
    """An instruction, with what the test needs to know of it."""

    code: bytes
    two: bool
    opcode: int
    modrm: int | None
    size: int           # of operands that are not bytes
    repeat: int


def instruction(rng):
    """A random one, most of them valid."""
    two = rng.random() < .45
    opcode, has_modrm, immediate = rng.choice(TWO if two else ONE)
    prefix = b""
    if rng.random() < .2:
        prefix += b"\x66"
    if rng.random() < .05:
        prefix += b"\x67"
    if rng.random() < .08:
        prefix += bytes([rng.choice((0x64, 0x65))])
    repeat = 0
    if not two and opcode in STRINGS and rng.random() < .7 or two and opcode in (0xBC, 0xBD) and \
            rng.random() < .5:
        repeat = rng.choice((0xF2, 0xF3)) if not two else 0xF3
    if two and opcode == 0xB8:
        repeat = 0xF3
    modrm = rng.randrange(256) if has_modrm else None
    if two and opcode == 0xBA:
        modrm |= 0x20
    if two and opcode == 0xC7:
        modrm = rng.choice((8, 0x4B, 0x8E, 0x0F))
    if not two and opcode in (0xC6, 0xC7):
        modrm &= 0xC7
    if not two and opcode == 0xFE:
        modrm &= 0xCF
    if not two and opcode & 0xFE == 0xF6 and modrm & 0x38 == 8:
        modrm ^= 8          # the second form of TEST, which QEMU does not know
    if two and opcode in (0x0D, 0x18):
        modrm &= 0x3F       # PREFETCH of a register, a NOP that QEMU does not know
    if two and opcode in (0xA4, 0xAC) and modrm & 0xC7 == 5:
        modrm |= 0xC0       # QEMU does not count the immediate behind a distance from RIP
    lock = (two, opcode) in LOCKED and modrm < 0xC0 and rng.random() < .2 and (
        opcode & 0xFE != 0xF6 or two or modrm & 0x38 == 0x10) and (   # NEG: QEMU's flags are wrong
        opcode != 0xBA or modrm & 0x18 != 0)
    rex = 0x40 | rng.randrange(16) if rng.random() < .6 else 0
    if not two and opcode in NO_REX:
        rex = 0             # QEMU takes AH for SPL behind one, and REX.R for a part of the group
    if two and opcode == 0xB8 and prefix:
        rex &= 0xF7         # QEMU lets 66 win over REX.W
    code = prefix + bytes([repeat] * bool(repeat) + [0xF0] * lock + [rex] * bool(rex)
                          + [0x0F] * two + [opcode])
    size = 8 if rex & 8 else 2 if b"\x66" in prefix else 4
    if has_modrm:
        code += bytes([modrm]) + address(rng, modrm)
    if not two and opcode & 0xFE == 0xF6 and not modrm & 0x30:
        immediate = 1 if opcode == 0xF6 else "z"
    if immediate == "z":
        immediate = min(size, 4)
    elif immediate == "v":
        immediate = size
    if opcode == 0xC8 and not two:
        return Case(code + bytes([rng.randrange(256), rng.randrange(2), rng.randrange(4)]), two,
                    opcode, modrm, size, repeat)
    return Case(code + rng.randbytes(immediate), two, opcode, modrm, size, repeat)


def address(rng, modrm):
    """What follows ModRM: SIB and a small distance."""
    mod, rm = modrm >> 6, modrm & 7
    if mod == 3:
        return b""
    sib = rng.randrange(256) if rm == 4 else None
    out = b"" if sib is None else bytes([sib])
    if mod == 0 and (rm == 5 or sib is not None and sib & 7 == 5):
        # by RIP, or by itself: into the data
        where = rng.randrange(SIZE - 16) + PAGES - (CODE if rm == 5 else 0)
        return out + where.to_bytes(4, "little")
    if mod == 1:
        return out + rng.randbytes(1)
    if mod == 2:
        return out + rng.randrange(-256, 256).to_bytes(4, "little", signed=True)
    return out


INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
               0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def state(rng):
    """Registers that are half addresses, half numbers."""
    values = [rng.choice((
        PAGES + rng.randrange(SIZE), PAGES + 16 * rng.randrange(SIZE // 16), rng.getrandbits(64),
        rng.choice(INTERESTING), rng.randrange(100))) for _ in range(16)]
    values[1] = rng.choice((values[1], rng.randrange(70), rng.randrange(70)))
    values[4] = STACK_TOP - 8 * rng.randrange(32)
    for n in (3, 5, 6, 7):
        if rng.random() < .8:
            values[n] = PAGES + rng.randrange(SIZE)
    flags = 2 | rng.getrandbits(12) & STATUS | (DF if rng.random() < .2 else 0)
    memory = rng.choice((rng.randbytes, bytes))(SIZE)
    return State(tuple(values), CODE, flags, memory)


def shift_count(case, before):
    """By how much a shift shifts, masked."""
    if case.two:
        count = case.code[-1] if not case.opcode & 1 else before.registers[1]
    elif case.opcode in (0xD0, 0xD1):
        count = 1
    else:
        count = case.code[-1] if case.opcode < 0xD0 else before.registers[1]
    return count & (63 if case.size == 8 and not byte_sized(case) else 31)


def byte_sized(case):
    """Does it work on bytes?"""
    return not case.two and not case.opcode & 1


def undefined_flags(case, before):
    """The flags that the SDM leaves undefined behind this instruction."""
    if case.two:
        return undefined_flags_0f(case, before)
    group = case.modrm >> 3 & 7 if case.modrm is not None else 0
    if case.opcode in SHIFTS:
        count, bits = shift_count(case, before), 8 if byte_sized(case) else 8 * case.size
        if not count:
            return 0
        mask = OF if count != 1 else 0
        if group >= 4:
            mask |= AF
            if group != 7 and count >= bits:
                mask |= CF
        return mask
    if case.opcode & 0xFE == 0xF6:
        return {4: SF | ZF | AF | PF, 5: SF | ZF | AF | PF, 6: STATUS, 7: STATUS, 0: AF, 1: AF}.get(
            group, 0)
    if case.opcode in (0x69, 0x6B):
        return SF | ZF | AF | PF
    if case.opcode < 0x40 and case.opcode >> 3 in (1, 4, 6) or case.opcode in (
            0x84, 0x85, 0xA8, 0xA9) or 0x80 <= case.opcode <= 0x83 and group in (1, 4, 6):
        return AF
    return 0


def undefined_flags_0f(case, before):
    if case.opcode == 0xAF:
        return SF | ZF | AF | PF
    if case.opcode in (0xA4, 0xA5, 0xAC, 0xAD):
        count = shift_count(case, before)
        if count > 8 * case.size:
            return STATUS
        return 0 if not count else AF | (OF if count != 1 else 0)
    if case.opcode in (0xA3, 0xAB, 0xB3, 0xBB, 0xBA):
        return OF | SF | AF | PF
    if case.opcode in (0xBC, 0xBD):
        return OF | SF | AF | PF | (0 if case.repeat else CF)
    return 0
