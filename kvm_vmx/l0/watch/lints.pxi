# SPDX-License-Identifier: GPL-2.0-only
# What L1 does that the specification forbids or leaves undefined, seen at the entry.

cdef enum:
    LAYOUT_BYTES = 1024

    NESTED_MSR_BITMAP = 1 << 19
    NESTED_EXCEPTION = 1 << 20
    NESTED_DEBUGCTL = 1 << 21

    # the assist page: nested features, hypercall controls, the switch and what follows it
    ASSIST_CALLS = 0x24
    ASSIST_SWITCH = 0x28
    ASSIST_POINTER = 0x30
    FEATURE_EXCEPTION = 2

cdef extern from *:
    enum:
        OFFSET_GUEST_RIP "L0_AT(guest_rip)"
        CLEAN_FIELDS "L0_AT(hv_clean_fields)"
        FLAGS "L0_AT(hv_enlightenments_control)"


# A member differs from what the last exit left: was L1 free to change it, and did it say so?
cdef void look_at(l0_vp *vp, const u8 *page, u32 offset, u32 clean) noexcept nogil:
    cdef const l0_member *member = &l0_members[offset // 2]
    cdef u32 what

    if member.read_only:
        what = LINT_exit_info_written
    elif member.groups == CLEAN_ALL and clean:
        what = LINT_ungrouped_field
    elif member.groups & clean:
        what = LINT_stale_field
    else:
        return
    note_member(vp, what, offset, l0_member_get(page, offset),
                l0_member_get(vp.evmcs_last_exit, offset))


# Has L1 changed more than what most entries change, RIP and the clean fields, which stand side by
# side?
cdef inline bint page_differs(const l0_vp *vp, const u8 *page) noexcept nogil:
    return memcmp(page, vp.evmcs_last_exit, OFFSET_GUEST_RIP) != 0 or \
        memcmp(page + FLAGS, vp.evmcs_last_exit + FLAGS, LAYOUT_BYTES - FLAGS) != 0


# R39: what has changed behind a clean bit.
cdef void compare(l0_vp *vp, const u8 *page, u32 clean) noexcept nogil:
    cdef u32 start, offset

    if not page_differs(vp, page):
        return
    for start in range(0, <u32>LAYOUT_BYTES, 64):
        if memcmp(page + start, vp.evmcs_last_exit + start, 64) == 0:
            continue
        for offset in range(start, start + 64, 2):
            if l0_members[offset // 2].size and memcmp(
                    page + offset, vp.evmcs_last_exit + offset, l0_members[offset // 2].size):
                look_at(vp, page, offset, clean)


cdef void check_zero(l0_vp *vp, const u8 *page, u32 start, u32 end) noexcept nogil:
    cdef u32 found = l0_first_nonzero(page, start, end)

    if found < end:
        l0_note(vp, LINT_page_not_zeroed, found, page[found], 0)


# R28: the reserved parts of a page at its first entry.
cdef void check_reserved(l0_vp *vp, const u8 *page) noexcept nogil:
    check_zero(vp, page, 0x128, 0x140)
    check_zero(vp, page, 0x27a, 0x2a8)
    check_zero(vp, page, 0x33c, 0x340)
    check_zero(vp, page, 0x34c, 0x350)
    check_zero(vp, page, 0x360, 0x380)
    check_zero(vp, page, 0x3b0, 0x3c0)
    check_zero(vp, page, 0x400, 0x1000)


cdef void lint_flags(l0_vp *vp, const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u32 flags = l0_flags(f)
    cdef u32 nested = vp.partition.caps.nested

    if flags & ~(L0_FLAG_DIRECT_FLUSH | L0_FLAG_MSR_BITMAP):
        lint(vp, LINT_enlightenments_reserved)
    if flags & L0_FLAG_MSR_BITMAP and not nested & NESTED_MSR_BITMAP:
        lint(vp, LINT_msr_bitmap_unannounced)
    if not flags & L0_FLAG_DIRECT_FLUSH:
        return
    if not nested & NESTED_DIRECT_FLUSH:
        lint(vp, LINT_direct_flush_unannounced)
    # VP id 0 is the first processor's
    if f.hv_vm_id == 0 or f.partition_assist_page == 0:
        lint(vp, LINT_direct_flush_incomplete)
    if f.partition_assist_page & 0xfff:
        lint(vp, LINT_partition_page_misaligned)


cdef void check_assist_page(l0_vp *vp) noexcept nogil:
    cdef const u8 *assist = phys_page(vp.cpu.mem, vp.assist_msr)
    cdef u32 nested = vp.partition.caps.nested
    cdef u32 features, calls

    if assist == NULL:
        return
    memcpy(vp.watch.assist, assist, L0_ASSIST_HEAD)
    features = (<const u32 *>(assist + ASSIST_FEATURES))[0]
    calls = (<const u32 *>(assist + ASSIST_CALLS))[0]
    if assist[ASSIST_SWITCH] > 1:
        lint(vp, LINT_switch_value)
    if l0_first_nonzero(assist, ASSIST_SWITCH + 1, ASSIST_POINTER) < ASSIST_POINTER or \
            (<const u32 *>assist)[1]:
        lint(vp, LINT_assist_page_reserved)
    if features & ~<u32>(FEATURE_DIRECT_CALLS | FEATURE_EXCEPTION) or calls & ~<u32>1:
        lint(vp, LINT_enlightenments_reserved)
    if features & FEATURE_EXCEPTION and not nested & NESTED_EXCEPTION:
        lint(vp, LINT_exception_unannounced)
    if features & FEATURE_DIRECT_CALLS and not nested & NESTED_DIRECT_FLUSH:
        lint(vp, LINT_direct_flush_unannounced)
    if (<const u64 *>(assist + ASSIST_POINTER))[0] & 0xfff:
        lint(vp, LINT_pointer_misaligned)


# An enlightened entry is about to read page, whose clean bits it may rely on.
cdef void watch_entry(l0_vp *vp, const u8 *page, u32 clean) noexcept nogil:
    cdef const hv_enlightened_vmcs *f = <const hv_enlightened_vmcs *>page

    watch_before(vp, f, clean)
    watch_translations(vp)
    if vp.last_exit_kept:
        compare(vp, page, clean & CLEAN_ALL)
    else:
        check_reserved(vp, page)
        l0_written_at(vp.cpu.mem.written, vp.active_evmcs, True)
    if f.hv_clean_fields & ~<u32>CLEAN_ALL:
        note_member(vp, LINT_clean_fields_reserved, CLEAN_FIELDS, f.hv_clean_fields, 0)
    if f.revision_id != vp.evmcs_cache.f.revision_id:
        note_member(vp, LINT_version_changed, 0, f.revision_id, vp.evmcs_cache.f.revision_id)
    if f.guest_ia32_debugctl and not vp.partition.caps.nested & NESTED_DEBUGCTL:
        lint(vp, LINT_debugctl_unannounced)
    if f.page_fault_error_code_mask | f.page_fault_error_code_match and \
            not vp.partition.profile.honour_page_fault_filter:
        lint(vp, LINT_page_fault_filter_ignored)
    lint_flags(vp, f)
    check_assist_page(vp)


# L1 continues: from here on what stands in page is what L1 changes.
cdef void watch_exit(l0_vp *vp, const u8 *page, bint failed) noexcept nogil:
    watch_after(vp, &vp.evmcs_cache.f, failed)
    vp.watch.plain = L0_NO_VMCS
    # what was read is known now, also where no clean group was
    watch_space(vp, vp.evmcs_cache.f.ept_pointer)
    memcpy(vp.evmcs_last_exit, page, LAYOUT_BYTES)
    vp.last_exit_kept = 1


# VMCLEAR of a page that may be active elsewhere. What a VMCS was is no more.
cdef void watch_vmclear(l0_vp *vp, u64 pa) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef u32 i

    if vp.watch.plain == pa:
        vp.watch.plain = L0_NO_VMCS
    for i in range(partition.nr_vps):
        if i != vp.cpu.index and partition.vp[i].active_evmcs & ~<u64>0xfff == pa:
            lint(vp, LINT_vmclear_elsewhere)
