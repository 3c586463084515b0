// SPDX-License-Identifier: GPL-2.0-only
/*
 * L0's state: one struct for every VMCS, one for every virtual processor, one for the partition.
 *
 * A plain VMCS and L0's copy of an enlightened one are the same struct l0_vmcs: the layout of
 * the enlightened VMCS, and behind it the fields that it has no slot for. Entry checks, the
 * guest and the exit therefore exist once.
 */
#ifndef KVM_VMX_L0_STATE_H
#define KVM_VMX_L0_STATE_H

#include <asm/hyperv-tlfs.h>
#include <asm/virt_cpu.h>
#include <asm/vmx.h>
#include <kvm_vmx/l0/entry/state_checks.h>
#include <kvm_vmx/l0/guest/parts_of_l2.h>
#include <kvm_vmx/l0/physical.h>
#include <kvm_vmx/l0/guest/row.h>
#include <kvm_vmx/l0/hv/profile.h>
#include <kvm_vmx/l0/whole/parts.h>
#include <kvm_vmx/l0/watch/observed.h>
#include <kvm_vmx/l0/watch/watched.h>

struct l0_vmcs {
	struct hv_enlightened_vmcs f;

	/* fields without a slot in the enlightened VMCS, version 1 */
	u16 posted_intr_nv;
	u16 guest_intr_status;
	u16 guest_pml_index;
	u16 reserved16;
	u32 ple_gap;
	u32 ple_window;
	u32 vmx_preemption_timer_value;
	u32 launch_state;		/* plain VMCS only: 0 clear, 1 launched */
	u64 pml_address;
	u64 apic_access_addr;
	u64 posted_intr_desc_addr;
	u64 vm_function_control;
	u64 eoi_exit_bitmap[4];
	u64 eptp_list_address;
	u64 vmread_bitmap;
	u64 vmwrite_bitmap;
	u64 encls_exiting_bitmap;
	u64 tsc_multiplier;
	u64 guest_ia32_perf_global_ctrl;
	u64 host_ia32_perf_global_ctrl;
};

/* Where L2 is. L2_STOPPED: between two instructions. L2_LOST: it runs on, and nobody could
 * stop it. */
enum l0_guest_state { L2_NOT_RUNNING, L2_RUNNING, L2_STOPPED, L2_LOST };

/* A VMCS pointer that points at none. */
#define L0_NO_VMCS (~0ull)

struct l0_vp;
struct l0_field;

/* An instruction that has been decoded, for as long as the bytes at its place stay the same. */
#define L0_DECODED 4096
struct l0_decoded {
	u64 code[2];
	u64 rip;
	u64 bits;		/* of the mode it was decoded in; 0: nothing is here */
	/* what executes it in a row of such instructions, or NULL: it may change the mode, TF or RF,
	 * or what events wait for */
	int (*quick)(struct l0_vp *vp, const struct l2_insn *insn);
	struct l2_insn insn;
};

/* An event that comes to L1's processor after so many instructions of L2. */
#define L0_MAX_ALARMS 16
#define L0_ALARM_NMI 0x200u
#define L0_ALARM_STOP 0x400u	/* L2 is to stop there, and L1 to see nothing of it */
#define L0_ALARM_TIMERS 0x800u	/* look at the clock: a synthetic timer is armed */
struct l0_alarm {
	u64 at;			/* counters.l2_instructions at which it comes */
	u32 what;		/* 0x100 | vector, or L0_ALARM_NMI */
};

/*
 * What of L0's work can be counted. The names are the counter names that users see.
 *
 * groups_reread and bytes_reread count what the clean fields govern, and guest_rip and
 * tpr_threshold, which belong to no group and are read at every entry (12 bytes). The fields
 * that the specification forgot to put into a group (MSR lists, CR3 targets, page-fault mask
 * and match, the enlightenment flags) are read at every entry too, and counted apart in
 * bytes_ungrouped.
 */
#define L0_COUNTERS(X)							\
	INSN_ALL(X)							\
	X(exits) X(failed_entries) X(l2_instructions)			\
	X(groups_reread) X(bytes_reread) X(bytes_ungrouped)		\
	X(bytes_written_back) X(tlb_flushes) X(lints)

