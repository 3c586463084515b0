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
        page = <hv_enlightened_vmcs *>phys_page(vp.cpu.mem, vp.active_evmcs)
        if page != NULL and not vp.partition.profile.leaves_error_unwritten:
            (<hv_enlightened_vmcs *>vp.evmcs_last_exit).vm_instruction_error = error
            page.vm_instruction_error = error
    elif vp.current_vmptr != L0_NO_VMCS:
        vp.current_vmcs.f.vm_instruction_error = error
    else:
        return fail_invalid(vp)
    vp.cpu.rflags = vp.cpu.rflags & ~<u64>INSN_STATUS_FLAGS | INSN_VMFAIL_VALID
    return INSN_VMFAIL_VALID


# What a check has refused that is no VM entry's; of L2's instructions L1 sees no more than the end,
# whoever asks L0 sees the reason.
cdef void note_denial(l0_vp *vp, u32 check, u64 value, u64 a, u64 b) noexcept nogil:
    cdef l0_refusal before = vp.refusal

    l0_set_refusal(vp, check, a, b)
    vp.refusal.value = value
    vp.refusal.from_l2 = vp.guest_state != L2_NOT_RUNNING
    note_limit(vp, &vp.current_vmcs, l0_row_of(check))
    vp.denied = vp.refusal
    vp.denials += 1
    vp.refusal = before


# An instruction is refused: its row says how that ends.
cdef insn_t deny(l0_vp *vp, u32 check, u64 value, u64 a, u64 b) noexcept nogil:
    cdef const l0_check_row *row = l0_row_of(check)

    note_denial(vp, check, value, a, b)
    if row.end == END_UD:
        return fault_ud()
    if row.end == END_GP:
        return fault_gp()
    return fail(vp, row.error) if row.end == END_FAIL else fail_invalid(vp)


# Does a value break the bits that a row allows?
cdef inline bint breaks(u32 check, u64 value) noexcept nogil:
    cdef const l0_limits *limits = &l0_check_rows[check].limits

    return value & limits.must != limits.must or value & ~limits.may


# What every VMX instruction but VMXON asks first.
cdef inline bint permitted(const l0_vp *vp) noexcept nogil:
    return likely(vp.in_vmx) and likely(vp.cpu.cpl == 0)


cdef insn_t deny_permission(l0_vp *vp) noexcept nogil:
    if not vp.in_vmx:
        return deny(vp, CHECK_insn_not_in_vmx, 0, 0, 0)
    return deny(vp, CHECK_insn_privilege, vp.cpu.cpl, 0, 0)


cdef inline insn_t check_permission(l0_vp *vp) noexcept nogil:
    return INSN_OK if permitted(vp) else deny_permission(vp)


# There is none current outside VMX operation.
cdef inline void settle_fields(l0_vp *vp) noexcept nogil:
    if vp.active_evmcs == L0_NO_VMCS and vp.current_vmptr != L0_NO_VMCS:
        vp.fields = l0_fields
    else:
        vp.fields = l0_no_fields


cdef inline void lint(l0_vp *vp, u32 what) noexcept nogil:
    l0_note(vp, what, L0_NO_FIELD, 0, 0)


# Linear addresses have 48 bits.
cdef inline bint is_canonical(u64 address) noexcept nogil:
    return (address + (<u64>1 << 47)) >> 48 == 0


cdef inline bint page_address_valid(const l0_vp *vp, u64 address) noexcept nogil:
    return not address & (vp.partition.caps.address_reserved | 0xfff)
