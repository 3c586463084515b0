// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clean groups that each check of VM entry depends on: those of its row's two fields, and those
 * of what else it looks at, which stand here. check_groups.pxd, by which L0 knows what to check
 * again, is printed from this by dev/regenerate.py.
 */
#ifndef KVM_VMX_L0_CHECK_GROUPS_H
#define KVM_VMX_L0_CHECK_GROUPS_H

#include <asm/evmcs_members.h>
#include <kvm_vmx/l0/entry/check_rows.h>

/* The bits that make a group's name short here, and in the .pxd. */
#define L0_GROUP_NAMES(X)						\
	X(IO_BITMAP) X(MSR_BITMAP) X(CONTROL_GRP2) X(CONTROL_GRP1) X(CONTROL_PROC) \
	X(CONTROL_EVENT) X(CONTROL_ENTRY) X(CRDR) X(CONTROL_XLAT) X(GUEST_BASIC) X(GUEST_GRP1) \
	X(GUEST_GRP2) X(HOST_POINTER) X(HOST_GRP1)

struct l0_group_name {
	const char *name;
	u32 bit;
};

static const struct l0_group_name l0_group_names[] = {
#define L0_GROUP_NAME(name) { #name, L0_GROUP(name) },
	L0_GROUP_NAMES(L0_GROUP_NAME)
#undef L0_GROUP_NAME
};

#define L0_NR_GROUP_NAMES (sizeof(l0_group_names) / sizeof(l0_group_names[0]))

enum {
#define L0_GROUP_MEMBER(name) GROUP_##name = L0_GROUP(name),
	L0_GROUP_NAMES(L0_GROUP_MEMBER)
#undef L0_GROUP_MEMBER
	/* the secondary controls count where a bit of the primary ones says so */
	GROUPS_SECONDARY = GROUP_CONTROL_GRP1 | GROUP_CONTROL_PROC,
	/* where the guest's paging says whether there are PDPTEs, and where they are */
	GROUPS_PDPTE = GROUPS_SECONDARY | GROUP_CONTROL_ENTRY | GROUP_CRDR
};

/*
 * X(part, first, last): the rows that are checked again together, where a group that one of them
 * depends on is dirty. The others are checked at every entry.
 */
#define L0_PARTS(X)							\
	X(CONTROL_WORDS, pin_controls, entry_controls)			\
	X(COVERED, unannounced_exit_perf_global, uncovered_exit)	\
	X(BITMAPS, io_bitmap_a, vmwrite_bitmap)				\
	X(APIC_CONTROLS, virtual_apic_page, posted_descriptor)		\
	X(NMI_CONTROLS, virtual_nmis, nmi_window)			\
	X(TRANSLATION_CONTROLS, vpid_zero, eptp_list)			\
	X(EXIT_AND_ENTRY, timer_saved, entry_load_list_end)		\
	X(EVENT, event_reserved, event_length)				\
	X(HOST_REGISTERS, host_cr0, host_rip_high)			\
	X(HOST_MSRS, host_perf_global, host_efer_mode)			\
	X(HOST_SEGMENTS, host_es_selector, host_idtr_base)		\
	X(CONTROL_REGISTERS, guest_cr0, guest_cr3)			\
	X(MSRS, guest_debugctl, guest_bndcfgs)				\
	X(SEGMENTS, tr_base, es_base)					\
	X(TABLES, guest_gdtr_base, guest_idtr_limit)			\
	X(RFLAGS, guest_rflags, guest_rflags_if)			\
	X(ACTIVITY, activity_state, activity_event)			\
	X(INTERRUPTIBILITY, blocking_reserved, blocking_nmi)		\
	X(PENDING_DEBUG, pending_reserved, pending_step)		\
	X(LINK_POINTER, link_address, link_revision)			\
	X(PDPTES, pdpte0, pdptes)

