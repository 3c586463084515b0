# SPDX-License-Identifier: GPL-2.0-only
"""Where a compiled instruction reads or writes memory: its operand, from its bytes and registers.

What gcc makes of the port, without vectors: SDM volume 2A, 2.1 and 2.2, and the opcode maps of its
appendix A. What is not understood has no operand.
"""

from collections.abc import Sequence
from typing import NamedTuple

MASK = (1 << 64) - 1
PREFIXES = {0x66, 0xF2, 0xF3, 0xF0, 0x2E, 0x3E}
SEGMENTS = {0x64, 0x65}         # %fs, %gs: no page of a VMCS
LEA = 0x8D
WITH_MODRM = {0x63, 0x69, 0x6B, 0x80, 0x81, 0x83, *range(0x84, 0x90), 0xC0, 0xC1, 0xC6, 0xC7,
              *range(0xD0, 0xD4), 0xF6, 0xF7, 0xFE, 0xFF,
              *(high | low for high in range(0, 0x40, 8) for low in range(4))}
# Of the second map those that have none, and what leads to a third one.
WITHOUT_MODRM = {0x05, 0x0B, 0x38, 0x3A, *range(0x30, 0x38), *range(0x80, 0x90), *range(0xA0, 0xA3),
                 *range(0xA8, 0xAB), *range(0xC8, 0xD0)}
STORES = {0x88, 0x89, 0xC6, 0xC7, 0x86, 0x87, 0xC0, 0xC1, *range(0xD0, 0xD4),
          *(high | low for high in range(0, 0x38, 8) for low in range(2))}
STORES_0F = {0x11, 0x13, 0x17, 0x29, 0x2B, 0x7F, 0xB0, 0xB1, 0xC0, 0xC1, 0xAB, 0xB3, 0xBB, 0xC3,
             0xD6, 0xE7, *range(0x90, 0xA0)}
# By the number in ModRM: which of a group store.
GROUPS = {0x80: range(7), 0x81: range(7), 0x83: range(7), 0xF6: (2, 3), 0xF7: (2, 3),
          0xFE: (0, 1), 0xFF: (0, 1)}


class Operand(NamedTuple):
    """An operand in memory: base and the other one, which is scaled, are registers or None."""

    base: int | None
    other: int | None
    scale: int
    displacement: int
    store: bool

    def address(self, gpr: Sequence[int]) -> int:
        """Where it is, with these registers."""
        where = self.displacement
        where += gpr[self.base] if self.base is not None else 0
        where += gpr[self.other] * self.scale if self.other is not None else 0
        return where & MASK


def operand(code: bytes) -> Operand | None:
    """The operand in memory of the instruction that these bytes begin with; None: it has none, or
    it is of a segment or relative to RIP, where no page is."""
    at, rex = 0, 0
    while code[at] in PREFIXES:
        at += 1
    if code[at] in SEGMENTS:
        return None
    if code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    second = code[at] == 0x0F
    at += second
    opcode = code[at]
    if opcode not in WITH_MODRM and not second or second and opcode in WITHOUT_MODRM or (
            opcode == LEA and not second):
        return None
    modrm = code[at + 1]
    mode, number, low = modrm >> 6, modrm >> 3 & 7, modrm & 7
    if mode == 3 or mode == 0 and low == 5:
        return None
    store = number in GROUPS[opcode] if opcode in GROUPS and not second else (
        opcode in (STORES_0F if second else STORES))
    at += 2
    base: int | None = low | (rex & 1) << 3
    other: int | None = None
    scale = 1
    if low == 4:
        sib = code[at]
        at += 1
        base, scale = sib & 7 | (rex & 1) << 3, 1 << (sib >> 6)
        other = sib >> 3 & 7 | (rex & 2) << 2
        other = None if other == 4 else other
        if mode == 0 and sib & 7 == 5:
            base, mode = None, 2
    size = (0, 1, 4)[mode]
    displacement = int.from_bytes(code[at:at + size], "little", signed=True)
    return Operand(base, other, scale, displacement, store)
