# SPDX-License-Identifier: GPL-2.0-only
# What has to be seen over an exit: events lost or doubled, clean bits set without a read, writes
# that VMCLEAR leaves unread.

# An exit during the delivery of one of these leaves it to L1: external interrupt, NMI, exception.
cdef bint is_redelivered(u32 info) noexcept nogil:
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK

    return info >> 31 and (kind == INTR_TYPE_EXT_INTR or kind == INTR_TYPE_NMI_INTR or
                           kind == INTR_TYPE_HARD_EXCEPTION)


# May L1 have dealt with the event by other means: merged it, done the task switch? A triple fault
# leaves none (SDM 3C 27.2.4).
cdef bint takes_the_event(u32 reason) noexcept nogil:
    return reason == EXIT_REASON_EXCEPTION_NMI or reason == EXIT_REASON_TASK_SWITCH


# Exits that no instruction of L2 has made: none of them is a reason to inject an exception.
cdef bint is_no_instructions(u32 reason) noexcept nogil:
    return reason == EXIT_REASON_EXTERNAL_INTERRUPT or reason == EXIT_REASON_PENDING_INTERRUPT or \
        reason == EXIT_REASON_NMI_WINDOW or reason == EXIT_REASON_PREEMPTION_TIMER or \
        reason == EXIT_REASON_EPT_VIOLATION


# SDM 3C 28.2.4: an event whose delivery an exit has ended is injected again, and only such a one.
cdef void watch_event(l0_vp *vp, const hv_enlightened_vmcs *f) noexcept nogil:
    cdef l0_watch *watch = vp.watch

    if is_redelivered(watch.vectoring):
        if not watch.injected >> 31 and not takes_the_event(watch.exit_reason) and \
                f.guest_rip == watch.rip:
            l0_note(vp, LINT_event_lost, L0_NO_FIELD, watch.vectoring, watch.exit_reason)
    elif watch.delivered >> 31 and watch.injected == watch.delivered and \
            watch.executed <= 1 and is_no_instructions(watch.exit_reason):
        l0_note(vp, LINT_event_doubled, L0_NO_FIELD, watch.injected, watch.exit_reason)


cdef inline void watch_counters(l0_vp *vp) noexcept nogil:
    vp.watch.told = vp.counters.lints
    vp.watch.entered = vp.counters.l2_instructions
    vp.watch.exits = vp.counters.exits


# Before L0 reads the page: what the entry is to inject, and which groups the last one that failed
# found dirty and this one finds clean.
cdef void watch_before(l0_vp *vp, const hv_enlightened_vmcs *f, u32 clean) noexcept nogil:
    cdef l0_watch *watch = vp.watch

    watch.injected = vp.evmcs_cache.f.vm_entry_intr_info_field \
        if clean & GROUP_CONTROL_EVENT else f.vm_entry_intr_info_field
    watch.dirty = ~clean & CLEAN_ALL
    watch_counters(vp)
    if not vp.last_exit_kept:
        return
    if f.hv_clean_fields & watch.unread & CLEAN_ALL:
        note_member(vp, LINT_clean_unread, CLEAN_FIELDS, f.hv_clean_fields & CLEAN_ALL,
                    watch.unread)
    watch_event(vp, f)


# L1 goes on: what it has to do about an event, and what a failed entry has left unread.
cdef void watch_after(l0_vp *vp, const hv_enlightened_vmcs *f, bint failed) noexcept nogil:
    cdef l0_watch *watch = vp.watch

    watch.unread = watch.dirty if failed else 0
    watch.vectoring = 0 if failed else f.idt_vectoring_info_field
    watch.delivered = 0 if failed else watch.injected
    # an instruction that does not come to its end is counted too
    watch.executed = vp.counters.l2_instructions - watch.entered
    watch.exit_reason = f.vm_exit_reason
    watch.rip = f.guest_rip


# A plain VMCS has no clean bits: what L2 may find in the TLBs, and what is injected after the last
# exit from the same VMCS.
cdef void watch_plain_entry(l0_vp *vp) noexcept nogil:
    cdef const hv_enlightened_vmcs *f = &vp.current_vmcs.f

    vp.watch.injected = f.vm_entry_intr_info_field
    vp.watch.dirty = 0
    watch_counters(vp)
    watch_translations(vp)
    if vp.watch.plain == vp.current_vmptr:
        watch_event(vp, f)


cdef void watch_plain_exit(l0_vp *vp, bint failed) noexcept nogil:
    watch_after(vp, &vp.current_vmcs.f, failed)
    vp.watch.plain = vp.current_vmptr


# VMCLEAR of the active eVMCS: what L1 has written behind a clean bit since the last exit.
cdef void watch_release(l0_vp *vp) noexcept nogil:
    cdef const u8 *page = phys_page(vp.cpu.mem, vp.active_evmcs)
    cdef const l0_member *member
    cdef u32 clean, offset

    if page == NULL or not vp.last_exit_kept:
        return
    clean = (<const hv_enlightened_vmcs *>page).hv_clean_fields & vp.valid_groups
    for offset in range(0, <u32>LAYOUT_BYTES, 2):
        member = &l0_members[offset // 2]
        if member.size and not member.read_only and member.groups != CLEAN_ALL and \
                member.groups & clean and memcmp(
                    page + offset, vp.evmcs_last_exit + offset, member.size):
            note_member(vp, LINT_write_unread, offset, l0_member_get(page, offset),
                        l0_member_get(vp.evmcs_last_exit, offset))
