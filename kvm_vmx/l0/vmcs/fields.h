// SPDX-License-Identifier: GPL-2.0-only
/* Where L0 keeps a VMCS field: from the encoding to its place in struct l0_vmcs. */
#ifndef KVM_VMX_L0_FIELDS_H
#define KVM_VMX_L0_FIELDS_H

#include <kvm_vmx/l0/state.h>

struct l0_field {
	u16 offset;
	u16 groups;		/* clean groups that a write makes dirty */
	u8 size;		/* in bytes; 0: no such field */
	u8 read_only;
	u16 number;		/* its encoding: so that one comparison tells a field from what is none */
};

/* Width, type and index of an encoding, moved together as far as one shift can: the fields in
 * use differ in nothing else. */
#define L0_FIELD_INDEX(encoding) ((((encoding) & 0x7e) | ((encoding) >> 3 & 0xd80)) >> 1)
#define L0_NR_FIELDS (L0_FIELD_INDEX(0x6c7e) + 1)

#define L0_FIELD(encoding, member, mask) [L0_FIELD_INDEX(encoding)] = {	\
	.offset = offsetof(struct l0_vmcs, member),			\
	.groups = (mask),						\
	.size = sizeof(((struct l0_vmcs *)0)->member),			\
	.read_only = ((encoding) >> 10 & 3) == 1,			\
	.number = (encoding) },
#define L0_GROUP(name) HV_VMX_ENLIGHTENED_CLEAN_FIELD_##name

static const struct l0_field l0_fields[L0_NR_FIELDS] = {
#define EVMCS_FIELD(encoding, member, group) L0_FIELD(encoding, f.member, L0_GROUP(group))
#include <asm/evmcs_fields.h>
#undef EVMCS_FIELD
	/* Fields without a slot, with the group whose checks look at them. */
	L0_FIELD(POSTED_INTR_NV, posted_intr_nv, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(GUEST_INTR_STATUS, guest_intr_status, 0)
	L0_FIELD(GUEST_PML_INDEX, guest_pml_index, 0)
	L0_FIELD(PML_ADDRESS, pml_address, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(APIC_ACCESS_ADDR, apic_access_addr, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(POSTED_INTR_DESC_ADDR, posted_intr_desc_addr, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(VM_FUNCTION_CONTROL, vm_function_control, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(EOI_EXIT_BITMAP0, eoi_exit_bitmap[0], 0)
	L0_FIELD(EOI_EXIT_BITMAP1, eoi_exit_bitmap[1], 0)
	L0_FIELD(EOI_EXIT_BITMAP2, eoi_exit_bitmap[2], 0)
	L0_FIELD(EOI_EXIT_BITMAP3, eoi_exit_bitmap[3], 0)
	L0_FIELD(EPTP_LIST_ADDRESS, eptp_list_address, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(VMREAD_BITMAP, vmread_bitmap, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(VMWRITE_BITMAP, vmwrite_bitmap, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(ENCLS_EXITING_BITMAP, encls_exiting_bitmap, 0)
	L0_FIELD(TSC_MULTIPLIER, tsc_multiplier, L0_GROUP(CONTROL_GRP1))
	L0_FIELD(GUEST_IA32_PERF_GLOBAL_CTRL, guest_ia32_perf_global_ctrl, L0_GROUP(GUEST_GRP1))
	L0_FIELD(HOST_IA32_PERF_GLOBAL_CTRL, host_ia32_perf_global_ctrl, L0_GROUP(HOST_GRP1))
	L0_FIELD(VMX_PREEMPTION_TIMER_VALUE, vmx_preemption_timer_value, 0)
	/* these are there as far as VMX_MISC says: l0_optional_field() */
#define L0_NO_FIELD_YET(encoding) [L0_FIELD_INDEX(encoding)] = { .size = 0 },
	L0_NO_FIELD_YET(CR3_TARGET_VALUE0)
	L0_NO_FIELD_YET(CR3_TARGET_VALUE1)
	L0_NO_FIELD_YET(CR3_TARGET_VALUE2)
	L0_NO_FIELD_YET(CR3_TARGET_VALUE3)
#undef L0_NO_FIELD_YET
};

/* The fields that only some processors have: so many CR3-target values as VMX_MISC offers, and
 * those of PAUSE loops where the control is on offer. */
static const struct l0_field *l0_optional_field(u64 encoding, u64 misc, u32 secondary)
{
#define L0_PLACE(member) {						\
	.offset = offsetof(struct l0_vmcs, member),			\
	.size = sizeof(((struct l0_vmcs *)0)->member), .groups = L0_GROUP(ALL) }
	static const struct l0_field targets[] = {
		L0_PLACE(f.cr3_target_value0), L0_PLACE(f.cr3_target_value1),
		L0_PLACE(f.cr3_target_value2), L0_PLACE(f.cr3_target_value3)
	};
	static const struct l0_field gap = L0_PLACE(ple_gap), window = L0_PLACE(ple_window);
#undef L0_PLACE
	u64 n = (encoding - CR3_TARGET_VALUE0) / 2;

	if (encoding == PLE_GAP || encoding == PLE_WINDOW) {
		if (!(secondary & SECONDARY_EXEC_PAUSE_LOOP_EXITING))
			return NULL;
		return encoding == PLE_GAP ? &gap : &window;
	}
	return encoding % 2 || n >= 4 || n >= (misc >> 16 & 0x1ff) ? NULL : &targets[n];
}

/* The field of an encoding, or NULL. high tells that the upper half of a u64 is meant. */
static __always_inline const struct l0_field *l0_field_of(u64 encoding, int *high)
{
	const struct l0_field *field = &l0_fields[L0_FIELD_INDEX(encoding)];

	*high = 0;
	/* what is no field has number 0, which is that of the first one, VPID */
	if (likely(field->number == encoding))
		return field;
	*high = encoding & 1;
	return *high && field->number == (encoding ^ 1) && field->size == 8 &&
		(encoding >> 13 & 3) == 1 ? field : NULL;
}

static inline u64 l0_field_get(const void *vmcs, const struct l0_field *field, int high)
{
	const u8 *at = (const u8 *)vmcs + field->offset;

	if (field->size == 8)
		return high ? *(const u32 *)(at + 4) : *(const u64 *)at;
	return field->size == 4 ? *(const u32 *)at : *(const u16 *)at;
}

static inline void l0_field_set(void *vmcs, const struct l0_field *field, int high, u64 value)
{
	u8 *at = (u8 *)vmcs + field->offset;

	if (high)
		*(u32 *)(at + 4) = value;
	else if (field->size == 8)
		*(u64 *)at = value;
	else if (field->size == 4)
		*(u32 *)at = value;
	else
		*(u16 *)at = value;
}

#endif