struct l0_counters {
#define L0_COUNTER_MEMBER(name, ...) u64 name;
	L0_COUNTERS(L0_COUNTER_MEMBER)
#undef L0_COUNTER_MEMBER
};

#define L0_NR_COUNTERS (sizeof(struct l0_counters) / sizeof(u64))

enum l0_cache_policy {
	CACHE_ALWAYS,		/* a group whose clean bit is set is never read again */
	CACHE_NEVER,		/* every group is read at every entry */
	CACHE_RANDOM,		/* a clean group is read again by a seeded coin */
	CACHE_COMMIT_ON_SUCCESS	/* as always, but a failed entry consumes no dirty group */
};

#define L0_NR_SINTS 16

/* The synthetic interrupt controller and the APIC's MSRs of one processor. */
struct l0_synic {
	u64 control, event_page, message_page;
	u64 source[L0_NR_SINTS];
	u64 icr, tpr;
};

#define L0_NR_STIMERS 4

/* A synthetic timer, its two MSRs, and when it is due in units of 100 ns; 0: it does not run. */
struct l0_stimer {
	u64 config, count, due;
	u64 waits;		/* it is due, and its message slot is taken */
};

/* What of time and migration is the partition's: the TSC that L1 reads is
 * tsc_base + (host's TSC - tsc_since) * tsc_ratio / 2^32. */
struct l0_clock {
	u64 created_tsc, created_ns;
	u64 tsc_hz;		/* 0 until it is first asked for */
	u64 tsc_base, tsc_since, tsc_ratio;
	u64 hardware_ratio;	/* what the TSC ticks at once emulation ends */
	u64 reference_msr;
	u64 reenlightenment, emulation_control, emulation_status;
	u64 migrations;
	u64 skipped;		/* units of 100 ns that passed at once */
	/* the instructions of the processor that runs, where time is counted in them; NULL: the
	 * host's time */
	const u64 *counter;
	u64 counter_shift;
	u64 follows_host;	/* timers, too, go by the host's time: a unit is 2^counter_shift ticks */
};

#define L0_NR_EXIT_REASONS 128

struct l0_exit_record {
	u64 rip;
	u64 qualification;
	u32 reason;
	u32 clean_fields;
};

#define L0_MAX_CHAIN 8
#define L0_LONGEST_CODE 15

/* An exception or interrupt of L2: as it arose, or as the delivery of the one before met it. */
struct l0_chained {
	u64 rip;
	u64 payload;		/* CR2 of a page fault */
	u32 info;		/* as interruption information */
	u32 error;
	u8 code_bits;
	u8 decoded;		/* L0 knows the instruction that raised it */
	u8 have;		/* of how many bytes; 0: no instruction did */
	u8 code[L0_LONGEST_CODE];
};

/* The last event of L2, and what became of it: a cold record, for whoever asks how L2 died. */
struct l0_chain {
	u32 length;
	struct l0_chained event[L0_MAX_CHAIN];
};

/* x87 and SSE state: the image of FXSAVE as far as the processor writes it, and XCR0. A fast
 * hypercall has its parameters in XMM0 to XMM5. */
struct l0_extended {
	u16 control, status, tags, opcode;
	u64 instruction, operand;
	u32 mxcsr, mxcsr_mask;
	u64 x87[16];
	u64 xmm[32];
	u64 xcr0;
};

struct l0_partition;

#define L0_NR_MSRS 32

/* The MSRs that a processor keeps, each at its place in l0_vp.msr. */
enum l0_msr_slot {
	SLOT_FEATURE_CONTROL, SLOT_PAT, SLOT_DEBUGCTL, SLOT_PERF_GLOBAL_CTRL,
	SLOT_SYSENTER_CS, SLOT_SYSENTER_ESP, SLOT_SYSENTER_EIP,
	SLOT_STAR, SLOT_LSTAR, SLOT_CSTAR, SLOT_SYSCALL_MASK,
	SLOT_FS_BASE, SLOT_GS_BASE, SLOT_KERNEL_GS_BASE, SLOT_TSC_AUX, SLOT_TSC_ADJUST,
	SLOT_SPEC_CTRL, SLOT_MISC_ENABLE, SLOT_APIC_BASE, SLOT_MCG_STATUS, SLOT_MTRR_DEF_TYPE,
	NR_SLOTS
};

