# SPDX-License-Identifier: GPL-2.0-only
# Which function executes an instruction in a row of 64-bit code, found once, where it is decoded.
# None of them changes the mode, a segment, TF, RF, or what events wait for.


cdef int no_work(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return L2_DONE


cdef int push_immediate(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return push(vp, insn.size, insn.immediate)


cdef int push_register(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return push(vp, insn.size, gpr(vp, insn.opcode & 7 | (insn.rex & 1) << 3)[0])


cdef int change_flag(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return flag_instruction(vp, insn.opcode)


cdef int jump_always(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return jump(vp, vp.next_rip + insn.immediate, 8)


cdef int jump_on_condition(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if condition(vp.vmcs.f.guest_rflags, insn.opcode & 15):
        return jump(vp, vp.next_rip + insn.immediate, 8)
    return L2_DONE


# MOV of 4 and of 8 bytes, by where it reads and writes.
cdef int move_wide(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = gpr(vp, insn.rm if insn.opcode & 2 else insn.reg)[0]

    gpr(vp, insn.reg if insn.opcode & 2 else insn.rm)[0] = value & size_mask(insn.size)
    return L2_DONE


cdef int load_wide(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0
    cdef int status = read_memory(vp, insn.segment, insn.offset, insn.size, &value)

    if status == L2_DONE:
        gpr(vp, insn.reg)[0] = value
    return status


cdef int store_wide(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    return write_memory(vp, insn.segment, insn.offset, insn.size, gpr(vp, insn.reg)[0])


# Arithmetic of 4 and of 8 bytes between registers, and with a constant.
cdef int change_wide(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.opcode >> 3
    cdef u64 *place = gpr(vp, insn.reg if insn.opcode & 2 else insn.rm)
    cdef u64 value = alu(vp, operation, place[0],
                         gpr(vp, insn.rm if insn.opcode & 2 else insn.reg)[0], insn.size)

    if operation != ALU_CMP:
        place[0] = value
    return L2_DONE


cdef int change_by_constant(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7
    cdef u64 *place = gpr(vp, insn.rm)
    cdef u64 value = alu(vp, operation, place[0], insn.immediate, insn.size)

    if operation != ALU_CMP:
        place[0] = value
    return L2_DONE


ctypedef int (*work)(l0_vp *, const l2_insn *) noexcept nogil


# What is done much, between registers or with a plain load or store; NULL: no such form.
cdef work wide_of(const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if insn.size < 4 or insn.byte_operand:
        return NULL
    if insn.is_memory:
        if opcode == 0x8b:
            return &load_wide
        return &store_wide if opcode == 0x89 else NULL
    if opcode == 0x89 or opcode == 0x8b:
        return &move_wide
    if opcode < 0x40 and opcode & 7 < 4:
        return &change_wide
    return &change_by_constant if opcode == 0x81 or opcode == 0x83 else NULL


cdef work quick_branch(const l2_insn *insn) noexcept nogil:
    if insn.map == 0 and (insn.opcode == 0xe8 or insn.immediate == <u64>FILL_BACK):
        return &branch
    return &jump_always if insn.map == 0 and insn.opcode > 0x7f else &jump_on_condition


cdef work quick_low(const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if opcode < 0x40:
        return &arithmetic if opcode & 7 < 6 else NULL
    if opcode < 0x58:
        return &push_register if opcode >= 0x50 else NULL
    if opcode < 0x60:
        return &pop_to
    if opcode == 0x63:
        return &move_doubleword
    if opcode == 0x68 or opcode == 0x6a:
        return &push_immediate
    if opcode == 0x69 or opcode == 0x6b:
        return &multiply_register
    if opcode < 0x70:
        return NULL
    return quick_branch(insn) if opcode < 0x80 else &immediate_group


cdef work quick_middle(const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if opcode <= 0x85 or opcode == 0xa8 or opcode == 0xa9:
        return &test
    if opcode <= 0x87:
        return &exchange
    if opcode <= 0x8b or opcode & 0xfc == 0xa0:
        return &mov
    if opcode == 0x8d:
        return &load_address
    if opcode < 0x90:
        return NULL
    if opcode <= 0x97:
        return NULL if insn.repeat else &register_in_opcode
    if opcode <= 0x99:
        return &convert
    return &string_insn if opcode >= 0xa4 else NULL


cdef work quick_high(const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if opcode <= 0xbf:
        return &register_in_opcode
    if opcode <= 0xc1 or opcode & 0xfc == 0xd0:
        return &shift_group
    if opcode <= 0xc3:
        return &near_return
    if opcode == 0xc6 or opcode == 0xc7:
        return &move_immediate
    if opcode == 0xc9:
        return &leave_frame
    if opcode & 0xfc == 0xe0:
        return &loop
    if opcode == 0xe8 or opcode == 0xe9 or opcode == 0xeb:
        return quick_branch(insn)
    if opcode == 0xf6 or opcode == 0xf7:
        return &unary_group
    if opcode == 0xff:
        # CALL and JMP by a far pointer load CS
        return NULL if insn.reg & 7 == 3 or insn.reg & 7 == 5 else &group_5
    if opcode == 0xf5 or opcode == 0xf8 or opcode == 0xf9 or opcode == 0xfc or opcode == 0xfd:
        return &change_flag
    return NULL


cdef work quick_0f(const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if is_sse(opcode):
        return &sse_insn
    if 0x18 <= opcode <= 0x1f:
        return &no_work
    if opcode & 0xf0 == 0x40:
        return &move_on_condition
    if opcode & 0xf0 == 0x80:
        return quick_branch(insn)
    if opcode & 0xf0 == 0x90:
        return &set_on_condition
    if opcode == 0xaf:
        return &multiply_register
    if opcode == 0xb6 or opcode == 0xb7 or opcode == 0xbe or opcode == 0xbf:
        return &move_extended
    if opcode & 0xf6 == 0xa0 or opcode == 0xa2 or opcode == 0xae or opcode < 0xa0 or opcode == 0xc7:
        return NULL
    return &compiled_0f


# NULL: an instruction by itself, with all that may come behind it.
cdef work quick_of(const l2_insn *insn) noexcept nogil:
    cdef work found

    if insn.map:
        return quick_0f(insn) if insn.map == 1 else NULL
    found = wide_of(insn)
    if found != NULL:
        return found
    if insn.opcode < 0x84:
        return quick_low(insn)
    return quick_middle(insn) if insn.opcode < 0xb0 else quick_high(insn)
