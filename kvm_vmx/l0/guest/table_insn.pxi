# SPDX-License-Identifier: GPL-2.0-only
# The instructions of L2 that load and store its descriptor tables and their registers.


cdef inline bint table_access_exits(const l0_vp *vp) noexcept nogil:
    return secondary_controls(vp.vmcs) & SECONDARY_EXEC_DESC != 0


# SLDT STR LLDT LTR, and SGDT SIDT LGDT LIDT.
cdef int table_group_0(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7
    cdef u32 number = SEG_TR if operation & 1 else SEG_LDTR
    cdef u64 selector = 0
    cdef int status

    if operation > 3 or plain_segments(vp):
        return fault(vp, X86_TRAP_UD, 0)
    if operation >= 2 and vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    if table_access_exits(vp):
        return leave_with_operand(vp, EXIT_REASON_LDTR_TR, insn, operation << 28)
    if operation < 2:
        return write_rm(vp, insn, 2 if insn.is_memory else insn.size,
                        (&vp.vmcs.f.guest_es_selector)[number])
    status = read_rm(vp, insn, 2, &selector)
    return status if status else load_system_segment(vp, number, <u32>selector)


cdef int store_table(l0_vp *vp, const l2_insn *insn, u32 number, u32 size) noexcept nogil:
    # both halves must be writable before the first byte is
    cdef int status = check_write(vp, insn.segment, insn.offset, 2 + size)

    if status == L2_DONE:
        status = write_memory(vp, insn.segment, insn.offset, 2, segment_limit(vp, number))
    if status:
        return status
    return write_memory(vp, insn.segment, insn.offset + 2, size, segment_base(vp, number))


cdef int load_table(l0_vp *vp, const l2_insn *insn, u32 number, u32 size) noexcept nogil:
    cdef u64 limit = 0, base = 0
    cdef int status = read_memory(vp, insn.segment, insn.offset, 2, &limit)

    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset + 2, size, &base)
    if status:
        return status
    if size == 8 and not is_canonical(base):
        return fault(vp, X86_TRAP_GP, 0)
    if size == 4 and insn.size == 2:
        # with 16-bit operands the base has 24 bits
        base &= 0xffffff
    (&vp.vmcs.f.guest_es_limit)[number] = limit
    (&vp.vmcs.f.guest_es_base)[number] = base
    return L2_DONE


cdef int table_group_1(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7
    cdef u32 number = SEG_IDTR if operation & 1 else SEG_GDTR
    cdef u32 size = 8 if vp.code_bits == 64 else 4

    if operation >= 2 and vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, 0)
    if table_access_exits(vp):
        # bit 11: the operand size, outside 64-bit code
        return leave_with_operand(
            vp, EXIT_REASON_GDTR_IDTR, insn,
            operation << 28 | (0 if insn.size == 2 else 1 << 11))
    if operation >= 2:
        return load_table(vp, insn, number, size)
    return store_table(vp, insn, number, size)
