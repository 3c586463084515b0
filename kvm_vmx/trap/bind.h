// SPDX-License-Identifier: GPL-2.0-only
/* The handler in place while a thread runs as a CPU, and everything as it was before after it. */
#ifndef KVM_VMX_MACHINE_TRAP_BIND_H
#define KVM_VMX_MACHINE_TRAP_BIND_H

#include <kvm_vmx/trap/signal.h>
#include <linux/spinlock.h>

/* What the thread had for a signal stack, and how many of the signals it asked for. */
struct trap_scope {
	stack_t stack;
	int signals;
};
_Static_assert(sizeof(struct trap_scope) <= 32, "a trap_binding has room for it");

static spinlock_t trap_lock;
static int trap_users[NR_TRAP_SIGNALS];

/* The first signal of an instruction that the thread blocks, which would kill it; 0: neither. */
static int trap_blocked(void)
{
	sigset_t set;
	int i;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (i = 0; i < NR_INSN_SIGNALS; i++)
		if (sigismember(&set, trap_signals[i]))
			return trap_signals[i];
	return 0;
}

static bool trap_installed(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO && action->sa_sigaction == trap_handler;
}

/* Whoever has the signal now is known before it can be asked for. Called with the lock held;
 * 0 or -1 with errno. */
static int trap_install(int i)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	struct trap_previous *previous = &trap_previous[i];
	int other = !previous->which;

	if (sigaction(trap_signals[i], NULL, &previous->action[other]))
		return -1;
	if (trap_installed(&previous->action[other]))
		return 0;
	WRITE_ONCE(previous->which, other);
	action.sa_sigaction = trap_handler;
	action.sa_flags |= previous->action[other].sa_flags & SA_RESTART;
	return sigaction(trap_signals[i], &action, NULL);
}

/* Who has set another handler meanwhile keeps it. */
static void trap_uninstall(int i)
{
	const struct trap_previous *previous = &trap_previous[i];
	struct sigaction now;

	if (sigaction(trap_signals[i], NULL, &now) == 0 && trap_installed(&now))
		sigaction(trap_signals[i], &previous->action[previous->which], NULL);
}

/* A signal stack that a thread could not put away stays for good: the next signal may come to it. */
static bool trap_stacks_stay;

static void trap_leave(struct trap_scope *scope)
{
	int i;

	spin_lock(&trap_lock);
	for (i = 0; i < scope->signals; i++)
		if (--trap_users[i] == 0)
			trap_uninstall(i);
	spin_unlock(&trap_lock);
	trap_depth--;
	if (sigaltstack(&scope->stack, NULL))
		WRITE_ONCE(trap_stacks_stay, true);
}

/* The first so many of the signals: a processor without a kernel has no use for the others.
 * A handler serves the whole process, a signal stack one thread. It is looked after each time:
 * another may have taken its place. 0 or a negative errno. */
static int trap_enter(struct trap_scope *scope, void *stack, size_t size, int signals)
{
	stack_t own = { .ss_sp = stack, .ss_size = size };
	int error = 0;

	if (sigaltstack(&own, &scope->stack))
		return -errno;
	scope->signals = 0;
	trap_depth++;
	spin_lock(&trap_lock);
	while (scope->signals < signals && !error) {
		trap_users[scope->signals]++;
		if (trap_install(scope->signals++))
			error = errno;
	}
	spin_unlock(&trap_lock);
	if (error)
		trap_leave(scope);
	return -error;
}

/* In the child of a fork: the threads that were CPUs are not there. */
static void trap_forget(void)
{
	int i;

	spin_lock_init(&trap_lock);
	for (i = 0; i < NR_TRAP_SIGNALS; i++) {
		trap_users[i] = trap_depth;
		if (!trap_depth)
			trap_uninstall(i);
	}
}

static int trap_add_text(u64 start, u64 end, u64 entries, u64 entries_end, bool hosts)
{
	int i, ret = -ENOSPC;

	spin_lock(&trap_lock);
	for (i = 0; i < TRAP_TEXTS && ret; i++) {
		if (trap_texts[i].end == 0) {
			trap_texts[i] = (struct trap_text){
				start, 0, (const struct vm_return *)entries,
				(const struct vm_return *)entries_end, hosts };
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
