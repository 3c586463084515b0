// SPDX-License-Identifier: GPL-2.0-only
/* Other values for a field that a check refused, so that the checks behind it can be asked. */
#ifndef KVM_VMX_L0_MEND_H
#define KVM_VMX_L0_MEND_H

#include <kvm_vmx/l0/entry/check_rows.h>

#define L0_MAX_MENDS 40

/* Bits to turn over, in the order in which they are tried: flags of access rights, of events and
 * of EFER, the low bits of selectors and states. */
static const u64 l0_turned[] = {
	1, 2, 3, 1 << 14, 1 << 11, 1 << 8, 1 << 10, 5 << 8, 1 << 9, 1 << 5, 1 << 17, 1u << 31
};

/* Bits to clear, and bits to set instead: types of segments and events, privilege levels, an EPT
 * pointer of write-back memory and four levels. */
struct l0_replacement {
	u64 clear, set;
};

static const struct l0_replacement l0_replaced[] = {
	{ 0x60, 0 }, { 0x60, 0x60 }, { 0xf, 0xb }, { 0xf, 3 }, { 0xf, 2 }, { 7, 0 }, { 0x3f, 0x1e },
	{ 0xff, 2 }, { 0xff, 0 }, { 0x7ff, 0x302 }, { 0x700, 0 }, { ~0ull, 0 }, { ~0ull, 1 },
	{ ~0ull, 8 }, { ~0ull, ~0ull }, { ~0ull, 0xf3 }, { ~0ull, 0xffff }
};

/* to gets the values, the first with no more than the wrong bits put right; how many they are. */
static __attribute__((__cold__, __noinline__)) u32 l0_mends(const struct l0_refusal *why, u64 *to)
{
	u32 i, n = 0;

	to[n++] = (why->value | why->must) & why->may;
	for (i = 0; i < sizeof(l0_turned) / sizeof(l0_turned[0]); i++)
		to[n++] = why->value ^ l0_turned[i];
	for (i = 0; i < sizeof(l0_replaced) / sizeof(l0_replaced[0]); i++)
		to[n++] = (why->value & ~l0_replaced[i].clear) | l0_replaced[i].set;
	to[n++] = why->other << 4;
	return n;
}

static __attribute__((__cold__, __noinline__)) void l0_row_set(struct l0_vmcs *vmcs, u32 encoding, u64 value)
{
	l0_field_set(vmcs, &l0_fields[L0_FIELD_INDEX(encoding)], 0, value);
}

_Static_assert(sizeof(l0_turned) / sizeof(l0_turned[0]) +
	       sizeof(l0_replaced) / sizeof(l0_replaced[0]) + 2 <= L0_MAX_MENDS, "mends");

#endif
