# SPDX-License-Identifier: GPL-2.0-only
# The instructions of L2 that touch registers, memory and the stack.

cdef int pop_to(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 value = 0
    cdef u64 rsp = vp.vmcs.f.guest_rsp
    cdef int status = peek(vp, insn.size, 0, &value)

    if status:
        return status
    pop_done(vp, insn.size)
    if insn.opcode != 0x8f:
        write_register(vp, insn, insn.opcode & 7 | (insn.rex & 1) << 3, insn.size, value)
        return L2_DONE
    if insn.is_memory:
        # an address on the stack pointer counts from behind the value
        status = write_memory(
            vp, insn.segment, insn.offset + (insn.size if insn.base == GPR_RSP else 0),
            insn.size, value)
    else:
        write_register(vp, insn, insn.rm, insn.size, value)
    if status:
        vp.vmcs.f.guest_rsp = rsp
    return status


cdef int set_segment_register(l0_vp *vp, u32 number, u64 selector) noexcept nogil:
    cdef int status = load_segment(vp, number, selector & 0xffff)

    if status == L2_DONE and number == SEG_SS:
        # events wait until the stack pointer has followed
        vp.vmcs.f.guest_interruptibility_info |= GUEST_INTR_STATE_MOV_SS
        vp.boundary_work = 1
    return status


cdef int mov_segment(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 number = insn.reg & 7
    cdef u64 value = 0
    cdef int status

    if number > SEG_GS or (insn.opcode == 0x8e and number == SEG_CS):
        return undefined(vp)
    if insn.opcode == 0x8c:
        value = (&vp.vmcs.f.guest_es_selector)[number]
        return write_rm(vp, insn, 2 if insn.is_memory else insn.size, value)
    status = read_rm(vp, insn, 2, &value)
    return status if status else set_segment_register(vp, number, value)


cdef int stack_segment_register(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # PUSH and POP of ES, CS, SS and DS, and behind 0f of FS and GS
    cdef u32 number = insn.opcode >> 3 & 7
    cdef u64 value = 0
    cdef int status

    if not insn.opcode & 1:
        return push(vp, insn.size, (&vp.vmcs.f.guest_es_selector)[number])
    status = peek(vp, insn.size, 0, &value)
    if status == L2_DONE:
        status = set_segment_register(vp, number, value)
    if status == L2_DONE:
        pop_done(vp, insn.size)
    return status


cdef int exchange(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 value = 0
    cdef int status = L2_DONE

    if insn.is_memory:
        status = check_write(vp, insn.segment, insn.offset, size)
    if status == L2_DONE:
        status = read_rm(vp, insn, size, &value)
    if status:
        return status
    status = write_rm(vp, insn, size, read_register(vp, insn, insn.reg, size))
    if status == L2_DONE:
        write_register(vp, insn, insn.reg, size, value)
    return status


cdef int mov(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # 88 to 8b, and a0 to a3 with the accumulator
    cdef u32 size = operand_size(insn), number = insn.reg
    cdef u64 value = 0
    cdef bint to_register = insn.opcode & 2 != 0
    cdef int status

    if insn.opcode >= 0xa0:
        number = GPR_RAX
        to_register = not to_register
    if not to_register:
        return write_rm(vp, insn, size, read_register(vp, insn, number, size))
    status = read_rm(vp, insn, size, &value)
    if status == L2_DONE:
        write_register(vp, insn, number, size, value)
    return status


cdef int test(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 size = operand_size(insn)
    cdef u64 value = 0
    cdef int status

    if insn.opcode >= 0xa8:
        alu(vp, ALU_AND, vp.regs[GPR_RAX], insn.immediate, size)
        return L2_DONE
    status = read_rm(vp, insn, size, &value)
    if status == L2_DONE:
        alu(vp, ALU_AND, value, read_register(vp, insn, insn.reg, size), size)
    return status


cdef int load_address(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if not insn.is_memory:
        return undefined(vp)
    write_register(vp, insn, insn.reg, insn.size, insn.offset)
    return L2_DONE


cdef int group_5(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7
    cdef u32 size = 8 if vp.code_bits == 64 else insn.size
    cdef u64 value = 0
    cdef int status

    if operation < 2:
        return inc_dec_rm(vp, insn, operation == 1)
    if operation == 3 or operation == 5:
        return far_indirect(vp, insn)
    if operation == 6 and insn.operand_prefix and not insn.rex & 8:
        size = insn.size
    elif operation != 2 and operation != 4 and operation != 6:
        return undefined(vp)
    status = read_rm(vp, insn, size, &value)
    if status:
        return status
    if operation == 2:
        return call(vp, value, size)
    return jump(vp, value, size) if operation == 4 else push(vp, size, value)


cdef bint may_mask(l0_vp *vp) noexcept nogil:
    # CLI and STI
    return not protected_mode(vp) or vp.guest_cpl <= (vp.vmcs.f.guest_rflags >> 12 & 3)


cdef int flag_instruction(l0_vp *vp, u32 opcode) noexcept nogil:
    cdef u64 *flags = &vp.vmcs.f.guest_rflags

    if opcode == 0xf5:
        flags[0] ^= X86_EFLAGS_CF
    elif opcode == 0xf8 or opcode == 0xf9:
        flags[0] = flags[0] & ~<u64>X86_EFLAGS_CF | (opcode & 1)
    elif opcode == 0xfc:
        flags[0] &= ~<u64>X86_EFLAGS_DF
    elif opcode == 0xfd:
        flags[0] |= X86_EFLAGS_DF
    elif not may_mask(vp):
        return fault(vp, X86_TRAP_GP, 0)
    elif opcode == 0xfa:
        flags[0] &= ~<u64>X86_EFLAGS_IF
    elif not flags[0] & X86_EFLAGS_IF:
        # interrupts wait for one instruction more
        flags[0] |= X86_EFLAGS_IF
        vp.vmcs.f.guest_interruptibility_info |= GUEST_INTR_STATE_STI
        vp.boundary_work = 1
    return L2_DONE


cdef int flags_on_stack(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # PUSHF and POPF
    cdef u64 value = 0
    cdef int status

    if virtual_8086(vp) and vp.vmcs.f.guest_rflags & X86_EFLAGS_IOPL != X86_EFLAGS_IOPL:
        return fault(vp, X86_TRAP_GP, 0)
    if insn.opcode == 0x9c:
        return push(vp, insn.size, vp.vmcs.f.guest_rflags & ~<u64>(X86_EFLAGS_RF | X86_EFLAGS_VM))
    status = peek(vp, insn.size, 0, &value)
    if status == L2_DONE:
        pop_done(vp, insn.size)
        write_flags(vp, value, insn.size, 0)
    return status


cdef int register_in_opcode(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # 40 to 5f, 90 to 97, b0 to bf
    cdef u32 opcode = insn.opcode
    cdef u32 number = opcode & 7 | (insn.rex & 1) << 3
    cdef u64 value

    if opcode < 0x50:
        inc_dec_register(vp, insn, number, opcode & 8 != 0)
    elif opcode < 0x58:
        return push(vp, insn.size, gpr(vp, number)[0])
    elif opcode < 0x60:
        return pop_to(vp, insn)
    elif opcode >= 0xb0:
        write_register(vp, insn, number, operand_size(insn), insn.immediate)
    elif number == GPR_RAX:
        return pause(vp, insn) if insn.repeat == 0xf3 else L2_DONE
    else:
        value = read_register(vp, insn, number, insn.size)
        write_register(vp, insn, number, insn.size, read_register(
            vp, insn, GPR_RAX, insn.size))
        write_register(vp, insn, GPR_RAX, insn.size, value)
    return L2_DONE


cdef int move_immediate(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if insn.reg & 7:
        return undefined(vp)
    return write_rm(vp, insn, operand_size(insn), insn.immediate)


# Execute one instruction; vp.next_rip is behind it, and is where L2 goes on.
cdef int execute(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if insn.map:
        return branch(vp, insn) if insn.map == 1 and opcode & 0xf0 == 0x80 else execute_0f(vp, insn)
    if opcode < 0x40:
        return arithmetic(vp, insn) if opcode & 7 < 6 else stack_segment_register(vp, insn)
    if opcode < 0x60 or 0x90 <= opcode <= 0x97 or 0xb0 <= opcode <= 0xbf:
        return register_in_opcode(vp, insn)
    if 0x70 <= opcode <= 0x7f or opcode == 0xe8 or opcode == 0xe9 or opcode == 0xeb:
        return branch(vp, insn)
    if opcode == 0x68 or opcode == 0x6a:
        return push(vp, insn.size, insn.immediate)
    if opcode < 0x6c:
        return compiled(vp, insn)
    if opcode < 0x70:
        return string_in_out(vp, insn)
    if opcode < 0x84:
        return immediate_group(vp, insn)
    return execute_rest(vp, insn)


cdef int execute_rest(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 opcode = insn.opcode

    if opcode <= 0x85 or opcode == 0xa8 or opcode == 0xa9:
        return test(vp, insn)
    if opcode <= 0x87:
        return exchange(vp, insn)
    if opcode <= 0x8b or opcode & 0xfc == 0xa0:
        return mov(vp, insn)
    if opcode == 0x8c or opcode == 0x8e:
        return mov_segment(vp, insn)
    if opcode == 0x8d:
        return load_address(vp, insn)
    if opcode == 0x8f:
        return undefined(vp) if insn.reg & 7 else pop_to(vp, insn)
    if opcode <= 0x99:
        return convert(vp, insn)
    if opcode == 0x9b:
        return wait_for_x87(vp)
    if opcode == 0x9c or opcode == 0x9d:
        return flags_on_stack(vp, insn)
    if opcode <= 0xc1 or 0xc8 <= opcode <= 0xca or 0xd0 <= opcode <= 0xd7:
        return compiled(vp, insn)
    if opcode == 0xc2 or opcode == 0xc3:
        return near_return(vp, insn)
    if opcode == 0xc6 or opcode == 0xc7:
        return move_immediate(vp, insn)
    if opcode == 0xcb:
        return far_return(vp, insn)
    if opcode <= 0xce or opcode == 0xf1:
        return interrupt(vp, insn)
    if opcode == 0xcf:
        return interrupt_return(vp, insn)
    if opcode <= 0xdf:
        return floating_point(vp, insn)
    if opcode <= 0xe3:
        return loop(vp, insn)
    if opcode == 0xea:
        return far_jump(vp, insn.far_selector, insn.immediate & size_mask(insn.size))
    if opcode <= 0xef:
        return in_out(vp, insn)
    if opcode == 0xf4:
        return halt(vp, insn)
    if opcode == 0xf6 or opcode == 0xf7:
        return unary_group(vp, insn)
    if opcode == 0xfe:
        return undefined(vp) if insn.reg & 6 else inc_dec_rm(vp, insn, insn.reg & 1 != 0)
    return group_5(vp, insn) if opcode == 0xff else flag_instruction(vp, opcode)
