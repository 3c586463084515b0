# SPDX-License-Identifier: GPL-2.0-only
# Arithmetic and logic of L2, and the flags that it leaves.

cdef enum:
    # the operations in the order of their encoding
    ALU_ADD = 0
    ALU_OR = 1
    ALU_ADC = 2
    ALU_SBB = 3
    ALU_AND = 4
    ALU_SUB = 5
    ALU_XOR = 6
    ALU_CMP = 7

cdef extern from *:
    """
    #define parity(byte) __builtin_parity(byte)
    /* high:low / by, for a quotient that fits */
    static inline u64 wide_divide(u64 high, u64 low, u64 by, u64 *rest)
    {
        unsigned __int128 value = (unsigned __int128)high << 64 | low;

        *rest = value % by;
        return value / by;
    }
    """
    int parity(u8 byte) noexcept nogil
    u64 wide_divide(u64 high, u64 low, u64 by, u64 *rest) noexcept nogil


cdef inline u64 flags_of(u64 result, u32 size) noexcept nogil:
    cdef u64 flags = 0

    if not result:
        flags |= X86_EFLAGS_ZF
    if result >> (8 * size - 1) & 1:
        flags |= X86_EFLAGS_SF
    if not parity(<u8>result):
        flags |= X86_EFLAGS_PF
    return flags


cdef inline void set_status(l0_vp *vp, u64 flags, u64 mask) noexcept nogil:
    vp.vmcs.f.guest_rflags = vp.vmcs.f.guest_rflags & ~mask | flags & mask


cdef u64 add(l0_vp *vp, u64 a, u64 b, u32 carry, u32 size, u64 mask) noexcept nogil:
    cdef u64 result = (a + b + carry) & size_mask(size)
    cdef u64 flags = flags_of(result, size)

    if result < a or (carry and result == a):
        flags |= X86_EFLAGS_CF
    if ((a ^ result) & (b ^ result)) >> (8 * size - 1) & 1:
        flags |= X86_EFLAGS_OF
    flags |= (a ^ b ^ result) & X86_EFLAGS_AF
    set_status(vp, flags, mask)
    return result


cdef u64 subtract(l0_vp *vp, u64 a, u64 b, u32 borrow, u32 size, u64 mask) noexcept nogil:
    cdef u64 result = (a - b - borrow) & size_mask(size)
    cdef u64 flags = flags_of(result, size)

    if a < b or (borrow and a == b):
        flags |= X86_EFLAGS_CF
    if ((a ^ b) & (a ^ result)) >> (8 * size - 1) & 1:
        flags |= X86_EFLAGS_OF
    flags |= (a ^ b ^ result) & X86_EFLAGS_AF
    set_status(vp, flags, mask)
    return result


# The result, and the arithmetic flags into RFLAGS.
cdef u64 alu(l0_vp *vp, u32 operation, u64 a, u64 b, u32 size) noexcept nogil:
    cdef u32 carry = vp.vmcs.f.guest_rflags & X86_EFLAGS_CF

    a &= size_mask(size)
    b &= size_mask(size)
    if operation == ALU_ADD:
        return add(vp, a, b, 0, size, INSN_STATUS_FLAGS)
    if operation == ALU_ADC:
        return add(vp, a, b, carry, size, INSN_STATUS_FLAGS)
    if operation == ALU_SBB:
        return subtract(vp, a, b, carry, size, INSN_STATUS_FLAGS)
    if operation == ALU_SUB or operation == ALU_CMP:
        return subtract(vp, a, b, 0, size, INSN_STATUS_FLAGS)
    if operation == ALU_OR:
        a |= b
    elif operation == ALU_AND:
        a &= b
    else:
        a ^= b
    set_status(vp, flags_of(a, size), INSN_STATUS_FLAGS)
    return a


# Read, change and write back what rm names; a write that would fault comes before the read.
cdef int change_rm(l0_vp *vp, const l2_insn *insn, u32 operation, u64 other) noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 value = 0, flags = vp.vmcs.f.guest_rflags
    cdef int status = L2_DONE

    if insn.is_memory and operation != ALU_CMP:
        status = check_write(vp, insn.segment, insn.offset, size)
    if status == L2_DONE:
        status = read_rm(vp, insn, size, &value)
    if status:
        return status
    value = alu(vp, operation, value, other, size)
    return L2_DONE if operation == ALU_CMP else write_changed(vp, insn, size, value, flags)


