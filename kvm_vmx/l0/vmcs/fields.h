// SPDX-License-Identifier: GPL-2.0-only
/* Where L0 keeps a VMCS field: from the encoding to its place in struct l0_vmcs. */
#ifndef KVM_VMX_L0_FIELDS_H
#define KVM_VMX_L0_FIELDS_H

#include <kvm_vmx/l0/state.h>
#include <linux/compiler.h>

struct l0_field {
	u16 offset;
	u16 groups;		/* clean groups that a write makes dirty */
	u8 size;		/* in bytes; 0: no such field */
	u8 read_only;
	u16 number;		/* its encoding: so that one comparison tells a field from what is none */
};

/* A place for each encoding in use, by one multiplication: this factor, found by trying, puts no two
 * of them into one. */
#define L0_NR_FIELDS 512
#define L0_FIELD_INDEX(encoding) ((u32)(encoding) * 0x4d601d4bu >> 23)

#define L0_FIELD(encoding, member, mask) [L0_FIELD_INDEX(encoding)] = {	\
	.offset = offsetof(struct l0_vmcs, member),			\
	.groups = (mask),						\
	.size = sizeof(((struct l0_vmcs *)0)->member),			\
	.read_only = ((encoding) >> 10 & 3) == 1,			\
	.number = (encoding) },
#define L0_GROUP(name) HV_VMX_ENLIGHTENED_CLEAN_FIELD_##name

/* Fields without a slot, with the group whose checks look at them. */
#define L0_OWN_FIELDS(FIELD)						\
	FIELD(POSTED_INTR_NV, posted_intr_nv, L0_GROUP(CONTROL_GRP1))	\
	FIELD(GUEST_INTR_STATUS, guest_intr_status, 0)			\
	FIELD(GUEST_PML_INDEX, guest_pml_index, 0)			\
	FIELD(PML_ADDRESS, pml_address, L0_GROUP(CONTROL_GRP1))		\
	FIELD(APIC_ACCESS_ADDR, apic_access_addr, L0_GROUP(CONTROL_GRP1)) \
	FIELD(POSTED_INTR_DESC_ADDR, posted_intr_desc_addr, L0_GROUP(CONTROL_GRP1)) \
	FIELD(VM_FUNCTION_CONTROL, vm_function_control, L0_GROUP(CONTROL_GRP1)) \
	FIELD(EOI_EXIT_BITMAP0, eoi_exit_bitmap[0], 0)			\
	FIELD(EOI_EXIT_BITMAP1, eoi_exit_bitmap[1], 0)			\
	FIELD(EOI_EXIT_BITMAP2, eoi_exit_bitmap[2], 0)			\
	FIELD(EOI_EXIT_BITMAP3, eoi_exit_bitmap[3], 0)			\
	FIELD(EPTP_LIST_ADDRESS, eptp_list_address, L0_GROUP(CONTROL_GRP1)) \
	FIELD(VMREAD_BITMAP, vmread_bitmap, L0_GROUP(CONTROL_GRP1))	\
	FIELD(VMWRITE_BITMAP, vmwrite_bitmap, L0_GROUP(CONTROL_GRP1))	\
	FIELD(ENCLS_EXITING_BITMAP, encls_exiting_bitmap, 0)		\
	FIELD(TSC_MULTIPLIER, tsc_multiplier, L0_GROUP(CONTROL_GRP1))	\
	FIELD(GUEST_IA32_PERF_GLOBAL_CTRL, guest_ia32_perf_global_ctrl, L0_GROUP(GUEST_GRP1)) \
	FIELD(HOST_IA32_PERF_GLOBAL_CTRL, host_ia32_perf_global_ctrl, L0_GROUP(HOST_GRP1)) \
	FIELD(VMX_PREEMPTION_TIMER_VALUE, vmx_preemption_timer_value, 0)

static const struct l0_field l0_fields[L0_NR_FIELDS] = {
#define EVMCS_FIELD(encoding, member, group) L0_FIELD(encoding, f.member, L0_GROUP(group))
#include <asm/evmcs_fields.h>
#undef EVMCS_FIELD
	L0_OWN_FIELDS(L0_FIELD)
	/* these are there as far as VMX_MISC says: l0_optional_field() */
#define L0_NO_FIELD_YET(encoding) [L0_FIELD_INDEX(encoding)] = { .size = 0 },
	L0_NO_FIELD_YET(CR3_TARGET_VALUE0)
	L0_NO_FIELD_YET(CR3_TARGET_VALUE1)
	L0_NO_FIELD_YET(CR3_TARGET_VALUE2)
	L0_NO_FIELD_YET(CR3_TARGET_VALUE3)
#undef L0_NO_FIELD_YET
};

/* Where VMREAD and VMWRITE find no field at once. What is empty has number 0, a field's. */
static const struct l0_field l0_no_fields[L0_NR_FIELDS] = { { .number = 0xffff } };

/* Bits 13 and 14 of an encoding: 8 bytes are 64 bits or as wide as a register, else 4 or 2. */
#define L0_WIDE		0x2000u
#define L0_DOUBLE	0x4000u
#define L0_WIDTH(encoding) ((encoding) & L0_WIDE ? 8 : (encoding) & L0_DOUBLE ? 4 : 2)

/* Fields that share a place do not compile: two cases of one value. */
static inline void l0_fields_are_sound(u32 index)
{
	switch (index) {
#define L0_SOUND(encoding, member, ...)					\
	case L0_FIELD_INDEX(encoding): ;				\
	_Static_assert(sizeof(((struct l0_vmcs *)0)->member) == L0_WIDTH(encoding), #member);
#define EVMCS_FIELD(encoding, member, group) L0_SOUND(encoding, f.member)
#include <asm/evmcs_fields.h>
#undef EVMCS_FIELD
	L0_OWN_FIELDS(L0_SOUND)
#undef L0_SOUND
		break;
	}
}

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

/* The only field that an encoding may stand for. */
static __always_inline const struct l0_field *l0_field_at(const struct l0_field *fields,
							  u64 encoding)
{
	return &fields[L0_FIELD_INDEX(encoding)];
}

/* The field of an encoding, or NULL. high tells that the upper half of a u64 is meant. */
static __always_inline const struct l0_field *l0_field_of(u64 encoding, int *high)
{
	const struct l0_field *field = l0_field_at(l0_fields, encoding & ~1ull);

	*high = encoding & 1;
	/* what is no field has number 0, which is that of VPID, and its place is the first */
	if (field->number != (encoding & ~1ull))
		return NULL;
	return !*high || (field->size == 8 && (encoding >> 13 & 3) == 1) ? field : NULL;
}

/* The whole of a field whose number the encoding is; most are of 32 bits. */
static __always_inline u64 l0_field_whole(const void *vmcs, const struct l0_field *field,
					  u64 encoding)
{
	const u8 *at = (const u8 *)vmcs + field->offset;

	if (encoding & L0_WIDE)
		return *(const u64 *)at;
	return likely(encoding & L0_DOUBLE) ? *(const u32 *)at : *(const u16 *)at;
}

static __always_inline void l0_field_set_whole(void *vmcs, const struct l0_field *field,
					       u64 encoding, u64 value)
{
	u8 *at = (u8 *)vmcs + field->offset;

	if (encoding & L0_WIDE)
		*(u64 *)at = value;
	else if (likely(encoding & L0_DOUBLE))
		*(u32 *)at = value;
	else
		*(u16 *)at = value;
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
