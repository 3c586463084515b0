# SPDX-License-Identifier: GPL-2.0-only
# VM-entry checks on the guest-state area; segments are in segment_checks.

cdef enum:
    GUEST_STATE_OK = -1

cdef enum:
    # bits 3, 5, 15 and 63:22 are 0 and bit 1 is 1
    RFLAGS_RESERVED = 0x8028
    PENDING_DBG_BS = 1 << 14


cdef bint control_registers_valid(
        const l0_caps *caps, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u64 cr0 = v.f.guest_cr0, cr4 = v.f.guest_cr4
    cdef u64 must = caps.cr0_must
    cdef bint paging = cr0 >> 31 & 1

    if secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST:
        must &= ~<u64>0x80000001
    if cr0 & must != must or cr0 & ~caps.cr0_may or (paging and not cr0 & X86_CR0_PE):
        return False
    if cr4 & caps.cr4_must != caps.cr4_must or cr4 & ~caps.cr4_may:
        return False
    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE:
        if not paging or not cr4 & X86_CR4_PAE:
            return False
    elif cr4 & X86_CR4_PCIDE:
        return False
    return not v.f.guest_cr3 & caps.address_reserved


cdef bint msrs_valid(const l0_caps *caps, const l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_entry_controls
    cdef u64 efer = v.f.guest_ia32_efer
    cdef bint wide = controls & VM_ENTRY_IA32E_MODE != 0

    if controls & VM_ENTRY_LOAD_DEBUG_CONTROLS and (
            v.f.guest_ia32_debugctl & ~<u64>DEBUGCTL_VALID or v.f.guest_dr7 >> 32):
        return False
    if not is_canonical(v.f.guest_sysenter_esp) or not is_canonical(v.f.guest_sysenter_eip):
        return False
    if controls & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL and \
            v.guest_ia32_perf_global_ctrl & ~caps.perf_global_may:
        return False
    if controls & VM_ENTRY_LOAD_IA32_PAT and not pat_valid(v.f.guest_ia32_pat):
        return False
    if controls & VM_ENTRY_LOAD_IA32_EFER:
        if efer & ~<u64>EFER_VALID or ((efer & EFER_LMA) != 0) != wide:
            return False
        if v.f.guest_cr0 >> 31 & 1 and ((efer & EFER_LME) != 0) != wide:
            return False
    return not controls & VM_ENTRY_LOAD_BNDCFGS or (
        is_canonical(v.f.guest_bndcfgs) and not v.f.guest_bndcfgs & 0xffc)


cdef bint tables_valid(const hv_enlightened_vmcs *f) noexcept nogil:
    return (is_canonical(f.guest_gdtr_base) and is_canonical(f.guest_idtr_base) and
            not f.guest_gdtr_limit >> 16 and not f.guest_idtr_limit >> 16)


cdef bint guest_rip_valid(const l0_vmcs *v) noexcept nogil:
    cdef u64 rip = v.f.guest_rip

    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE and v.f.guest_cs_ar_bytes & VMX_AR_L_MASK:
        # bits 63:48 are alike; bit 47 may differ from them
        return rip >> 48 == 0 or rip >> 48 == 0xffff
    return rip >> 32 == 0


cdef bint rflags_valid(const l0_vmcs *v) noexcept nogil:
    cdef u64 rflags = v.f.guest_rflags
    cdef u32 info = v.f.vm_entry_intr_info_field

    if rflags >> 22 or rflags & RFLAGS_RESERVED or not rflags & 2:
        return False
    if rflags & X86_EFLAGS_VM and (
            v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE or not v.f.guest_cr0 & X86_CR0_PE):
        return False
    return not (info >> 31 and info & INTR_INFO_INTR_TYPE_MASK == INTR_TYPE_EXT_INTR) or \
        rflags & X86_EFLAGS_IF != 0


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
        kind == INTR_TYPE_EXT_INTR or (kind == INTR_TYPE_OTHER_EVENT and vector == 0) or
        (kind == INTR_TYPE_HARD_EXCEPTION and vector == 1))


cdef bint activity_valid(const l0_caps *caps, const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u32 activity = f.guest_activity_state

    if activity > 3 or (activity and not caps.misc >> (5 + activity) & 1):
        return False
    if activity == GUEST_ACTIVITY_HLT and VMX_AR_DPL(f.guest_ss_ar_bytes):
        return False
    if activity and f.guest_interruptibility_info & (
            GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS):
        return False
    return wakes(activity, f.vm_entry_intr_info_field)


cdef bint interruptibility_valid(const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u32 state = f.guest_interruptibility_info
    cdef u32 shadow = state & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)
    cdef u32 info = f.vm_entry_intr_info_field
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK

    # blocking by SMI only inside system-management mode, bit 4 only with enclaves
    if state >> 4 or state & GUEST_INTR_STATE_SMI:
        return False
    if shadow == (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS):
        return False
    if state & GUEST_INTR_STATE_STI and not f.guest_rflags & X86_EFLAGS_IF:
        return False
    if not info >> 31:
        return True
    if kind == INTR_TYPE_EXT_INTR:
        return shadow == 0
    if kind == INTR_TYPE_NMI_INTR:
        return not state & GUEST_INTR_STATE_MOV_SS and not (
            state & GUEST_INTR_STATE_NMI and
            f.pin_based_vm_exec_control & PIN_BASED_VIRTUAL_NMIS)
    return True


cdef bint pending_debug_valid(const hv_enlightened_vmcs *f) noexcept nogil:
    cdef u64 pending = f.guest_pending_dbg_exceptions
    cdef bint stepping = f.guest_rflags & X86_EFLAGS_TF != 0 and \
        not f.guest_ia32_debugctl & DEBUGCTLMSR_BTF
    cdef bint blocked = f.guest_interruptibility_info & (
        GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS) != 0 or \
        f.guest_activity_state == GUEST_ACTIVITY_HLT

    # bits 11:4, 13, 15 and 63:17; bit 16 belongs to restricted transactional memory
    if pending & ~<u64>0x500f:
        return False
    return not blocked or ((pending & PENDING_DBG_BS) != 0) == stepping


cdef bint link_pointer_valid(l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u64 link = v.f.vmcs_link_pointer
    cdef const u8 *page
    cdef u32 revision = vp.partition.profile.vmcs_revision

    if link == ~<u64>0:
        return True
    if link & (vp.partition.caps.address_reserved | 0xfff) or link == vp.current_vmptr:
        return False
    page = phys_page(vp.cpu.mem, link)
    if secondary & SECONDARY_EXEC_SHADOW_VMCS:
        revision |= <u32>1 << 31
    return page != NULL and (<const u32 *>page)[0] == revision


cdef bint pdpte_bits_valid(const l0_caps *caps, u64 pdpte) noexcept nogil:
    # present: bits 2:1 and 8:5 are reserved
    return not pdpte & 1 or not pdpte & (caps.address_reserved | 0x1e6)


# With PAE paging the four entries come from the VMCS under EPT, from memory without.
cdef bint pdptes_valid(l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef const u64 *entry
    cdef u32 i

    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE or not v.f.guest_cr0 >> 31 & 1 or \
            not v.f.guest_cr4 & X86_CR4_PAE:
        return True
    if secondary & SECONDARY_EXEC_ENABLE_EPT:
        return (pdpte_bits_valid(caps, v.f.guest_pdptr0) and
                pdpte_bits_valid(caps, v.f.guest_pdptr1) and
                pdpte_bits_valid(caps, v.f.guest_pdptr2) and
                pdpte_bits_valid(caps, v.f.guest_pdptr3))
    entry = <const u64 *>phys_ptr(vp.cpu.mem, v.f.guest_cr3 & <u64>0xffffffe0, 32)
    if entry == NULL:
        return False
    for i in range(4):
        if not pdpte_bits_valid(caps, entry[i]):
            return False
    return True


cdef bint state_valid(
        const l0_caps *caps, const l0_vmcs *v, u32 secondary, u32 dirty) noexcept nogil:
    return (
        (not dirty & CONTROL_REGISTERS_GROUPS or control_registers_valid(caps, v, secondary)) and
        (not dirty & MSRS_GROUPS or msrs_valid(caps, v)) and
        (not dirty & SEGMENTS_GROUPS or segments_valid(&v.f, secondary)) and
        (not dirty & TABLES_GROUPS or tables_valid(&v.f)) and guest_rip_valid(v) and
        (not dirty & RFLAGS_GROUPS or rflags_valid(v)) and
        (not dirty & ACTIVITY_GROUPS or activity_valid(caps, &v.f)) and
        (not dirty & INTERRUPTIBILITY_GROUPS or interruptibility_valid(&v.f)) and
        (not dirty & PENDING_DEBUG_GROUPS or pending_debug_valid(&v.f)))


# GUEST_STATE_OK, or the exit qualification of the failed entry. What reads no dirty group was
# valid. sticky gets the clean groups
# that hold a reference to memory and must be looked at again at the next entry.
cdef int check_guest_state(
        l0_vp *vp, const l0_vmcs *v, u32 dirty, u32 *sticky) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 secondary = secondary_controls(v)

    sticky[0] = 0
    if not state_valid(caps, v, secondary, dirty):
        return ENTRY_FAIL_DEFAULT
    if dirty & LINK_POINTER_GROUPS and not link_pointer_valid(vp, v, secondary):
        return ENTRY_FAIL_VMCS_LINK_PTR
    if dirty & PDPTES_GROUPS and not pdptes_valid(vp, v, secondary):
        return ENTRY_FAIL_PDPTE
    if v.f.vmcs_link_pointer != ~<u64>0:
        sticky[0] |= GROUP_GUEST_GRP1
    if not v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE and v.f.guest_cr0 >> 31 & 1:
        sticky[0] |= GROUP_CRDR
    return GUEST_STATE_OK
