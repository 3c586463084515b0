// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which Hyper-V a partition is, in numbers: what it offers, and what of that the checks ask for.
 */
#ifndef KVM_VMX_L0_HV_PROFILE_H
#define KVM_VMX_L0_HV_PROFILE_H

#include <linux/types.h>

/* What CPUID answers to EAX, and to ECX where that counts. */
struct l0_cpuid_leaf {
	u32 function, index, indexed;
	u32 eax, ebx, ecx, edx;
};

struct l0_msr_value {
	u32 index;
	u64 value;
};

/* A profile in C form: numbers only, filled from the data of kvm_vmx/l0/profile.py. A partition
 * has its own copy of the two lists. */
struct l0_profile {
	u32 nr_leaves;
	u32 nr_msrs;
	struct l0_cpuid_leaf *leaf;
	struct l0_msr_value *msr;
	u32 maxphyaddr;
	u32 vmcs_revision;
	/* the choices of the policy table, 0 or 1 */
	u8 bad_evmcs_pointer_is_ud;	/* else VMfailInvalid */
	u8 vmread_serves_evmcs;		/* else VMfailInvalid while an eVMCS is active */
	u8 honour_msr_lists;		/* else ignored with a lint when an eVMCS is active */
	u8 assist_overlay;		/* else the assist page is in L1's own memory */
	u8 one_vp_per_evmcs;		/* enforce R30 */
	u8 aligned_evmcs_pointer;	/* refuse a misaligned pointer, else use its frame */
	u8 reject_uncovered_controls;	/* controls without an eVMCS field fail with error 7 */
	u8 announced_debugctl;		/* a debug control unannounced fails with error 7 */
	u8 refuse_rep_start;		/* a repeated hypercall begins with its first repetition */
	u8 user_flush_is_ud;		/* L2's direct flush outside CPL 0, else L1's to decide */
	u8 marks_clean_at_entry;	/* an entry that succeeds sets every clean bit in the page */
	u8 honour_page_fault_filter;	/* mask and match of an eVMCS, else they are 0, with a lint */
	u8 honour_cr3_targets;		/* of an eVMCS, else there are none, with a lint */
	u8 enforce_cpuid;		/* an MSR that CPUID does not announce is #GP */
	/* faults that a Hyper-V has had: kvm_vmx/l0/faults.py */
	u8 leaves_error_unwritten;
	u8 launch_trusts_clean;
	u8 rereads_clean_groups;
	u8 loses_assist_page;
	u8 serves_stale_bitmaps;
};

/* The capability MSRs of the profile, decoded for the checks. */
struct l0_caps {
	u32 pin_must, pin_may;
	u32 proc_must, proc_may;
	u32 secondary_must, secondary_may;
	u32 exit_must, exit_may;
	u32 entry_must, entry_may;
	u64 basic, misc, ept_vpid, vmfunc;
	u64 cr0_must, cr0_may;
	u64 cr4_must, cr4_may;
	u64 address_reserved;	/* bits of a physical address that must be 0 */
	u64 perf_global_may;	/* bits of IA32_PERF_GLOBAL_CTRL that exist */
	u8 vmx;			/* CPUID.1:ECX.VMX */
	/* leaves 0x40000003, 0x40000004 and 0x4000000A, 0 where they mean nothing */
	u32 features, features_ebx, features_edx;
	u32 hints;
	u32 nested, nested_ebx;
};

#endif
