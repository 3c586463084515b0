// SPDX-License-Identifier: GPL-2.0-only
/* Who wrote which field of a VMCS last, as far as it was told: a page of memory each. */
#ifndef KVM_VMX_L0_WRITTEN_H
#define KVM_VMX_L0_WRITTEN_H

#include <asm/virt_cpu.h>

#define L0_WRITTEN_PAGES 512		/* of so many VMCSs */
#define L0_WRITTEN_SLOTS 640		/* by half the offset in struct l0_vmcs */
#define L0_WRITTEN_TRIES 16

/* value is what stood there behind the store, entry the last one of processor vp before it. */
struct l0_writer {
	u64 where, value, entry;
	u32 who, vp;		/* who is an enum writer */
};

struct l0_written_page {
	u64 page;		/* its address | 1; 0: free */
	struct l0_writer slot[L0_WRITTEN_SLOTS];
};

struct l0_written {
	struct l0_written_page page[L0_WRITTEN_PAGES];
};

/* The place of a page: with make, one that was free; NULL where there is none, or no more. */
static inline struct l0_written_page *l0_written_at(const void *all, u64 page, int make)
{
	u64 wanted = (page & ~0xfffull) | 1, hash = (page >> 12) * 0x9e3779b97f4a7c15ull >> 32;
	struct l0_written *written = (struct l0_written *)all;
	struct l0_written_page *at;
	u64 found;
	int i;

	for (i = 0; written && i < L0_WRITTEN_TRIES; i++) {
		at = &written->page[(hash + i) % L0_WRITTEN_PAGES];
		found = __atomic_load_n(&at->page, __ATOMIC_ACQUIRE);
		if (!found && make && !__atomic_compare_exchange_n(
				&at->page, &found, wanted, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
		    found != wanted)
			continue;
		if (found == wanted || (!found && make))
			return at;
		if (!found)
			return NULL;
	}
	return NULL;
}

#endif
