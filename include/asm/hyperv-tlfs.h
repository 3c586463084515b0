// SPDX-License-Identifier: GPL-2.0-only
/* Hyper-V's interface to a guest: CPUID leaves, MSRs, hypercalls, assist page, enlightened VMCS. */
#ifndef KVM_VMX_ASM_HYPERV_TLFS_H
#define KVM_VMX_ASM_HYPERV_TLFS_H

#include <linux/bitops.h>
#include <linux/types.h>

/* CPUID leaves */
#define HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS 0x40000000
#define HYPERV_CPUID_INTERFACE 0x40000001
#define HYPERV_CPUID_VERSION 0x40000002
#define HYPERV_CPUID_FEATURES 0x40000003
#define HYPERV_CPUID_ENLIGHTMENT_INFO 0x40000004
#define HYPERV_CPUID_IMPLEMENT_LIMITS 0x40000005
#define HYPERV_CPUID_NESTED_FEATURES 0x4000000a
#define HYPERV_CPUID_MIN 0x40000005
#define HYPERV_CPUID_MAX 0x4000ffff

/* Leaf 0x40000003: features, EAX and EDX */
#define HV_X64_MSR_VP_RUNTIME_AVAILABLE 1
#define HV_MSR_TIME_REF_COUNT_AVAILABLE 2
#define HV_X64_MSR_SYNIC_AVAILABLE (1u << 2)
#define HV_MSR_SYNTIMER_AVAILABLE (1u << 3)
#define HV_X64_MSR_APIC_ACCESS_AVAILABLE (1u << 4)
#define HV_X64_MSR_HYPERCALL_AVAILABLE (1u << 5)
#define HV_X64_MSR_VP_INDEX_AVAILABLE (1u << 6)
#define HV_X64_MSR_RESET_AVAILABLE (1u << 7)
#define HV_MSR_REFERENCE_TSC_AVAILABLE (1u << 9)
#define HV_X64_ACCESS_FREQUENCY_MSRS (1u << 11)
#define HV_X64_ACCESS_REENLIGHTENMENT (1u << 13)
#define HV_X64_HYPERCALL_PARAMS_XMM_AVAILABLE (1u << 4)
#define HV_FEATURE_FREQUENCY_MSRS_AVAILABLE (1u << 8)

/* Leaf 0x40000004: recommendations, EAX */
#define HV_X64_LOCAL_TLB_FLUSH_RECOMMENDED 2
#define HV_X64_REMOTE_TLB_FLUSH_RECOMMENDED (1u << 2)
#define HV_X64_APIC_ACCESS_RECOMMENDED (1u << 3)
#define HV_X64_RELAXED_TIMING_RECOMMENDED (1u << 5)
#define HV_DEPRECATING_AEOI_RECOMMENDED (1u << 9)
#define HV_X64_CLUSTER_IPI_RECOMMENDED (1u << 10)
#define HV_X64_EX_PROCESSOR_MASKS_RECOMMENDED (1u << 11)
#define HV_X64_ENLIGHTENED_VMCS_RECOMMENDED (1u << 14)

/* Leaf 0x4000000A: nested features, EAX */
#define HV_X64_ENLIGHTENED_VMCS_VERSION 0xff
#define HV_X64_NESTED_GUEST_MAPPING_FLUSH (1u << 18)
#define HV_X64_NESTED_MSR_BITMAP (1u << 19)

/* Synthetic MSRs */
#define HV_X64_MSR_GUEST_OS_ID 0x40000000
#define HV_X64_MSR_HYPERCALL 0x40000001
#define HV_X64_MSR_VP_INDEX 0x40000002
#define HV_X64_MSR_RESET 0x40000003
#define HV_X64_MSR_VP_RUNTIME 0x40000010
#define HV_X64_MSR_TIME_REF_COUNT 0x40000020
#define HV_X64_MSR_REFERENCE_TSC 0x40000021
#define HV_X64_MSR_TSC_FREQUENCY 0x40000022
#define HV_X64_MSR_APIC_FREQUENCY 0x40000023
#define HV_X64_MSR_EOI 0x40000070
#define HV_X64_MSR_ICR 0x40000071
#define HV_X64_MSR_TPR 0x40000072
#define HV_X64_MSR_VP_ASSIST_PAGE 0x40000073
#define HV_X64_MSR_REENLIGHTENMENT_CONTROL 0x40000106
#define HV_X64_MSR_TSC_EMULATION_CONTROL 0x40000107
#define HV_X64_MSR_TSC_EMULATION_STATUS 0x40000108
#define HV_X64_MSR_VP_ASSIST_PAGE_ENABLE 1
#define HV_X64_MSR_VP_ASSIST_PAGE_ADDRESS_SHIFT 0xc
#define HV_X64_MSR_HYPERCALL_ENABLE 1
#define HV_X64_MSR_HYPERCALL_PAGE_ADDRESS_SHIFT 0xc
#define HV_LINUX_VENDOR_ID 0x8100

