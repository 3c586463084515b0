// SPDX-License-Identifier: GPL-2.0-only
/* What the stand-ins for vmlinux ask of whoever loads the image, and what they offer to it. */
#ifndef KVM_VMX_KERNEL_HOST_H
#define KVM_VMX_KERNEL_HOST_H

/* What is to stand at a place in the text. */
struct host_patch { void *at; unsigned char size, bytes[7]; };

/* One table a boot, filled by the loader. An instruction returns 0, or 1 where it faults. */
struct host {
	void (*log)(int level, const char *text);
	int (*format)(char *to, unsigned long size, const char *format, __builtin_va_list list);
	void (*warn)(unsigned long ip, const char *text);
	void (*die)(const char *why, unsigned long ip);		/* does not return */
	/* Threads: which this is; until something changes, or for so long, and what came of it; who has
	 * a CPU, or -1; to have one, and none; to be another one for a moment, and back. */
	int (*thread)(void);
	int (*sleep)(int how, unsigned int microseconds);
	void (*wake)(void);
	int (*owner)(int cpu);
	int (*take)(int cpu);
	void (*drop)(void);
	void (*kick)(int cpu);					/* out of its guest */
	void (*borrow)(int cpu, int enabled, int how);
	void (*give_back)(int here);
	int (*others)(void);					/* in the middle of the text */
	int (*patch)(const struct host_patch *patches, int count);
	int (*fail)(int point);					/* is this the step that fails? */
	int (*read_msr)(unsigned int msr, unsigned long long *value);
	int (*write_msr)(unsigned int msr, unsigned long long value);
	void (*cpuid)(unsigned int *regs);			/* EAX EBX ECX EDX */
	unsigned long (*read_cr)(int cr);
	int (*write_cr)(int cr, unsigned long value);
	unsigned long (*read_dr)(int dr);
	void (*write_dr)(int dr, unsigned long value);
	int (*vmcall)(unsigned long long *regs);		/* the sixteen, by encoding */
	int (*move_user)(unsigned long user, unsigned long gpa);	/* a page of user space's */
	unsigned long memory, memory_size;	/* L1's, in the linear mapping */
	unsigned long user;			/* the same pages as user space has them */
	unsigned long pages;			/* room for a struct page a page */
	unsigned char *page_kind;		/* a byte a page, all zero */
	unsigned int *user_frame;		/* of user space's pages: the one it has now, or 0 */
	unsigned char *shadow;			/* a byte of each eight of memory, where code asks */
	unsigned long *per_cpu;			/* the area of each CPU */
	unsigned long per_cpu_size, per_cpu_room;	/* what is laid out, and all there is */
	unsigned long thread_pointer;		/* of the task in user space */
	unsigned long without_assist;		/* a bit a CPU whose VP assist page cannot be had */
	int cpus, online;
};

#define IMAGE_THREADS 64

/* How a thread sleeps: its CPU takes interrupts, it has let go of all that RCU protects. */
enum { SLEEP_OPEN = 1, SLEEP_QUIET = 2 };

/* The steps that can be made to fail. */
enum { FAIL_PAGE, FAIL_KMALLOC, FAIL_VMALLOC, NR_FAIL_POINTS };

#endif
