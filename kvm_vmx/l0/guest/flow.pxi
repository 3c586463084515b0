# SPDX-License-Identifier: GPL-2.0-only
# The flow of control in L2: jumps, calls, loops and software interrupts.


cdef int jump(l0_vp *vp, u64 target, u32 size) noexcept nogil:
    target &= size_mask(size)
    if vp.code_bits == 64:
        if not is_canonical(target):
            return fault(vp, X86_TRAP_GP, 0)
    elif target > segment_limit(vp, SEG_CS):
        return fault(vp, X86_TRAP_GP, 0)
    vp.next_rip = target
    return L2_DONE


cdef int call(l0_vp *vp, u64 target, u32 size) noexcept nogil:
    cdef u64 back = vp.next_rip
    cdef int status = jump(vp, target, size)

    return push(vp, size, back) if status == L2_DONE else status


cdef int near_return(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 target = 0
    cdef int status = peek(vp, insn.size, 0, &target)

    if status == L2_DONE:
        status = jump(vp, target, insn.size)
    if status == L2_DONE:
        # the immediate says how many bytes of parameters go, too
        pop_done(vp, insn.size + (insn.immediate & 0xffff))
    return status


cdef int far_indirect(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # JMP and CALL far, by a pointer in memory
    cdef u64 offset = 0, selector = 0
    cdef u32 size = insn.size
    cdef int status

    if not insn.is_memory:
        return fault(vp, X86_TRAP_UD, 0)
    status = read_memory(vp, insn.segment, insn.offset, size, &offset)
    if status == L2_DONE:
        status = read_memory(vp, insn.segment, insn.offset + size, 2, &selector)
    if status:
        return status
    if insn.reg & 7 == 3:
        return far_call(vp, insn, <u32>selector, offset)
    return far_jump(vp, <u32>selector, offset)


cdef int loop(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # LOOPNE, LOOPE, LOOP and JRCXZ
    cdef u32 size = insn.address_size
    cdef u64 count = vp.regs[GPR_RCX] & size_mask(size)
    cdef u64 target = vp.next_rip + insn.immediate
    cdef bint taken
    cdef int status

    if insn.opcode == 0xe3:
        return jump(vp, target, insn.size) if count == 0 else L2_DONE
    taken = count != 1
    if insn.opcode != 0xe2:
        taken = taken and ((vp.vmcs.f.guest_rflags & X86_EFLAGS_ZF) != 0) == (insn.opcode == 0xe1)
    status = jump(vp, target, insn.size) if taken else L2_DONE
    if status == L2_DONE:
        store(&vp.regs[GPR_RCX], (count - 1) & size_mask(size), size, 0)
    return status


cdef int software_event(l0_vp *vp, u32 kind, u32 vector, u32 length) noexcept nogil:
    if kind == INTR_TYPE_SOFT_INTR and virtual_8086(vp) and \
            vp.vmcs.f.guest_rflags & X86_EFLAGS_IOPL != X86_EFLAGS_IOPL:
        return fault(vp, X86_TRAP_GP, 0)
    if not raise_software(vp, kind, vector, length):
        return L2_LEAVES
    vp.next_rip = vp.vmcs.f.guest_rip
    return L2_DONE


cdef int interrupt(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # INT3, INT n, INTO and INT1
    if insn.opcode == 0xcc:
        return software_event(vp, INTR_TYPE_SOFT_EXCEPTION, X86_TRAP_BP, insn.length)
    if insn.opcode == 0xcd:
        return software_event(vp, INTR_TYPE_SOFT_INTR, insn.immediate & 0xff, insn.length)
    if insn.opcode == 0xce:
        if not vp.vmcs.f.guest_rflags & X86_EFLAGS_OF:
            return L2_DONE
        return software_event(vp, INTR_TYPE_SOFT_EXCEPTION, X86_TRAP_OF, insn.length)
    return software_event(vp, INTR_TYPE_PRIV_SW_EXCEPTION, X86_TRAP_DB, insn.length)


# JMP, CALL and Jcc with a distance.
cdef int branch(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode
    cdef u64 target = vp.next_rip + insn.immediate

    if opcode == 0xe8:
        return call(vp, target, insn.size)
    if opcode == 0xe9 or opcode == 0xeb or condition(vp.vmcs.f.guest_rflags, opcode & 15):
        if unlikely(opcode == 0x75 and insn.immediate == <u64>FILL_BACK) and vp.code_bits == 64:
            fill_on(vp, target)
        return jump(vp, target, insn.size)
    return L2_DONE
