# SPDX-License-Identifier: GPL-2.0-only
# What an instruction tells L1 when it leaves L2: its length, and how its operands are encoded.


cdef inline int leave_insn(l0_vp *vp, u32 reason, const l2_insn *insn, u64 qualification) \
        noexcept nogil:
    vm_exit_with(vp, reason, insn.length, qualification)
    vp.vmcs.f.guest_rflags &= ~<u64>X86_EFLAGS_RF
    return L2_LEAVES


cdef inline u32 address_size_info(const l2_insn *insn) noexcept nogil:
    # 0: 16 bits, 1: 32 bits, 2: 64 bits
    return (insn.address_size >> 2) << 7


# VMX-instruction information, the form that most instructions share: `extra` is what only
# one of them has.
cdef inline u32 operand_info(const l2_insn *insn, u32 extra) noexcept nogil:
    cdef u32 info = extra

    if not insn.is_memory:
        return info | 1 << 10 | <u32>insn.rm << 3
    info |= address_size_info(insn) | <u32>insn.segment << 15
    if insn.index != L2_NO_REGISTER:
        info |= insn.scale | <u32>insn.index << 18
    else:
        info |= 1 << 22
    if insn.base != L2_NO_REGISTER:
        info |= <u32>insn.base << 23
    else:
        info |= 1 << 27
    return info


# An exit with that information, and the displacement of its memory operand.
cdef inline int leave_with_operand(
        l0_vp *vp, u32 reason, const l2_insn *insn, u32 extra) noexcept nogil:
    leave_insn(vp, reason, insn, insn.displacement if insn.is_memory else 0)
    vp.vmcs.f.vmx_instruction_info = operand_info(insn, extra)
    return L2_LEAVES
