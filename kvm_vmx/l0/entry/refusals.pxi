# SPDX-License-Identifier: GPL-2.0-only
# All checks that refuse a VMCS, for whoever asks after one has: the checks as an entry has them,
# a part at a time, each on a copy in which what was refused is put right.

cdef enum:
    # of the controls, of the host's state, of the guest's
    CONTROL_PARTS = 10
    HOST_PARTS = 4
    NR_PARTS = CONTROL_PARTS + HOST_PARTS + 15


cdef u32 control_part_refusal(
        l0_vp *vp, const l0_vmcs *v, u32 part, bint enlightened) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 secondary = secondary_controls(v)
    cdef u32 why

    if part == 0:
        return control_words_refusal(caps, v, secondary)
    if part == 1:
        if not enlightened or not vp.partition.profile.reject_uncovered_controls:
            return 0
        return covered_refusal(caps, v, secondary)
    if part == 2:
        # with no group dirty it is the count alone, and what has no group
        why = controls_refusal(vp, v, enlightened, 0)
        return why if why == CHECK_cr3_targets else 0
    if part == 3:
        return bitmaps_refusal(vp, v, secondary)
    if part == 4:
        return apic_controls_refusal(vp, v, secondary)
    if part == 5:
        return nmi_controls_refusal(v)
    if part == 6:
        return translation_controls_refusal(vp, v, secondary)
    if part == 7:
        return exit_and_entry_refusal(caps, v)
    if part == 8:
        return event_refusal(vp, v, secondary)
    return CHECK_debugctl_unannounced if enlightened and not debugctl_announced(vp, v) else 0


cdef u32 host_part_refusal(l0_vp *vp, const l0_vmcs *v, u32 part) noexcept nogil:
    cdef bint wide = v.f.vm_exit_controls & VM_EXIT_HOST_ADDR_SPACE_SIZE != 0

    if part == 0:
        return host_state_refusal(vp, v, 0)
    if part == 1:
        return host_registers_refusal(&vp.partition.caps, v, wide)
    if part == 2:
        return host_msrs_refusal(vp, v, wide)
    return host_segments_refusal(&v.f, wide)


cdef u32 segment_part_refusal(const hv_enlightened_vmcs *f, u32 secondary, u32 part) noexcept nogil:
    cdef bint unrestricted = secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST != 0
    cdef bint wide = f.vm_entry_controls & VM_ENTRY_IA32E_MODE != 0

    if part == 0:
        return segment_bases_refusal(f)
    if part == 1:
        return system_segments_refusal(f, wide)
    if f.guest_rflags & X86_EFLAGS_VM:
        return vm86_segments_refusal(f) if part == 2 else 0
    if part == 2:
        return code_segment_refusal(f, unrestricted, wide)
    if part == 3:
        return stack_segment_refusal(f, unrestricted)
    return data_segments_refusal(f, unrestricted)


cdef u32 guest_part_refusal(l0_vp *vp, const l0_vmcs *v, u32 part) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 secondary = secondary_controls(v)

    if part == 0:
        return control_registers_refusal(caps, v, secondary)
    if part == 1:
        return msrs_refusal(caps, v)
    if part < 7:
        return segment_part_refusal(&v.f, secondary, part - 2)
    if part == 7:
        return tables_refusal(&v.f)
    if part == 8:
        return guest_rip_refusal(v)
    if part == 9:
        return rflags_refusal(v)
    if part == 10:
        return activity_refusal(caps, &v.f)
    if part == 11:
        return interruptibility_refusal(&v.f)
    if part == 12:
        return pending_debug_refusal(&v.f)
    if part == 13:
        return link_pointer_refusal(vp, v, secondary)
    return pdptes_refusal(vp, v, secondary)


# The parts of the checks in the order of an entry.
cdef u32 part_refusal(l0_vp *vp, const l0_vmcs *v, u32 part, bint enlightened) noexcept nogil:
    if part < CONTROL_PARTS:
        return control_part_refusal(vp, v, part, enlightened)
    part -= CONTROL_PARTS
    return host_part_refusal(vp, v, part) if part < HOST_PARTS else \
        guest_part_refusal(vp, v, part - HOST_PARTS)


# Put right what was refused: what the part refuses then, 0 where that is nothing or where nobody
# can tell. A value of which less stays than its wrong bits must not be refused for itself.
cdef u32 refused_next(
        l0_vp *vp, l0_vmcs *v, const l0_refusal *why, u32 part, bint enlightened) noexcept nogil:
    cdef u64 mend[L0_MAX_MENDS]
    cdef u32 field = l0_check_rows[why.check].field
    cdef u32 i, after, n = l0_mends(why, mend)
    cdef u64 before = l0_row_value(v, field)

    for i in range(n):
        l0_row_set(v, field, mend[i])
        if part_refusal(vp, v, part, enlightened) == 0:
            return 0
    for i in range(n):
        l0_row_set(v, field, mend[i])
        after = part_refusal(vp, v, part, enlightened)
        if after != why.check and (i == 0 or l0_check_rows[after].field != field):
            return after
    l0_row_set(v, field, before)
    return 0


cdef bint is_among(const l0_refusal *found, u32 n, u32 check) noexcept nogil:
    cdef u32 i

    for i in range(n):
        if found[i].check == check:
            return True
    return False


# The first one is what an entry would say, unless it fails before it looks at a field. How many
# there are, at most room.
cdef u32 refusals(l0_vp *vp, l0_refusal *found, u32 room) noexcept nogil:
    cdef bint enlightened = vp.active_evmcs != L0_NO_VMCS
    cdef const l0_vmcs *v = &vp.evmcs_cache if enlightened else &vp.current_vmcs
    cdef l0_refusal kept = vp.refusal
    cdef l0_vmcs copy
    cdef u32 part, why, n = 0

    if not enlightened and vp.current_vmptr == L0_NO_VMCS:
        return 0
    for part in range(NR_PARTS):
        copy = v[0]
        why = part_refusal(vp, &copy, part, enlightened)
        while why and n < room and not is_among(found, n, why):
            # what is told of it is what the VMCS has
            set_fields(vp, v, why)
            found[n] = vp.refusal
            n += 1
            why = refused_next(vp, &copy, &found[n - 1], part, enlightened)
    vp.refusal = kept
    return n