/* A virtual processor. The architectural part comes first: it is all that L1 sees. */
struct l0_vp {
	struct virt_cpu cpu;
	struct l0_partition *partition;

	/* VMX operation; l0_is_steady() looks at these eight bytes at once */
	u8 in_vmx;
	u8 row_kept;		/* row says what the next entry does, if nothing comes between */
	u8 entry_is_repeat;	/* nothing that an entry must look at has changed since the last exit */
	u8 host_loaded;		/* the control registers, bases and MSRs are the host state's */
	u8 guest_state;		/* enum l0_guest_state */
	u8 mov_ss_shadow;
	u16 reserved16;
	u64 vmxon_ptr;
	u64 current_vmptr;	/* L0_NO_VMCS: none */
	u64 active_evmcs;	/* L0_NO_VMCS: none */
	/* what VMREAD and VMWRITE of CPL 0 find at once: all fields where a plain VMCS is current and
	 * no eVMCS active, else none; whoever changes a pointer above settles it */
	const struct l0_field *fields;
	/* the current plain VMCS, written back to its page by VMCLEAR */
	struct l0_vmcs current_vmcs __attribute__((aligned(64)));
	/* the copy of the active eVMCS: no move of 16 bytes of it reaches into a second cache line */
	struct l0_vmcs evmcs_cache __attribute__((aligned(64)));
	u32 valid_groups;	/* which clean groups of copy hold something */
	u32 groups_to_check;		/* clean groups changed since the entry checks last passed */
	u8 bitmap_kept;		/* msr_bitmap holds what L1's page held when it was last dirty */
	u8 last_exit_kept;		/* seen holds the eVMCS as the last exit left it */

	/* L2 while it runs: the VMCS in force, L1's register file */
	struct l0_vmcs *vmcs;
	u64 *regs;
	struct l2_fault fault;
	u64 next_rip;		/* where L2 continues when the instruction has done its work */
	u64 entered_at;		/* counters.l2_instructions at the entry */
	u64 deadline;		/* and when the clock must be looked at */
	u64 resumed_at;		/* and where a slice of time has begun since */
	u32 vectoring;		/* the event in delivery, as IDT-vectoring information; 0: none */
	u32 vectoring_error;
	u8 code_bits;		/* 16, 32 or 64 */
	u8 guest_cpl;		/* the privilege level of L2 */
	u8 unblocked_nmi;	/* the IRET that faults has ended NMI blocking */
	u8 boundary_work;		/* something has changed that the loop must look at */
	u8 monitoring;		/* MONITOR has armed an address */
	u8 trap_pending;	/* a monitor trap is due at the next boundary */
	u8 may_stop;		/* whoever lets L1 enter takes L2 back between two instructions */
	u8 paused;		/* L2_STOPPED because a slice of time is over, and no more */
	struct l2_tlb_entry tlb[L2_TLB_ENTRIES];
	/* guest-physical pages through the EPT, which only INVEPT and its like forget */
	struct l2_tlb_entry physical_tlb[L2_TLB_ENTRIES];
	u64 tlb_context[5];	/* eptp, cr3, vpid and controls, cr0 and cr4, efer of the entries */
	u64 apic_access;	/* the APIC-access page that they know, | 1; 0: none */
	struct l0_row row;

	/* what comes to this processor while L2 runs, in no order */
	struct l0_alarm alarm[L0_MAX_ALARMS + 1];	/* one is the timers' own */
	u32 nr_alarms;
	u64 guest_random;		/* behind RDRAND and RDSEED of L2 */

