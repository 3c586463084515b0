# SPDX-License-Identifier: GPL-2.0-only
# Which check refused an entry: written down where one fails, and nowhere else.


# One of the MSRs that say what a control word may be: the exact one where the processor has them.
cdef void control_limit(l0_vp *vp, u32 plain, u32 must, u32 may) noexcept nogil:
    vp.refusal.must = must
    vp.refusal.may = may
    # SDM A.2: bit 55 of VMX_BASIC; the exact ones are 12 above, the secondary controls have none
    vp.refusal.msr = plain + 12 if vp.partition.caps.basic >> 55 & 1 and plain < 0x485 else plain


cdef void controls_limit(l0_vp *vp, u32 kind) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps

    if kind == LIMIT_PIN:
        control_limit(vp, 0x481, caps.pin_must, caps.pin_may)
    elif kind == LIMIT_PROC:
        control_limit(vp, 0x482, caps.proc_must, caps.proc_may)
    elif kind == LIMIT_EXIT:
        control_limit(vp, 0x483, caps.exit_must, caps.exit_may)
    elif kind == LIMIT_ENTRY:
        control_limit(vp, 0x484, caps.entry_must, caps.entry_may)
    else:
        control_limit(vp, 0x48b, caps.secondary_must, caps.secondary_may)


# SDM A.7, A.8: the MSR with the bits that must be 1; the next one has those that may be.
cdef void register_limit(l0_vp *vp, const l0_vmcs *v, u32 kind) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps

    vp.refusal.msr = 0x488 if kind == LIMIT_CR4 else 0x486
    vp.refusal.must = caps.cr4_must if kind == LIMIT_CR4 else caps.cr0_must
    vp.refusal.may = caps.cr4_may if kind == LIMIT_CR4 else caps.cr0_may
    # an unrestricted guest may be without protection and paging
    if kind == LIMIT_GUEST_CR0 and secondary_controls(v) & SECONDARY_EXEC_UNRESTRICTED_GUEST:
        vp.refusal.must &= ~<u64>0x80000001
    if vp.refusal.value & vp.refusal.must == vp.refusal.must:
        vp.refusal.msr += 1


cdef void address_limit(l0_vp *vp, u32 kind) noexcept nogil:
    cdef u64 reserved = vp.partition.caps.address_reserved

    if kind == LIMIT_PAGE:
        reserved |= 0xfff
    elif kind == LIMIT_16_BYTES:
        reserved |= 0xf
    elif kind == LIMIT_64_BYTES:
        reserved |= 0x3f
    elif kind == LIMIT_EPTP:
        reserved |= 0xf80
    elif kind == LIMIT_PDPTE:
        reserved |= 0x1e6
    vp.refusal.may = ~reserved


# What is allowed, for whoever asks.
cdef void note_limit(l0_vp *vp, const l0_vmcs *v, const l0_check_row *row) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 kind = row.limits.kind

    vp.refusal.may = ~<u64>0
    if kind == LIMIT_BITS:
        vp.refusal.must = row.limits.must
        vp.refusal.may = row.limits.may
    elif LIMIT_PIN <= kind <= LIMIT_ENTRY:
        controls_limit(vp, kind)
    elif LIMIT_CR0 <= kind <= LIMIT_CR4:
        register_limit(vp, v, kind)
    elif LIMIT_ADDRESS <= kind <= LIMIT_PDPTE:
        address_limit(vp, kind)
    elif kind == LIMIT_TARGETS:
        vp.refusal.may = caps.misc >> 16 & 0x1ff
        vp.refusal.msr = 0x485
    elif kind == LIMIT_PERF_GLOBAL:
        vp.refusal.may = caps.perf_global_may
    elif kind == LIMIT_VMFUNC:
        vp.refusal.may = caps.vmfunc
        vp.refusal.msr = 0x491
    elif kind == LIMIT_EPT:
        vp.refusal.msr = 0x48c
    elif kind == LIMIT_CR4_MAY:
        vp.refusal.may = caps.cr4_may
        vp.refusal.msr = 0x489
    elif kind == LIMIT_APIC_BASE:
        vp.refusal.may = ~(caps.address_reserved | 0x6ff)


# What a check saw that is in no field of its row.
cdef void note_details(l0_vp *vp, const l0_vmcs *v, u32 check) noexcept nogil:
    cdef l0_refusal *why = &vp.refusal
    cdef const u64 *entry
    cdef const u32 *page

    if check == CHECK_ept_memory_type:
        why.a = why.value & 7
    elif check == CHECK_ept_walk:
        why.a = why.value >> 3 & 7
    elif check == CHECK_host_address_space:
        why.a = (vp.efer & EFER_LMA) != 0
    elif CHECK_event_nmi_vector <= check <= CHECK_event_other_vector:
        why.a = why.value & INTR_INFO_VECTOR_MASK
    elif check == CHECK_link_revision:
        page = <const u32 *>phys_page(vp.cpu.mem, why.value)
        why.a = page[0] if page != NULL else 0
        why.b = vp.partition.profile.vmcs_revision
        if secondary_controls(v) & SECONDARY_EXEC_SHADOW_VMCS:
            why.b |= <u64>1 << 31
    elif check == CHECK_pdptes:
        entry = <const u64 *>phys_ptr(vp.cpu.mem, why.value & <u64>0xffffffe0, 32)
        while entry != NULL and why.a < 3 and \
                pdpte_bits_valid(&vp.partition.caps, entry[why.a]):
            why.a += 1
        why.b = entry[why.a] if entry != NULL else 0


# What a check of the VMCS's fields saw, for whoever asks.
cdef void set_fields(l0_vp *vp, const l0_vmcs *v, u32 check) noexcept nogil:
    cdef const l0_check_row *row = l0_row_of(check)

    l0_set_refusal(vp, check, 0, 0)
    vp.refusal.value = l0_row_value(v, row.field)
    vp.refusal.other = l0_row_value(v, row.other)
    note_limit(vp, v, row)
    note_details(vp, v, check)


# A check of the VMCS's fields has refused an entry.
cdef void note_fields(l0_vp *vp, const l0_vmcs *v, u32 check) noexcept nogil:
    l0_note_refusal(vp, check, 0, 0)
    set_fields(vp, v, check)


# Neither an eVMCS nor a current VMCS: why the assist page names none.
cdef void note_no_vmcs(l0_vp *vp) noexcept nogil:
    cdef const hv_vp_assist_page *assist

    assist = <const hv_vp_assist_page *>phys_page(vp.cpu.mem, vp.assist_msr)
    if not vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        l0_note_refusal(vp, CHECK_assist_page_off, vp.assist_msr, 0)
    elif assist == NULL:
        l0_note_refusal(vp, CHECK_assist_page_missing, vp.assist_msr, 0)
    elif not (<const u8 *>&assist.enlighten_vmentry)[0]:
        l0_note_refusal(vp, CHECK_switch_off, vp.assist_msr & ~<u64>0xfff, 0)
    else:
        l0_note_refusal(vp, CHECK_pointer_none, assist.current_nested_vmcs, 0)


cdef insn_t refused_pointer(l0_vp *vp, u32 check, u64 a, u64 b) noexcept nogil:
    l0_note_refusal(vp, check, a, b)
    return fail_invalid(vp)
