# SPDX-License-Identifier: GPL-2.0-only
# The LOCK prefix of L2's instructions: SDM 2A, its page, and 2.1.1.


# Of the groups behind 0f, BT writes nothing, and of c7 CMPXCHG8B and CMPXCHG16B alone are meant.
cdef bint lock_allowed_0f(const l2_insn *insn) noexcept nogil:
    if insn.opcode == 0xba:
        return insn.reg & 7 > 4
    return insn.opcode != 0xc7 or insn.reg & 7 == 1


# May LOCK stand before it? Only where memory is read and written.
cdef bint lock_allowed(const l2_insn *insn, u32 flags) noexcept nogil:
    if not flags & OP_LOCK or not insn.is_memory:
        return False
    if insn.map:
        return lock_allowed_0f(insn)
    if 0x80 <= insn.opcode <= 0x83 or insn.opcode < 0x40:
        # CMP writes nothing
        return (insn.reg & 7 if insn.opcode >= 0x80 else insn.opcode >> 3) != 7
    if insn.opcode & 0xfe == 0xf6:
        return insn.reg & 7 == 2 or insn.reg & 7 == 3
    return insn.opcode & 0xfe == 0x86 or insn.reg & 7 < 2
