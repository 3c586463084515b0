# SPDX-License-Identifier: GPL-2.0-only
# What L2 has of an x87: enough to say that it has none.


cdef int floating_point(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    # no x87: enough of it to be told that it is not available
    if vp.vmcs.f.guest_cr0 & (X86_CR0_EM | X86_CR0_TS):
        return fault(vp, X86_TRAP_NM, 0)
    if insn.opcode == 0xd9 and insn.mod == 3 and insn.reg & 7 == 2 and insn.rm & 7 == 0:
        return L2_DONE
    return undefined(vp)


cdef int wait_for_x87(l0_vp *vp) noexcept nogil:
    if vp.vmcs.f.guest_cr0 & (X86_CR0_MP | X86_CR0_TS) == (X86_CR0_MP | X86_CR0_TS):
        return fault(vp, X86_TRAP_NM, 0)
    return L2_DONE
