// SPDX-License-Identifier: GPL-2.0-only
/* The thread that runs as a CPU: where its kernel stack is, and what was asked of it. */
#ifndef KVM_VMX_LINUX_SCHED_H
#define KVM_VMX_LINUX_SCHED_H

#include <asm/percpu.h>
#include <linux/vmlinux.h>
#include <setjmp.h>

struct task_struct {
	unsigned long sp;	/* the stack pointer at the VM entry, in the kernel's address map */
	unsigned long stack;	/* the end of a kernel stack of the task's own, or 0: the thread's */
	unsigned long fsbase;
	unsigned long gsbase;
	int cpuid_traps;	/* CPUID traps in the thread, from the task's first one on */
	int sigpending;
	int need_resched;
	jmp_buf oops_buf;	/* where BUG() unwinds to */
};

static inline bool signal_pending(const struct task_struct *task)
{
	return READ_ONCE(task->sigpending);
}

static inline bool need_resched(void)
{
	return READ_ONCE(current->need_resched);
}

static inline void preempt_disable(void)
{
	this_cpu_add(preempt_count, 1);
}

static inline void preempt_enable(void)
{
	this_cpu_add(preempt_count, -1);
}

static inline void local_irq_disable(void)
{
	this_cpu_write(irqs_disabled, 1);
}

/* Interrupts that came in the meantime are taken now. */
static inline void local_irq_enable(void)
{
	this_cpu_write(irqs_disabled, 0);
	if (unlikely(READ_ONCE(this_cpu_read(virt_cpu)->intr)))
		this_cpu_read(vmlinux)->service();
}

#define local_irq_save(flags) do {					\
	(flags) = this_cpu_read(irqs_disabled);				\
	local_irq_disable();						\
} while (0)

static inline void local_irq_restore(unsigned long flags)
{
	if (flags)
		this_cpu_write(irqs_disabled, (int)flags);
	else
		local_irq_enable();
}

static inline int get_cpu(void)
{
	preempt_disable();
	return smp_processor_id();
}

static inline void put_cpu(void)
{
	preempt_enable();
}

#endif
