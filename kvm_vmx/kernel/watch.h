// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kernel that loops is stopped: a timer of the thread's own processor time looks whether VM exits
 * go on, and ends the kernel where it finds it in its text and they do not.
 */
#ifndef KVM_VMX_KERNEL_WATCH_H
#define KVM_VMX_KERNEL_WATCH_H

#include <kvm_vmx/kernel/host_side.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WATCH_SIGNAL (SIGRTMAX - 3)
#define WATCH_AGAIN_NS 1000000

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

struct watch {
	timer_t timer;
	bool runs;
};

/* The handler is the process's: there as long as any thread is watched. */
static struct {
	pthread_mutex_t lock;
	int threads;
	struct sigaction before;
} watching = { PTHREAD_MUTEX_INITIALIZER };

static __thread struct {
	unsigned long start, end;	/* the kernel's text */
	struct timespec patience;
	timer_t timer;
	u64 seen;
} watched __attribute__((tls_model("initial-exec")));

static void watch_next(bool soon)
{
	struct itimerspec next = { .it_value = watched.patience };

	if (soon)
		next.it_value = (struct timespec){ 0, WATCH_AGAIN_NS };
	timer_settime(watched.timer, 0, &next, NULL);
}

/* In L0 the thread may be in the middle of anything: it is looked at again a moment later, and a
 * guest that never leaves is not the kernel's fault. */
static void watch_tick(int number, siginfo_t *info, void *context)
{
	unsigned long rip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	u64 exits = __atomic_load_n(&the_image->all_exits, __ATOMIC_RELAXED);
	bool stuck = exits == watched.seen;

	watched.seen = exits;
	if (stuck && rip >= watched.start && rip < watched.end)
		host_die("a loop without an end", rip);
	watch_next(stuck);
}

static bool watch_install(void)
{
	struct sigaction action = {
		.sa_sigaction = watch_tick, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	bool there;

	pthread_mutex_lock(&watching.lock);
	there = watching.threads || !sigaction(WATCH_SIGNAL, &action, &watching.before);
	watching.threads += there;
	pthread_mutex_unlock(&watching.lock);
	return there;
}

static void watch_uninstall(void)
{
	pthread_mutex_lock(&watching.lock);
	if (!--watching.threads)
		sigaction(WATCH_SIGNAL, &watching.before, NULL);
	pthread_mutex_unlock(&watching.lock);
}

/* patience: seconds of processor time without a VM exit; 0 looks at nothing. */
static void watch_begin(struct watch *watch, unsigned long start, unsigned long end,
			double patience)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = WATCH_SIGNAL };

	watch->runs = false;
	event.sigev_notify_thread_id = syscall(SYS_gettid);
	if (patience <= 0 || timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watch->timer))
		return;
	if (!watch_install()) {
		timer_delete(watch->timer);
		return;
	}
	watch->runs = true;
	watched.start = start;
	watched.end = end;
	watched.timer = watch->timer;
	watched.seen = __atomic_load_n(&the_image->all_exits, __ATOMIC_RELAXED);
	watched.patience.tv_sec = (time_t)patience;
	watched.patience.tv_nsec = (long)((patience - (double)watched.patience.tv_sec) * 1e9);
	watch_next(false);
}

static void watch_end(struct watch *watch)
{
	if (!watch->runs)
		return;
	timer_delete(watch->timer);
	watch_uninstall();
}

#endif
