// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a lint is noted: counted, and kept with its circumstances.
 */
#ifndef KVM_VMX_L0_WATCH_NOTE_H
#define KVM_VMX_L0_WATCH_NOTE_H

#include <kvm_vmx/l0/state.h>

/* A lint, counted and kept with its circumstances; NULL: there is no more place. */
static inline void l0_record(struct l0_vp *vp, u32 what, u32 offset, u64 found, u64 kept)
{
	u64 entry = vp->counters.vmlaunch + vp->counters.vmresume;
	struct l0_lint_record *record = vp->lint_record;
	u32 i = 0;

	vp->lints |= 1ull << what;
	vp->counters.lints++;
	while (i < vp->nr_lint_records && (record->what != what || record->offset != offset))
		i++, record++;
	if (i == L0_MAX_LINT_RECORDS)
		return;
	if (i == vp->nr_lint_records) {
		vp->nr_lint_records++;
		*record = (struct l0_lint_record) { .what = what, .offset = offset,
			.first_entry = entry, .found = found, .kept = kept };
	}
	record->count++;
	record->last_entry = entry;
}

/* Likewise, and a strict partition stops there. */
static inline void l0_note(struct l0_vp *vp, u32 what, u32 offset, u64 found, u64 kept)
{
	l0_record(vp, what, offset, found, kept);
	if (vp->partition->strict && !vp->partition->stopped) {
		vp->partition->stopped_vp = vp->cpu.index;
		vp->partition->stopped = 1;
	}
}

/* To the lint that was just noted of what: who wrote value into the field at place, of the VMCS
 * that is active or current. Apart from where lints are noted, which must not grow by it. */
static __attribute__((__cold__, __noinline__)) void
l0_note_writer(struct l0_vp *vp, u32 what, u32 offset, u32 place, u64 value)
{
	u64 vmcs = vp->active_evmcs != L0_NO_VMCS ? vp->active_evmcs : vp->current_vmptr;
	const struct l0_written_page *page = l0_written_at(vp->cpu.mem->written, vmcs, 0);
	u32 i;

	for (i = 0; i < vp->nr_lint_records; i++) {
		struct l0_lint_record *record = &vp->lint_record[i];

		if (record->what != what || record->offset != offset)
			continue;
		record->writer = (struct l0_writer) { .who = WRITER_UNKNOWN };
		if (page && page->slot[place / 2].value == value)
			record->writer = page->slot[place / 2];
	}
}

#endif
