// SPDX-License-Identifier: GPL-2.0-only
/*
 * A virtual processor at rest, between two instructions of L1.
 *
 * Of an enlightened VMCS only its address is kept: page and clean bits say the rest, and what L0
 * has read of it is read again (R73). The MSRs that all processors share are in each of them.
 */
#ifndef KVM_VMX_L0_SAVED_H
#define KVM_VMX_L0_SAVED_H

#include <kvm_vmx/l0/state.h>
#include <stddef.h>

#define L0_SAVED_MAGIC 0x34305056306c6d76ull
#define L0_SAVED_NONE (~0ull)

struct l0_saved {
	u64 magic;
	u32 size, vmcs_revision;
	u32 index, cpl, intr, nmi;
	u32 in_vmx, mov_ss_shadow;
	u64 profile;		/* a digest of what the processor looks like */
	u64 irr[4];
	u64 rip, rsp, rflags, cr0, cr2, cr3, cr4, dr7;
	u64 idtr_base, gdtr_base, tr_base;
	u64 vmxon_ptr, current_vmptr, active_evmcs;
	u64 efer, assist_msr, random_state;
	u64 guest_os_id, hypercall_msr, reference_msr;
	u64 reenlightenment, emulation_control, emulation_status;
	u64 regs[16];
	struct l0_extended extended;
	struct l0_synic synic;
	struct l0_msr_value msr[NR_SLOTS];
	struct l0_vmcs current_vmcs;
	u8 overlaid[4096];
	u64 dr[4], dr6, cr8, guest_random;
	struct l0_stimer stimer[L0_NR_STIMERS];	/* due so long from here on */
	u64 crash[5], invariant_tsc;
	u64 in_pause_loop, pause_first, pause_last;	/* so many instructions ago */
	u64 nr_alarms;
	struct l0_alarm alarm[L0_MAX_ALARMS + 1];	/* at counts from here on */
	/* where L2 is stopped between two of its instructions: what VMCS it is in, and the rest */
	u32 stopped, enlightened, trap_pending, monitoring;
	u64 spent;		/* instructions since the entry */
	struct l0_vmcs evmcs_cache;
	u64 checksum;		/* of all before it */
};

#define L0_HASH_START 0xcbf29ce484222325ull

/* FNV-1a: an accident is noticed, an intention is not. */
static inline u64 l0_hash(u64 hash, const void *data, u64 length)
{
	for (const u8 *at = data; length--; at++)
		hash = (hash ^ *at) * 0x100000001b3ull;
	return hash;
}

static inline u64 l0_saved_checksum(const struct l0_saved *saved)
{
	return l0_hash(L0_HASH_START, saved, offsetof(struct l0_saved, checksum));
}

/* And where the processor runs L1's code, too: what it has besides, and the board's own, which each
 * of its processors has with it. */
struct l0_whole {
	struct l0_saved saved;
	struct l0_vmcs root_vmcs;
	struct l0_root root;
	struct l0_board board;
	u64 tsc, reference;	/* where time is the host's */
	u64 instructions;	/* other times are saved as so many of them from the beginning */
	u64 checksum;		/* of all before it */
};

static inline u64 l0_whole_checksum(const struct l0_whole *whole)
{
	return l0_hash(L0_HASH_START, whole, offsetof(struct l0_whole, checksum));
}

/* Of the profile's CPUID and MSRs: what L1 has seen of the processor it was saved on. */
static inline u64 l0_profile_digest(const struct l0_profile *profile)
{
	u64 hash = l0_hash(L0_HASH_START, &profile->maxphyaddr, sizeof(profile->maxphyaddr));

	hash = l0_hash(hash, profile->leaf, profile->nr_leaves * sizeof(*profile->leaf));
	for (u32 i = 0; i < profile->nr_msrs; i++) {
		hash = l0_hash(hash, &profile->msr[i].index, sizeof(profile->msr[i].index));
		hash = l0_hash(hash, &profile->msr[i].value, sizeof(profile->msr[i].value));
	}
	return hash;
}

#endif
