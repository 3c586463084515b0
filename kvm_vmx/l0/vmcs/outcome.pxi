# SPDX-License-Identifier: GPL-2.0-only
# How an instruction of L1 ends: success, the two VM failures with their RFLAGS, or a fault.


cdef inline insn_t fault_ud() noexcept nogil:
    return INSN_MAKE_FAULT(X86_TRAP_UD, 0)


cdef inline insn_t fault_gp() noexcept nogil:
    return INSN_MAKE_FAULT(X86_TRAP_GP, 0)


cdef inline insn_t succeed(l0_vp *vp) noexcept nogil:
    vp.cpu.rflags &= ~<u64>INSN_STATUS_FLAGS
    return INSN_OK


cdef inline insn_t fail_invalid(l0_vp *vp) noexcept nogil:
    vp.cpu.rflags = vp.cpu.rflags & ~<u64>INSN_STATUS_FLAGS | INSN_VMFAIL_INVALID
    return INSN_VMFAIL_INVALID


# VMfail: with an error number where a current VMCS can hold it.
cdef inline insn_t fail(l0_vp *vp, u32 error) noexcept nogil:
    cdef hv_enlightened_vmcs *page

    if vp.active_evmcs != L0_NO_VMCS:
        vp.evmcs_cache.f.vm_instruction_error = error
        (<hv_enlightened_vmcs *>vp.evmcs_last_exit).vm_instruction_error = error
        page = <hv_enlightened_vmcs *>phys_page(vp.cpu.mem, vp.active_evmcs)
        if page != NULL:
            page.vm_instruction_error = error
    elif vp.current_vmptr != L0_NO_VMCS:
        vp.current_vmcs.f.vm_instruction_error = error
    else:
        return fail_invalid(vp)
    vp.cpu.rflags = vp.cpu.rflags & ~<u64>INSN_STATUS_FLAGS | INSN_VMFAIL_VALID
    return INSN_VMFAIL_VALID


# What every VMX instruction but VMXON asks first.
cdef inline insn_t check_permission(l0_vp *vp) noexcept nogil:
    if unlikely(not vp.in_vmx):
        return fault_ud()
    if unlikely(vp.cpu.cpl != 0):
        return fault_gp()
    return INSN_OK


cdef inline void lint(l0_vp *vp, u32 what) noexcept nogil:
    l0_note(vp, what, L0_NO_FIELD, 0, 0)


# Linear addresses have 48 bits.
cdef inline bint is_canonical(u64 address) noexcept nogil:
    return (address + (<u64>1 << 47)) >> 48 == 0


cdef inline bint page_address_valid(const l0_vp *vp, u64 address) noexcept nogil:
    return not address & (vp.partition.caps.address_reserved | 0xfff)
