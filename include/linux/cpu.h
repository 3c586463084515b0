// SPDX-License-Identifier: GPL-2.0-only
/* A thread becomes a CPU: the %gs base points at that CPU's variables until it is put back. */
#ifndef KVM_VMX_LINUX_CPU_H
#define KVM_VMX_LINUX_CPU_H

#include <linux/sched.h>
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

struct cpu_binding {
	int cpu;
	unsigned long saved_gs;
	struct task_struct *displaced;	/* what the thread was as this CPU before, if it was */
};

/* fsgsbase: the host lets user space write %gs by instruction. */
static inline bool read_gs_base(bool fsgsbase, unsigned long *base)
{
	if (!fsgsbase)
		return syscall(SYS_arch_prctl, ARCH_GET_GS, base) == 0;
	__asm__ __volatile__("rdgsbase %0" : "=r"(*base));
	return true;
}

/* False, as of read_gs_base(), where the host refuses it, and %gs is as it was: asked for twice, since there is no way
 * on for a thread that has to go back. */
static inline bool write_gs_base(bool fsgsbase, unsigned long base)
{
	bool written = true;

	if (fsgsbase)
		__asm__ __volatile__("wrgsbase %0" : : "r"(base) : "memory");
	else
		written = syscall(SYS_arch_prctl, ARCH_SET_GS, base) == 0 ||
			  syscall(SYS_arch_prctl, ARCH_SET_GS, base) == 0;
	barrier();
	return written;
}

/* Call fn(arg) with RSP at the end of another stack: the same RSP every time. */
static noinline void call_on_stack(unsigned long end, void (*fn)(void *), void *arg)
{
	__asm__ __volatile__("mov %%rsp, %%rbx\n\t"
			     "mov %0, %%rsp\n\t"
			     "call *%1\n\t"
			     "mov %%rbx, %%rsp"
			     : "+a"(end), "+d"(fn), "+D"(arg)
			     : : "rbx", "rcx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory",
			       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/* Run fn(arg) on a CPU of this thread's; 0, or -EFAULT where the kernel hit a BUG. */
static inline int call_until_oops(struct task_struct *task, void (*fn)(void *), void *arg)
{
	if (setjmp(task->oops_buf))
		return -EFAULT;
	if (task->stack)
		call_on_stack(task->stack, fn, arg);
	else
		fn(arg);
	return 0;
}

static inline void task_oops(void)
{
	longjmp(current->oops_buf, 1);
}

#endif
