# SPDX-License-Identifier: GPL-2.0-only
# VM exit: the parts that are not done at every exit.

cdef enum:
    # the abort indicators of a list that could not be stored, or loaded
    ABORT_STORE = 1
    ABORT_LOAD = 4


cdef inline void save_guest_msrs(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_exit_controls

    if controls & VM_EXIT_SAVE_IA32_PAT:
        v.f.guest_ia32_pat = vp.msr[SLOT_PAT].value
    if controls & VM_EXIT_SAVE_IA32_EFER:
        v.f.guest_ia32_efer = vp.efer
    if controls & VM_EXIT_SAVE_DEBUG_CONTROLS:
        v.f.guest_dr7 = vp.cpu.dr7
        # K12: no exit writes it into an eVMCS, so that page and copy stay one
        if v == &vp.current_vmcs:
            v.f.guest_ia32_debugctl = vp.msr[SLOT_DEBUGCTL].value
    # where a guest can change its mode, the entry control follows it
    if unlikely((vp.efer >> 1 ^ v.f.vm_entry_controls) & VM_ENTRY_IA32E_MODE) and \
            vp.partition.caps.misc & VMX_MISC_SAVE_EFER_LMA:
        v.f.vm_entry_controls ^= VM_ENTRY_IA32E_MODE


cdef inline void load_host_state(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_exit_controls

    vp.cpu.rip = v.f.host_rip
    vp.cpu.rsp = v.f.host_rsp
    vp.cpu.rflags = X86_EFLAGS_FIXED
    vp.cpu.cpl = 0
    vp.cpu.dr7 = DR7_FIXED_1
    vp.mov_ss_shadow = 0
    vp.msr[SLOT_DEBUGCTL].value = 0
    if controls & VM_EXIT_LOAD_IA32_PAT:
        vp.msr[SLOT_PAT].value = v.f.host_ia32_pat
    if controls & VM_EXIT_LOAD_IA32_EFER:
        vp.efer = v.f.host_ia32_efer
    elif likely(controls & VM_EXIT_HOST_ADDR_SPACE_SIZE):
        vp.efer |= EFER_LMA | EFER_LME
    else:
        vp.efer &= ~<u64>(EFER_LMA | EFER_LME)
    if unlikely(not vp.host_loaded):
        load_host_registers(vp, v)


# For whoever watches: how often each reason came, and the last ones with their circumstances.
cdef inline void record_exit(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef l0_exit_record *record

    vp.exit_reasons[v.f.vm_exit_reason & (L0_NR_EXIT_REASONS - 1)] += 1
    if unlikely(vp.exit_log != NULL):
        record = &vp.exit_log[vp.exit_log_end % vp.exit_log_size]
        vp.exit_log_end += 1
        record.rip = v.f.guest_rip
        record.qualification = v.f.exit_qualification
        record.reason = v.f.vm_exit_reason
        record.clean_fields = v.f.hv_clean_fields


cdef inline void vm_exit(l0_vp *vp, l0_vmcs *v, u8 *page) noexcept nogil:
    cdef bint rare = v.f.vm_exit_reason == EXIT_REASON_EXTERNAL_INTERRUPT or \
        v.f.vm_exit_controls & (VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL |
                                VM_EXIT_SAVE_VMX_PREEMPTION_TIMER) or \
        v.f.vm_exit_msr_store_count | v.f.vm_exit_msr_load_count

    # the event has been injected: not once more at the next entry. Without one nothing is
    # stored, which the write-back would have to wait for
    if unlikely(v.f.vm_entry_intr_info_field >> 31):
        v.f.vm_entry_intr_info_field &= 0x7fffffff
    save_guest_msrs(vp, v)
    if unlikely(rare):
        rare_exit_work(vp, v)
    if page != NULL:
        l0_write_back(page, v)
        vp.counters.bytes_written_back += L0_WRITE_BACK_BYTES
    load_host_state(vp, v)
    if unlikely(rare):
        load_host_lists(vp, v)
    record_exit(vp, v)
    vp.counters.exits += 1


# What VMLAUNCH or VMRESUME ends with where there is no exit.
# L2 has not left, and L1 does not go on: L2 is stopped, or the processor checks out.
cdef insn_t not_left(l0_vp *vp) noexcept nogil:
    if vp.guest_state == L2_STOPPED:
        return INSN_OK
    vp.guest_state = L2_NOT_RUNNING
    return INSN_MAKE_FAULT(X86_TRAP_MC, 0)


# Everything of the host state but what differs from exit to exit.
cdef void load_host_registers(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    # ET is 1 in every processor of today
    vp.cpu.cr0 = v.f.host_cr0 | X86_CR0_ET
    vp.cpu.cr3 = v.f.host_cr3
    vp.cpu.cr4 = v.f.host_cr4
    vp.cpu.tr_base = v.f.host_tr_base
    vp.cpu.gdtr_base = v.f.host_gdtr_base
    vp.cpu.idtr_base = v.f.host_idtr_base
    vp.msr[SLOT_FS_BASE].value = v.f.host_fs_base
    vp.msr[SLOT_GS_BASE].value = v.f.host_gs_base
    vp.msr[SLOT_SYSENTER_CS].value = v.f.host_ia32_sysenter_cs
    vp.msr[SLOT_SYSENTER_ESP].value = v.f.host_ia32_sysenter_esp
    vp.msr[SLOT_SYSENTER_EIP].value = v.f.host_ia32_sysenter_eip
    vp.host_loaded = 1


# With the control on, the exit acknowledges the interrupt and reports its vector.
cdef void acknowledge_interrupt(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef u32 taken

    if v.f.vm_exit_controls & VM_EXIT_ACK_INTR_ON_EXIT and vp.cpu.intr:
        taken = take_vector(vp)
        if taken:
            v.f.vm_exit_intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR | \
                taken & INTR_INFO_VECTOR_MASK


# A real processor shuts down with an abort indicator in the VMCS; this one goes on.
cdef void abort_list(l0_vp *vp, l0_vmcs *v, u32 indicator) noexcept nogil:
    cdef u8 *page
    cdef u64 pointer = vp.current_vmptr

    lint(vp, LINT_msr_list_aborted)
    v.f.abort = indicator
    if v == &vp.evmcs_cache:
        pointer = vp.active_evmcs & ~<u64>0xfff
    page = phys_page(vp.cpu.mem, pointer)
    if page != NULL:
        (<u32 *>page)[1] = indicator


# The preemption timer counts an instruction of L2 as one.
cdef void save_timer(const l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef u64 spent = timer_spent(vp)

    if spent < v.vmx_preemption_timer_value:
        v.vmx_preemption_timer_value -= <u32>spent
    else:
        v.vmx_preemption_timer_value = 0


# The timer's value, interrupt acknowledgement, the list of MSRs to store: what few exits need.
cdef void rare_exit_work(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef bint stored

    if v.f.vm_exit_controls & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER:
        save_timer(vp, v)
    if v.f.vm_exit_reason == EXIT_REASON_EXTERNAL_INTERRUPT:
        acknowledge_interrupt(vp, v)
    if v.f.vm_exit_msr_store_count:
        # some of them are in the VMCS still
        vp.guest_state = L2_RUNNING
        stored = store_msr_list(vp, v.f.vm_exit_msr_store_addr, v.f.vm_exit_msr_store_count)
        vp.guest_state = L2_NOT_RUNNING
        if not stored:
            abort_list(vp, v, ABORT_STORE)


# PERF_GLOBAL_CTRL and the list of MSRs to load: behind all other host state.
cdef void load_host_lists(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef vmx_msr_entry entry
    cdef u32 why

    if v.f.vm_exit_controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL:
        vp.msr[SLOT_PERF_GLOBAL_CTRL].value = v.host_ia32_perf_global_ctrl
    if v.f.vm_exit_msr_load_count and load_msr_list(
            vp, v.f.vm_exit_msr_load_addr, v.f.vm_exit_msr_load_count, &why, &entry):
        abort_list(vp, v, ABORT_LOAD)
