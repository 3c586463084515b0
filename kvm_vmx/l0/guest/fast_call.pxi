# SPDX-License-Identifier: GPL-2.0-only
# SYSCALL and SYSRET of L2, which know their segments without a descriptor.

cdef enum:
    FLAT_CODE = 0xc09b
    FLAT_DATA = 0xc093
    # what SYSRET takes of R11: all but RF, VM and the reserved flags
    RETURNED_FLAGS = 0x3c7fd7


cdef void flat_segment(l0_vp *vp, u32 number, u32 selector, u32 rights) noexcept nogil:
    cdef l2_segment s

    s.selector = selector & 0xffff
    s.base = 0
    s.limit = ~<u32>0
    s.rights = rights | (selector & 3) << 5
    s.place = 0
    set_segment(vp, number, &s)


# SDM 2B SYSCALL: 64-bit code alone has it.
cdef int fast_call(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 selector = <u32>(vp.msr[SLOT_STAR].value >> 32) & 0xfffc

    if vp.code_bits != 64 or not vp.efer & EFER_SCE:
        return undefined(vp)
    vp.regs[GPR_RCX] = vp.next_rip
    vp.regs[GPR_R11] = vp.vmcs.f.guest_rflags & ~<u64>X86_EFLAGS_RF
    vp.vmcs.f.guest_rflags = vp.vmcs.f.guest_rflags & ~vp.msr[SLOT_SYSCALL_MASK].value | 2
    vp.next_rip = vp.msr[SLOT_LSTAR].value
    flat_segment(vp, SEG_CS, selector, FLAT_CODE & ~<u32>VMX_AR_DB_MASK | VMX_AR_L_MASK)
    flat_segment(vp, SEG_SS, selector + 8, FLAT_DATA)
    vp.boundary_work = 1
    return L2_DONE


# SDM 2B SYSRET: to 64-bit code by REX.W, else to compatibility code.
cdef int fast_return(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 base = <u32>(vp.msr[SLOT_STAR].value >> 48)
    cdef bint wide = insn.rex & 8 != 0
    cdef u64 target = vp.regs[GPR_RCX]

    if vp.code_bits != 64 or not vp.efer & EFER_SCE:
        return undefined(vp)
    if vp.guest_cpl or (wide and not is_canonical(target)):
        return fault(vp, X86_TRAP_GP, 0)
    vp.next_rip = target if wide else target & <u64>0xffffffff
    vp.vmcs.f.guest_rflags = vp.regs[GPR_R11] & RETURNED_FLAGS | 2
    if wide:
        flat_segment(vp, SEG_CS, base + 16 | 3, FLAT_CODE & ~<u32>VMX_AR_DB_MASK | VMX_AR_L_MASK)
    else:
        flat_segment(vp, SEG_CS, base | 3, FLAT_CODE)
    flat_segment(vp, SEG_SS, base + 8 | 3, FLAT_DATA)
    vp.boundary_work = 1
    return L2_DONE


# CLAC and STAC: SDM 2A, 2B. AC lets a supervisor at a user's pages.
cdef int access_check_flag(l0_vp *vp, bint on) noexcept nogil:
    if vp.guest_cpl or not cpuid_offers(vp, 7, REGISTER_EBX, 20):
        return undefined(vp)
    vp.vmcs.f.guest_rflags = vp.vmcs.f.guest_rflags & ~<u64>X86_EFLAGS_AC | flag_if(
        on, X86_EFLAGS_AC)
    return L2_DONE
