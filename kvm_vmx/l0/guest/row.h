// SPDX-License-Identifier: GPL-2.0-only
/*
 * What L2 does from one CPUID to the next in a tight loop, known from the last time.
 */
#ifndef KVM_VMX_L0_ROW_H
#define KVM_VMX_L0_ROW_H

#include <linux/types.h>

/* A MOV of a constant, perhaps a JMP before it, and the CPUID: the same as long as the bytes
 * are, which are looked at each time. */
struct l0_row {
	u64 rip;		/* where it begins, below 4 GByte */
	u64 end;		/* where the CPUID stands */
	const u8 *code[2];	/* eight bytes at the entry, and those that the JMP leads to */
	u64 word[2];		/* what they were */
	u64 number, value;	/* of the register that MOV writes */
	u64 insns;
	const u8 *assist;	/* the assist page, or zeros where there is none */
	u8 *page;		/* of the eVMCS; NULL: the VMCS is a plain one */
};

#endif
