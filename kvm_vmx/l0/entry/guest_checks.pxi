# SPDX-License-Identifier: GPL-2.0-only
# VM-entry checks on the guest-state area; segments are in segment_checks. Each gives the check
# that refuses, a row of state_checks.h, or 0.

cdef enum:
    # bits 3, 5, 15 and 63:22 are 0 and bit 1 is 1
    RFLAGS_RESERVED = 0x8028
    PENDING_DBG_BS = 1 << 14


cdef u32 control_registers_refusal(
        const l0_caps *caps, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u64 cr0 = v.f.guest_cr0, cr4 = v.f.guest_cr4
    cdef u64 must = caps.cr0_must
    cdef bint paging = cr0 >> 31 & 1

    if secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST:
        must &= ~<u64>0x80000001
    if cr0 & must != must or cr0 & ~caps.cr0_may:
        return CHECK_guest_cr0
    if paging and not cr0 & X86_CR0_PE:
        return CHECK_guest_paging
    if cr4 & caps.cr4_must != caps.cr4_must or cr4 & ~caps.cr4_may:
        return CHECK_guest_cr4
    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE:
        if not paging:
            return CHECK_guest_long_paging
        if not cr4 & X86_CR4_PAE:
            return CHECK_guest_long_pae
    elif cr4 & X86_CR4_PCIDE:
        return CHECK_guest_pcide
    return CHECK_guest_cr3 if v.f.guest_cr3 & caps.address_reserved else 0


cdef u32 msrs_refusal(const l0_caps *caps, const l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_entry_controls
    cdef u64 efer = v.f.guest_ia32_efer
    cdef bint wide = controls & VM_ENTRY_IA32E_MODE != 0

    if controls & VM_ENTRY_LOAD_DEBUG_CONTROLS:
        if v.f.guest_ia32_debugctl & ~<u64>DEBUGCTL_VALID:
            return CHECK_guest_debugctl
        if v.f.guest_dr7 >> 32:
            return CHECK_guest_dr7
    if not is_canonical(v.f.guest_sysenter_esp):
        return CHECK_guest_sysenter_esp
    if not is_canonical(v.f.guest_sysenter_eip):
        return CHECK_guest_sysenter_eip
    if controls & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL and \
            v.guest_ia32_perf_global_ctrl & ~caps.perf_global_may:
        return CHECK_guest_perf_global
    if controls & VM_ENTRY_LOAD_IA32_PAT and not pat_valid(v.f.guest_ia32_pat):
        return CHECK_guest_pat
    if controls & VM_ENTRY_LOAD_IA32_EFER:
        if efer & ~<u64>EFER_VALID:
            return CHECK_guest_efer
        if ((efer & EFER_LMA) != 0) != wide:
            return CHECK_guest_efer_lma
        if v.f.guest_cr0 >> 31 & 1 and ((efer & EFER_LME) != 0) != wide:
            return CHECK_guest_efer_lme
    if controls & VM_ENTRY_LOAD_BNDCFGS:
        if not is_canonical(v.f.guest_bndcfgs):
            return CHECK_guest_bndcfgs_base
        if v.f.guest_bndcfgs & 0xffc:
            return CHECK_guest_bndcfgs
    return 0


cdef u32 tables_refusal(const hv_enlightened_vmcs *f) noexcept nogil:
    if not is_canonical(f.guest_gdtr_base):
        return CHECK_guest_gdtr_base
    if not is_canonical(f.guest_idtr_base):
        return CHECK_guest_idtr_base
    if f.guest_gdtr_limit >> 16:
        return CHECK_guest_gdtr_limit
    return CHECK_guest_idtr_limit if f.guest_idtr_limit >> 16 else 0


cdef u32 guest_rip_refusal(const l0_vmcs *v) noexcept nogil:
    cdef u64 rip = v.f.guest_rip

    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE and v.f.guest_cs_ar_bytes & VMX_AR_L_MASK:
        # bits 63:48 are alike; bit 47 may differ from them
        return 0 if rip >> 48 == 0 or rip >> 48 == 0xffff else CHECK_guest_rip
    return CHECK_guest_rip_high if rip >> 32 else 0


cdef u32 rflags_refusal(const l0_vmcs *v) noexcept nogil:
    cdef u64 rflags = v.f.guest_rflags
    cdef u32 info = v.f.vm_entry_intr_info_field

    if rflags >> 22 or rflags & RFLAGS_RESERVED or not rflags & 2:
        return CHECK_guest_rflags
    if rflags & X86_EFLAGS_VM and (
            v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE or not v.f.guest_cr0 & X86_CR0_PE):
        return CHECK_guest_rflags_vm
    if info >> 31 and info & INTR_INFO_INTR_TYPE_MASK == INTR_TYPE_EXT_INTR and \
            not rflags & X86_EFLAGS_IF:
        return CHECK_guest_rflags_if
    return 0


# Which events may be injected into a processor that is not active?
cdef bint wakes(u32 activity, u32 info) noexcept nogil:
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK
    cdef u32 vector = info & INTR_INFO_VECTOR_MASK

    if not info >> 31 or activity == GUEST_ACTIVITY_ACTIVE:
        return True
    if activity == GUEST_ACTIVITY_WAIT_SIPI:
        return False
    if kind == INTR_TYPE_NMI_INTR or (kind == INTR_TYPE_HARD_EXCEPTION and vector == 18):
        return True
    return activity == GUEST_ACTIVITY_HLT and (
        kind == INTR_TYPE_EXT_INTR or kind == INTR_TYPE_OTHER_EVENT or
        (kind == INTR_TYPE_HARD_EXCEPTION and vector == 1))


cdef u32 activity_refusal(const l0_caps *caps, const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u32 activity = f.guest_activity_state

    if activity > 3 or (activity and not caps.misc >> (5 + activity) & 1):
        return CHECK_activity_state
    if activity == GUEST_ACTIVITY_HLT and VMX_AR_DPL(f.guest_ss_ar_bytes):
        return CHECK_activity_hlt
    if activity and f.guest_interruptibility_info & (
            GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS):
        return CHECK_activity_blocked
    return 0 if wakes(activity, f.vm_entry_intr_info_field) else CHECK_activity_event


cdef u32 interruptibility_refusal(const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u32 state = f.guest_interruptibility_info
    cdef u32 shadow = state & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)
    cdef u32 info = f.vm_entry_intr_info_field
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK

    # blocking by SMI only inside system-management mode, bit 4 only with enclaves
    if state >> 4 or state & GUEST_INTR_STATE_SMI:
        return CHECK_blocking_reserved
    if shadow == (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS):
        return CHECK_blocking_both
    if state & GUEST_INTR_STATE_STI and not f.guest_rflags & X86_EFLAGS_IF:
        return CHECK_blocking_sti
    if not info >> 31:
        return 0
    if kind == INTR_TYPE_EXT_INTR:
        return CHECK_blocking_interrupt if shadow else 0
    if kind == INTR_TYPE_NMI_INTR:
        if state & GUEST_INTR_STATE_MOV_SS:
            return CHECK_blocking_nmi_mov_ss
        if state & GUEST_INTR_STATE_NMI and f.pin_based_vm_exec_control & PIN_BASED_VIRTUAL_NMIS:
            return CHECK_blocking_nmi
    return 0


cdef u32 pending_debug_refusal(const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u64 pending = f.guest_pending_dbg_exceptions
    cdef bint stepping = f.guest_rflags & X86_EFLAGS_TF != 0 and \
        not f.guest_ia32_debugctl & DEBUGCTLMSR_BTF
    cdef bint blocked = f.guest_interruptibility_info & (
        GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS) != 0 or \
        f.guest_activity_state == GUEST_ACTIVITY_HLT

    # bits 11:4, 13, 15 and 63:17; bit 16 belongs to restricted transactional memory
    if pending & ~<u64>0x500f:
        return CHECK_pending_reserved
    if blocked and ((pending & PENDING_DBG_BS) != 0) != stepping:
        return CHECK_pending_step
    return 0


cdef u32 link_pointer_refusal(l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u64 link = v.f.vmcs_link_pointer
    cdef const u8 *page
    cdef u32 revision = vp.partition.profile.vmcs_revision

    if link == ~<u64>0:
        return 0
    if link & (vp.partition.caps.address_reserved | 0xfff):
        return CHECK_link_address
    if link == vp.current_vmptr:
        return CHECK_link_current
    page = phys_page(vp.cpu.mem, link)
    if secondary & SECONDARY_EXEC_SHADOW_VMCS:
        revision |= <u32>1 << 31
    if page == NULL:
        return CHECK_link_missing
    return 0 if (<const u32 *>page)[0] == revision else CHECK_link_revision


cdef bint pdpte_bits_valid(const l0_caps *caps, u64 pdpte) noexcept nogil:
    # present: bits 2:1 and 8:5 are reserved
    return not pdpte & 1 or not pdpte & (caps.address_reserved | 0x1e6)


# With PAE paging the four entries come from the VMCS under EPT, from memory without.
cdef u32 pdptes_refusal(l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef const u64 *entry
    cdef u32 i

    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE or not v.f.guest_cr0 >> 31 & 1 or \
            not v.f.guest_cr4 & X86_CR4_PAE:
        return 0
    if secondary & SECONDARY_EXEC_ENABLE_EPT:
        if not pdpte_bits_valid(caps, v.f.guest_pdptr0):
            return CHECK_pdpte0
        if not pdpte_bits_valid(caps, v.f.guest_pdptr1):
            return CHECK_pdpte1
        if not pdpte_bits_valid(caps, v.f.guest_pdptr2):
            return CHECK_pdpte2
        return 0 if pdpte_bits_valid(caps, v.f.guest_pdptr3) else CHECK_pdpte3
    entry = <const u64 *>phys_ptr(vp.cpu.mem, v.f.guest_cr3 & <u64>0xffffffe0, 32)
    if entry == NULL:
        return CHECK_pdptes_missing
    for i in range(4):
        if not pdpte_bits_valid(caps, entry[i]):
            return CHECK_pdptes
    return 0


cdef u32 state_refusal(
        const l0_caps *caps, const l0_vmcs *v, u32 secondary, u32 dirty) noexcept nogil:
    cdef u32 why = 0

    if dirty & CONTROL_REGISTERS_GROUPS:
        why = control_registers_refusal(caps, v, secondary)
    if not why and dirty & MSRS_GROUPS:
        why = msrs_refusal(caps, v)
    if not why and dirty & SEGMENTS_GROUPS:
        why = segments_refusal(&v.f, secondary)
    if not why and dirty & TABLES_GROUPS:
        why = tables_refusal(&v.f)
    if not why:
        why = guest_rip_refusal(v)
    if not why and dirty & RFLAGS_GROUPS:
        why = rflags_refusal(v)
    if not why and dirty & ACTIVITY_GROUPS:
        why = activity_refusal(caps, &v.f)
    if not why and dirty & INTERRUPTIBILITY_GROUPS:
        why = interruptibility_refusal(&v.f)
    if not why and dirty & PENDING_DEBUG_GROUPS:
        why = pending_debug_refusal(&v.f)
    return why


# What reads no dirty group was valid. sticky gets the clean groups
# that hold a reference to memory and must be looked at again at the next entry.
cdef u32 guest_state_refusal(
        l0_vp *vp, const l0_vmcs *v, u32 dirty, u32 *sticky) noexcept nogil:
    cdef u32 secondary = secondary_controls(v)
    cdef u32 why = state_refusal(&vp.partition.caps, v, secondary, dirty)

    sticky[0] = 0
    if not why and dirty & LINK_POINTER_GROUPS:
        why = link_pointer_refusal(vp, v, secondary)
    if not why and dirty & PDPTES_GROUPS:
        why = pdptes_refusal(vp, v, secondary)
    if why:
        return why
    if v.f.vmcs_link_pointer != ~<u64>0:
        sticky[0] |= GROUP_GUEST_GRP1
    if not v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE and v.f.guest_cr0 >> 31 & 1:
        sticky[0] |= GROUP_CRDR
    return 0
