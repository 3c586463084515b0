// SPDX-License-Identifier: GPL-2.0-only
/* What stands where in an enlightened VMCS, for whoever compares two of them. */
#ifndef KVM_VMX_L0_MEMBERS_H
#define KVM_VMX_L0_MEMBERS_H

#include <kvm_vmx/l0/blocks.h>
#include <kvm_vmx/l0/vmcs/fields.h>

struct l0_member {
	u16 groups;		/* its clean bits; all of them: it has no group */
	u8 size;		/* in bytes; 0: nothing begins here */
	u8 read_only;		/* exit information */
};

#define L0_MEMBER(offset, bytes, mask, kind) \
	[(offset) / 2] = { .groups = (mask), .size = (bytes), .read_only = (kind) },
#define L0_MEMBER_OF(member, group)					\
	L0_MEMBER(L0_AT(member), sizeof(((struct hv_enlightened_vmcs *)0)->member), \
		  L0_GROUP(group), 0)
#define L0_LATER_MEMBER(field, member, at, group) L0_MEMBER(at, 8, L0_GROUP(group), 0)

/* By half the offset: every member begins at an even one. */
static const struct l0_member l0_members[512] = {
#define EVMCS_FIELD(encoding, member, group)				\
	L0_MEMBER(L0_AT(member), sizeof(((struct hv_enlightened_vmcs *)0)->member), \
		  L0_GROUP(group), ((encoding) >> 10 & 3) == 1)
#include <asm/evmcs_fields.h>
#undef EVMCS_FIELD
	EVMCS_OWN_MEMBERS(L0_MEMBER_OF)
	EVMCS_LATER_MEMBERS(L0_LATER_MEMBER)
};

static inline u64 l0_member_get(const u8 *page, u32 offset)
{
	u64 value = 0;

	__builtin_memcpy(&value, page + offset, l0_members[offset / 2].size);
	return value;
}

/* The first byte from start on, below end, that is not 0; end where all are. */
static inline u32 l0_first_nonzero(const u8 *page, u32 start, u32 end)
{
	while (start < end && !page[start])
		start++;
	return start;
}

#endif
