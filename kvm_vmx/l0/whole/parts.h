// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a processor has besides where it runs L1's code, too: a bus and a local APIC.
 */
#ifndef KVM_VMX_L0_WHOLE_PARTS_H
#define KVM_VMX_L0_WHOLE_PARTS_H

#include <linux/types.h>

/* Why a processor that runs L1 stands still: between two instructions, of L1 or of L2. */
enum l0_root_end {
	ROOT_PAUSED,		/* so many instructions are done */
	ROOT_PORT,		/* bus has an access to a port that a device is to see to */
	ROOT_MEMORY,		/* or one to an address where a device is */
	ROOT_WAITS,		/* time alone will wake it, or nothing */
	ROOT_SHUTDOWN,		/* a triple fault of L1 */
	ROOT_UNDONE		/* L1 does what no one here can do: why is in the VMCS */
};

/* An access that a device is to see to; a read has no value yet. */
struct l0_access {
	u64 address;
	u64 value;
	u8 in_memory;		/* else a port */
	u8 is_read;
	u8 size;
};

/* as many as one instruction makes: FXRSTOR reads 64 quadwords */
#define L0_ACCESSES 80

/*
 * What a processor has to do with devices. A read stops the instruction before it has done
 * anything; with the answer it begins anew, and finds all that was answered so far. Writes wait
 * for the end of their instruction.
 */
struct l0_bus {
	u8 asks;		/* now is a read without an answer */
	u8 answered;		/* the instruction that has asked is the next, whatever else waits */
	u8 nr_answers, used;
	u8 first, nr_writes;	/* of the queue: the next to be seen to, and the end */
	u8 is_virtual;		/* the access is not to it, but to the APIC-access page */
	struct l0_access now;
	struct l0_access queue[L0_ACCESSES];
	u64 answer[L0_ACCESSES];
	u64 page;		/* of the access to memory that is not there, its address */
};

#define L0_DEVICE_RANGES 32

/* Where Python's devices are, in whole pages: [first, last]. */
struct l0_devices {
	u8 ports;		/* an access to any port is theirs */
	u8 nr_ranges;
	u64 first[L0_DEVICE_RANGES], last[L0_DEVICE_RANGES];
};

#define L0_APIC_REGISTERS 64

/* What the next boundary is to do for the APIC that L1 gives L2. */
enum l0_virtual_work {
	VIRTUAL_ENTRY = 1,	/* L2 has just been entered */
	VIRTUAL_WRITTEN = 2,	/* an instruction has written a register, l0_apic.written */
	VIRTUAL_INTERRUPT = 4	/* an interrupt is recognized that L2 is to take */
};

/* The local APIC; what it has been asked to deliver is virt_cpu.irr. */
struct l0_apic {
	u32 reg[L0_APIC_REGISTERS];	/* by their offset / 16 */
	u64 isr[4];
	u64 timer_at;		/* when its timer is due, in instructions; 0: it does not run */
	u64 timer_every;	/* and how often from then on; 0: once */
	u64 deadline;		/* MSR 0x6e0 */
	u32 icr_high;
	/* l0_signals() looks at these four at once */
	u8 init_waits;		/* an INIT that VMX root operation holds back */
	u8 sipi_waits;
	u8 virtual_work;	/* bits of enum l0_virtual_work */
	u8 reserved;
	u8 sipi_vector;
	u8 written_size;	/* of the write to the virtual-APIC page that waits */
	u16 written;		/* and its place there */
};

/* What of this a boundary between two instructions has to look at; 0: none. */
static inline u32 l0_signals(const struct l0_apic *apic)
{
	u32 signals;

	_Static_assert(offsetof(struct l0_apic, reserved) ==
		       offsetof(struct l0_apic, init_waits) + 3, "four bytes that lie together");
	__builtin_memcpy(&signals, &apic->init_waits, sizeof(signals));
	return signals;
}

#define L0_IO_LINES 24

/* The board's I/O APIC. */
struct l0_io_apic {
	u64 entry[L0_IO_LINES];
	u32 lines;		/* which of them are high, a bit each */
	u32 index, id;
};

#define L0_NR_PORTS 16

/* Behind which connection a processor takes messages or events, and the message that waits. */
struct l0_port {
	u32 connection;
	u32 vp;
	u8 kind, source;	/* 0: no port */
	u8 waits, length;
	u32 message;
	u8 body[240];
};

/* What is beside the processors. */
struct l0_board {
	struct l0_io_apic io_apic;
	struct l0_port port[L0_NR_PORTS];
};

/* Of a processor that runs L1's code: how it got here, and what it has done. */
struct l0_root {
	u8 on;
	u8 shadow_ended;
	u8 waits;		/* it stands still until the host's time has gone on */
	u64 entered;		/* the host's time at the last entry to L2 */
	u64 since;		/* counters.l2_instructions where L1's code began */
	u64 instructions;	/* of L1 */
	u32 queued;		/* an exception for whoever runs next, as interruption information */
	u32 queued_error;
	u8 queued_past;		/* it is past being intercepted */
	u64 idle;		/* time that passed while it waited, in instructions */
	struct l0_bus bus;
	struct l0_apic apic;
};

#endif
