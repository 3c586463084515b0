# SPDX-License-Identifier: GPL-2.0-only
# What L2 has of an x87: its control and status words, and no arithmetic.

cdef enum:
    PENDING = 0x3f
    SUMMARY = 0x8080
    CONTROL_MAY = 0x1f3f
    CONTROL_FIXED = 0x40


# FLDCW, FNSTCW and FNSTSW in memory.
cdef int control_in_memory(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 operation = insn.reg & 7
    cdef u64 value = 0
    cdef int status

    if insn.opcode == 0xdd and operation == 7:
        return write_memory(vp, insn.segment, insn.offset, 2, vp.extended.status)
    if insn.opcode != 0xd9 or operation != 5 and operation != 7:
        return undefined(vp)
    if operation == 7:
        return write_memory(vp, insn.segment, insn.offset, 2, vp.extended.control)
    status = read_memory(vp, insn.segment, insn.offset, 2, &value)
    if status == L2_DONE:
        vp.extended.control = <u16>value & CONTROL_MAY | CONTROL_FIXED
    return status


# FNOP, FNCLEX, FNINIT and FNSTSW AX.
cdef int control_register(l0_vp *vp, u32 opcode, u32 form) noexcept nogil:
    if opcode == 0xd9 and form == 0xd0:
        return L2_DONE
    if opcode == 0xdb and form == 0xe2:
        vp.extended.status &= ~<u16>(PENDING | SUMMARY | 0x40)
        return L2_DONE
    if opcode == 0xdb and form == 0xe3:
        x87_init(&vp.extended)
        return L2_DONE
    if opcode == 0xdf and form == 0xe0:
        store(&vp.regs[GPR_RAX], vp.extended.status, 2, 0)
        return L2_DONE
    return undefined(vp)


cdef int floating_point(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.vmcs.f.guest_cr0 & (X86_CR0_EM | X86_CR0_TS):
        return fault(vp, X86_TRAP_NM, 0)
    if insn.is_memory:
        return control_in_memory(vp, insn)
    return control_register(vp, insn.opcode, 0xc0 | (insn.reg & 7) << 3 | insn.rm & 7)


cdef int wait_for_x87(l0_vp *vp) noexcept nogil:
    if vp.vmcs.f.guest_cr0 & (X86_CR0_MP | X86_CR0_TS) == (X86_CR0_MP | X86_CR0_TS):
        return fault(vp, X86_TRAP_NM, 0)
    return L2_DONE
