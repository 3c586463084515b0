// SPDX-License-Identifier: GPL-2.0-only
/* What L0 writes down of L1 for whoever watches: lints, and the trace of instructions. */
#ifndef KVM_VMX_L0_OBSERVED_H
#define KVM_VMX_L0_OBSERVED_H

#include <asm/virt_cpu.h>
#include <kvm_vmx/l0/entry/state_checks.h>
#include <kvm_vmx/l0/watch/written.h>

/*
 * What L0 noticed and let pass; one bit each in l0_vp.lints. The first ones are met on paths
 * that are rare anyway; the others cost something to see and are looked for where the
 * partition watches.
 */
#define L0_LINTS(X)							\
	X(msr_lists_ignored) X(evmcs_on_two_cpus) X(vmcs_pointer_while_evmcs) \
	X(vmcs_access_while_evmcs) X(evmcs_vanished) X(vmcs_vanished) X(msr_list_aborted) \
	X(stale_field) X(ungrouped_field) X(exit_info_written) X(page_not_zeroed) \
	X(clean_fields_reserved) X(version_changed) X(pointer_misaligned) X(switch_value) \
	X(assist_page_reserved) X(enlightenments_reserved) X(msr_bitmap_unannounced) \
	X(direct_flush_unannounced) X(exception_unannounced) X(debugctl_unannounced) \
	X(direct_flush_incomplete) X(partition_page_misaligned) X(vmclear_elsewhere) \
	X(entry_list_failed) X(page_fault_filter_ignored) X(cr3_targets_ignored) \
	X(entry_refused) X(assist_page_unset) X(stale_translation) X(flush_unknown_space) X(flush_set_short) \
	X(event_lost) X(event_doubled) X(write_unread) X(clean_unread)

enum l0_lint {
#define L0_LINT_MEMBER(name) LINT_##name,
	L0_LINTS(L0_LINT_MEMBER)
#undef L0_LINT_MEMBER
	L0_NR_LINTS
};

/* One kind of lint at one field of one processor: how often, and what the first and the last
 * time looked like. offset is the field's in the eVMCS, L0_NO_FIELD where there is none. */
struct l0_lint_record {
	u32 what, offset;
	u64 count, first_entry, last_entry;
	u64 found, kept;	/* the value in the page, and the one that L0 goes on with */
	struct l0_writer writer;	/* of the field, the last time */
};

#define L0_NO_FIELD 0xffffffffu
#define L0_OF_CHECK 0x10000u	/* and in its place, of an entry that was refused, the check */
#define L0_MAX_LINT_RECORDS 256

/* The instructions that are traced. */
enum l0_traced {
#define L0_TRACED_MEMBER(name, ...) TRACED_##name,
	INSN_ALL(L0_TRACED_MEMBER)
#undef L0_TRACED_MEMBER
	L0_NR_TRACED
};

/* One instruction of L1: what it was given, and what came of it. */
struct l0_trace_record {
	u64 sequence;		/* over all processors */
	u64 denials;		/* of the processor before it */
	u32 insn, status;	/* an l0_traced, an insn_t */
	u64 operand[3];
	u64 result[2];		/* what it produced, or the number of VMfailValid */
	u64 l2_instructions;	/* of an entry: how many L2 executed, */
	u32 groups_reread, bytes_reread;	/* and what L0 read again before */
	struct l0_refusal refusal;	/* and which check refused it, if one did */
};

struct l0_trace {
	struct l0_trace_record *record;		/* a ring of size, NULL: nothing is traced */
	u64 size, end;
	const struct virt_cpu_ops *ops;		/* the instructions behind the traced ones */
};

#endif
