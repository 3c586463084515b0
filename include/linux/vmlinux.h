// SPDX-License-Identifier: GPL-2.0-only
/* What the kernel proper exports to code in headers: a table that every CPU points at. */
#ifndef KVM_VMX_LINUX_VMLINUX_H
#define KVM_VMX_LINUX_VMLINUX_H

#include <linux/types.h>

/* An MSR that perf wants switched with the guest. */
struct perf_guest_switch_msr {
	unsigned int msr;
	u64 host, guest;
};

struct vmlinux {
	void (*emit)(int level, const char *text);	/* one message into the kernel log */
	void (*warn)(void);				/* count a WARNING */
	void (*oops)(void);				/* end the thread; does not return */
	void (*service)(void);				/* run what other CPUs asked of this one */
	/* An exception: where the instruction at ip goes on, or 0: die(), which does not return. */
	unsigned long (*fixup_exception)(unsigned long ip);
	void (*die)(unsigned long ip, u32 status);
	/* Any exception, before these are asked: whether the context, in the order of ucontext_t,
	 * was changed so that the kernel goes on. NULL where they are all there is. */
	int (*exception)(long long *gregs, unsigned int vector);
	/* A VM exit that loaded what is no host state of this kernel; does not return. */
	void (*stale_exit)(unsigned long rip, unsigned long rsp);
	int vmcall_traps;				/* a hypervisor beneath may keep VMCALL */
	int cpuid_traps;				/* the host lets a thread ask for it */
	int kvm_rebooting;
	unsigned int boot;				/* how many there were in this process */
	struct perf_guest_switch_msr perf_msrs[1];	/* PERF_GLOBAL_CTRL, where perf needs it */
	int nr_perf_msrs;
};

#endif
