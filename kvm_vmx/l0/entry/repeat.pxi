# SPDX-License-Identifier: GPL-2.0-only
# An entry that does what the last one did: L2 goes from one CPUID to the next, and nothing has
# changed that a check, a load or a store of MSRs depends on.

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
