# SPDX-License-Identifier: GPL-2.0-only
# VM-entry checks on the control fields and on the host-state area.

cdef enum:
    # secondary controls whose fields an eVMCS of version 1 has no place for
    UNCOVERED_SECONDARY = (SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES |
                           SECONDARY_EXEC_APIC_REGISTER_VIRT |
                           SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY |
                           SECONDARY_EXEC_PAUSE_LOOP_EXITING | SECONDARY_EXEC_ENABLE_VMFUNC |
                           SECONDARY_EXEC_SHADOW_VMCS | SECONDARY_EXEC_ENABLE_PML)
    UNCOVERED_PIN = PIN_BASED_POSTED_INTR | PIN_BASED_VMX_PREEMPTION_TIMER
    # execute rights by privilege: EPT has them, and v4.19 does not know them
    SECONDARY_EXECUTE_BY_MODE = 1 << 22
    # exceptions 8, 10 to 14 and 17 push an error code


cdef inline u32 secondary_controls(const l0_vmcs *v) noexcept nogil:
    # bit 31 of the primary controls says whether there are any
    return v.f.secondary_vm_exec_control if v.f.cpu_based_vm_exec_control >> 31 else 0


cdef bint word_valid(u32 value, u32 must, u32 may) noexcept nogil:
    return value & must == must and not value & ~may


cdef bint control_words_valid(const l0_caps *caps, const l0_vmcs *v, u32 secondary) noexcept nogil:
    return (
        word_valid(v.f.pin_based_vm_exec_control, caps.pin_must, caps.pin_may) and
        word_valid(v.f.cpu_based_vm_exec_control, caps.proc_must, caps.proc_may) and
        (not v.f.cpu_based_vm_exec_control >> 31 or
         word_valid(secondary, caps.secondary_must, caps.secondary_may)) and
        word_valid(v.f.vm_exit_controls, caps.exit_must, caps.exit_may) and
        word_valid(v.f.vm_entry_controls, caps.entry_must, caps.entry_may))


# R63: an eVMCS may not switch on what it has no fields for; R14: nor what is not announced.
cdef bint covered(const l0_caps *caps, const l0_vmcs *v, u32 secondary) noexcept nogil:
    if not caps.nested_ebx & 1 and (
            v.f.vm_exit_controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL or
            v.f.vm_entry_controls & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL):
        return False
    return not (v.f.pin_based_vm_exec_control & UNCOVERED_PIN or
                secondary & UNCOVERED_SECONDARY or
                v.f.vm_exit_controls & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER)


