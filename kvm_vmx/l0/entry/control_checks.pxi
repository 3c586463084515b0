# SPDX-License-Identifier: GPL-2.0-only
# VM-entry checks on the control fields and on the host-state area. Each gives the check that
# refuses, a row of checks.h, or 0.

cdef enum:
    # secondary controls whose fields an eVMCS of version 1 has no place for
    UNCOVERED_SECONDARY = L0_UNCOVERED_SECONDARY
    UNCOVERED_PIN = PIN_BASED_POSTED_INTR | PIN_BASED_VMX_PREEMPTION_TIMER


cdef inline u32 secondary_controls(const l0_vmcs *v) noexcept nogil:
    # bit 31 of the primary controls says whether there are any
    return v.f.secondary_vm_exec_control if v.f.cpu_based_vm_exec_control >> 31 else 0


cdef bint word_valid(u32 value, u32 must, u32 may) noexcept nogil:
    return value & must == must and not value & ~may


cdef u32 control_words_refusal(const l0_caps *caps, const l0_vmcs *v, u32 secondary) noexcept nogil:
    if not word_valid(v.f.pin_based_vm_exec_control, caps.pin_must, caps.pin_may):
        return CHECK_pin_controls
    if not word_valid(v.f.cpu_based_vm_exec_control, caps.proc_must, caps.proc_may):
        return CHECK_primary_controls
    if v.f.cpu_based_vm_exec_control >> 31 and not \
            word_valid(secondary, caps.secondary_must, caps.secondary_may):
        return CHECK_secondary_controls
    if not word_valid(v.f.vm_exit_controls, caps.exit_must, caps.exit_may):
        return CHECK_exit_controls
    if not word_valid(v.f.vm_entry_controls, caps.entry_must, caps.entry_may):
        return CHECK_entry_controls
    return 0


# R63: an eVMCS may not switch on what it has no fields for; R14: nor what is not announced.
cdef u32 covered_refusal(const l0_caps *caps, const l0_vmcs *v, u32 secondary) noexcept nogil:
    if not caps.nested_ebx & 1 and (
            v.f.vm_exit_controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL or
            v.f.vm_entry_controls & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL):
        return CHECK_unannounced_exit_perf_global \
            if v.f.vm_exit_controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL \
            else CHECK_unannounced_entry_perf_global
    if v.f.pin_based_vm_exec_control & UNCOVERED_PIN:
        return CHECK_uncovered_pin
    if secondary & UNCOVERED_SECONDARY:
        return CHECK_uncovered_secondary
    if v.f.vm_exit_controls & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER:
        return CHECK_uncovered_exit
    return 0


