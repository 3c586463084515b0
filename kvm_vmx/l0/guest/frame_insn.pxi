# SPDX-License-Identifier: GPL-2.0-only
# Odds and ends of compiled code of L2: stack frames, the flags in AH, tables of bytes, fences,
# cache lines, and the bases of FS and GS.

cdef enum:
    # SF ZF AF PF CF
    FLAGS_IN_AH = 0xd5


# The saved frame pointers of a nested procedure's outer ones, then its own.
cdef int push_display(l0_vp *vp, const l2_insn *insn, u32 level, u64 frame) noexcept nogil:
    cdef u64 link = vp.regs[GPR_RBP], value = 0
    cdef u32 n
    cdef int status

    for n in range(1, level):
        link -= insn.size
        status = read_memory(vp, SEG_SS, link & stack_mask(vp), insn.size, &value)
        if status == L2_DONE:
            status = push(vp, insn.size, value)
        if status:
            return status
    return push(vp, insn.size, frame)


# ENTER: neither RSP nor RBP moves where any of its accesses faults, the last at the new top.
cdef int enter_frame(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 rsp = vp.vmcs.f.guest_rsp, frame
    cdef u32 level = insn.far_selector & 31
    cdef int status = push(vp, insn.size, vp.regs[GPR_RBP])

    frame = vp.vmcs.f.guest_rsp
    if status == L2_DONE and level:
        status = push_display(vp, insn, level, frame)
    if status == L2_DONE:
        set_stack_pointer(vp, vp.vmcs.f.guest_rsp - (insn.immediate & 0xffff))
        status = check_write(vp, SEG_SS, vp.vmcs.f.guest_rsp & stack_mask(vp), insn.size)
    if status:
        vp.vmcs.f.guest_rsp = rsp
        return status
    # in 64-bit code RBP is written whole, whatever the operand size
    store(&vp.regs[GPR_RBP], frame, 8 if vp.code_bits == 64 else insn.size, 0)
    return L2_DONE


cdef int leave_frame(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 rsp = vp.vmcs.f.guest_rsp, value = 0
    cdef int status

    set_stack_pointer(vp, vp.regs[GPR_RBP])
    status = peek(vp, insn.size, 0, &value)
    if status:
        vp.vmcs.f.guest_rsp = rsp
        return status
    pop_done(vp, insn.size)
    store(&vp.regs[GPR_RBP], value, insn.size, 0)
    return L2_DONE


# PUSHA and PUSHAD: RSP moves once, behind the last access.
cdef int push_eight(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 rsp = vp.vmcs.f.guest_rsp
    cdef u32 number
    cdef int status

    for number in range(8):
        status = push(vp, insn.size, rsp if number == GPR_RSP else vp.regs[number])
        if status:
            vp.vmcs.f.guest_rsp = rsp
            return status
    return L2_DONE


# POPA and POPAD: the value for RSP is passed over. No register changes where an access faults.
cdef int pop_eight(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value[8]
    cdef u32 number
    cdef int status

    for number in range(8):
        status = peek(vp, insn.size, (7 - number) * insn.size, &value[number])
        if status:
            return status
    for number in range(8):
        if number != GPR_RSP:
            store(&vp.regs[number], value[number], insn.size, 0)
    pop_done(vp, 8 * insn.size)
    return L2_DONE


# BOUND: the lower and the upper bound lie in memory; #BR outside of them.
cdef int bound(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 low = 0, high = 0
    cdef s64 index = <s64>extend(gpr(vp, insn.reg)[0], insn.size)
    cdef int status

    if not insn.is_memory:
        return undefined(vp)
    status = read_memory(vp, insn.segment, insn.offset, insn.size, &low)
    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset + insn.size, insn.size, &high)
    if status:
        return status
    if index < <s64>extend(low, insn.size) or index > <s64>extend(high, insn.size):
        return fault(vp, X86_TRAP_BR, 0)
    return L2_DONE


# ARPL: a selector's privilege is no better than the other's.
cdef int adjust_privilege(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0, least = gpr(vp, insn.reg)[0] & 3
    cdef bint changes
    cdef int status = L2_DONE

    if plain_segments(vp):
        return undefined(vp)
    if insn.is_memory:
        status = check_write(vp, insn.segment, insn.offset, 2)
    if status == L2_DONE:
        status = read_rm(vp, insn, 2, &value)
    if status:
        return status
    changes = value & 3 < least
    set_status(vp, flag_if(changes, X86_EFLAGS_ZF), X86_EFLAGS_ZF)
    return write_rm(vp, insn, 2, value & ~<u64>3 | least) if changes else L2_DONE


# SAHF and LAHF, which not every processor has in 64-bit code.
cdef int flags_in_ah(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.code_bits == 64 and not cpuid_offers(vp, 0x80000001, REGISTER_ECX, 0):
        return undefined(vp)
    if insn.opcode & 1:
        store(&vp.regs[GPR_RAX], vp.vmcs.f.guest_rflags & FLAGS_IN_AH | 2, 1, 8)
    else:
        set_status(vp, vp.regs[GPR_RAX] >> 8, FLAGS_IN_AH)
    return L2_DONE


cdef int table_lookup(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 offset = vp.regs[GPR_RBX] + (vp.regs[GPR_RAX] & 0xff), value = 0
    cdef int status = read_memory(
        vp, insn.segment, offset & size_mask(insn.address_size), 1, &value)

    if status == L2_DONE:
        store(&vp.regs[GPR_RAX], value, 1, 0)
    return status


# RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE.
cdef int base_register(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 *base = &vp.vmcs.f.guest_gs_base if insn.reg & 1 else &vp.vmcs.f.guest_fs_base
    cdef u64 value

    if vp.code_bits != 64 or not vp.vmcs.f.guest_cr4 & X86_CR4_FSGSBASE or \
            not cpuid_offers(vp, 7, REGISTER_EBX, 0):
        return undefined(vp)
    if not insn.reg & 2:
        write_register(vp, insn, insn.rm, insn.size, base[0])
        return L2_DONE
    value = read_register(vp, insn, insn.rm, insn.size)
    if not is_canonical(value):
        return fault(vp, X86_TRAP_GP, 0)
    base[0] = value
    return L2_DONE


# CLFLUSH reads, as far as rights go. There is no cache to flush.
cdef int flush_line(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0

    if insn.operand_prefix or insn.repeat or not cpuid_offers(vp, 1, 3, 19):
        return undefined(vp)
    return read_memory(vp, insn.segment, insn.offset, 1, &value)


# 0f ae: extended state, cache lines, segment bases and fences.
cdef int group_ae(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7

    if insn.is_memory:
        return flush_line(vp, insn) if operation == 7 else extended_memory(vp, insn)
    if operation < 4 and insn.repeat == 0xf3 and not insn.operand_prefix:
        return base_register(vp, insn)
    # LFENCE, MFENCE and SFENCE: here everything happens in order
    if operation >= 5 and not insn.repeat and not insn.operand_prefix:
        return L2_DONE
    return undefined(vp)
