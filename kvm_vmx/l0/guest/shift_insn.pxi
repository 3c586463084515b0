# SPDX-License-Identifier: GPL-2.0-only
# Shifts and rotates of L2. What the SDM leaves undefined is as processors commonly have it: AF
# is 0 after a shift; OF follows the rule for one bit whatever the count.

cdef enum:
    # the operations in the order of their encoding; 6 is SHL once more
    SHIFT_ROL = 0
    SHIFT_ROR = 1
    SHIFT_RCL = 2
    SHIFT_RCR = 3
    SHIFT_SHR = 5
    SHIFT_SAR = 7


cdef inline u64 flag_if(bint on, u64 flag) noexcept nogil:
    return flag if on else 0


cdef inline u32 shift_count(u64 count, u32 size) noexcept nogil:
    return <u32>count & (63 if size == 8 else 31)


# CF and OF of a rotate; to the right, the result's top two bits decide about OF.
cdef void rotate_flags(l0_vp *vp, u64 result, bint carry, bint right, u32 bits) noexcept nogil:
    cdef bint top = result >> (bits - 1) & 1
    cdef bint other = result >> (bits - 2) & 1 if right else carry

    set_status(vp, flag_if(carry, X86_EFLAGS_CF) | flag_if(top != other, X86_EFLAGS_OF), X86_EFLAGS_CF | X86_EFLAGS_OF)


# ROL and ROR; a count that is a multiple of the size still sets the flags.
cdef u64 rotate(l0_vp *vp, u64 value, u32 count, bint right, u32 size) noexcept nogil:
    cdef u32 bits = 8 * size, by = count % bits

    if right:
        by = (bits - by) % bits
    if by:
        value = (value << by | value >> (bits - by)) & size_mask(size)
    rotate_flags(vp, value, value >> (bits - 1) & 1 if right else value & 1, right, bits)
    return value


# RCL and RCR: CF is one bit more of the value.
cdef u64 rotate_with_carry(l0_vp *vp, u64 value, u32 count, bint right, u32 size) noexcept nogil:
    cdef u32 bits = 8 * size, n
    cdef u64 carry = vp.vmcs.f.guest_rflags & X86_EFLAGS_CF, out

    count %= bits + 1
    for n in range(count):
        if right:
            out = value & 1
            value = value >> 1 | carry << (bits - 1)
        else:
            out = value >> (bits - 1) & 1
            value = (value << 1 | carry) & size_mask(size)
        carry = out
    if count:
        rotate_flags(vp, value, carry != 0, right, bits)
    return value


# The value, shifted by a count that is not 0 and may be above the operand's size.
cdef u64 shift(l0_vp *vp, u64 value, u32 count, u32 operation, u32 size) noexcept nogil:
    cdef u32 bits = 8 * size
    cdef bint carry, overflow
    cdef u64 before = value

    if operation == SHIFT_SAR:
        before = extend(value, size)
        carry = <u64>(<s64>before >> (count - 1)) & 1
        value = <u64>(<s64>before >> count) & size_mask(size)
        overflow = False
    elif operation == SHIFT_SHR:
        carry = value >> (count - 1) & 1
        value >>= count
        overflow = count == 1 and before >> (bits - 1) & 1
    else:
        carry = count <= bits and value >> (bits - count) & 1
        value = value << count & size_mask(size)
        overflow = (value >> (bits - 1) & 1) != carry
    set_status(vp, flags_of(value, size) | flag_if(carry, X86_EFLAGS_CF) | flag_if(overflow, X86_EFLAGS_OF),
               INSN_STATUS_FLAGS)
    return value


# A write that would fault comes before the read, as with all that reads and writes.
cdef int read_to_change(l0_vp *vp, const l2_insn *insn, u32 size, u64 *value) noexcept nogil:
    cdef int status = L2_DONE

    if insn.is_memory:
        status = check_write(vp, insn.segment, insn.offset, size)
    return read_rm(vp, insn, size, value) if status == L2_DONE else status


# c0, c1: by an immediate; d0, d1: by 1; d2, d3: by CL.
cdef int shift_group(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = operand_size(insn), operation = insn.reg & 7, count
    cdef u64 value = 0, flags = vp.vmcs.f.guest_rflags
    cdef int status = read_to_change(vp, insn, size, &value)

    if status:
        return status
    if insn.opcode < 0xd0:
        count = shift_count(insn.immediate, size)
    else:
        count = 1 if insn.opcode < 0xd2 else shift_count(vp.regs[GPR_RCX], size)
    if count == 0:
        # no flag changes; a register of 4 bytes loses its upper half all the same
        return write_rm(vp, insn, size, value)
    if operation <= SHIFT_ROR:
        value = rotate(vp, value, count, operation == SHIFT_ROR, size)
    elif operation <= SHIFT_RCR:
        value = rotate_with_carry(vp, value, count, operation == SHIFT_RCR, size)
    else:
        value = shift(vp, value, count, operation, size)
    return write_changed(vp, insn, size, value, flags)


# SHLD and SHRD. A count above the size of 2 bytes brings the destination's own bits in again.
cdef int double_shift(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = insn.size, bits = 8 * size, count
    cdef u64 value = 0, other, before, flags = vp.vmcs.f.guest_rflags
    cdef bint carry
    cdef int status = read_to_change(vp, insn, size, &value)

    if status:
        return status
    count = shift_count(vp.regs[GPR_RCX] if insn.opcode & 1 else insn.immediate, size)
    if count == 0:
        return write_rm(vp, insn, size, value)
    before = value
    other = read_register(vp, insn, insn.reg, size)
    if size == 2:
        # dest : src : dest, of which 16 bits stay
        other = before << 32 | other << 16 | before
        carry = other >> (count - 1 if insn.opcode & 8 else 48 - count) & 1
        value = other >> (count if insn.opcode & 8 else 32 - count)
    elif insn.opcode & 8:
        carry = value >> (count - 1) & 1
        value = value >> count | other << (bits - count)
    else:
        carry = value >> (bits - count) & 1
        value = value << count | other >> (bits - count)
    value &= size_mask(size)
    set_status(vp, flags_of(value, size) | flag_if(carry, X86_EFLAGS_CF) |
               flag_if((value ^ before) >> (bits - 1) & 1, X86_EFLAGS_OF), INSN_STATUS_FLAGS)
    return write_changed(vp, insn, size, value, flags)
