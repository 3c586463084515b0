# SPDX-License-Identifier: GPL-2.0-only
# VMLAUNCH and VMRESUME: from L1 into L2 and back.

cdef extern from *:
    """
    #define noinline_void noinline void
    """
    ctypedef void noinline_void

cdef enum:
    # L2 runs
    ENTERED = -1
    # MSRs that an entry loads when its controls say so
    ENTRY_LOADS = (VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL |
                   VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_IA32_EFER)


# Guest state or an MSR list is at fault: an exit that stores nothing of the guest.
cdef insn_t failed_entry(l0_vp *vp, l0_vmcs *v, u8 *page, u32 reason, u64 why) noexcept nogil:
    cdef hv_enlightened_vmcs *f = <hv_enlightened_vmcs *>page

    vp.counters.failed_entries += 1
    v.f.vm_exit_reason = <u32>VMX_EXIT_REASONS_FAILED_VMENTRY | reason
    v.f.exit_qualification = why
    if page != NULL:
        f.vm_exit_reason = v.f.vm_exit_reason
        f.exit_qualification = why
    vp.host_loaded = 0
    load_host_state(vp, v)
    load_host_lists(vp, v)
    record_exit(vp, v)
    return INSN_OK


cdef insn_t refused(l0_vp *vp, u32 error) noexcept nogil:
    vp.counters.failed_entries += 1
    return fail(vp, error)


# VMfailValid before any field is looked at.
cdef insn_t refused_early(l0_vp *vp, u32 check, u32 error) noexcept nogil:
    l0_note_refusal(vp, check, vp.current_vmptr, 0)
    return refused(vp, error)


# The check of a field has failed: its row says how the entry ends.
cdef insn_t refused_by(l0_vp *vp, l0_vmcs *v, u8 *page, u32 check) noexcept nogil:
    cdef u32 end = l0_row_of(check).end
    cdef u64 why = ENTRY_FAIL_DEFAULT

    note_fields(vp, v, check)
    if end == END_CONTROL:
        return refused(vp, VMXERR_ENTRY_INVALID_CONTROL_FIELD)
    if end == END_HOST:
        return refused(vp, VMXERR_ENTRY_INVALID_HOST_STATE_FIELD)
    if end == END_LINK:
        why = ENTRY_FAIL_VMCS_LINK_PTR
    elif end == END_PDPTE:
        why = ENTRY_FAIL_PDPTE
    return failed_entry(vp, v, page, EXIT_REASON_INVALID_STATE, why)


