# SPDX-License-Identifier: GPL-2.0-only
# The decoder of the L2 processor: prefixes, opcode, ModRM, SIB, displacement, immediate.

cdef enum:
    DECODED = 0
    # more bytes than there are: the next page does not translate
    TRUNCATED = 1
    UNKNOWN = 2
    TOO_LONG = 3
    LONGEST_INSTRUCTION = 15

cdef extern from "kvm_vmx/l0/guest/opcodes.h" nogil:
    enum:
        OP_KNOWN
        OP_MODRM
        OP_BYTE
        OP_IMM8
        OP_IMMZ
        OP_IMMV
        OP_IMM16
        OP_MOFFS
        OP_FAR
        OP_WIDE
        OP_NEAR
        OP_NOT64
        OP_LOCK
        OP_REGISTERS
        OP_0F38_FIRST
        OP_0F38_LAST
    const u16 opcode_flags[2][256]

cdef enum:
    NO_SEGMENT = 0xff

# The bytes of one instruction, read from the front.
cdef struct stream:
    const u8 *code
    u32 at
    u32 have


cdef inline bint take(stream *s, u32 size, u64 *value) noexcept nogil:
    # size bytes, sign-extended; False where they are missing
    cdef u64 found = 0
    cdef u32 i

    if s.at + size > s.have:
        return False
    for i in range(size):
        found |= <u64>s.code[s.at + i] << 8 * i
    s.at += size
    if size < 8 and found >> (8 * size - 1) & 1:
        found |= ~<u64>0 << 8 * size
    value[0] = found
    return True


cdef u32 segment_of_prefix(u8 byte) noexcept nogil:
    if byte == 0x26:
        return SEG_ES
    if byte == 0x2e:
        return SEG_CS
    if byte == 0x36:
        return SEG_SS
    if byte == 0x3e:
        return SEG_DS
    if byte == 0x64:
        return SEG_FS
    if byte == 0x65:
        return SEG_GS
    return NO_SEGMENT


cdef bint prefixes(stream *s, l2_insn *insn, u32 bits, bint *address_prefix) noexcept nogil:
    cdef u8 byte
    cdef u32 segment

    while s.at < s.have:
        byte = s.code[s.at]
        segment = segment_of_prefix(byte)
        if segment != NO_SEGMENT:
            # 64-bit code has no use for the other four
            if bits != 64 or segment >= SEG_FS:
                insn.segment = segment
            insn.rex = 0
        elif byte == 0x66:
            insn.operand_prefix = 1
            insn.rex = 0
        elif byte == 0x67:
            address_prefix[0] = True
            insn.rex = 0
        elif byte == 0xf2 or byte == 0xf3:
            insn.repeat = byte
            insn.rex = 0
        elif byte == 0xf0:
            insn.lock = 1
            insn.rex = 0
        elif bits == 64 and byte & 0xf0 == 0x40:
            # a REX prefix counts only where the opcode follows
            insn.rex = byte
        else:
            return True
        s.at += 1
    return False


cdef u32 opcode(stream *s, l2_insn *insn) noexcept nogil:
    # The opcode's bytes; its flags, OP_MODRM alone where bytes are missing.
    insn.opcode = s.code[s.at]
    s.at += 1
    if insn.opcode != 0x0f:
        return opcode_flags[0][insn.opcode]
    if s.at >= s.have:
        return OP_MODRM
    insn.map = 1
    insn.opcode = s.code[s.at]
    s.at += 1
    if insn.opcode != 0x38:
        return opcode_flags[1][insn.opcode]
    if s.at >= s.have:
        return OP_MODRM
    insn.map = 2
    insn.opcode = s.code[s.at]
    s.at += 1
    if OP_0F38_FIRST <= insn.opcode <= OP_0F38_LAST and insn.operand_prefix and not insn.repeat:
        return OP_KNOWN | OP_MODRM
    return 0


cdef void operand_sizes(l2_insn *insn, u32 bits, u32 flags, bint address_prefix) noexcept nogil:
    if bits == 64:
        insn.address_size = 4 if address_prefix else 8
        if flags & OP_NEAR or insn.rex & 8 or (flags & OP_WIDE and not insn.operand_prefix):
            insn.size = 8
        else:
            insn.size = 2 if insn.operand_prefix else 4
    else:
        insn.address_size = 2 if (bits == 16) != address_prefix else 4
        insn.size = 2 if (bits == 16) != (insn.operand_prefix != 0) else 4
    if flags & OP_BYTE:
        insn.byte_operand = 1


cdef bint modrm_16(stream *s, l2_insn *insn) noexcept nogil:
    # BX or BP and SI or DI
    cdef u32 form = insn.rm
    cdef u32 size = 0

    if form < 6:
        insn.index = GPR_RDI if form & 1 else GPR_RSI
    if form < 4:
        insn.base = GPR_RBP if form & 2 else GPR_RBX
    elif form < 6:
        insn.base = insn.index
        insn.index = L2_NO_REGISTER
    elif form == 7:
        insn.base = GPR_RBX
    elif insn.mod != 0:
        insn.base = GPR_RBP
    if insn.mod == 1:
        size = 1
    elif insn.mod == 2 or form == 6:
        size = 2
    return size == 0 or take(s, size, &insn.displacement)


