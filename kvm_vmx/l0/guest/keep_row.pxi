# SPDX-License-Identifier: GPL-2.0-only
# Keeps the row that L2 goes through from an entry to its CPUID, where the next entry may repeat it:
# nothing that a check, a load or a store of MSRs depends on differs then.

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