# R62: an eVMCS may hold a debug control where leaf 0x4000000A EAX[21] says so.
cdef bint debugctl_announced(const l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    return not (vp.partition.profile.announced_debugctl and v.f.guest_ia32_debugctl and
                not vp.partition.caps.nested >> 21 & 1)


# The checks, for what has changed since they last passed. ENTERED, or how the entry fails.
cdef int run_checks(l0_vp *vp, l0_vmcs *v, u8 *page, insn_t *status) noexcept nogil:
    cdef u32 sticky = 0
    cdef u32 why = 0

    if vp.groups_to_check & RUN_GROUPS:
        vp.entry_is_repeat = 0
    if vp.groups_to_check & CONTROL_CHECKS or v.f.tpr_threshold:
        why = controls_refusal(vp, v, page != NULL, vp.groups_to_check)
    if not why and page != NULL and not debugctl_announced(vp, v):
        why = CHECK_debugctl_unannounced
    if not why and vp.groups_to_check & HOST_CHECKS:
        vp.host_loaded = 0
        why = host_state_refusal(vp, v, vp.groups_to_check)
    if not why:
        if vp.groups_to_check & GUEST_CHECKS:
            why = guest_state_refusal(vp, v, vp.groups_to_check, &sticky)
        else:
            why = guest_rip_refusal(v)
    if why:
        status[0] = refused_by(vp, v, page, why)
        return 0
    vp.groups_to_check = sticky | virtual_apic_checked(vp, v)
    # a bit that was not set has brought the entry here
    if page != NULL and vp.partition.profile.marks_clean_at_entry:
        (<hv_enlightened_vmcs *>page).hv_clean_fields |= CLEAN_ALL
    return ENTERED


cdef inline void load_guest_msrs(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_entry_controls

    if controls & VM_ENTRY_LOAD_DEBUG_CONTROLS:
        vp.msr[SLOT_DEBUGCTL].value = v.f.guest_ia32_debugctl
        vp.cpu.dr7 = v.f.guest_dr7
    if controls & VM_ENTRY_LOAD_IA32_PAT:
        vp.msr[SLOT_PAT].value = v.f.guest_ia32_pat
    if unlikely(controls & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL):
        vp.msr[SLOT_PERF_GLOBAL_CTRL].value = v.guest_ia32_perf_global_ctrl
    if controls & VM_ENTRY_LOAD_IA32_EFER:
        vp.efer = v.f.guest_ia32_efer
    elif likely(controls & VM_ENTRY_IA32E_MODE):
        vp.efer |= EFER_LMA | EFER_LME
    else:
        vp.efer &= ~<u64>EFER_LMA
        if v.f.guest_cr0 >> 31 & 1:
            vp.efer &= ~<u64>EFER_LME


cdef bint entry_list_loaded(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef u32 bad, why = 0
    cdef vmx_msr_entry entry
    # a value that is refused is the entry's refusal, and no instruction's
    cdef l0_refusal denied = vp.denied
    cdef u64 denials = vp.denials

    vp.guest_state = L2_RUNNING
    bad = load_msr_list(vp, v.f.vm_entry_msr_load_addr, v.f.vm_entry_msr_load_count, &why, &entry)
    vp.guest_state = L2_NOT_RUNNING
    vp.denied = denied
    vp.denials = denials
    if bad:
        lint(vp, LINT_entry_list_failed)
        note_item(vp, v, why, bad, &entry)
    return bad == 0


cdef inline insn_t enter(l0_vp *vp, l0_vmcs *v, u64 *regs, u8 *page) noexcept nogil:
    cdef insn_t status
    cdef bint again

    # rip and the threshold belong to no group: they are looked at unless they cannot be wrong
    if unlikely(vp.groups_to_check | v.f.tpr_threshold | v.f.guest_rip >> 32):
        if run_checks(vp, v, page, &status) != ENTERED:
            return status
    load_guest_msrs(vp, v)
    vp.vmcs = v
    vp.regs = regs
    if unlikely(v.f.vm_entry_msr_load_count):
        vp.entry_is_repeat = 0
        if not entry_list_loaded(vp, v):
            return failed_entry(vp, v, page, EXIT_REASON_MSR_LOAD_FAIL, vp.refusal.a)
    if page == NULL:
        v.launch_state = 1
    vp.guest_state = L2_RUNNING
    again = guest_run(vp)
    if likely(vp.guest_state == 1):
        vp.guest_state = L2_NOT_RUNNING
        vm_exit(vp, v, page)
        if again:
            prepare_repeat(vp, v, page)
        return INSN_OK
    return not_left(vp)


cdef inline insn_t enter_refreshed(
        l0_vp *vp, u64 *regs, u8 *page, bint unusual) noexcept nogil:
    enlightened_refresh(vp, page, unusual)
    # only what is strict stops, and that is unusual
    if unusual and vp.partition.stopped:
        return refused_pointer(vp, CHECK_machine_stopped, 0, 0)
    if unlikely(vp.mov_ss_shadow):
        return refused_early(vp, CHECK_mov_ss, VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS)
    return enter(vp, &vp.evmcs_cache, regs, page)


# A policy of its own: what a failed entry has read is forgotten again.
cdef insn_t enter_or_forget(l0_vp *vp, u64 *regs, u8 *page) noexcept nogil:
    cdef l0_vmcs before = vp.evmcs_cache
    cdef u32 valid = vp.valid_groups
    cdef u64 exits = vp.counters.exits
    cdef insn_t status

    status = enter_refreshed(vp, regs, page, True)
    if vp.counters.exits == exits and vp.guest_state == L2_NOT_RUNNING:
        # how the entry failed is not something that was read
        before.f.vm_instruction_error = vp.evmcs_cache.f.vm_instruction_error
        before.f.vm_exit_reason = vp.evmcs_cache.f.vm_exit_reason
        before.f.exit_qualification = vp.evmcs_cache.f.exit_qualification
        vp.evmcs_cache = before
        vp.valid_groups = valid
        vp.bitmap_kept = 0
    return status


# Another cache policy than to rely on every clean bit, or somebody watches.
cdef insn_t enter_unusual(l0_vp *vp, u64 *regs, u8 *page) noexcept nogil:
    cdef insn_t status

    if vp.partition.cache_policy == CACHE_COMMIT_ON_SUCCESS:
        status = enter_or_forget(vp, regs, page)
    else:
        status = enter_refreshed(vp, regs, page, True)
    if vp.partition.lints_enabled and vp.guest_state == L2_NOT_RUNNING:
        watch_exit(vp, page, vp.counters.exits == vp.watch.exits)
    return status


cdef insn_t enter_enlightened(
        l0_vp *vp, u64 pointer, u64 *regs, bint launch) noexcept nogil:
    cdef insn_t status = INSN_OK
    cdef u8 *page = enlightened_page(vp, pointer, launch, &status)

    if unlikely(page == NULL):
        return status
    if unlikely(vp.partition.slow_entry):
        return enter_unusual(vp, regs, page)
    return enter_refreshed(vp, regs, page, False)


cdef inline insn_t enter_current(l0_vp *vp, u64 *regs, bint launch) noexcept nogil:
    if unlikely(vp.current_vmptr == L0_NO_VMCS):
        note_no_vmcs(vp)
        return fail_invalid(vp)
    # no entry with a shadow VMCS, however valid its pointer
    if unlikely(vp.current_vmcs.f.revision_id >> 31):
        return refused_pointer(vp, CHECK_shadow_vmcs, vp.current_vmptr, 0)
    if unlikely(vp.mov_ss_shadow):
        return refused_early(vp, CHECK_mov_ss, VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS)
    if unlikely(launch and vp.current_vmcs.launch_state):
        return refused_early(vp, CHECK_launched, VMXERR_VMLAUNCH_NONCLEAR_VMCS)
    if unlikely(not launch and not vp.current_vmcs.launch_state):
        return refused_early(vp, CHECK_not_launched, VMXERR_VMRESUME_NONLAUNCHED_VMCS)
    return enter(vp, &vp.current_vmcs, regs, NULL)


cdef insn_t enter_current_unusual(l0_vp *vp, u64 *regs, bint launch) noexcept nogil:
    cdef insn_t status

    if vp.partition.stopped:
        return refused_pointer(vp, CHECK_machine_stopped, 0, 0)
    if vp.watch == NULL or vp.current_vmptr == L0_NO_VMCS:
        return enter_current(vp, regs, launch)
    watch_plain_entry(vp)
    if vp.partition.stopped:
        return refused_pointer(vp, CHECK_machine_stopped, 0, 0)
    status = enter_current(vp, regs, launch)
    if vp.guest_state == L2_NOT_RUNNING:
        watch_plain_exit(vp, vp.counters.exits == vp.watch.exits)
    return status


cdef insn_t enter_plain(l0_vp *vp, u64 *regs, bint launch) noexcept nogil:
    if unlikely(vp.active_evmcs != L0_NO_VMCS):
        enlightened_release(vp)
    # what is strict watches
    if unlikely(vp.partition.slow_entry):
        return enter_current_unusual(vp, regs, launch)
    return enter_current(vp, regs, launch)


# Only where L2 is stopped.
# L2 leaves the boundary where it was stopped; the rest of VMLAUNCH or VMRESUME.
cdef insn_t l0_go_on(l0_vp *vp) noexcept nogil:
    cdef l0_vmcs *v = vp.vmcs
    cdef u8 *page = NULL

    if v == &vp.evmcs_cache:
        page = phys_page(vp.cpu.mem, vp.active_evmcs)
    vp.guest_state = L2_RUNNING
    vp.regs = vp.gpr
    virtual_apic_resumed(vp)
    guest_go_on(vp)
    if vp.guest_state != 1:
        return not_left(vp)
    vp.guest_state = L2_NOT_RUNNING
    vm_exit(vp, v, page)
    if vp.partition.lints_enabled:
        if page != NULL:
            watch_exit(vp, page, False)
        elif v == &vp.current_vmcs:
            watch_plain_exit(vp, False)
    return INSN_OK


cdef insn_t enter_by_pointer(l0_vp *vp, u64 *regs, bint launch) noexcept nogil:
    cdef u64 pointer

    vp.row_kept = 0
    if launch:
        vp.counters.vmlaunch += 1
    else:
        vp.counters.vmresume += 1
    if unlikely(not permitted(vp)):
        l0_note_refusal(vp, CHECK_not_privileged if vp.in_vmx else CHECK_not_in_vmx, vp.cpu.cpl, 0)
        return fault_gp() if vp.in_vmx else fault_ud()
    if enlightened_pointer(vp, &pointer):
        return enter_enlightened(vp, pointer, regs, launch)
    return enter_plain(vp, regs, launch)


# Out of line: what it needs registers for, an entry that repeats the last one need not save.
cdef noinline_void enter_in_full(l0_vp *vp, u64 *regs, bint launch, insn_t *status) noexcept nogil:
    status[0] = enter_by_pointer(vp, regs, launch)


cdef insn_t l0_vmentry(virt_cpu *cpu, u64 *regs, bint launch) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status

    if likely(not launch) and likely(l0_is_steady(vp)):
        if vp.row.page != NULL:
            if likely(enlightened_repeats(vp)):
                return repeat_enlightened(vp, regs)
        elif likely(plain_repeats(vp)):
            return repeat_plain(vp, regs)
    enter_in_full(vp, regs, launch, &status)
    return status
