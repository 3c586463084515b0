# SPDX-License-Identifier: GPL-2.0-only
# Hyper-V's numbers and layouts, for Cython.
from kvm_vmx.abi.types cimport u16, u32, u64

cdef extern from "asm/hyperv-tlfs.h" nogil:
    enum:
        HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS
        HYPERV_CPUID_INTERFACE
        HYPERV_CPUID_VERSION
        HYPERV_CPUID_FEATURES
        HYPERV_CPUID_ENLIGHTMENT_INFO
        HYPERV_CPUID_IMPLEMENT_LIMITS
        HYPERV_CPUID_NESTED_FEATURES
        HYPERV_CPUID_MIN
        HYPERV_CPUID_MAX
        HV_X64_MSR_VP_RUNTIME_AVAILABLE
        HV_MSR_TIME_REF_COUNT_AVAILABLE
        HV_X64_MSR_SYNIC_AVAILABLE
        HV_MSR_SYNTIMER_AVAILABLE
        HV_X64_MSR_APIC_ACCESS_AVAILABLE
        HV_X64_MSR_HYPERCALL_AVAILABLE
        HV_X64_MSR_VP_INDEX_AVAILABLE
        HV_X64_MSR_RESET_AVAILABLE
        HV_MSR_REFERENCE_TSC_AVAILABLE
        HV_X64_ACCESS_FREQUENCY_MSRS
        HV_X64_ACCESS_REENLIGHTENMENT
        HV_X64_HYPERCALL_PARAMS_XMM_AVAILABLE
        HV_FEATURE_FREQUENCY_MSRS_AVAILABLE
        HV_X64_LOCAL_TLB_FLUSH_RECOMMENDED
        HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED
        HV_X64_APIC_ACCESS_RECOMMENDED
        HV_X64_RELAXED_TIMING_RECOMMENDED
        HV_DEPRECATING_AEOI_RECOMMENDED
        HV_X64_CLUSTER_IPI_RECOMMENDED
        HV_X64_EX_PROCESSOR_MASKS_RECOMMENDED
        HV_X64_ENLIGHTENED_VMCS_RECOMMENDED
        HV_X64_ENLIGHTENED_VMCS_VERSION
        HV_X64_NESTED_GUEST_MAPPING_FLUSH
        HV_X64_NESTED_MSR_BITMAP
        HV_X64_MSR_GUEST_OS_ID
        HV_X64_MSR_HYPERCALL
        HV_X64_MSR_VP_INDEX
        HV_X64_MSR_RESET
        HV_X64_MSR_VP_RUNTIME
        HV_X64_MSR_TIME_REF_COUNT
        HV_X64_MSR_REFERENCE_TSC
        HV_X64_MSR_TSC_FREQUENCY
        HV_X64_MSR_APIC_FREQUENCY
        HV_X64_MSR_EOI
        HV_X64_MSR_ICR
        HV_X64_MSR_TPR
        HV_X64_MSR_VP_ASSIST_PAGE
        HV_X64_MSR_REENLIGHTENMENT_CONTROL
        HV_X64_MSR_TSC_EMULATION_CONTROL
        HV_X64_MSR_TSC_EMULATION_STATUS
        HV_X64_MSR_VP_ASSIST_PAGE_ENABLE
        HV_X64_MSR_VP_ASSIST_PAGE_ADDRESS_SHIFT
        HV_X64_MSR_HYPERCALL_ENABLE
        HV_X64_MSR_HYPERCALL_PAGE_ADDRESS_SHIFT
        HV_LINUX_VENDOR_ID
        HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE
        HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST
        HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX
        HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX
        HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE
        HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_LIST
        HV_HYPERCALL_FAST_BIT
        HV_HYPERCALL_RESULT_MASK
        HV_STATUS_SUCCESS
        HV_STATUS_INVALID_HYPERCALL_CODE
        HV_STATUS_INVALID_HYPERCALL_INPUT
        HV_STATUS_INVALID_ALIGNMENT
        HV_STATUS_INVALID_PARAMETER
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_NONE
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_IO_BITMAP
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_MSR_BITMAP
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_GRP2
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_GRP1
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_PROC
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_EVENT
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_ENTRY
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_EXCPN
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CRDR
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_XLAT
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_BASIC
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_GRP1
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_GRP2
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_HOST_POINTER
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_HOST_GRP1
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_ENLIGHTENMENTSCONTROL
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_ALL

    ctypedef union hv_x64_msr_hypercall_contents "union hv_x64_msr_hypercall_contents":
        u64 as_uint64
        u64 enable
        u64 reserved
        u64 guest_physical_address

    ctypedef struct hv_reenlightenment_control "struct hv_reenlightenment_control":
        u64 vector
        u64 reserved1
        u64 enabled
        u64 reserved2
        u64 target_vp

    ctypedef struct hv_tsc_emulation_control "struct hv_tsc_emulation_control":
        u64 enabled
        u64 reserved

    ctypedef struct hv_tsc_emulation_status "struct hv_tsc_emulation_status":
        u64 inprogress
        u64 reserved

    ctypedef struct hv_guest_mapping_flush "struct hv_guest_mapping_flush":
        u64 address_space
        u64 flags

    ctypedef struct hv_vp_assist_page "struct hv_vp_assist_page":
        u32 apic_assist
        u32 reserved
        u64 vtl_control[2]
        u64 nested_enlightenments_control[2]
        u32 enlighten_vmentry
        u64 current_nested_vmcs

    ctypedef struct hv_enlightenments_control_t "__typeof__(((struct hv_enlightened_vmcs *)0)->hv_enlightenments_control)":
        u32 nested_flush_hypercall
        u32 msr_bitmap

    ctypedef struct hv_enlightened_vmcs "struct hv_enlightened_vmcs":
        u32 revision_id
        u32 abort
        u16 host_es_selector
        u16 host_cs_selector
        u16 host_ss_selector
        u16 host_ds_selector
        u16 host_fs_selector
        u16 host_gs_selector
        u16 host_tr_selector
        u64 host_ia32_pat
        u64 host_ia32_efer
        u64 host_cr0
        u64 host_cr3
        u64 host_cr4
        u64 host_ia32_sysenter_esp
        u64 host_ia32_sysenter_eip
        u64 host_rip
        u32 host_ia32_sysenter_cs
        u32 pin_based_vm_exec_control
        u32 vm_exit_controls
        u32 secondary_vm_exec_control
        u64 io_bitmap_a
        u64 io_bitmap_b
        u64 msr_bitmap
        u16 guest_es_selector
        u16 guest_cs_selector
        u16 guest_ss_selector
        u16 guest_ds_selector
        u16 guest_fs_selector
        u16 guest_gs_selector
        u16 guest_ldtr_selector
        u16 guest_tr_selector
        u32 guest_es_limit
        u32 guest_cs_limit
        u32 guest_ss_limit
        u32 guest_ds_limit
        u32 guest_fs_limit
        u32 guest_gs_limit
        u32 guest_ldtr_limit
        u32 guest_tr_limit
        u32 guest_gdtr_limit
        u32 guest_idtr_limit
        u32 guest_es_ar_bytes
        u32 guest_cs_ar_bytes
        u32 guest_ss_ar_bytes
        u32 guest_ds_ar_bytes
        u32 guest_fs_ar_bytes
        u32 guest_gs_ar_bytes
        u32 guest_ldtr_ar_bytes
        u32 guest_tr_ar_bytes
        u64 guest_es_base
        u64 guest_cs_base
        u64 guest_ss_base
        u64 guest_ds_base
        u64 guest_fs_base
        u64 guest_gs_base
        u64 guest_ldtr_base
        u64 guest_tr_base
        u64 guest_gdtr_base
        u64 guest_idtr_base
        u64 padding64_1[3]
        u64 vm_exit_msr_store_addr
        u64 vm_exit_msr_load_addr
        u64 vm_entry_msr_load_addr
        u64 cr3_target_value0
        u64 cr3_target_value1
        u64 cr3_target_value2
        u64 cr3_target_value3
        u32 page_fault_error_code_mask
        u32 page_fault_error_code_match
        u32 cr3_target_count
        u32 vm_exit_msr_store_count
        u32 vm_exit_msr_load_count
        u32 vm_entry_msr_load_count
        u64 tsc_offset
        u64 virtual_apic_page_addr
        u64 vmcs_link_pointer
        u64 guest_ia32_debugctl
        u64 guest_ia32_pat
        u64 guest_ia32_efer
        u64 guest_pdptr0
        u64 guest_pdptr1
        u64 guest_pdptr2
        u64 guest_pdptr3
        u64 guest_pending_dbg_exceptions
        u64 guest_sysenter_esp
        u64 guest_sysenter_eip
        u32 guest_activity_state
        u32 guest_sysenter_cs
        u64 cr0_guest_host_mask
        u64 cr4_guest_host_mask
        u64 cr0_read_shadow
        u64 cr4_read_shadow
        u64 guest_cr0
        u64 guest_cr3
        u64 guest_cr4
        u64 guest_dr7
        u64 host_fs_base
        u64 host_gs_base
        u64 host_tr_base
        u64 host_gdtr_base
        u64 host_idtr_base
        u64 host_rsp
        u64 ept_pointer
        u16 virtual_processor_id
        u16 padding16[3]
        u64 padding64_2[5]
        u64 guest_physical_address
        u32 vm_instruction_error
        u32 vm_exit_reason
        u32 vm_exit_intr_info
        u32 vm_exit_intr_error_code
        u32 idt_vectoring_info_field
        u32 idt_vectoring_error_code
        u32 vm_exit_instruction_len
        u32 vmx_instruction_info
        u64 exit_qualification
        u64 exit_io_instruction_ecx
        u64 exit_io_instruction_esi
        u64 exit_io_instruction_edi
        u64 exit_io_instruction_eip
        u64 guest_linear_address
        u64 guest_rsp
        u64 guest_rflags
        u32 guest_interruptibility_info
        u32 cpu_based_vm_exec_control
        u32 exception_bitmap
        u32 vm_entry_controls
        u32 vm_entry_intr_info_field
        u32 vm_entry_exception_error_code
        u32 vm_entry_instruction_len
        u32 tpr_threshold
        u64 guest_rip
        u32 hv_clean_fields
        u32 hv_padding_32
        u32 hv_synthetic_controls
        hv_enlightenments_control_t hv_enlightenments_control
        u32 hv_vp_id
        u64 hv_vm_id
        u64 partition_assist_page
        u64 padding64_4[4]
        u64 guest_bndcfgs
        u64 padding64_5[7]
        u64 xss_exit_bitmap
        u64 padding64_6[7]
