# SPDX-License-Identifier: GPL-2.0-only
# L1 on this processor: from its registers to what VMX instructions see of them, and back.

cdef enum:
    CODE_64 = 0xa09b
    CODE_32 = 0xc09b
    DATA_SEGMENT = 0xc093
    BUSY_TASK = 0x8b
    # RDTSCP, VPID so that the TLB outlives an exit, unrestricted guest, INVPCID
    ROOT_SECONDARY = (SECONDARY_EXEC_RDTSCP | SECONDARY_EXEC_ENABLE_VPID |
                      SECONDARY_EXEC_UNRESTRICTED_GUEST | SECONDARY_EXEC_ENABLE_INVPCID)


# What L0's instructions look at: where it runs L1, the registers are in a VMCS.
cdef void root_to_processor(l0_vp *vp) noexcept nogil:
    cdef const l0_vmcs *r = &vp.root_vmcs

    if vp.cpu.cr0 != r.f.guest_cr0 or vp.cpu.cr4 != r.f.guest_cr4:
        vp.groups_to_check |= HOST_CHECKS
    vp.cpu.rip = r.f.guest_rip
    vp.cpu.rsp = r.f.guest_rsp
    vp.cpu.rflags = r.f.guest_rflags
    vp.cpu.cr0 = r.f.guest_cr0
    vp.cpu.cr3 = r.f.guest_cr3
    vp.cpu.cr4 = r.f.guest_cr4
    vp.cpu.tr_base = r.f.guest_tr_base
    vp.cpu.gdtr_base = r.f.guest_gdtr_base
    vp.cpu.idtr_base = r.f.guest_idtr_base
    vp.cpu.cpl = vp.guest_cpl
    vp.mov_ss_shadow = r.f.guest_interruptibility_info & GUEST_INTR_STATE_MOV_SS != 0
    vp.msr[SLOT_FS_BASE].value = r.f.guest_fs_base
    vp.msr[SLOT_GS_BASE].value = r.f.guest_gs_base
    vp.msr[SLOT_SYSENTER_CS].value = r.f.guest_sysenter_cs
    vp.msr[SLOT_SYSENTER_ESP].value = r.f.guest_sysenter_esp
    vp.msr[SLOT_SYSENTER_EIP].value = r.f.guest_sysenter_eip
    vp.host_loaded = 0


# SDM 27.5.2: base, limit and access rights of a segment that an exit loads.
cdef void host_segment(l0_vp *vp, u32 number, u32 selector, u64 base, u32 limit, u32 rights) \
        noexcept nogil:
    cdef l2_segment s

    s.selector = selector
    s.base = base
    s.limit = limit
    s.rights = rights
    if selector == 0 and number != SEG_CS and number != SEG_TR:
        s.rights = VMX_AR_UNUSABLE_MASK
    set_segment(vp, number, &s)


cdef void host_segments(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef bint wide = v.f.vm_exit_controls & VM_EXIT_HOST_ADDR_SPACE_SIZE != 0
    cdef u32 all_of_it = ~<u32>0

    host_segment(vp, SEG_CS, v.f.host_cs_selector, 0, all_of_it, CODE_64 if wide else CODE_32)
    host_segment(vp, SEG_SS, v.f.host_ss_selector, 0, all_of_it, DATA_SEGMENT)
    host_segment(vp, SEG_DS, v.f.host_ds_selector, 0, all_of_it, DATA_SEGMENT)
    host_segment(vp, SEG_ES, v.f.host_es_selector, 0, all_of_it, DATA_SEGMENT)
    host_segment(vp, SEG_FS, v.f.host_fs_selector, v.f.host_fs_base, all_of_it, DATA_SEGMENT)
    host_segment(vp, SEG_GS, v.f.host_gs_selector, v.f.host_gs_base, all_of_it, DATA_SEGMENT)
    host_segment(vp, SEG_LDTR, 0, 0, 0, VMX_AR_UNUSABLE_MASK)
    host_segment(vp, SEG_TR, v.f.host_tr_selector, v.f.host_tr_base, 0x67, BUSY_TASK)
    vp.vmcs.f.guest_gdtr_base = v.f.host_gdtr_base
    vp.vmcs.f.guest_idtr_base = v.f.host_idtr_base
    vp.vmcs.f.guest_gdtr_limit = vp.vmcs.f.guest_idtr_limit = 0xffff


# SDM 27.5.5: an NMI that exits blocks those behind it, another exit leaves L2's blocking on,
# unless that was of its virtual NMIs.
cdef u32 blocked_after(const l0_vmcs *v) noexcept nogil:
    if v.f.vm_exit_reason == EXIT_REASON_EXCEPTION_NMI and \
            v.f.vm_exit_intr_info & INTR_INFO_INTR_TYPE_MASK == INTR_TYPE_NMI_INTR:
        return GUEST_INTR_STATE_NMI
    if v.f.pin_based_vm_exec_control & PIN_BASED_VIRTUAL_NMIS:
        return 0
    return v.f.guest_interruptibility_info & GUEST_INTR_STATE_NMI


# The VMCS whose entry has ended, successful or not.
cdef const l0_vmcs *left_vmcs(const l0_vp *vp) noexcept nogil:
    return &vp.evmcs_cache if vp.active_evmcs != L0_NO_VMCS else &vp.current_vmcs


# L1 goes on where the exit has put it.
cdef void root_from_host(l0_vp *vp) noexcept nogil:
    cdef const l0_vmcs *v = left_vmcs(vp)
    cdef l0_vmcs *r = &vp.root_vmcs

    root_is_current(vp)
    r.f.guest_rip = vp.cpu.rip
    r.f.guest_rsp = vp.cpu.rsp
    r.f.guest_rflags = vp.cpu.rflags
    r.f.guest_cr0 = vp.cpu.cr0
    r.f.guest_cr3 = vp.cpu.cr3
    r.f.guest_cr4 = vp.cpu.cr4
    r.f.guest_sysenter_cs = <u32>vp.msr[SLOT_SYSENTER_CS].value
    r.f.guest_sysenter_esp = vp.msr[SLOT_SYSENTER_ESP].value
    r.f.guest_sysenter_eip = vp.msr[SLOT_SYSENTER_EIP].value
    host_segments(vp, v)
    r.f.guest_interruptibility_info = blocked_after(v)
    r.f.guest_activity_state = GUEST_ACTIVITY_ACTIVE
    r.f.guest_pending_dbg_exceptions = 0
    vp.trap_pending = 0
    vp.root.apic.virtual_work = 0
    # guest-physical translations outlive the time that L1 runs
    r.f.ept_pointer = vp.tlb_context[0]


# From here on the interpreter runs L1.
cdef void root_is_current(l0_vp *vp) noexcept nogil:
    vp.vmcs = &vp.root_vmcs
    vp.regs = vp.gpr
    vp.guest_state = L2_RUNNING
    vp.entry_is_repeat = 0
    vp.root.since = vp.counters.l2_instructions


cdef bint is_root(const l0_vp *vp) noexcept nogil:
    return vp.vmcs == &vp.root_vmcs


# Before L2 runs, or L1 stands still.
cdef void root_leaves(l0_vp *vp) noexcept nogil:
    vp.root.instructions += vp.counters.l2_instructions - vp.root.since
    vp.root.since = vp.counters.l2_instructions
