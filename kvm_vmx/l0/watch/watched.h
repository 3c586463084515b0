// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a processor that is watched remembers, beside what it does.
 */
#ifndef KVM_VMX_L0_WATCH_WATCHED_H
#define KVM_VMX_L0_WATCH_WATCHED_H

#include <kvm_vmx/l0/guest/parts_of_l2.h>
#include <kvm_vmx/l0/watch/written.h>

#define L0_WATCHED_SPACES 64u

/* A walk of the EPT: where its entries are, and what they were. */
struct l0_walked {
	u64 gpa;
	const u64 *slot[4];
	u64 entry[4];
};

/* An entry of a table that some of those walks have led by: each once. */
struct l0_step {
	const u64 *slot;
	u64 entry;
};

/* What the last look at the assist page has found where that is looked at. */
#define L0_ASSIST_HEAD 0x38u

/* What a processor that is watched remembers from one entry to the next. */
struct l0_watch {
	u64 kept;		/* the places of physical_tlb that have been filled */
	/* the places whose translation is stale: it is taken out of the TLBs, and waits in stale for
	 * L2 to use it, until a walk fills the place */
	u64 aside;
	struct l2_tlb_entry stale[L2_TLB_ENTRIES];
	u64 last_space, space[L0_WATCHED_SPACES];	/* frames of EPT roots that were entered with */
	u32 nr_spaces;		/* one more than there is place for: not all are here */
	u32 injected;		/* the event of the entry under way */
	u32 delivered;		/* of the last entry, if that succeeded; what its exit left undelivered */
	u32 vectoring;
	u32 exit_reason;
	u32 dirty, unread;	/* groups that an entry finds dirty; that one which failed has found so */
	u64 rip, entered, executed;	/* of L2 at the exit; counters.l2_instructions, and since */
	u64 exits;		/* counters.exits at the entry */
	u64 plain;		/* the plain VMCS that the last exit was from, or L0_NO_VMCS */
	struct l0_written_page *written;	/* of the VMCS that was written last */
	struct l0_walked walked[L2_TLB_ENTRIES];	/* how physical_tlb was last found in order */
	u32 nr_steps, steps_known;	/* step holds the walks of all that physical_tlb holds */
	struct l0_step step[4 * L2_TLB_ENTRIES];
	u64 told;		/* counters.lints at the beginning of the entry */
	u8 assist[L0_ASSIST_HEAD] __attribute__((aligned(8)));
};

#endif