	/* MSRs that are per processor */
	struct l0_msr_value msr[L0_NR_MSRS];
	u32 nr_msr;
	u64 efer;
	u64 assist_msr;
	u64 random_state;
	u64 gpr[NR_GPRS];	/* of L1, where its code is not the port's */
	struct l0_extended extended;
	struct l0_synic synic;
	struct l0_stimer stimer[L0_NR_STIMERS];
	/* a loop of PAUSE: counters.l2_instructions at its first and last, and in which entry */
	u64 pause_first, pause_last, pause_entry;
	u64 lints;
	u32 nr_lint_records;
	struct l0_counters counters;	/* but for what l0_counters_now() adds */
	u64 repeats;		/* entries with an eVMCS that repeated the last one, and their exits */

	/* every exit by basic reason, and one record each where a log is given */
	u64 exit_reasons[L0_NR_EXIT_REASONS];
	struct l0_exit_record *exit_log;
	u64 exit_log_size, exit_log_end;
	struct l0_trace trace;
	struct l0_chain chain;
	struct l0_refusal refusal;	/* of an entry */
	struct l0_refusal denied;	/* of any other instruction */
	u64 denials;			/* how many there were */
	struct l0_watch *watch;	/* NULL: nobody watches */
	u8 had_assist_page;	/* the MSR has enabled one before */
	u8 overlaid[4096];	/* what the assist page covers, where it is an overlay */
	u8 msr_bitmap[4096];
	u8 evmcs_last_exit[1024] __attribute__((aligned(8)));
	struct l0_lint_record lint_record[L0_MAX_LINT_RECORDS];

	/* L1 where its code runs here, too: its registers are those of a VMCS that intercepts
	 * nothing; root_insn is the instruction by which it left that for L0 */
	struct l0_vmcs root_vmcs;
	struct l2_insn root_insn;
	struct l0_root root;
	struct l0_decoded *decoded;	/* L0_DECODED of them, or NULL */
} __attribute__((aligned(64)));

struct l0_partition {
	struct l0_profile profile;
	u32 nr_vps;
	u32 cache_policy;
	u64 seed;
	u64 guest_os_id;
	u64 hypercall_msr;
	u8 strict;		/* the first lint stops the partition */
	u8 lints_enabled;		/* look for what costs something to see */
	u8 slow_entry;		/* that, or another way of reading than by clean bits */
	u8 rereads;		/* another cache policy than CACHE_ALWAYS, or a defect like it */
	u8 stopped;		/* refuses every entry: stopped_vp has the lint that did it */
	u32 stopped_vp;
	struct l0_caps caps;
	struct l0_clock clock;
	u64 crash[5];		/* what L1 says of its end */
	u64 crashes, resets;	/* how often it has told so, and asked for a reset */
	u64 invariant_tsc;	/* MSR 0x40000118 */
	u64 traced;		/* instructions traced so far, on all processors */
	struct l0_board board;
	struct l0_devices devices;
	u32 tick;		/* the interrupt of L1's timer, 0x100 | vector; 0: L1 has set none */
	struct l0_vp *vp;	/* nr_vps of them, cache-line aligned */
};

/* In VMX operation, between an exit and an entry that is to be like the last one. */
static inline int l0_is_steady(const struct l0_vp *vp)
{
	u64 first;

	_Static_assert(offsetof(struct l0_vp, in_vmx) % 8 == 0 &&
		       offsetof(struct l0_vp, host_loaded) == offsetof(struct l0_vp, in_vmx) + 3 &&
		       offsetof(struct l0_vp, vmxon_ptr) == offsetof(struct l0_vp, in_vmx) + 8,
		       "four that are 1, and what is 0, in one quadword");
	__builtin_memcpy(&first, &vp->in_vmx, sizeof(first));
	return first == 0x01010101;
}

_Static_assert(offsetof(struct l0_extended, x87) == 32 &&
	       offsetof(struct l0_extended, xmm) == 160, "the image of FXSAVE");
_Static_assert(L0_NR_LINTS <= 64, "a lint is a bit");
_Static_assert(sizeof(struct l0_vmcs) <= 4096, "a VMCS is one page");
_Static_assert(sizeof(struct l0_vmcs) <= 2 * L0_WRITTEN_SLOTS, "each field has a place");

#endif
