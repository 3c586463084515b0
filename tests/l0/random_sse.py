# SPDX-License-Identifier: GPL-2.0-only
"""Random rows of SSE2 instructions: all registers from memory, and back, and MXCSR at the end."""

import itertools
import random
import struct

from random_insn import PAGES, SIZE, State, state
from random_program import UD2

RBX = 3
IMAGE = 256             # bytes of 16 registers
PACKED = (0x14, 0x15, *range(0x54, 0x58), *range(0x60, 0x6E), 0x74, 0x75, 0x76, *range(0xD1, 0xD6),
          *range(0xD8, 0xE6), *range(0xE8, 0xF0), *range(0xF1, 0xF7), *range(0xF8, 0xFF))
# by prefix and opcode: what is computed, compared, converted; RSQRT and RCP are estimates
FLOATS = [(prefix, opcode, "x") for opcode in (0x51, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0xC2)
          for prefix in (b"", b"\x66", b"\xf3", b"\xf2")] + [
    *((prefix, 0x5A, "x") for prefix in (b"", b"\x66", b"\xf3", b"\xf2")),
    *((prefix, 0x5B, "x") for prefix in (b"", b"\x66", b"\xf3")),
    *((prefix, 0xE6, "x") for prefix in (b"\x66", b"\xf3", b"\xf2")),
    *((prefix, opcode, "x") for prefix in (b"", b"\x66") for opcode in (0x2E, 0x2F)),
    *((prefix, opcode, "g") for prefix in (b"\xf3", b"\xf2") for opcode in (0x2A, 0x2C, 0x2D))]
# 1, -1, 0.5, infinities, NaNs, the largest, the least normal and a denormal one, of 4 and 8 bytes
SINGULAR = [n.to_bytes(4, "little") for n in (
    0, 1 << 31, 0x3F800000, 0xBF800000, 0x3F000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
    0x7F7FFFFF, 0x00800000, 1, 0x4F000000, 0xCF000000, 0x40490FDB)] + [
    n.to_bytes(8, "little") for n in (
        1 << 63, 0x3FF0000000000000, 0xBFE0000000000000, 0x7FF0000000000000, 0x7FF8000000000000,
        0x7FF0000000000001, 0x7FEFFFFFFFFFFFFF, 0x0010000000000000, 1, 0x41DFFFFFFFC00000,
        0x43E0000000000000, 0x400921FB54442D18)]
SINGLES = (0x14, 0x15, *range(0x54, 0x58))
# prefix, opcode, which forms of ModRM: m memory, r a register, g a general one; aligned; stores
MOVES = [(b"", 0x10, "rm"), (b"\x66", 0x10, "rm"), (b"\xf3", 0x10, "rm"), (b"\xf2", 0x10, "rm"),
         (b"", 0x11, "rm"), (b"\x66", 0x11, "rm"), (b"\xf3", 0x11, "rm"), (b"\xf2", 0x11, "rm"),
         (b"", 0x12, "rm"), (b"\x66", 0x12, "m"), (b"", 0x13, "m"), (b"\x66", 0x13, "m"),
         (b"", 0x16, "rm"), (b"\x66", 0x16, "m"), (b"", 0x17, "m"), (b"\x66", 0x17, "m"),
         (b"", 0x28, "rM"), (b"\x66", 0x28, "rM"), (b"", 0x29, "rM"), (b"\x66", 0x29, "rM"),
         (b"", 0x2B, "M"), (b"\x66", 0x2B, "M"), (b"", 0x50, "r"), (b"\x66", 0x50, "r"),
         (b"\x66", 0x6E, "gm"), (b"\x66", 0x7E, "gm"), (b"\xf3", 0x7E, "rm"), (b"\x66", 0xD6, "rm"),
         (b"\x66", 0x6F, "rM"), (b"\xf3", 0x6F, "rm"), (b"\x66", 0x7F, "rM"), (b"\xf3", 0x7F, "rm"),
         (b"\x66", 0xD7, "r"), (b"\x66", 0xE7, "M"), (b"", 0xC3, "m")]


