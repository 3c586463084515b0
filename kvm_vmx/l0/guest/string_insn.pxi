# SPDX-License-Identifier: GPL-2.0-only
# String instructions of L2: MOVS, CMPS, STOS, LODS and SCAS, alone and repeated.

cdef enum:
    STRING_MOVS = 0xa4
    STRING_CMPS = 0xa6
    STRING_STOS = 0xaa
    STRING_LODS = 0xac
    STRING_SCAS = 0xae


cdef inline void advance(u64 *pointer, u64 step, u32 size) noexcept nogil:
    store(pointer, (pointer[0] + step) & size_mask(size), size, 0)


cdef inline bint compares(u32 operation) noexcept nogil:
    return operation == STRING_CMPS or operation == STRING_SCAS


# What the element comes from: memory at RSI, or the accumulator.
cdef int string_source(l0_vp *vp, const l2_insn *insn, u32 operation, u32 size, u64 *value) \
        noexcept nogil:
    if operation == STRING_STOS or operation == STRING_SCAS:
        value[0] = read_register(vp, insn, GPR_RAX, size)
        return L2_DONE
    return read_memory(vp, insn.segment, vp.regs[GPR_RSI] & size_mask(insn.address_size),
                       size, value)


# One element. Registers change behind the last access, so that a fault leaves them at it.
cdef int string_element(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.opcode & 0xfe, size = operand_size(insn)
    cdef u64 target = vp.regs[GPR_RDI] & size_mask(insn.address_size)
    cdef u64 step = -<u64>size if vp.vmcs.f.guest_rflags & X86_EFLAGS_DF else size
    cdef u64 value = 0, other = 0
    cdef int status = string_source(vp, insn, operation, size, &value)

    if status:
        return status
    if compares(operation):
        # no segment prefix reaches what RDI points at
        status = read_memory(vp, SEG_ES, target, size, &other)
        if status == L2_DONE:
            alu(vp, ALU_CMP, value, other, size)
    elif operation == STRING_LODS:
        write_register(vp, insn, GPR_RAX, size, value)
    else:
        status = write_memory(vp, SEG_ES, target, size, value)
    if status:
        return status
    if operation != STRING_STOS and operation != STRING_SCAS:
        advance(&vp.regs[GPR_RSI], step, insn.address_size)
    if operation != STRING_LODS:
        advance(&vp.regs[GPR_RDI], step, insn.address_size)
    return L2_DONE


# Is another element due? F2 and F3 differ for what compares alone.
cdef bint string_goes_on(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    advance(&vp.regs[GPR_RCX], -<u64>1, insn.address_size)
    if vp.regs[GPR_RCX] & size_mask(insn.address_size) == 0:
        return False
    return not compares(insn.opcode & 0xfe) or \
        (vp.vmcs.f.guest_rflags & X86_EFLAGS_ZF != 0) == (insn.repeat == 0xf3)


# Must each element be an instruction of its own? A trap comes behind it, or what the instruction
# before left in force ends with it.
cdef bint one_at_a_time(l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_rflags & (X86_EFLAGS_TF | X86_EFLAGS_RF) != 0 or \
        vp.vmcs.f.guest_interruptibility_info & SHADOW != 0 or \
        vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG != 0


# SDM 2 REP: events come between elements, RIP at the instruction. A fault of CMPS and SCAS leaves
# the flags of before the first element.
cdef int string_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 flags = vp.vmcs.f.guest_rflags
    cdef bint alone = one_at_a_time(vp)
    cdef int status

    if insn.repeat and vp.regs[GPR_RCX] & size_mask(insn.address_size) == 0:
        return L2_DONE
    while True:
        status = string_element(vp, insn)
        if status:
            set_status(vp, flags, INSN_STATUS_FLAGS)
            return status
        if not insn.repeat or not string_goes_on(vp, insn):
            return L2_DONE
        if alone or boundary_has_work(vp):
            vp.next_rip = vp.vmcs.f.guest_rip
            return L2_DONE
        vp.counters.l2_instructions += 1
