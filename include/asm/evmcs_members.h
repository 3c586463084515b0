// SPDX-License-Identifier: GPL-2.0-only
/* The members of an enlightened VMCS that asm/evmcs_fields.h has no row for. */
#ifndef KVM_VMX_ASM_EVMCS_MEMBERS_H
#define KVM_VMX_ASM_EVMCS_MEMBERS_H

/* X(member): they belong to no group, and no L0 reads them for L2. */
#define EVMCS_HEADER_MEMBERS(X)	X(revision_id) X(hv_clean_fields)

/* X(member, group): Hyper-V's own, which no VMCS has. */
#define EVMCS_OWN_MEMBERS(X)						\
	X(hv_vp_id, ENLIGHTENMENTSCONTROL)				\
	X(hv_vm_id, ENLIGHTENMENTSCONTROL)				\
	X(partition_assist_page, ENLIGHTENMENTSCONTROL)

/*
 * X(field, member, offset, group): 64-bit members of later revisions, at offsets that version 1
 * of v4.19 calls padding, so that its struct cannot say where they are. Those of one group stand
 * together: the group is asked for once.
 */
#define EVMCS_LATER_MEMBERS(X)						\
	X(GUEST_IA32_PERF_GLOBAL_CTRL, guest_ia32_perf_global_ctrl, 904, GUEST_GRP1)	\
	X(HOST_IA32_PERF_GLOBAL_CTRL, host_ia32_perf_global_ctrl, 976, HOST_GRP1)	\
	X(ENCLS_EXITING_BITMAP, encls_exiting_bitmap, 968, CONTROL_GRP2)		\
	X(TSC_MULTIPLIER, tsc_multiplier, 984, CONTROL_GRP2)

#endif