/* A segment register outside virtual-8086 mode, which a bit of RFLAGS says. */
#define L0_NEEDS_DESCRIPTOR(X, reg)					\
	X(reg##_present, GROUP_GUEST_BASIC) X(reg##_reserved, GROUP_GUEST_BASIC) \
	X(reg##_granular, GROUP_GUEST_BASIC) X(reg##_fine, GROUP_GUEST_BASIC)
#define L0_NEEDS_VM86(X, reg)						\
	X(vm86_##reg##_base, GROUP_GUEST_BASIC) X(vm86_##reg##_limit, GROUP_GUEST_BASIC) \
	X(vm86_##reg##_rights, GROUP_GUEST_BASIC)
#define L0_NEEDS_DATA(X, reg)						\
	X(reg##_data_system, GROUP_GUEST_BASIC) X(reg##_accessed, GROUP_GUEST_BASIC) \
	X(reg##_readable, GROUP_GUEST_BASIC)				\
	X(reg##_privilege, GROUP_GUEST_BASIC | GROUPS_SECONDARY)
#define L0_NEEDS_SEGMENTS(X)						\
	L0_NEEDS_DESCRIPTOR(X, es) L0_NEEDS_DESCRIPTOR(X, cs) L0_NEEDS_DESCRIPTOR(X, ss) \
	L0_NEEDS_DESCRIPTOR(X, ds) L0_NEEDS_DESCRIPTOR(X, fs) L0_NEEDS_DESCRIPTOR(X, gs) \
	L0_NEEDS_VM86(X, es) L0_NEEDS_VM86(X, cs) L0_NEEDS_VM86(X, ss)	\
	L0_NEEDS_VM86(X, ds) L0_NEEDS_VM86(X, fs) L0_NEEDS_VM86(X, gs)	\
	L0_NEEDS_DATA(X, es) L0_NEEDS_DATA(X, ds) L0_NEEDS_DATA(X, fs) L0_NEEDS_DATA(X, gs) \
	X(cs_system, GROUP_GUEST_BASIC)					\
	X(cs_type, GROUP_GUEST_BASIC | GROUPS_SECONDARY)		\
	X(cs_privilege, GROUP_GUEST_BASIC) X(cs_conforming, GROUP_GUEST_BASIC) \
	X(cs_long, GROUP_GUEST_BASIC | GROUP_CONTROL_ENTRY)		\
	X(ss_requested, GROUP_GUEST_BASIC | GROUPS_SECONDARY)		\
	X(ss_privilege, GROUP_GUEST_BASIC | GROUPS_SECONDARY)		\
	X(ss_real, GROUP_GUEST_BASIC | GROUP_CRDR) X(ss_type, GROUP_GUEST_BASIC) \
	X(ss_system, GROUP_GUEST_BASIC) X(ss_base, GROUP_GUEST_BASIC)	\
	X(ds_base, GROUP_GUEST_BASIC) X(es_base, GROUP_GUEST_BASIC)

/* X(id, groups) of the rows that look at more than their two fields. */
#define L0_NEEDS(X)							\
	X(secondary_controls, GROUP_CONTROL_PROC) X(uncovered_secondary, GROUP_CONTROL_PROC) \
	X(unannounced_entry_perf_global, GROUP_CONTROL_GRP1)		\
	X(io_bitmap_a, GROUP_CONTROL_PROC) X(io_bitmap_b, GROUP_CONTROL_PROC) \
	X(msr_bitmap, GROUP_CONTROL_PROC)				\
	X(vmread_bitmap, GROUPS_SECONDARY) X(vmwrite_bitmap, GROUPS_SECONDARY) \
	X(virtual_apic_page, GROUP_CONTROL_PROC) X(tpr_threshold, GROUPS_SECONDARY) \
	X(tpr_above_priority, GROUPS_SECONDARY)				\
	X(apic_access_and_x2apic, GROUPS_SECONDARY) X(apic_access_page, GROUPS_SECONDARY) \
	X(virtual_interrupts, GROUPS_SECONDARY) X(posted_without_virtual, GROUPS_SECONDARY) \
	X(vpid_zero, GROUPS_SECONDARY)					\
	X(ept_memory_type, GROUPS_SECONDARY) X(ept_walk, GROUPS_SECONDARY) \
	X(ept_flags, GROUPS_SECONDARY) X(ept_reserved, GROUPS_SECONDARY) \
	X(ept_needed, GROUPS_SECONDARY) X(pml_page, GROUPS_SECONDARY)	\
	X(tsc_multiplier, GROUPS_SECONDARY) X(vm_functions, GROUPS_SECONDARY) \
	X(eptp_switching, GROUPS_SECONDARY) X(eptp_list, GROUPS_SECONDARY) \
	X(event_error_code, GROUPS_SECONDARY)				\
	X(event_error_code_high, GROUP_CONTROL_EVENT)			\
	X(host_rip, GROUP_CONTROL_GRP1)					\
	X(host_perf_global, GROUP_CONTROL_GRP1) X(host_pat, GROUP_CONTROL_GRP1) \
	X(host_efer, GROUP_CONTROL_GRP1) X(host_ss_null, GROUP_CONTROL_GRP1) \
	X(guest_cr0, GROUPS_SECONDARY)					\
	X(guest_debugctl, GROUP_CONTROL_ENTRY) X(guest_dr7, GROUP_CONTROL_ENTRY) \
	X(guest_perf_global, GROUP_CONTROL_ENTRY) X(guest_pat, GROUP_CONTROL_ENTRY) \
	X(guest_efer, GROUP_CONTROL_ENTRY)				\
	X(guest_efer_lme, GROUP_CRDR)					\
	X(guest_bndcfgs_base, GROUP_CONTROL_ENTRY) X(guest_bndcfgs, GROUP_CONTROL_ENTRY) \
	L0_NEEDS_SEGMENTS(X)						\
	X(guest_rip, GROUP_CONTROL_ENTRY) X(guest_rip_high, GROUP_CONTROL_ENTRY) \
	X(guest_rflags_vm, GROUP_CRDR)					\
	X(blocking_nmi, GROUP_CONTROL_EVENT)				\
	X(link_revision, GROUPS_SECONDARY)				\
	X(pdpte0, GROUPS_PDPTE) X(pdpte1, GROUPS_PDPTE) X(pdpte2, GROUPS_PDPTE) \
	X(pdpte3, GROUPS_PDPTE) X(pdptes_missing, GROUPS_PDPTE) X(pdptes, GROUPS_PDPTE)

static const u16 l0_check_needs[L0_NR_CHECKS] = {
#define L0_NEED(id, groups) [CHECK_##id] = (groups),
	L0_NEEDS(L0_NEED)
#undef L0_NEED
};

/* Of a field: where an eVMCS of a later layout has it, too; one without a group counts as
 * CONTROL_GRP1, which L0 makes dirty while it is not zero; a field that is always read has none. */
static inline u32 l0_field_groups(u32 encoding, const char *name)
{
	u32 groups = l0_fields[L0_FIELD_INDEX(encoding)].groups;

	/* a row without: VIRTUAL_PROCESSOR_ID has the encoding 0, too */
	if (*name == '0')
		return 0;
#define L0_LATER_GROUP(field, member, at, group) if (encoding == (field)) groups = L0_GROUP(group);
	EVMCS_LATER_MEMBERS(L0_LATER_GROUP)
#undef L0_LATER_GROUP
	return groups == 0xffff ? GROUP_CONTROL_GRP1 : groups;
}

static inline u32 l0_groups_of_check(u32 check)
{
	const struct l0_check_row *row = &l0_check_rows[check];

	return l0_field_groups(row->field, row->field_name) |
	       l0_field_groups(row->other, row->other_name) | l0_check_needs[check];
}

#endif