/* The MSRs of several fields */
union hv_x64_msr_hypercall_contents {
	u64 as_uint64;
	struct {
		u64 enable : 1;
		u64 reserved : 11;
		u64 guest_physical_address : 52;
	};
};

struct hv_reenlightenment_control {
	u64 vector : 8;
	u64 reserved1 : 8;
	u64 enabled : 1;
	u64 reserved2 : 15;
	u64 target_vp : 32;
};

struct hv_tsc_emulation_control {
	u64 enabled : 1;
	u64 reserved : 63;
};

struct hv_tsc_emulation_status {
	u64 inprogress : 1;
	u64 reserved : 63;
};

/* The input of HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE */
struct hv_guest_mapping_flush {
	u64 address_space;
	u64 flags;
};

/* Hypercalls */
#define HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE 2
#define HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST 3
#define HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX 0x13
#define HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX 0x14
#define HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE 0xaf
#define HVCALL_FLUSH_GUEST_PHYSICAL_ADDRESS_LIST 0xb0
#define HV_HYPERCALL_FAST_BIT (1u << 16)
#define HV_HYPERCALL_RESULT_MASK 0xffff
#define HV_STATUS_SUCCESS 0
#define HV_STATUS_INVALID_HYPERCALL_CODE 2
#define HV_STATUS_INVALID_HYPERCALL_INPUT 3
#define HV_STATUS_INVALID_ALIGNMENT 4
#define HV_STATUS_INVALID_PARAMETER 5

/* The VP assist page as v4.19 declares it. nested_enlightenments_control belongs at offset 32;
 * nothing in v4.19 uses it (erratum: assist_layout). */
struct hv_vp_assist_page {
	u32 apic_assist;
	u32 reserved;
	u64 vtl_control[2];
	u64 nested_enlightenments_control[2];
	u32 enlighten_vmentry;
	u64 current_nested_vmcs;
};

/* The enlightened VMCS, version 1: an ordinary page that L1 and L0 both address. Not packed:
 * natural alignment puts the holes at 22 and 844 where Hyper-V has them (erratum: not_packed). */
