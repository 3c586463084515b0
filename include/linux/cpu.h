// SPDX-License-Identifier: GPL-2.0-only
/* A thread becomes a CPU: the %gs base points at that CPU's variables until it is put back. */
#ifndef KVM_VMX_LINUX_CPU_H
#define KVM_VMX_LINUX_CPU_H

#include <linux/sched.h>
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

struct cpu_binding {
	int cpu;
	unsigned long saved_gs;
	struct task_struct *displaced;	/* what the thread was as this CPU before, if it was */
};

/* The kernel lets user space write %gs by instruction where AT_HWCAP2 has bit 1. */
static inline bool has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) >> 1 & 1;
}

static inline unsigned long read_gs_base(bool fsgsbase)
{
	unsigned long base;

	if (fsgsbase)
		__asm__ __volatile__("rdgsbase %0" : "=r"(base));
	else
		syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	return base;
}

static inline void write_gs_base(bool fsgsbase, unsigned long base)
{
	if (fsgsbase)
		__asm__ __volatile__("wrgsbase %0" : : "r"(base) : "memory");
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, base);
	barrier();
}

/* Run fn(arg) on a CPU of this thread's; 0, or -EFAULT where the kernel hit a BUG. */
static inline int call_until_oops(struct task_struct *task, void (*fn)(void *), void *arg)
{
	if (setjmp(task->oops_buf))
		return -EFAULT;
	fn(arg);
	return 0;
}

static inline void task_oops(void)
{
	longjmp(current->oops_buf, 1);
}

#endif