cdef int arithmetic(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # the six forms of one operation
    cdef u32 operation = insn.opcode >> 3, size = operand_size(insn)
    cdef u64 value = 0
    cdef int status

    if insn.opcode & 7 < 2:
        return change_rm(vp, insn, operation, read_register(vp, insn, insn.reg, size))
    if insn.opcode & 7 < 4:
        status = read_rm(vp, insn, size, &value)
        if status:
            return status
        value = alu(vp, operation, read_register(vp, insn, insn.reg, size), value, size)
        if operation != ALU_CMP:
            write_register(vp, insn, insn.reg, size, value)
        return L2_DONE
    value = alu(vp, operation, read_register(vp, insn, GPR_RAX, size), insn.immediate, size)
    if operation != ALU_CMP:
        write_register(vp, insn, GPR_RAX, size, value)
    return L2_DONE


cdef int immediate_group(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return change_rm(vp, insn, insn.reg & 7, insn.immediate)


cdef u64 one_more(l0_vp *vp, u64 value, u32 size, bint dec) noexcept nogil:
    # INC and DEC leave the carry alone
    if dec:
        return subtract(vp, value, 1, 0, size, INSN_STATUS_FLAGS & ~X86_EFLAGS_CF)
    return add(vp, value, 1, 0, size, INSN_STATUS_FLAGS & ~X86_EFLAGS_CF)


cdef int inc_dec_rm(l0_vp *vp, const l2_insn *insn, bint dec) noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 value = 0, flags = vp.vmcs.f.guest_rflags
    cdef int status = L2_DONE

    if insn.is_memory:
        status = check_write(vp, insn.segment, insn.offset, size)
    if status == L2_DONE:
        status = read_rm(vp, insn, size, &value)
    if status:
        return status
    return write_changed(vp, insn, size, one_more(vp, value, size, dec), flags)


cdef void inc_dec_register(l0_vp *vp, const l2_insn *insn, u32 number, bint dec) noexcept nogil:
    write_register(vp, insn, number, insn.size,
                   one_more(vp, read_register(vp, insn, number, insn.size), insn.size, dec))


# DIV: twice the operand's size by the operand.
cdef int divide(l0_vp *vp, const l2_insn *insn, u64 by) noexcept nogil:
    cdef u32 size = operand_size(insn), bits = 8 * size
    cdef u64 low = read_register(vp, insn, GPR_RAX, size), high, rest = 0, quotient

    if size == 1:
        high = vp.regs[GPR_RAX] >> 8 & 0xff
    else:
        high = read_register(vp, insn, GPR_RDX, size)
    # by zero, or a quotient that does not fit
    if high >= by:
        return fault(vp, X86_TRAP_DE, 0)
    if size == 8:
        quotient = wide_divide(high, low, by, &rest)
    else:
        quotient = (high << bits | low) / by
        rest = (high << bits | low) % by
    if size == 1:
        store(&vp.regs[GPR_RAX], rest << 8 | quotient, 2, 0)
    else:
        write_register(vp, insn, GPR_RAX, size, quotient)
        write_register(vp, insn, GPR_RDX, size, rest)
    return L2_DONE


cdef int unary_group(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # TEST, NOT, NEG, MUL, IMUL, DIV and IDIV
    cdef u32 size = operand_size(insn), operation = insn.reg & 7
    cdef u64 value = 0, flags = vp.vmcs.f.guest_rflags
    cdef int status = L2_DONE

    if insn.is_memory and (operation == 2 or operation == 3):
        status = check_write(vp, insn.segment, insn.offset, size)
    if status == L2_DONE:
        status = read_rm(vp, insn, size, &value)
    if status:
        return status
    if operation < 2:
        alu(vp, ALU_AND, value, insn.immediate, size)
        return L2_DONE
    if operation == 2:
        return write_rm(vp, insn, size, ~value)
    if operation == 3:
        value = subtract(vp, 0, value, 0, size, INSN_STATUS_FLAGS)
        return write_changed(vp, insn, size, value, flags)
    return multiply_or_divide(vp, insn, value)


cdef bint condition(u64 flags, u32 code) noexcept nogil:
    cdef bint taken, negated = (code & 1) != 0
    cdef bint less = ((flags & X86_EFLAGS_SF) != 0) != ((flags & X86_EFLAGS_OF) != 0)
    cdef u32 kind = code >> 1

    if kind == 0:
        taken = (flags & X86_EFLAGS_OF) != 0
    elif kind == 1:
        taken = (flags & X86_EFLAGS_CF) != 0
    elif kind == 2:
        taken = (flags & X86_EFLAGS_ZF) != 0
    elif kind == 3:
        taken = (flags & (X86_EFLAGS_CF | X86_EFLAGS_ZF)) != 0
    elif kind == 4:
        taken = (flags & X86_EFLAGS_SF) != 0
    elif kind == 5:
        taken = (flags & X86_EFLAGS_PF) != 0
    elif kind == 6:
        taken = less
    else:
        taken = less or (flags & X86_EFLAGS_ZF) != 0
    return taken != negated
