# SPDX-License-Identifier: GPL-2.0-only
# Multiplication and signed division of L2, and the conversions that stand before them.
# SF, ZF, AF and PF, which the SDM leaves undefined here, stay as they are.

cdef extern from *:
    """
    /* the 128-bit product of unsigned numbers; its low half */
    static inline u64 wide_multiply(u64 a, u64 b, u64 *high)
    {
        unsigned __int128 product = (unsigned __int128)a * b;

        *high = product >> 64;
        return product;
    }
    """
    u64 wide_multiply(u64 a, u64 b, u64 *high) noexcept nogil


cdef inline u64 sign_of(u64 value) noexcept nogil:
    # all bits 1 where it is negative
    return -(value >> 63)


# Both halves of a product, each in `size` bytes; True where the low half does not say it all.
cdef bint product(u64 a, u64 b, bint is_signed, u32 size, u64 *low, u64 *high) noexcept nogil:
    cdef u64 filler = 0

    if is_signed:
        a = extend(a, size)
        b = extend(b, size)
    low[0] = wide_multiply(a, b, high)
    if is_signed:
        high[0] -= (sign_of(a) & b) + (sign_of(b) & a)
    if size < 8:
        high[0] = low[0] >> 8 * size & size_mask(size)
        low[0] &= size_mask(size)
    if is_signed:
        filler = sign_of(extend(low[0], size)) & size_mask(size)
    return high[0] != filler


cdef void multiply_flags(l0_vp *vp, bint overflow) noexcept nogil:
    set_status(vp, flag_if(overflow, X86_EFLAGS_CF | X86_EFLAGS_OF), X86_EFLAGS_CF | X86_EFLAGS_OF)


# The pair that MUL and DIV use: AH and AL, or RDX and RAX.
cdef void write_pair(l0_vp *vp, const l2_insn *insn, u32 size, u64 low, u64 high) noexcept nogil:
    if size == 1:
        store(&vp.regs[GPR_RAX], (high & 0xff) << 8 | low & 0xff, 2, 0)
    else:
        write_register(vp, insn, GPR_RAX, size, low)
        write_register(vp, insn, GPR_RDX, size, high)


# MUL and IMUL of one operand.
cdef int multiply_accumulator(l0_vp *vp, const l2_insn *insn, u64 by, bint is_signed) \
        noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 low = 0, high = 0
    cdef bint overflow = product(
        read_register(vp, insn, GPR_RAX, size), by, is_signed, size, &low, &high)

    write_pair(vp, insn, size, low, high)
    multiply_flags(vp, overflow)
    return L2_DONE


# IMUL of two operands and of three, whose last is an immediate.
cdef int multiply_register(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0, low = 0, high = 0
    cdef int status = read_rm(vp, insn, insn.size, &value)
    cdef bint overflow

    if status:
        return status
    overflow = product(
        value, read_register(vp, insn, insn.reg, insn.size) if insn.map else insn.immediate,
        True, insn.size, &low, &high)
    write_register(vp, insn, insn.reg, insn.size, low)
    multiply_flags(vp, overflow)
    return L2_DONE


# IDIV: magnitudes are divided; the quotient is cut towards 0, the rest has the dividend's sign.
cdef int divide_signed(l0_vp *vp, const l2_insn *insn, u64 by) noexcept nogil:
    cdef u32 size = operand_size(insn), bits = 8 * size
    cdef u64 low = read_register(vp, insn, GPR_RAX, size), rest = 0, quotient
    cdef u64 high = read_register(vp, insn, GPR_RDX, size)
    cdef bint negative, opposite

    if size == 1:
        high = vp.regs[GPR_RAX] >> 8 & 0xff
    if size < 8:
        low |= extend(high, size) << bits
        high = sign_of(low)
    by = extend(by, size)
    negative = high >> 63
    opposite = negative != <bint>(by >> 63)
    if negative:
        low = -low
        high = ~high + (low == 0)
    if by >> 63:
        by = -by
    # by zero, or a quotient that does not fit even without its sign
    if high >= by:
        return fault(vp, X86_TRAP_DE, 0)
    quotient = wide_divide(high, low, by, &rest)
    if quotient > (<u64>1 << (bits - 1)) - (0 if opposite else 1):
        return fault(vp, X86_TRAP_DE, 0)
    write_pair(vp, insn, size, (-quotient if opposite else quotient) & size_mask(size),
               (-rest if negative else rest) & size_mask(size))
    return L2_DONE


cdef int multiply_or_divide(l0_vp *vp, const l2_insn *insn, u64 by) noexcept nogil:
    cdef u32 operation = insn.reg & 7

    if operation < 6:
        return multiply_accumulator(vp, insn, by, operation == 5)
    return divide(vp, insn, by) if operation == 6 else divide_signed(vp, insn, by)


# CBW, CWDE, CDQE; CWD, CDQ, CQO.
cdef int convert(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = insn.size

    if insn.opcode & 1:
        write_register(vp, insn, GPR_RDX, size, sign_of(extend(
            read_register(vp, insn, GPR_RAX, size), size)) & size_mask(size))
    else:
        write_register(vp, insn, GPR_RAX, size, extend(
            vp.regs[GPR_RAX], size // 2) & size_mask(size))
    return L2_DONE


# MOVSXD, of 64-bit code alone; with an operand of 2 bytes it is a MOV.
cdef int move_doubleword(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = 4 if insn.size == 8 else insn.size
    cdef u64 value = 0
    cdef int status = read_rm(vp, insn, size, &value)

    if status == L2_DONE:
        write_register(vp, insn, insn.reg, insn.size, extend(value, size))
    return status
