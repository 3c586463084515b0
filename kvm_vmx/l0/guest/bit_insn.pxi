# SPDX-License-Identifier: GPL-2.0-only
# Bits of L2: tests, scans, counts, byte order, and bytes and moves by a condition.
# Flags that the SDM leaves undefined stay as they are.

cdef extern from *:
    """
    #define trailing_zeros(value) __builtin_ctzll(value)
    #define leading_zeros(value) __builtin_clzll(value)
    #define ones(value) __builtin_popcountll(value)
    #define swap_bytes(value) __builtin_bswap64(value)
    """
    u32 trailing_zeros(u64 value) noexcept nogil
    u32 leading_zeros(u64 value) noexcept nogil
    u32 ones(u64 value) noexcept nogil
    u64 swap_bytes(u64 value) noexcept nogil

cdef enum:
    REGISTER_EBX = 1
    REGISTER_ECX = 2
    BIT_BT = 0
    BIT_BTS = 1
    BIT_BTR = 2


# Does CPUID offer it? register: 0 EAX, 1 EBX, 2 ECX, 3 EDX.
cdef bint cpuid_offers(l0_vp *vp, u32 function, u32 register, u32 bit) noexcept nogil:
    cdef const l0_cpuid_leaf *leaf = cpuid_leaf(&vp.partition.profile, function)

    return leaf != NULL and (&leaf.eax)[register] >> bit & 1


# The bit string of a memory operand reaches as far as a register can count, either way.
cdef void to_element(l2_insn *insn, u64 number) noexcept nogil:
    cdef u32 shift = 6 if insn.size == 8 else insn.size // 4 + 4
    cdef s64 element = <s64>extend(number, insn.size) >> shift

    insn.offset = insn.offset + <u64>element * insn.size & size_mask(insn.address_size)


# BT, BTS, BTR and BTC.
cdef int bit_test(l0_vp *vp, const l2_insn *insn, u32 operation, u64 number) noexcept nogil:
    cdef u64 value = 0, bit = <u64>1 << (number & (8 * insn.size - 1))
    cdef u64 flags = vp.vmcs.f.guest_rflags
    cdef int status

    if operation == BIT_BT:
        status = read_rm(vp, insn, insn.size, &value)
    else:
        status = read_to_change(vp, insn, insn.size, &value)
    if status:
        return status
    set_status(vp, flag_if(value & bit != 0, X86_EFLAGS_CF), X86_EFLAGS_CF)
    if operation == BIT_BT:
        return L2_DONE
    if operation == BIT_BTS:
        value |= bit
    elif operation == BIT_BTR:
        value &= ~bit
    else:
        value ^= bit
    return write_changed(vp, insn, insn.size, value, flags)


cdef int bit_test_register(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 number = read_register(vp, insn, insn.reg, insn.size)
    cdef l2_insn element = insn[0]

    if insn.is_memory:
        to_element(&element, number)
    return bit_test(vp, &element, insn.opcode >> 3 & 3, number)


cdef int bit_test_immediate(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if not insn.reg & 4:
        return undefined(vp)
    return bit_test(vp, insn, insn.reg & 3, insn.immediate)


# BSF and BSR, which leave the destination alone where there is no bit.
cdef int bit_scan(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0
    cdef int status = read_rm(vp, insn, insn.size, &value)

    if status:
        return status
    set_status(vp, flag_if(value == 0, X86_EFLAGS_ZF), X86_EFLAGS_ZF)
    if value:
        write_register(vp, insn, insn.reg, insn.size,
                       63 - leading_zeros(value) if insn.opcode & 1 else trailing_zeros(value))
    return L2_DONE


# TZCNT and LZCNT, where CPUID offers them; without, F3 does nothing to BSF and BSR.
cdef int zero_count(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 bits = 8 * insn.size, count = bits
    cdef u64 value = 0
    cdef int status

    if not (cpuid_offers(vp, 0x80000001, REGISTER_ECX, 5) if insn.opcode & 1 else
            cpuid_offers(vp, 7, REGISTER_EBX, 3)):
        return bit_scan(vp, insn)
    status = read_rm(vp, insn, insn.size, &value)
    if status:
        return status
    if value:
        count = leading_zeros(value) - (64 - bits) if insn.opcode & 1 else trailing_zeros(value)
    set_status(vp, flag_if(value == 0, X86_EFLAGS_CF) | flag_if(count == 0, X86_EFLAGS_ZF), X86_EFLAGS_CF | X86_EFLAGS_ZF)
    write_register(vp, insn, insn.reg, insn.size, count)
    return L2_DONE


# POPCNT clears all flags but ZF.
cdef int count_ones(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0
    cdef int status

    if insn.repeat != 0xf3 or not cpuid_offers(vp, 1, REGISTER_ECX, 23):
        return undefined(vp)
    status = read_rm(vp, insn, insn.size, &value)
    if status == L2_DONE:
        set_status(vp, flag_if(value == 0, X86_EFLAGS_ZF), INSN_STATUS_FLAGS)
        write_register(vp, insn, insn.reg, insn.size, ones(value))
    return status


# BSWAP; of 2 bytes, which the SDM leaves undefined, it makes 0.
cdef int byte_swap(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 number = insn.opcode & 7 | (insn.rex & 1) << 3
    cdef u64 value = read_register(vp, insn, number, insn.size)

    value = 0 if insn.size == 2 else swap_bytes(value) >> (64 - 8 * insn.size)
    write_register(vp, insn, number, insn.size, value)
    return L2_DONE


cdef int set_on_condition(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return write_rm(vp, insn, 1, condition(vp.vmcs.f.guest_rflags, insn.opcode & 15))


# CMOVcc reads its operand, and writes a register of 4 bytes, whatever the condition.
cdef int move_on_condition(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0
    cdef int status = read_rm(vp, insn, insn.size, &value)

    if status:
        return status
    if not condition(vp.vmcs.f.guest_rflags, insn.opcode & 15):
        value = read_register(vp, insn, insn.reg, insn.size)
    write_register(vp, insn, insn.reg, insn.size, value)
    return L2_DONE
