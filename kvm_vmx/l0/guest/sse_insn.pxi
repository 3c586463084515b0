# SPDX-License-Identifier: GPL-2.0-only
# SSE and SSE2 of L2: which instruction it is; moves, logic, and integers side by side.

cdef extern from "kvm_vmx/l0/guest/packed.h" nogil:
    ctypedef union xmm_value:
        u64 q[2]
    bint packed_integers(u32 opcode, xmm_value *place, const xmm_value *source)
    bint packed_singles(u32 opcode, xmm_value *place, const xmm_value *source)
    bint packed_shift(u32 opcode, u32 operation, xmm_value *place, u32 count)
    bint packed_shuffle(u32 opcode, u32 repeat, bint prefixed, xmm_value *place,
                        const xmm_value *source, u32 order)
    u32 packed_signs(const xmm_value *value, u32 size)

cdef enum:
    PREFIX_SS = 0xf3
    PREFIX_SD = 0xf2
    XMM_BYTES = 16


cdef inline xmm_value *xmm(l0_vp *vp, u32 number) noexcept nogil:
    return <xmm_value *>&vp.extended.xmm[2 * number]


# SDM 3A 2.5 and 13.1: who may execute an instruction of SSE.
cdef int check_sse(l0_vp *vp) noexcept nogil:
    if vp.vmcs.f.guest_cr0 & X86_CR0_EM or not vp.vmcs.f.guest_cr4 & X86_CR4_OSFXSR:
        return undefined(vp)
    return fault(vp, X86_TRAP_NM, 0) if vp.vmcs.f.guest_cr0 & X86_CR0_TS else L2_DONE


# SDM 2A, exceptions type 1 and 4: all 16 bytes at a multiple of 16.
cdef int check_aligned(l0_vp *vp, const l2_insn *insn, u32 bytes, bint write) noexcept nogil:
    cdef u64 linear = 0
    cdef int status = linear_address(vp, insn.segment, insn.offset, bytes, write, &linear)

    if status == L2_DONE and linear & (bytes - 1):
        return fault(vp, X86_TRAP_GP, 0)
    return status


# An operand of 4, 8 or 16 bytes that lies in a register or in memory; the bytes above it are 0.
cdef int read_xmm(l0_vp *vp, const l2_insn *insn, u32 size, bint aligned, xmm_value *value) \
        noexcept nogil:
    cdef int status = L2_DONE

    value.q[0] = value.q[1] = 0
    if not insn.is_memory:
        value.q[0] = xmm(vp, insn.rm).q[0] & size_mask(min(size, <u32>8))
        value.q[1] = xmm(vp, insn.rm).q[1] if size > 8 else 0
        return status
    if aligned:
        status = check_aligned(vp, insn, size, False)
    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset, min(size, <u32>8), &value.q[0])
    if status == L2_DONE and size > 8:
        status = read_memory(vp, insn.segment, insn.offset + 8, 8, &value.q[1])
    return status


cdef int write_xmm(l0_vp *vp, const l2_insn *insn, u32 size, bint aligned, const xmm_value *value) \
        noexcept nogil:
    cdef int status = check_aligned(vp, insn, size, True) if aligned else L2_DONE

    if status == L2_DONE:
        status = check_write(vp, insn.segment, insn.offset, size)
    if status == L2_DONE:
        status = write_memory(
            vp, insn.segment, insn.offset, min(size, <u32>8), value.q[0])
    if status == L2_DONE and size > 8:
        status = write_memory(vp, insn.segment, insn.offset + 8, 8, value.q[1])
    return status


# Load and store; a load of less than 16 bytes clears the rest, a move between registers does not.
cdef int move_xmm(l0_vp *vp, const l2_insn *insn, u32 size, bint aligned, bint store) noexcept nogil:
    cdef u32 source = insn.reg if store else insn.rm
    cdef xmm_value value
    cdef int status = L2_DONE

    if not insn.is_memory:
        value = xmm(vp, source)[0]
        memcpy(xmm(vp, insn.rm if store else insn.reg), &value, size)
        return L2_DONE
    if store:
        return write_xmm(vp, insn, size, aligned, xmm(vp, source))
    status = read_xmm(vp, insn, size, aligned, &value)
    if status == L2_DONE:
        xmm(vp, insn.reg)[0] = value
    return status


