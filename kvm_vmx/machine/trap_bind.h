// SPDX-License-Identifier: GPL-2.0-only
/* The handler in place while a thread runs as a CPU, and everything as it was before after it. */
#ifndef KVM_VMX_MACHINE_TRAP_BIND_H
#define KVM_VMX_MACHINE_TRAP_BIND_H

#include <kvm_vmx/machine/trap.h>
#include <linux/spinlock.h>

/* What the thread had for a signal stack. */
struct trap_scope {
	stack_t stack;
};

static const int trap_signals[2] = { SIGILL, SIGSEGV };
static spinlock_t trap_lock;
static int trap_users;

/* The first of the two signals that the thread blocks, which would kill it; 0: neither. */
static int trap_blocked(void)
{
	sigset_t set;
	int i;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (i = 0; i < 2; i++)
		if (sigismember(&set, trap_signals[i]))
			return trap_signals[i];
	return 0;
}

/* A handler serves the whole process, a signal stack one thread. 0 or a negative errno. */
static int trap_enter(struct trap_scope *scope, void *stack, size_t size)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t own = { .ss_sp = stack, .ss_size = size };
	int i;

	if (sigaltstack(&own, &scope->stack))
		return -errno;
	action.sa_sigaction = trap_handler;
	spin_lock(&trap_lock);
	if (trap_users++ == 0)
		for (i = 0; i < 2; i++)
			sigaction(trap_signals[i], &action, &trap_previous[i]);
	spin_unlock(&trap_lock);
	return 0;
}

/* Who has set another handler meanwhile keeps it. */
static void trap_leave(struct trap_scope *scope)
{
	struct sigaction now;
	int i;

	spin_lock(&trap_lock);
	if (--trap_users == 0) {
		for (i = 0; i < 2; i++) {
			sigaction(trap_signals[i], NULL, &now);
			if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == trap_handler)
				sigaction(trap_signals[i], &trap_previous[i], NULL);
		}
	}
	spin_unlock(&trap_lock);
	sigaltstack(&scope->stack, NULL);
}

static int trap_add_text(u64 start, u64 end, u64 vm_return)
{
	int i, ret = -ENOSPC;

	spin_lock(&trap_lock);
	for (i = 0; i < TRAP_TEXTS && ret; i++) {
		if (trap_texts[i].end == 0) {
			trap_texts[i] = (struct trap_text){ start, 0, vm_return };
			WRITE_ONCE(trap_texts[i].end, end);
			ret = 0;
		}
	}
	spin_unlock(&trap_lock);
	return ret;
}

static void trap_del_text(u64 start)
{
	int i;

	spin_lock(&trap_lock);
	for (i = 0; i < TRAP_TEXTS; i++)
		if (trap_texts[i].start == start)
			WRITE_ONCE(trap_texts[i].end, 0);
	spin_unlock(&trap_lock);
}

#endif