cdef u32 bitmaps_refusal(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u32 proc = v.f.cpu_based_vm_exec_control

    if proc & CPU_BASED_USE_IO_BITMAPS:
        if not page_address_valid(vp, v.f.io_bitmap_a):
            return CHECK_io_bitmap_a
        if not page_address_valid(vp, v.f.io_bitmap_b):
            return CHECK_io_bitmap_b
    if proc & CPU_BASED_USE_MSR_BITMAPS and not page_address_valid(vp, v.f.msr_bitmap):
        return CHECK_msr_bitmap
    if secondary & SECONDARY_EXEC_SHADOW_VMCS:
        if not page_address_valid(vp, v.vmread_bitmap):
            return CHECK_vmread_bitmap
        if not page_address_valid(vp, v.vmwrite_bitmap):
            return CHECK_vmwrite_bitmap
    return 0


# The threshold must fit in four bits, and not lie above the priority in the virtual-APIC page.
cdef u32 tpr_refusal(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef const u8 *vtpr

    if not page_address_valid(vp, v.f.virtual_apic_page_addr):
        return CHECK_virtual_apic_page
    if secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY:
        return 0
    if v.f.tpr_threshold >> 4:
        return CHECK_tpr_threshold
    if secondary & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES:
        return 0
    vtpr = phys_ptr(vp.cpu.mem, v.f.virtual_apic_page_addr + 0x80, 1)
    if v.f.tpr_threshold > (vtpr[0] >> 4 if vtpr != NULL else 0):
        return CHECK_tpr_above_priority
    return 0


cdef u32 posted_refusal(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    if not secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY:
        return CHECK_posted_without_virtual
    if not v.f.vm_exit_controls & VM_EXIT_ACK_INTR_ON_EXIT:
        return CHECK_posted_without_acknowledge
    if v.posted_intr_nv > 255:
        return CHECK_posted_vector
    if v.posted_intr_desc_addr & (vp.partition.caps.address_reserved | 0x3f):
        return CHECK_posted_descriptor
    return 0


cdef u32 apic_controls_refusal(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef u32 pin = v.f.pin_based_vm_exec_control
    cdef u32 why

    if v.f.cpu_based_vm_exec_control & CPU_BASED_TPR_SHADOW:
        why = tpr_refusal(vp, v, secondary)
        if why:
            return why
    elif secondary & L0_NEEDS_TPR_SHADOW:
        return CHECK_tpr_shadow_needed
    if secondary & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES:
        if secondary & SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE:
            return CHECK_apic_access_and_x2apic
        if not page_address_valid(vp, v.apic_access_addr):
            return CHECK_apic_access_page
    if secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY and not pin & PIN_BASED_EXT_INTR_MASK:
        return CHECK_virtual_interrupts
    return posted_refusal(vp, v, secondary) if pin & PIN_BASED_POSTED_INTR else 0


cdef u32 nmi_controls_refusal(const l0_vmcs *v) noexcept nogil:
    cdef u32 pin = v.f.pin_based_vm_exec_control

    if pin & PIN_BASED_VIRTUAL_NMIS:
        return 0 if pin & PIN_BASED_NMI_EXITING else CHECK_virtual_nmis
    if v.f.cpu_based_vm_exec_control & CPU_BASED_VIRTUAL_NMI_PENDING:
        return CHECK_nmi_window
    return 0


cdef u32 ept_pointer_refusal(const l0_caps *caps, u64 eptp) noexcept nogil:
    cdef u64 kind = eptp & VMX_EPTP_MT_MASK
    cdef u64 walk = eptp & VMX_EPTP_PWL_MASK

    if not (kind == VMX_EPTP_MT_UC and caps.ept_vpid & VMX_EPTP_UC_BIT or
            kind == VMX_EPTP_MT_WB and caps.ept_vpid & VMX_EPTP_WB_BIT):
        return CHECK_ept_memory_type
    if not (walk == VMX_EPTP_PWL_4 and caps.ept_vpid & VMX_EPT_PAGE_WALK_4_BIT or
            walk == VMX_EPTP_PWL_5 and caps.ept_vpid & VMX_EPT_PAGE_WALK_5_BIT):
        return CHECK_ept_walk
    if eptp & VMX_EPTP_AD_ENABLE_BIT and not caps.ept_vpid & VMX_EPT_AD_BIT:
        return CHECK_ept_flags
    return CHECK_ept_reserved if eptp & (caps.address_reserved | 0xf80) else 0


cdef u32 vm_functions_refusal(const l0_vp *vp, const l0_vmcs *v, bint ept) noexcept nogil:
    if v.vm_function_control & ~vp.partition.caps.vmfunc:
        return CHECK_vm_functions
    # bit 0: switching EPT pointers from a list
    if v.vm_function_control & 1:
        if not ept:
            return CHECK_eptp_switching
        if not page_address_valid(vp, v.eptp_list_address):
            return CHECK_eptp_list
    return 0


cdef u32 translation_controls_refusal(
        const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
    cdef bint ept = secondary & SECONDARY_EXEC_ENABLE_EPT != 0
    cdef u32 why

    if secondary & SECONDARY_EXEC_ENABLE_VPID and v.f.virtual_processor_id == 0:
        return CHECK_vpid_zero
    if ept:
        why = ept_pointer_refusal(&vp.partition.caps, v.f.ept_pointer)
        if why:
            return why
    elif secondary & L0_NEEDS_EPT:
        return CHECK_ept_needed
    if secondary & SECONDARY_EXEC_ENABLE_PML and not page_address_valid(vp, v.pml_address):
        return CHECK_pml_page
    if secondary & SECONDARY_EXEC_TSC_SCALING and v.tsc_multiplier == 0:
        return CHECK_tsc_multiplier
    return vm_functions_refusal(vp, v, ept) if secondary & SECONDARY_EXEC_ENABLE_VMFUNC else 0


# `address` is the check of the list's address; the next one is that of its end.
cdef u32 msr_list_refusal(
        const l0_caps *caps, u32 count, u64 place, u32 address) noexcept nogil:
    if count == 0:
        return 0
    if place & (caps.address_reserved | 0xf):
        return address
    # the last byte, too, must be an address
    return address + 1 if (place + <u64>count * 16 - 1) & caps.address_reserved else 0


cdef u32 event_refusal(const l0_vp *vp, const l0_vmcs *v, u32 secondary) noexcept nogil:
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
        return 0
    if info & INTR_INFO_RESVD_BITS_MASK:
        return CHECK_event_reserved
    if kind == INTR_TYPE_RESERVED:
        return CHECK_event_type
    if has_code != wants_code:
        return CHECK_event_error_code
    if kind == INTR_TYPE_NMI_INTR and vector != 2:
        return CHECK_event_nmi_vector
    if kind == INTR_TYPE_HARD_EXCEPTION and vector > 31:
        return CHECK_event_exception_vector
    if kind == INTR_TYPE_OTHER_EVENT:
        if vector != 0:
            return CHECK_event_other_vector
        if not vp.partition.caps.proc_may & CPU_BASED_MONITOR_TRAP_FLAG:
            return CHECK_event_monitor_trap
    if has_code and v.f.vm_entry_exception_error_code >> 16:
        return CHECK_event_error_code_high
    if (kind == INTR_TYPE_SOFT_INTR or kind == INTR_TYPE_PRIV_SW_EXCEPTION or
            kind == INTR_TYPE_SOFT_EXCEPTION) and (
            length > 15 or not (length or vp.partition.caps.misc & VMX_MISC_ZERO_LEN_INS)):
        return CHECK_event_length
    return 0


cdef u32 exit_and_entry_refusal(const l0_caps *caps, const l0_vmcs *v) noexcept nogil:
    if v.f.vm_exit_controls & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER and \
            not v.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER:
        return CHECK_timer_saved
    # outside system-management mode neither may be set
    if v.f.vm_entry_controls & (VM_ENTRY_SMM | VM_ENTRY_DEACT_DUAL_MONITOR):
        return CHECK_entry_smm
    return (
        msr_list_refusal(caps, v.f.vm_exit_msr_store_count, v.f.vm_exit_msr_store_addr,
                         CHECK_exit_store_list_address) or
        msr_list_refusal(caps, v.f.vm_exit_msr_load_count, v.f.vm_exit_msr_load_addr,
                         CHECK_exit_load_list_address) or
        msr_list_refusal(caps, v.f.vm_entry_msr_load_count, v.f.vm_entry_msr_load_addr,
                         CHECK_entry_load_list_address))


# Are the control fields, and the host-state area, as an entry needs them? Those whose clean
# groups are not dirty were.
cdef u32 controls_refusal(
        l0_vp *vp, const l0_vmcs *v, bint enlightened, u32 dirty) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 secondary = secondary_controls(v)
    cdef u32 why = 0

    if dirty & CONTROL_WORDS_GROUPS:
        why = control_words_refusal(caps, v, secondary)
    if not why and enlightened and vp.partition.profile.reject_uncovered_controls and \
            dirty & COVERED_GROUPS:
        why = covered_refusal(caps, v, secondary)
    if not why and v.f.cr3_target_count > (caps.misc >> 16 & 0x1ff):
        why = CHECK_cr3_targets
    if not why and dirty & BITMAPS_GROUPS:
        why = bitmaps_refusal(vp, v, secondary)
    # the threshold has no group
    if not why and (dirty & APIC_CONTROLS_GROUPS or v.f.tpr_threshold):
        why = apic_controls_refusal(vp, v, secondary)
    if not why and dirty & NMI_CONTROLS_GROUPS:
        why = nmi_controls_refusal(v)
    if not why and dirty & TRANSLATION_CONTROLS_GROUPS:
        why = translation_controls_refusal(vp, v, secondary)
    if not why and dirty & EXIT_AND_ENTRY_GROUPS:
        why = exit_and_entry_refusal(caps, v)
    if not why and dirty & EVENT_GROUPS:
        why = event_refusal(vp, v, secondary)
    return why


cdef u32 host_msrs_refusal(const l0_vp *vp, const l0_vmcs *v, bint wide) noexcept nogil:
    cdef u32 controls = v.f.vm_exit_controls
    cdef u64 long_mode = (EFER_LMA | EFER_LME) if wide else 0

    if controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL and \
            v.host_ia32_perf_global_ctrl & ~vp.partition.caps.perf_global_may:
        return CHECK_host_perf_global
    if controls & VM_EXIT_LOAD_IA32_PAT and not pat_valid(v.f.host_ia32_pat):
        return CHECK_host_pat
    if controls & VM_EXIT_LOAD_IA32_EFER:
        if v.f.host_ia32_efer & ~<u64>EFER_VALID:
            return CHECK_host_efer
        if v.f.host_ia32_efer & (EFER_LMA | EFER_LME) != long_mode:
            return CHECK_host_efer_mode
    return 0


# Privilege level and table of one of the selectors are not 0: of the first such.
cdef u32 host_selector_refusal(const hv_enlightened_vmcs *f) noexcept nogil:
    if f.host_es_selector & 7:
        return CHECK_host_es_selector
    if f.host_cs_selector & 7:
        return CHECK_host_cs_selector
    if f.host_ss_selector & 7:
        return CHECK_host_ss_selector
    if f.host_ds_selector & 7:
        return CHECK_host_ds_selector
    if f.host_fs_selector & 7:
        return CHECK_host_fs_selector
    return CHECK_host_gs_selector if f.host_gs_selector & 7 else CHECK_host_tr_selector


cdef u32 host_segments_refusal(const hv_enlightened_vmcs *f, bint wide) noexcept nogil:
    if (f.host_es_selector | f.host_cs_selector | f.host_ss_selector | f.host_ds_selector |
            f.host_fs_selector | f.host_gs_selector | f.host_tr_selector) & 7:
        return host_selector_refusal(f)
    if f.host_cs_selector == 0:
        return CHECK_host_cs_null
    if f.host_tr_selector == 0:
        return CHECK_host_tr_null
    if f.host_ss_selector == 0 and not wide:
        return CHECK_host_ss_null
    if not is_canonical(f.host_fs_base):
        return CHECK_host_fs_base
    if not is_canonical(f.host_gs_base):
        return CHECK_host_gs_base
    if not is_canonical(f.host_tr_base):
        return CHECK_host_tr_base
    if not is_canonical(f.host_gdtr_base):
        return CHECK_host_gdtr_base
    return 0 if is_canonical(f.host_idtr_base) else CHECK_host_idtr_base


cdef u32 host_registers_refusal(const l0_caps *caps, const l0_vmcs *v, bint wide) noexcept nogil:
    if v.f.host_cr0 & caps.cr0_must != caps.cr0_must or v.f.host_cr0 & ~caps.cr0_may:
        return CHECK_host_cr0
    if v.f.host_cr4 & caps.cr4_must != caps.cr4_must or v.f.host_cr4 & ~caps.cr4_may:
        return CHECK_host_cr4
    if v.f.host_cr3 & caps.address_reserved:
        return CHECK_host_cr3
    if not is_canonical(v.f.host_ia32_sysenter_esp):
        return CHECK_host_sysenter_esp
    if not is_canonical(v.f.host_ia32_sysenter_eip):
        return CHECK_host_sysenter_eip
    if wide:
        if not v.f.host_cr4 & X86_CR4_PAE:
            return CHECK_host_pae
        return 0 if is_canonical(v.f.host_rip) else CHECK_host_rip
    if v.f.vm_entry_controls & VM_ENTRY_IA32E_MODE:
        return CHECK_host_guest_wider
    if v.f.host_cr4 & X86_CR4_PCIDE:
        return CHECK_host_pcide
    return CHECK_host_rip_high if v.f.host_rip >> 32 else 0


cdef u32 host_state_refusal(l0_vp *vp, const l0_vmcs *v, u32 dirty) noexcept nogil:
    cdef bint wide = v.f.vm_exit_controls & VM_EXIT_HOST_ADDR_SPACE_SIZE != 0
    cdef u32 why = 0

    # the host returns in the mode it left in
    if wide != (vp.efer & EFER_LMA != 0):
        return CHECK_host_address_space
    if dirty & HOST_REGISTERS_GROUPS:
        why = host_registers_refusal(&vp.partition.caps, v, wide)
    if not why and dirty & HOST_MSRS_GROUPS:
        why = host_msrs_refusal(vp, v, wide)
    if not why and dirty & HOST_SEGMENTS_GROUPS:
        why = host_segments_refusal(&v.f, wide)
    return why
