// SPDX-License-Identifier: GPL-2.0-only
/* An image that is loaded: what its stand-ins call, what it is asked to do, and why it died. */
#ifndef KVM_VMX_KERNEL_IMAGE_H
#define KVM_VMX_KERNEL_IMAGE_H

#include <kvm_vmx/kernel/threads.h>
#include <kvm_vmx/trap/decode.h>
#include <linux/vmlinux.h>

/* The kernel is compiled for a stack of 8-byte words; what libc is compiled for is more. */
#define FROM_KERNEL __attribute__((force_align_arg_pointer))

/* Instructions that the host lets fail, after the steps that the stand-ins ask for. */
enum { FAIL_MSR = NR_FAIL_POINTS, FAIL_ONE_MSR, FAIL_HYPERCALL, NR_IMAGE_FAIL_POINTS };
#define HYPERCALL_HAS_NO_MEMORY 0x0b

/* So many instructions that have failed are kept. */
#define IMAGE_STRUCK 16

#define LOG_RECORDS 1024
#define LOG_TEXT 256
#define IMAGE_SITES 256

/* One line of the kernel log; ip is where a WARNING stands, or 0. */
struct log_record {
	int level;
	unsigned long ip, thread;
	char text[LOG_TEXT];
};

/* An instruction that user space executes without a trap, and which therefore does not stand in
 * the text as it was: what it was. */
struct image_site {
	u64 ip;
	u8 code[INSN_LENGTH_MAX + 1];
	u32 length;
};

/* Where user space has L1's memory a second time: below every address of the kernel's memory. */
#ifdef __SANITIZE_THREAD__	/* which has its own there */
#define USER_SPACE 0x4000000000UL
#else
#define USER_SPACE 0x100000000000UL
#endif

/* An instruction that has failed as it was told: of an MSR, or a hypercall with its control word. */
struct struck {
	u32 cpu, number;
	bool write, call;
};

struct image {
	struct host host;
	struct vmlinux vmlinux;
	int (*exception)(long long *regs, unsigned int vector);
	struct image_site sites[IMAGE_SITES];
	int nr_sites;
	unsigned long fail[NR_IMAGE_FAIL_POINTS];
	u32 one_msr;			/* the one of FAIL_ONE_MSR */
	struct struck struck[IMAGE_STRUCK];
	u32 nr_struck;
	struct log_record *records;
	u64 log_end;
	void (*kick)(void);
	void (*resched)(void);
	u64 preempt_at;			/* VM exits to come before the task loses its CPU, or 0 */
	u64 all_exits;			/* since it was booted */
	/* around each call: a thread comes to a CPU, and goes */
	void (*begin)(struct host *host, long where);
	void (*end)(void);
	/* why the kernel died, and where */
	char why[LOG_TEXT];
	unsigned long where;
};

static struct image *the_image;

static struct virt_cpu *this_virt_cpu(void)
{
	return crowd.cpus[running->cpu].processor;
}

static FROM_KERNEL int host_fail(int point)
{
	return the_image->fail[point] && --the_image->fail[point] == 0;
}

#endif
