# SPDX-License-Identifier: GPL-2.0-only
# Which function executes what compilers make of C, besides what every kernel's entry code has.


cdef int compiled(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if opcode <= 0x62:
        return bound(vp, insn) if opcode == 0x62 else push_eight(vp, insn) if opcode == 0x60 else \
            pop_eight(vp, insn)
    if opcode == 0x63:
        return move_doubleword(vp, insn) if vp.code_bits == 64 else adjust_privilege(vp, insn)
    if opcode == 0x69 or opcode == 0x6b:
        return multiply_register(vp, insn)
    if opcode == 0x9a:
        return far_call(vp, insn, insn.far_selector, insn.immediate & size_mask(insn.size))
    if opcode == 0x9e or opcode == 0x9f:
        return flags_in_ah(vp, insn)
    if opcode <= 0xaf:
        return string_insn(vp, insn)
    if opcode == 0xc8:
        return enter_frame(vp, insn)
    if opcode == 0xc9:
        return leave_frame(vp, insn)
    if opcode == 0xca:
        return far_return(vp, insn)
    return table_lookup(vp, insn) if opcode == 0xd7 else shift_group(vp, insn)


cdef int compiled_bits(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if opcode == 0xb8:
        return count_ones(vp, insn)
    if opcode == 0xba:
        return bit_test_immediate(vp, insn)
    if opcode == 0xbc or opcode == 0xbd:
        return zero_count(vp, insn) if insn.repeat == 0xf3 else bit_scan(vp, insn)
    return byte_swap(vp, insn) if opcode >= 0xc8 else bit_test_register(vp, insn)


# The same behind 0f. Hint NOPs, PREFETCH and ENDBR64 among them, touch no memory.
cdef int compiled_0f(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if is_sse(opcode):
        return sse_insn(vp, insn)
    if opcode < 0x20:
        return L2_DONE
    if opcode < 0x50:
        return move_on_condition(vp, insn)
    if opcode < 0xa0:
        return set_on_condition(vp, insn)
    if opcode & 0xf6 == 0xa0:
        return stack_segment_register(vp, insn)
    if opcode & 0xf6 == 0xa4:
        return double_shift(vp, insn)
    if opcode == 0xae:
        return group_ae(vp, insn)
    if opcode == 0xaf:
        return multiply_register(vp, insn)
    if opcode == 0xb0 or opcode == 0xb1:
        return compare_exchange(vp, insn)
    if opcode == 0xc3:
        return store_past_caches(vp, insn)
    if opcode == 0xc0 or opcode == 0xc1:
        return exchange_add(vp, insn)
    return compiled_bits(vp, insn)