struct hv_enlightened_vmcs {
	u32 revision_id;
	u32 abort;
	u16 host_es_selector;
	u16 host_cs_selector;
	u16 host_ss_selector;
	u16 host_ds_selector;
	u16 host_fs_selector;
	u16 host_gs_selector;
	u16 host_tr_selector;
	u64 host_ia32_pat;
	u64 host_ia32_efer;
	u64 host_cr0;
	u64 host_cr3;
	u64 host_cr4;
	u64 host_ia32_sysenter_esp;
	u64 host_ia32_sysenter_eip;
	u64 host_rip;
	u32 host_ia32_sysenter_cs;
	u32 pin_based_vm_exec_control;
	u32 vm_exit_controls;
	u32 secondary_vm_exec_control;
	u64 io_bitmap_a;
	u64 io_bitmap_b;
	u64 msr_bitmap;
	u16 guest_es_selector;
	u16 guest_cs_selector;
	u16 guest_ss_selector;
	u16 guest_ds_selector;
	u16 guest_fs_selector;
	u16 guest_gs_selector;
	u16 guest_ldtr_selector;
	u16 guest_tr_selector;
	u32 guest_es_limit;
	u32 guest_cs_limit;
	u32 guest_ss_limit;
	u32 guest_ds_limit;
	u32 guest_fs_limit;
	u32 guest_gs_limit;
	u32 guest_ldtr_limit;
	u32 guest_tr_limit;
	u32 guest_gdtr_limit;
	u32 guest_idtr_limit;
	u32 guest_es_ar_bytes;
	u32 guest_cs_ar_bytes;
	u32 guest_ss_ar_bytes;
	u32 guest_ds_ar_bytes;
	u32 guest_fs_ar_bytes;
	u32 guest_gs_ar_bytes;
	u32 guest_ldtr_ar_bytes;
	u32 guest_tr_ar_bytes;
	u64 guest_es_base;
	u64 guest_cs_base;
	u64 guest_ss_base;
	u64 guest_ds_base;
	u64 guest_fs_base;
	u64 guest_gs_base;
	u64 guest_ldtr_base;
	u64 guest_tr_base;
	u64 guest_gdtr_base;
	u64 guest_idtr_base;
	u64 padding64_1[3];
	u64 vm_exit_msr_store_addr;
	u64 vm_exit_msr_load_addr;
	u64 vm_entry_msr_load_addr;
	u64 cr3_target_value0;
	u64 cr3_target_value1;
	u64 cr3_target_value2;
	u64 cr3_target_value3;
	u32 page_fault_error_code_mask;
	u32 page_fault_error_code_match;
	u32 cr3_target_count;
	u32 vm_exit_msr_store_count;
	u32 vm_exit_msr_load_count;
	u32 vm_entry_msr_load_count;
	u64 tsc_offset;
	u64 virtual_apic_page_addr;
	u64 vmcs_link_pointer;
	u64 guest_ia32_debugctl;
	u64 guest_ia32_pat;
	u64 guest_ia32_efer;
	u64 guest_pdptr0;
	u64 guest_pdptr1;
	u64 guest_pdptr2;
	u64 guest_pdptr3;
	u64 guest_pending_dbg_exceptions;
	u64 guest_sysenter_esp;
	u64 guest_sysenter_eip;
	u32 guest_activity_state;
	u32 guest_sysenter_cs;
	u64 cr0_guest_host_mask;
	u64 cr4_guest_host_mask;
	u64 cr0_read_shadow;
	u64 cr4_read_shadow;
	u64 guest_cr0;
	u64 guest_cr3;
	u64 guest_cr4;
	u64 guest_dr7;
	u64 host_fs_base;
	u64 host_gs_base;
	u64 host_tr_base;
	u64 host_gdtr_base;
	u64 host_idtr_base;
	u64 host_rsp;
	u64 ept_pointer;
	u16 virtual_processor_id;
	u16 padding16[3];
	u64 padding64_2[5];
	u64 guest_physical_address;
	u32 vm_instruction_error;
	u32 vm_exit_reason;
	u32 vm_exit_intr_info;
	u32 vm_exit_intr_error_code;
	u32 idt_vectoring_info_field;
	u32 idt_vectoring_error_code;
	u32 vm_exit_instruction_len;
	u32 vmx_instruction_info;
	u64 exit_qualification;
	u64 exit_io_instruction_ecx;
	u64 exit_io_instruction_esi;
	u64 exit_io_instruction_edi;
	u64 exit_io_instruction_eip;
	u64 guest_linear_address;
	u64 guest_rsp;
	u64 guest_rflags;
	u32 guest_interruptibility_info;
	u32 cpu_based_vm_exec_control;
	u32 exception_bitmap;
	u32 vm_entry_controls;
	u32 vm_entry_intr_info_field;
	u32 vm_entry_exception_error_code;
	u32 vm_entry_instruction_len;
	u32 tpr_threshold;
	u64 guest_rip;
	u32 hv_clean_fields;
	u32 hv_padding_32;
	u32 hv_synthetic_controls;
	struct {
		u32 nested_flush_hypercall : 1;
		u32 msr_bitmap : 1;
		u32 reserved : 30;
	} hv_enlightenments_control;
	u32 hv_vp_id;
	u64 hv_vm_id;
	u64 partition_assist_page;
	u64 padding64_4[4];
	u64 guest_bndcfgs;
	u64 padding64_5[7];
	u64 xss_exit_bitmap;
	u64 padding64_6[7];
};

/* hv_clean_fields: a set bit promises that no field of the group has changed since the last entry */
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_NONE 0
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_IO_BITMAP (1u << 0)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_MSR_BITMAP (1u << 1)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_GRP2 (1u << 2)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_GRP1 (1u << 3)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_PROC (1u << 4)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_EVENT (1u << 5)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_ENTRY (1u << 6)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_EXCPN (1u << 7)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CRDR (1u << 8)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_CONTROL_XLAT (1u << 9)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_BASIC (1u << 10)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_GRP1 (1u << 11)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_GUEST_GRP2 (1u << 12)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_HOST_POINTER (1u << 13)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_HOST_GRP1 (1u << 14)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_ENLIGHTENMENTSCONTROL (1u << 15)
#define HV_VMX_ENLIGHTENED_CLEAN_FIELD_ALL 0xffff

#define ASSERT_OFFSET(type, member, offset) \
	_Static_assert(offsetof(struct type, member) == (offset), #type "." #member)
ASSERT_OFFSET(hv_vp_assist_page, enlighten_vmentry, 40);
ASSERT_OFFSET(hv_vp_assist_page, current_nested_vmcs, 48);
ASSERT_OFFSET(hv_enlightened_vmcs, host_rsp, 616);
ASSERT_OFFSET(hv_enlightened_vmcs, guest_rip, 816);
ASSERT_OFFSET(hv_enlightened_vmcs, hv_clean_fields, 824);
ASSERT_OFFSET(hv_enlightened_vmcs, hv_vm_id, 848);
ASSERT_OFFSET(hv_enlightened_vmcs, xss_exit_bitmap, 960);
_Static_assert(sizeof(struct hv_enlightened_vmcs) == 1024, "struct hv_enlightened_vmcs");

#endif
