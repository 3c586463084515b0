// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID faults in user space where the host offers that and a thread asks for it: the thread
 * does at the first CPUID of a task, since asking costs a system call, and takes it back when
 * it is no CPU any more.
 */
#ifndef KVM_VMX_ASM_CPUID_FAULT_H
#define KVM_VMX_ASM_CPUID_FAULT_H

#include <asm/percpu.h>
#include <asm/prctl.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef ARCH_GET_CPUID
#define ARCH_GET_CPUID 0x1011
#define ARCH_SET_CPUID 0x1012
#endif

/* False where the host does not offer it. */
static inline bool cpuid_fault(bool on)
{
	return syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on) == 0;
}

static inline bool cpuid_is_faulting(void)
{
	return syscall(SYS_arch_prctl, ARCH_GET_CPUID, 0) == 0;
}

/* Whether CPUID traps to the processor now. Who has asked for faults before keeps them. */
static inline bool cpuid_traps(void)
{
	struct task_struct *task = current;

	if (!task->cpuid_traps && this_cpu_read(vmlinux)->cpuid_traps && !cpuid_is_faulting())
		task->cpuid_traps = cpuid_fault(true);
	return task->cpuid_traps;
}

static inline void cpuid_traps_no_more(struct task_struct *task)
{
	if (task->cpuid_traps)
		cpuid_fault(false);
	task->cpuid_traps = 0;
}

#endif