cdef bint bitmaps_valid(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u32 proc = v.f.cpu_based_vm_exec_control

    if proc & CPU_BASED_USE_IO_BITMAPS and not (
            page_address_valid(vp, v.f.io_bitmap_a) and page_address_valid(vp, v.f.io_bitmap_b)):
        return False
    if proc & CPU_BASED_USE_MSR_BITMAPS and not page_address_valid(vp, v.f.msr_bitmap):
        return False
    return not secondary & SECONDARY_EXEC_SHADOW_VMCS or (
        page_address_valid(vp, v.vmread_bitmap) and page_address_valid(vp, v.vmwrite_bitmap))


# The threshold must fit in four bits, and not lie above the priority in the virtual-APIC page.
cdef bint tpr_valid(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef const u8 *vtpr

    if not page_address_valid(vp, v.f.virtual_apic_page_addr):
        return False
    if secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY:
        return True
    if v.f.tpr_threshold >> 4:
        return False
    if secondary & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES:
        return True
    vtpr = phys_ptr(vp.cpu.mem, v.f.virtual_apic_page_addr + 0x80, 1)
    return v.f.tpr_threshold <= (vtpr[0] >> 4 if vtpr != NULL else 0)


cdef bint apic_controls_valid(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u32 pin = v.f.pin_based_vm_exec_control
    cdef u32 virtual = (SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE | SECONDARY_EXEC_APIC_REGISTER_VIRT |
                        SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)

    if v.f.cpu_based_vm_exec_control & CPU_BASED_TPR_SHADOW:
        if not tpr_valid(vp, v, secondary):
            return False
    elif secondary & virtual:
        return False
    if secondary & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES and (
            secondary & SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE or
            not page_address_valid(vp, v.apic_access_addr)):
        return False
    if secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY and not pin & PIN_BASED_EXT_INTR_MASK:
        return False
    if not pin & PIN_BASED_POSTED_INTR:
        return True
    return secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY != 0 and \
        v.f.vm_exit_controls & VM_EXIT_ACK_INTR_ON_EXIT != 0 and \
        v.posted_intr_nv <= 255 and \
        not v.posted_intr_desc_addr & (vp.partition.caps.address_reserved | 0x3f)


cdef bint nmi_controls_valid(const l0_vmcs *v) noexcept nogil:
    cdef u32 pin = v.f.pin_based_vm_exec_control

    if pin & PIN_BASED_VIRTUAL_NMIS:
        return pin & PIN_BASED_NMI_EXITING != 0
    return not v.f.cpu_based_vm_exec_control & CPU_BASED_VIRTUAL_NMI_PENDING


cdef bint ept_pointer_valid(const l0_caps *caps, u64 eptp) noexcept nogil:
    cdef u64 kind = eptp & VMX_EPTP_MT_MASK
    cdef u64 walk = eptp & VMX_EPTP_PWL_MASK

    if not (kind == VMX_EPTP_MT_UC and caps.ept_vpid & VMX_EPTP_UC_BIT or
            kind == VMX_EPTP_MT_WB and caps.ept_vpid & VMX_EPTP_WB_BIT):
        return False
    if not (walk == VMX_EPTP_PWL_4 and caps.ept_vpid & VMX_EPT_PAGE_WALK_4_BIT or
            walk == VMX_EPTP_PWL_5 and caps.ept_vpid & VMX_EPT_PAGE_WALK_5_BIT):
        return False
    if eptp & VMX_EPTP_AD_ENABLE_BIT and not caps.ept_vpid & VMX_EPT_AD_BIT:
        return False
    return not eptp & (caps.address_reserved | 0xf80)


cdef bint translation_controls_valid(
        const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef bint ept = secondary & SECONDARY_EXEC_ENABLE_EPT != 0

    if secondary & SECONDARY_EXEC_ENABLE_VPID and v.f.virtual_processor_id == 0:
        return False
    if ept and not ept_pointer_valid(caps, v.f.ept_pointer):
        return False
    if not ept and secondary & (SECONDARY_EXEC_UNRESTRICTED_GUEST | SECONDARY_EXEC_ENABLE_PML |
                                SECONDARY_EXECUTE_BY_MODE):
        return False
    if secondary & SECONDARY_EXEC_ENABLE_PML and not page_address_valid(vp, v.pml_address):
        return False
    if secondary & SECONDARY_EXEC_TSC_SCALING and v.tsc_multiplier == 0:
        return False
    if secondary & SECONDARY_EXEC_ENABLE_VMFUNC:
        if v.vm_function_control & ~caps.vmfunc:
            return False
        # bit 0: switching EPT pointers from a list
        if v.vm_function_control & 1 and not (ept and page_address_valid(vp, v.eptp_list_address)):
            return False
    return True


cdef bint msr_list_valid(const l0_caps *caps, u32 count, u64 address) noexcept nogil:
    if count == 0:
        return True
    if address & (caps.address_reserved | 0xf):
        return False
    # the last byte, too, must be an address
    return not (address + <u64>count * 16 - 1) & caps.address_reserved


cdef bint event_valid(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u32 info = v.f.vm_entry_intr_info_field
    cdef u32 vector = info & INTR_INFO_VECTOR_MASK
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK
    cdef u32 length = v.f.vm_entry_instruction_len
    cdef bint protected_mode = v.f.guest_cr0 & X86_CR0_PE != 0 or \
        not secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST
    cdef bint has_code = info & INTR_INFO_DELIVER_CODE_MASK != 0
    cdef bint wants_code = protected_mode and kind == INTR_TYPE_HARD_EXCEPTION and \
        vector < 32 and <u32>WITH_ERROR_CODE >> (vector & 31) & 1 != 0

    if not info >> 31:
        return True
    if info & INTR_INFO_RESVD_BITS_MASK or kind == INTR_TYPE_RESERVED or has_code != wants_code:
        return False
    if kind == INTR_TYPE_NMI_INTR and vector != 2 or \
            kind == INTR_TYPE_HARD_EXCEPTION and vector > 31:
        return False
    if kind == INTR_TYPE_OTHER_EVENT and (
            vector != 0 or not vp.partition.caps.proc_may & CPU_BASED_MONITOR_TRAP_FLAG):
        return False
    if has_code and v.f.vm_entry_exception_error_code >> 16:
        return False
    if kind == INTR_TYPE_SOFT_INTR or kind == INTR_TYPE_PRIV_SW_EXCEPTION or \
            kind == INTR_TYPE_SOFT_EXCEPTION:
        return length <= 15 and (length or vp.partition.caps.misc & VMX_MISC_ZERO_LEN_INS)
    return True


cdef bint exit_and_entry_valid(const l0_caps *caps, const l0_vmcs *v) noexcept nogil:
    if v.f.vm_exit_controls & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER and \
            not v.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER:
        return False
    # outside system-management mode neither may be set
    if v.f.vm_entry_controls & (VM_ENTRY_SMM | VM_ENTRY_DEACT_DUAL_MONITOR):
        return False
    return (
        msr_list_valid(caps, v.f.vm_exit_msr_store_count, v.f.vm_exit_msr_store_addr) and
        msr_list_valid(caps, v.f.vm_exit_msr_load_count, v.f.vm_exit_msr_load_addr) and
        msr_list_valid(caps, v.f.vm_entry_msr_load_count, v.f.vm_entry_msr_load_addr))


# Are the control fields, and the host-state area, as an entry needs them? Those whose clean
# groups are not dirty were.
cdef bint controls_valid(
        l0_vp *vp, const l0_vmcs *v, bint enlightened, u32 dirty) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 secondary = secondary_controls(v)

    if dirty & CONTROL_WORDS_GROUPS and not control_words_valid(caps, v, secondary):
        return False
    if dirty & COVERED_GROUPS and enlightened and \
            vp.partition.profile.reject_uncovered_controls and not covered(caps, v, secondary):
        return False
    return (
        v.f.cr3_target_count <= (caps.misc >> 16 & 0x1ff) and
        (not dirty & BITMAPS_GROUPS or bitmaps_valid(vp, v, secondary)) and
        # the threshold has no group
        (not (dirty & APIC_CONTROLS_GROUPS or v.f.tpr_threshold) or
         apic_controls_valid(vp, v, secondary)) and
        (not dirty & NMI_CONTROLS_GROUPS or nmi_controls_valid(v)) and
        (not dirty & TRANSLATION_CONTROLS_GROUPS or
         translation_controls_valid(vp, v, secondary)) and
        (not dirty & EXIT_AND_ENTRY_GROUPS or exit_and_entry_valid(caps, v)) and
        (not dirty & EVENT_GROUPS or event_valid(vp, v, secondary)))


cdef bint host_msrs_valid(const l0_vp *vp, const l0_vmcs *v, bint wide) noexcept nogil:
    cdef u32 controls = v.f.vm_exit_controls
    cdef u64 long_mode = (EFER_LMA | EFER_LME) if wide else 0

    if controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL and \
            v.host_ia32_perf_global_ctrl & ~vp.partition.caps.perf_global_may:
        return False
    if controls & VM_EXIT_LOAD_IA32_PAT and not pat_valid(v.f.host_ia32_pat):
        return False
    return not controls & VM_EXIT_LOAD_IA32_EFER or (
        not v.f.host_ia32_efer & ~<u64>EFER_VALID and
        v.f.host_ia32_efer & (EFER_LMA | EFER_LME) == long_mode)


cdef bint host_segments_valid(const hv_enlightened_vmcs *f, bint wide) noexcept nogil:
    if (f.host_es_selector | f.host_cs_selector | f.host_ss_selector | f.host_ds_selector |
            f.host_fs_selector | f.host_gs_selector | f.host_tr_selector) & 7:
        return False
    if f.host_cs_selector == 0 or f.host_tr_selector == 0 or \
            (f.host_ss_selector == 0 and not wide):
        return False
    return (is_canonical(f.host_fs_base) and is_canonical(f.host_gs_base) and
            is_canonical(f.host_tr_base) and is_canonical(f.host_gdtr_base) and
            is_canonical(f.host_idtr_base))


cdef bint host_registers_valid(const l0_caps *caps, const l0_vmcs *v, bint wide) noexcept nogil:
    if v.f.host_cr0 & caps.cr0_must != caps.cr0_must or v.f.host_cr0 & ~caps.cr0_may or \
            v.f.host_cr4 & caps.cr4_must != caps.cr4_must or v.f.host_cr4 & ~caps.cr4_may or \
            v.f.host_cr3 & caps.address_reserved:
        return False
    if not (is_canonical(v.f.host_ia32_sysenter_esp) and
            is_canonical(v.f.host_ia32_sysenter_eip)):
        return False
    if wide:
        return v.f.host_cr4 & X86_CR4_PAE != 0 and is_canonical(v.f.host_rip)
    return not (v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE or v.f.host_cr4 & X86_CR4_PCIDE or
                v.f.host_rip >> 32)


cdef bint host_state_valid(l0_vp *vp, const l0_vmcs *v, u32 dirty) noexcept nogil:
    cdef bint wide = v.f.vm_exit_controls & VM_EXIT_HOST_ADDR_SPACE_SIZE != 0

    # the host returns in the mode it left in
    return wide == (vp.efer & EFER_LMA != 0) and (
        (not dirty & HOST_REGISTERS_GROUPS or
         host_registers_valid(&vp.partition.caps, v, wide)) and
        (not dirty & HOST_MSRS_GROUPS or host_msrs_valid(vp, v, wide)) and
        (not dirty & HOST_SEGMENTS_GROUPS or host_segments_valid(&v.f, wide)))
