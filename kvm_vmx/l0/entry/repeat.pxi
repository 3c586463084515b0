# SPDX-License-Identifier: GPL-2.0-only
# An entry that does what the last one did: L2 goes from one CPUID to the next, and nothing has
# changed that a check, a load or a store of MSRs depends on.

cdef enum:
    # what an entry loads and an exit loads over: then neither leaves a trace in the other
    REPEAT_ENTRY = (VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_PAT |
                    VM_ENTRY_LOAD_IA32_EFER)
    REPEAT_EXIT = VM_EXIT_LOAD_IA32_PAT | VM_EXIT_LOAD_IA32_EFER
    REPEAT_NO_EXIT = VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL | VM_EXIT_SAVE_VMX_PREEMPTION_TIMER

cdef extern from *:
    void full_fence "__sync_synchronize"() nogil

# the assist page of a processor that has none
cdef hv_vp_assist_page no_assist


# Would another entry and exit by these controls load what the last ones did, and store nothing new?
cdef bint controls_repeat(const l0_vmcs *v) noexcept nogil:
    cdef u32 entry = v.f.vm_entry_controls, leave = v.f.vm_exit_controls

    return entry & REPEAT_ENTRY == REPEAT_ENTRY and \
        not entry & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL and \
        leave & REPEAT_EXIT == REPEAT_EXIT and not leave & REPEAT_NO_EXIT and \
        not (v.f.guest_ia32_efer >> 1 ^ entry) & VM_ENTRY_IA32E_MODE


# L2 has left by a CPUID for the second time: keep what it does where L1 steps over that.
cdef void prepare_repeat(l0_vp *vp, const l0_vmcs *v, u8 *page) noexcept nogil:
    cdef const u8 *assist = <const u8 *>&no_assist

    if vp.partition.rereads or not controls_repeat(v) or v.f.tpr_threshold | l0_counts(v):
        return
    # the copy says what an entry that repeats this one will find: every bit set, and no other
    if page != NULL and (vp.valid_groups != CLEAN_ALL or v.f.hv_clean_fields != CLEAN_ALL):
        return
    if vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        assist = phys_page(vp.cpu.mem, vp.assist_msr)
    if assist == NULL or not read_row(vp, v.f.guest_rip + 2):
        return
    vp.row.assist = assist
    vp.row.page = page
    vp.row_kept = 1
    # another processor's flush clears it, or is seen here
    full_fence()
    if vp.tlb_context[0] != v.f.ept_pointer:
        vp.row_kept = 0


# What has come up since the exit, 0 where nothing has: by far the most often.
cdef inline u64 news(const l0_vp *vp) noexcept nogil:
    return (vp.nr_alarms | vp.groups_to_check | vp.cpu.cpl) | events_of(&vp.cpu) | \
        <u64>vp.exit_log | <u64>vp.cpu.mem.unbacked


cdef inline bint enlightened_repeats(const l0_vp *vp) noexcept nogil:
    cdef const hv_vp_assist_page *assist = <const hv_vp_assist_page *>vp.row.assist
    cdef const hv_enlightened_vmcs *f = <const hv_enlightened_vmcs *>vp.row.page

    return (<const u8 *>&assist.enlighten_vmentry)[0] and \
        assist.current_nested_vmcs == vp.active_evmcs and \
        f.hv_clean_fields == CLEAN_ALL and \
        not (f.tpr_threshold | l0_flags(f) ^ l0_flags(&vp.evmcs_cache) | l0_counts(f) |
             news(vp)) and \
        row_stands(vp, f.guest_rip)


cdef inline bint plain_repeats(const l0_vp *vp) noexcept nogil:
    cdef const hv_vp_assist_page *assist = <const hv_vp_assist_page *>vp.row.assist
    cdef const hv_enlightened_vmcs *f = &vp.current_vmcs.f

    return not (<const u8 *>&assist.enlighten_vmentry)[0] and \
        not (f.tpr_threshold | news(vp)) and row_stands(vp, f.guest_rip)


# The rest of an exit. The host's MSRs still are what the last one loaded: whoever writes one
# clears host_loaded, or EFER's clean group, and the entry is made in full.
cdef inline void leave_again(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    vp.counters.exits += 1
    vp.exit_reasons[EXIT_REASON_CPUID] += 1
    vp.cpu.rip = v.f.host_rip
    vp.cpu.rsp = v.f.host_rsp
    vp.cpu.rflags = X86_EFLAGS_FIXED
    vp.cpu.dr7 = DR7_FIXED_1


cdef inline insn_t repeat_enlightened(l0_vp *vp, u64 *regs) noexcept nogil:
    cdef l0_vmcs *v = &vp.evmcs_cache
    cdef u8 *page = vp.row.page

    vp.counters.vmresume += 1
    vp.repeats += 1
    # no decision looks at these in the copy, but whoever asks for it sees them
    l0_reload_repeated(v, page)
    run_row(vp, v, regs)
    # the rest of the exit's information is still that of the last one
    (<hv_enlightened_vmcs *>page).guest_rip = vp.row.end
    l0_write_back_repeated(page, v)
    leave_again(vp, v)
    return INSN_OK


cdef inline insn_t repeat_plain(l0_vp *vp, u64 *regs) noexcept nogil:
    cdef l0_vmcs *v = &vp.current_vmcs

    vp.counters.vmresume += 1
    run_row(vp, v, regs)
    # VMWRITE may reach the exit's information, too
    write_exit(v, EXIT_REASON_CPUID, 2, 0)
    leave_again(vp, v)
    return INSN_OK
