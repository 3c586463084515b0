// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an instruction of L2 is made of: how it was decoded, its accesses, and how it ended.
 */
#ifndef KVM_VMX_L0_GUEST_PARTS_OF_L2_H
#define KVM_VMX_L0_GUEST_PARTS_OF_L2_H

#include <linux/types.h>

/* An exception that an instruction of L2, or the delivery of an event, has raised. */
struct l2_fault {
	u32 vector;
	u32 error;
	u64 payload;		/* #PF: the linear address; #DB: what DR6 is to say */
};

#define L2_TLB_ENTRIES 64

/* One page of L2: a linear one, translated through its page tables and the EPT, or a
 * guest-physical one. */
struct l2_tlb_entry {
	u64 tag;		/* linear page number << 12 | rights that a walk has granted */
	u8 *host;
};

/* The rights of an access: one of three, shifted by L2_USER where it is a user's. */
enum l2_right { L2_READ = 1, L2_WRITE = 2, L2_FETCH = 4, L2_USER = 3 };

/* How an instruction of L2, or a part of one, ended: it did its work, the VMCS says how L2
 * leaves, or vp.fault which exception it raised. */
enum l2_status { L2_DONE, L2_LEAVES, L2_FAULTS };

/* An instruction as the decoder found it. */
struct l2_insn {
	u64 offset;		/* of the memory operand in its segment; its own size applied */
	u64 displacement;
	u64 immediate;		/* sign-extended; also the target's distance */
	u32 far_selector;
	u8 map;			/* 0: one byte, 1: 0f, 2: 0f 38 */
	u8 opcode;
	u8 length;
	u8 size, address_size;	/* of operands and addresses, in bytes */
	u8 byte_operand;
	u8 operand_prefix, repeat, lock, rex;
	u8 segment;		/* of the memory operand: ES CS SS DS FS GS */
	u8 has_modrm, is_memory, mod, reg, rm;	/* reg and rm with their REX bits */
	u8 base, index, scale;	/* registers; NO_REGISTER: none */
	u8 rip_relative;
};

#define L2_NO_REGISTER 16

#endif