# 12, 13, 16 and 17: half a register, with memory or across two.
cdef int move_half(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 high = insn.opcode >> 2 & 1
    cdef u64 *place = &xmm(vp, insn.reg).q[high]

    if insn.repeat or (not insn.is_memory and (insn.operand_prefix or insn.opcode & 1)):
        return undefined(vp)
    if not insn.is_memory:
        place[0] = xmm(vp, insn.rm).q[1 - high]
        return L2_DONE
    if insn.opcode & 1:
        return write_memory(vp, insn.segment, insn.offset, 8, place[0])
    return read_memory(vp, insn.segment, insn.offset, 8, place)


# 6e and 7e with 66: a general register, or memory of its size; 7e with F3 and d6: MOVQ.
cdef int move_word(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = 8 if insn.rex & 8 else 4
    cdef xmm_value value
    cdef int status

    if insn.opcode == 0x7e and insn.operand_prefix and not insn.repeat:
        return write_rm(vp, insn, size, xmm(vp, insn.reg).q[0] & size_mask(size))
    if insn.opcode == 0xd6 and insn.is_memory:
        return write_xmm(vp, insn, 8, False, xmm(vp, insn.reg))
    if insn.opcode == 0xd6:
        value.q[0], value.q[1] = xmm(vp, insn.reg).q[0], 0
        xmm(vp, insn.rm)[0] = value
        return L2_DONE
    value.q[0] = value.q[1] = 0
    if insn.opcode == 0x6e:
        status = read_rm(vp, insn, size, &value.q[0])
    else:
        status = read_xmm(vp, insn, 8, False, &value)
    if status == L2_DONE:
        xmm(vp, insn.reg)[0] = value
    return status


cdef int moves(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode
    cdef bint prefixed = insn.operand_prefix and not insn.repeat

    if opcode == 0x10 or opcode == 0x11:
        return move_xmm(vp, insn, 4 if insn.repeat == PREFIX_SS else
                        8 if insn.repeat else XMM_BYTES, False, opcode & 1)
    if opcode < 0x18:
        return move_half(vp, insn)
    if opcode == 0x28 or opcode == 0x29:
        return undefined(vp) if insn.repeat else move_xmm(vp, insn, XMM_BYTES, True, opcode & 1)
    if opcode == 0x2b or opcode == 0xe7:
        # past the caches: memory alone
        if not insn.is_memory or insn.repeat or (opcode == 0xe7 and not prefixed):
            return undefined(vp)
        return move_xmm(vp, insn, XMM_BYTES, True, True)
    if opcode == 0x6f or opcode == 0x7f:
        if not prefixed and insn.repeat != PREFIX_SS:
            return undefined(vp)
        return move_xmm(vp, insn, XMM_BYTES, not insn.repeat, opcode >> 4 & 1)
    if not prefixed and (opcode != 0x7e or insn.repeat != PREFIX_SS):
        return undefined(vp)
    return move_word(vp, insn)


# 50 and d7: the signs of the elements into a general register.
cdef int move_mask(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = 1

    if insn.is_memory or insn.repeat or (insn.opcode == 0xd7 and not insn.operand_prefix):
        return undefined(vp)
    if insn.opcode == 0x50:
        size = 8 if insn.operand_prefix else 4
    gpr(vp, insn.reg)[0] = packed_signs(xmm(vp, insn.rm), size)
    return L2_DONE


# c4 and c5: PINSRW and PEXTRW, by an immediate.
cdef int move_element_of(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 shift = 16 * (<u32>insn.immediate & 3), half = <u32>insn.immediate >> 2 & 1
    cdef u64 *place = &xmm(vp, insn.reg if insn.opcode == 0xc4 else insn.rm).q[half]
    cdef u64 value = 0
    cdef int status

    if insn.repeat or not insn.operand_prefix or (insn.opcode == 0xc5 and insn.is_memory):
        return undefined(vp)
    if insn.opcode == 0xc5:
        gpr(vp, insn.reg)[0] = place[0] >> shift & 0xffff
        return L2_DONE
    if insn.is_memory:
        status = read_memory(vp, insn.segment, insn.offset, 2, &value)
        if status:
            return status
    else:
        value = gpr(vp, insn.rm)[0] & 0xffff
    place[0] = place[0] & ~(<u64>0xffff << shift) | value << shift
    return L2_DONE


cdef int packed(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode
    cdef xmm_value source, result = xmm(vp, insn.reg)[0]
    cdef bint known
    cdef int status

    if 0x71 <= opcode <= 0x73:
        if insn.is_memory or insn.repeat or not insn.operand_prefix or not packed_shift(
                opcode, insn.reg & 7, xmm(vp, insn.rm), <u32>insn.immediate):
            return undefined(vp)
        return L2_DONE
    source.q[0] = source.q[1] = 0
    # is there such a form? Only then is its operand read
    if opcode == 0x70 or opcode == 0xc6:
        known = packed_shuffle(opcode, insn.repeat, insn.operand_prefix, &result, &source, 0)
    else:
        known = not insn.repeat and (
            packed_integers(opcode, &result, &source) if insn.operand_prefix else
            packed_singles(opcode, &result, &source))
    if not known:
        return undefined(vp)
    status = read_xmm(vp, insn, XMM_BYTES, True, &source)
    if status:
        return status
    if opcode == 0x70 or opcode == 0xc6:
        packed_shuffle(opcode, insn.repeat, insn.operand_prefix, xmm(vp, insn.reg), &source,
                       <u32>insn.immediate)
    elif insn.operand_prefix:
        packed_integers(opcode, xmm(vp, insn.reg), &source)
    else:
        packed_singles(opcode, xmm(vp, insn.reg), &source)
    return L2_DONE


cdef bint is_move(u32 opcode) noexcept nogil:
    return opcode <= 0x2b and opcode & 0xfe != 0x14 or opcode == 0x6e or opcode == 0x6f or \
        opcode == 0x7e or opcode == 0x7f or opcode == 0xd6 or opcode == 0xe7


# The opcodes behind 0f whose operands are XMM registers.
cdef bint is_sse(u32 opcode) noexcept nogil:
    return 0x10 <= opcode <= 0x17 or 0x28 <= opcode <= 0x2f or 0x50 <= opcode <= 0x76 or \
        opcode == 0x7e or opcode == 0x7f or opcode == 0xc2 or 0xc4 <= opcode <= 0xc6 or \
        opcode >= 0xd0


cdef int sse_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef int status = check_sse(vp)

    if status:
        return status
    if insn.opcode == 0x50 or insn.opcode == 0xd7:
        return move_mask(vp, insn)
    if is_float(insn.opcode):
        return float_insn(vp, insn)
    if insn.opcode == 0xc4 or insn.opcode == 0xc5:
        return move_element_of(vp, insn)
    return moves(vp, insn) if is_move(insn.opcode) else packed(vp, insn)


# MOVNTI: a store like any other.
cdef int store_past_caches(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if not insn.is_memory or insn.operand_prefix or insn.repeat:
        return undefined(vp)
    return write_memory(vp, insn.segment, insn.offset, insn.size, gpr(vp, insn.reg)[0])
