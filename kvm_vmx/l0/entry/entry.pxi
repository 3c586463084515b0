# SPDX-License-Identifier: GPL-2.0-only
# VMLAUNCH and VMRESUME: from L1 into L2 and back.

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


# R62: an eVMCS may hold a debug control where leaf 0x4000000A EAX[21] says so.
cdef bint debugctl_announced(const l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    return not (vp.partition.profile.announced_debugctl and v.f.guest_ia32_debugctl and
                not vp.partition.caps.nested >> 21 & 1)


# The checks, for what has changed since they last passed. ENTERED, or how the entry fails.
cdef int run_checks(l0_vp *vp, l0_vmcs *v, u8 *page, insn_t *status) noexcept nogil:
    cdef u32 sticky = 0
    cdef int why

    if vp.unchecked & RUN_GROUPS:
        vp.familiar = 0
    if (vp.unchecked & CONTROL_CHECKS or v.f.tpr_threshold) and \
            not controls_valid(vp, v, page != NULL, vp.unchecked):
        status[0] = refused(vp, VMXERR_ENTRY_INVALID_CONTROL_FIELD)
        return 0
    if page != NULL and not debugctl_announced(vp, v):
        status[0] = refused(vp, VMXERR_ENTRY_INVALID_CONTROL_FIELD)
        return 0
    if vp.unchecked & HOST_CHECKS:
        vp.host_loaded = 0
        if not host_state_valid(vp, v, vp.unchecked):
            status[0] = refused(vp, VMXERR_ENTRY_INVALID_HOST_STATE_FIELD)
            return 0
    if vp.unchecked & GUEST_CHECKS:
        why = check_guest_state(vp, v, vp.unchecked, &sticky)
    else:
        why = GUEST_STATE_OK if guest_rip_valid(v) else ENTRY_FAIL_DEFAULT
    if why != GUEST_STATE_OK:
        status[0] = failed_entry(vp, v, page, EXIT_REASON_INVALID_STATE, why)
        return 0
    vp.unchecked = sticky
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


cdef inline insn_t enter(l0_vp *vp, l0_vmcs *v, u64 *regs, u8 *page) noexcept nogil:
    cdef insn_t status
    cdef u32 bad

    # rip and the threshold belong to no group: they are looked at unless they cannot be wrong
    if unlikely(vp.unchecked | v.f.tpr_threshold | v.f.guest_rip >> 32):
        if run_checks(vp, v, page, &status) != ENTERED:
            return status
    load_guest_msrs(vp, v)
    vp.vmcs = v
    vp.regs = regs
    if unlikely(v.f.vm_entry_msr_load_count):
        vp.in_guest = 1
        vp.familiar = 0
        bad = load_msr_list(vp, v.f.vm_entry_msr_load_addr, v.f.vm_entry_msr_load_count)
        vp.in_guest = 0
        if bad:
            lint(vp, LINT_entry_list_failed)
            return failed_entry(vp, v, page, EXIT_REASON_MSR_LOAD_FAIL, bad)
    if page == NULL:
        v.launch_state = 1
    vp.in_guest = 1
    guest_run(vp)
    if likely(vp.in_guest == 1):
        vp.in_guest = 0
        vm_exit(vp, v, page)
        return INSN_OK
    return not_left(vp)


cdef inline insn_t enter_refreshed(
        l0_vp *vp, u64 *regs, u8 *page, bint unusual) noexcept nogil:
    enlightened_refresh(vp, page, unusual)
    # only what is strict stops, and that is unusual
    if unusual and vp.partition.stopped:
        return fail_invalid(vp)
    if unlikely(vp.mov_ss_shadow):
        return refused(vp, VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS)
    return enter(vp, &vp.copy, regs, page)


# A policy of its own: what a failed entry has read is forgotten again.
cdef insn_t enter_or_forget(l0_vp *vp, u64 *regs, u8 *page) noexcept nogil:
    cdef l0_vmcs before = vp.copy
    cdef u32 valid = vp.valid_groups
    cdef u64 exits = vp.counters.exits
    cdef insn_t status

    status = enter_refreshed(vp, regs, page, True)
    if vp.counters.exits == exits and not vp.in_guest:
        # how the entry failed is not something that was read
        before.f.vm_instruction_error = vp.copy.f.vm_instruction_error
        before.f.vm_exit_reason = vp.copy.f.vm_exit_reason
        before.f.exit_qualification = vp.copy.f.exit_qualification
        vp.copy = before
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
    if vp.partition.watch and not vp.in_guest:
        watch_exit(vp, page)
    return status


cdef insn_t enter_enlightened(
        l0_vp *vp, u64 pointer, u64 *regs, bint launch) noexcept nogil:
    cdef insn_t status = INSN_OK
    cdef u8 *page = enlightened_page(vp, pointer, launch, &status)

    if unlikely(page == NULL):
        return status
    if unlikely(vp.partition.unusual):
        return enter_unusual(vp, regs, page)
    return enter_refreshed(vp, regs, page, False)


cdef insn_t enter_plain(l0_vp *vp, u64 *regs, bint launch) noexcept nogil:
    if unlikely(vp.active_evmcs != ~<u64>0):
        enlightened_release(vp)
    if unlikely(vp.partition.stopped):
        return fail_invalid(vp)
    # no entry with a shadow VMCS, however valid its pointer
    if unlikely(vp.current_vmptr == ~<u64>0 or vp.plain.f.revision_id >> 31):
        return fail_invalid(vp)
    if unlikely(vp.mov_ss_shadow):
        return refused(vp, VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS)
    if unlikely(launch and vp.plain.launch_state):
        return refused(vp, VMXERR_VMLAUNCH_NONCLEAR_VMCS)
    if unlikely(not launch and not vp.plain.launch_state):
        return refused(vp, VMXERR_VMRESUME_NONLAUNCHED_VMCS)
    return enter(vp, &vp.plain, regs, NULL)


# Only where L2 is stopped.
# L2 leaves the boundary where it was stopped; the rest of VMLAUNCH or VMRESUME.
cdef insn_t l0_go_on(l0_vp *vp) noexcept nogil:
    cdef l0_vmcs *v = vp.vmcs
    cdef u8 *page = NULL

    if v == &vp.copy:
        page = phys_page(vp.cpu.mem, vp.active_evmcs)
    vp.in_guest = 1
    vp.regs = vp.gpr
    guest_go_on(vp)
    if vp.in_guest != 1:
        return not_left(vp)
    vp.in_guest = 0
    vm_exit(vp, v, page)
    if vp.partition.watch and page != NULL:
        watch_exit(vp, page)
    return INSN_OK


cdef insn_t l0_vmentry(virt_cpu *cpu, u64 *regs, bint launch) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)
    cdef u64 pointer

    if launch:
        vp.counters.vmlaunch += 1
    else:
        vp.counters.vmresume += 1
    if unlikely(status != INSN_OK):
        return status
    if enlightened_pointer(vp, &pointer):
        return enter_enlightened(vp, pointer, regs, launch)
    return enter_plain(vp, regs, launch)