cdef bint modrm_32(stream *s, l2_insn *insn, u32 bits) noexcept nogil:
    cdef u64 sib = 0
    cdef u32 size = 1 if insn.mod == 1 else 4 if insn.mod == 2 else 0

    if insn.rm & 7 == 4:
        if not take(s, 1, &sib):
            return False
        insn.base = sib & 7 | (insn.rex & 1) << 3
        insn.scale = sib >> 6 & 3
        insn.index = sib >> 3 & 7 | (insn.rex & 2) << 2
        if insn.index == GPR_RSP:
            insn.index = L2_NO_REGISTER
        if sib & 7 == 5 and insn.mod == 0:
            insn.base = L2_NO_REGISTER
            size = 4
    elif insn.rm & 7 == 5 and insn.mod == 0:
        insn.rip_relative = bits == 64
        size = 4
    else:
        insn.base = insn.rm
    return size == 0 or take(s, size, &insn.displacement)


cdef bint modrm(stream *s, l2_insn *insn, u32 bits, u32 flags) noexcept nogil:
    cdef u64 byte = 0

    if not take(s, 1, &byte):
        return False
    insn.has_modrm = 1
    insn.mod = byte >> 6 & 3
    insn.reg = byte >> 3 & 7 | (insn.rex & 4) << 1
    insn.rm = byte & 7
    if flags & OP_REGISTERS or insn.mod == 3:
        insn.rm |= (insn.rex & 1) << 3
        return True
    insn.is_memory = 1
    if insn.address_size == 2:
        return modrm_16(s, insn)
    insn.rm |= (insn.rex & 1) << 3
    return modrm_32(s, insn, bits)


cdef bint immediates(stream *s, l2_insn *insn, u32 flags) noexcept nogil:
    cdef u32 wide = 2 if insn.size == 2 else 4
    cdef u64 selector = 0

    # TEST is the one member of its group that has an immediate
    if insn.map == 0 and insn.opcode & 0xfe == 0xf6 and insn.reg & 6 == 0:
        flags |= OP_IMM8 if insn.byte_operand else OP_IMMZ
    if flags & OP_MOFFS:
        insn.is_memory = 1
        return take(s, insn.address_size, &insn.displacement)
    if flags & OP_FAR:
        if not take(s, wide, &insn.immediate) or not take(s, 2, &selector):
            return False
        insn.far_selector = selector & 0xffff
        return True
    if flags & OP_IMM16:
        if not take(s, 2, &insn.immediate):
            return False
        if not flags & OP_IMM8:
            return True
        # ENTER: the level of nesting stands behind the size
        if not take(s, 1, &selector):
            return False
        insn.far_selector = selector & 0xff
        return True
    if flags & OP_IMM8:
        return take(s, 1, &insn.immediate)
    if flags & OP_IMMZ:
        return take(s, wide, &insn.immediate)
    if flags & OP_IMMV:
        return take(s, insn.size, &insn.immediate)
    return True


cdef void effective_address(l0_vp *vp, l2_insn *insn) noexcept nogil:
    cdef u64 offset = insn.displacement

    if insn.rip_relative:
        # the qualification of an exit is this sum, too
        offset += vp.vmcs.f.guest_rip + insn.length
        insn.displacement = offset
    if insn.base != L2_NO_REGISTER:
        offset += gpr(vp, insn.base)[0]
    if insn.index != L2_NO_REGISTER:
        offset += gpr(vp, insn.index)[0] << insn.scale
    if insn.address_size == 4:
        offset &= <u64>0xffffffff
    elif insn.address_size == 2:
        offset &= 0xffff
    insn.offset = offset
    if insn.segment == NO_SEGMENT:
        insn.segment = SEG_SS if insn.base == GPR_RSP or insn.base == GPR_RBP else SEG_DS


cdef int missing(const stream *s) noexcept nogil:
    return TOO_LONG if s.have >= LONGEST_INSTRUCTION else TRUNCATED


# Decode what stands at code, of which `have` bytes can be read.
cdef int decode(l0_vp *vp, const u8 *code, u32 have, l2_insn *insn) noexcept nogil:
    cdef stream s
    cdef u32 flags, bits = vp.code_bits
    cdef bint address_prefix = False

    memset(insn, 0, sizeof(l2_insn))
    insn.segment = NO_SEGMENT
    insn.base = insn.index = L2_NO_REGISTER
    s.code = code
    s.at = 0
    s.have = have
    if not prefixes(&s, insn, bits, &address_prefix):
        return missing(&s)
    flags = opcode(&s, insn)
    if flags == OP_MODRM:
        return missing(&s)
    if not flags & OP_KNOWN or (flags & OP_NOT64 and bits == 64):
        return UNKNOWN
    operand_sizes(insn, bits, flags, address_prefix)
    if flags & OP_MODRM and not modrm(&s, insn, bits, flags):
        return missing(&s)
    if not immediates(&s, insn, flags):
        return missing(&s)
    insn.length = s.at
    if insn.lock and not lock_allowed(insn, flags):
        return UNKNOWN
    effective_address(vp, insn)
    if vp.decoded != NULL and have == LONGEST_INSTRUCTION:
        keep_decoded(vp, code, insn)
    return DECODED