def encode(rng, prefix, opcode, form, reg=None, immediate=b""):
    """One instruction; its memory is at RBX and a distance, in the pages."""
    # RSP and RBX stay, and no general register is needed twice
    reg = rng.choice([n for n in range(16) if n not in (RBX, 4)]) if reg is None else reg
    rm = rng.choice([n for n in range(16) if n not in (RBX, 4)])
    wide = rng.random() < .5 and opcode in (0x2A, 0x2C, 0x2D, 0x6E, 0x7E, 0xC3)
    rex = 0x40 | wide << 3 | (reg >> 3) << 2
    if form in "rg":
        rex |= rm >> 3
        tail = bytes([0xC0 | (reg & 7) << 3 | rm & 7])
    else:
        distance = rng.randrange(IMAGE, SIZE - 16)
        if form == "M":
            distance &= ~15
        tail = bytes([0x80 | (reg & 7) << 3 | RBX]) + distance.to_bytes(4, "little")
    return prefix + bytes([rex, 0x0F, opcode]) + tail + immediate


def one_float(rng):
    """A random instruction on floating-point numbers."""
    prefix, opcode, kind = rng.choice(FLOATS)
    forms = "gm" if kind == "g" and opcode == 0x2A else "rM"
    immediate = bytes([rng.randrange(8)]) if opcode == 0xC2 else b""
    return encode(rng, prefix, opcode, rng.choice(forms), immediate=immediate)


def numbers(rng):
    """Memory of floating-point numbers, of all kinds."""
    found = b""
    while len(found) < SIZE:
        found += rng.choice((rng.choice(SINGULAR), rng.randbytes(4), rng.randbytes(8),
                             struct.pack("<f", rng.uniform(-9, 9)),
                             struct.pack("<d", rng.uniform(-9, 9))))
    return found[:SIZE]


def float_row(rng: random.Random, length: int) -> tuple[list[bytes], State]:
    """The programs of the first of them, of the first two, and so on to all, and the state that
    they begin in: LDMXCSR, and STMXCSR at the end."""
    before = state(rng)
    registers = list(before.registers)
    registers[RBX] = PAGES
    csr = 0x1F80 | rng.randrange(4) << 13
    memory = bytearray(numbers(rng))
    memory[-4:] = csr.to_bytes(4, "little")
    at = (SIZE - 4).to_bytes(4, "little")
    begin = b"\x0f\xae\x93" + at + image(0x6F)
    end = image(0x7F) + b"\x0f\xae\x9b" + at + UD2
    bodies = itertools.accumulate(one_float(rng) for _ in range(length))
    return [begin + body + end for body in bodies], \
        before._replace(registers=tuple(registers), memory=bytes(memory))


def one(rng):
    """A random instruction of all that are here."""
    kind = rng.randrange(10)
    if kind < 4:
        prefix, opcode, forms = rng.choice(MOVES)
        return encode(rng, prefix, opcode, rng.choice(forms))
    if kind < 8:
        return encode(rng, b"\x66", rng.choice(PACKED), rng.choice("rM"))
    if kind == 8:
        prefix, opcode = rng.choice([(b"\x66", 0x70), (b"\xf2", 0x70), (b"\xf3", 0x70),
                                     (b"", 0xC6), (b"\x66", 0xC6)])
        return encode(rng, prefix, opcode, rng.choice("rM"), immediate=rng.randbytes(1))
    if rng.random() < .3:
        return encode(rng, b"", rng.choice(SINGLES), rng.choice("rM"))
    opcode = rng.choice((0x71, 0x72, 0x73))
    group = rng.choice((2, 6, 3, 7) if opcode == 0x73 else (2, 4, 6))
    return encode(rng, b"\x66", opcode, "r", group,
                  bytes([rng.choice((rng.randrange(20), rng.randrange(70), 255))]))


def image(opcode):
    """MOVDQU of all registers, by RBX."""
    return b"".join(
        bytes([0xF3, 0x40 | n >> 3 << 2, 0x0F, opcode, 0x80 | (n & 7) << 3 | RBX])
        + (16 * n).to_bytes(4, "little") for n in range(16))


def row(rng: random.Random, length: int) -> tuple[bytes, State]:
    """A program, and the state that it begins in."""
    before = state(rng)
    registers = list(before.registers)
    registers[RBX] = PAGES
    body = b"".join(one(rng) for _ in range(length))
    # few different bytes, so that comparisons are true at times
    memory = rng.choice((rng.randbytes, lambda n: bytes(
        rng.choices(b"\0\1\x7f\x80\xff", k=n))))(SIZE)
    return image(0x6F) + body + image(0x7F) + UD2, before._replace(
        registers=tuple(registers), memory=memory)
