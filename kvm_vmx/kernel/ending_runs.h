// SPDX-License-Identifier: GPL-2.0-only
/*
 * A signal of Python's ends a run: Python's handler writes into a pipe, and the thread that runs a
 * vCPU looks there behind a VM exit, now and then.
 */
#ifndef KVM_VMX_KERNEL_ENDING_RUNS_H
#define KVM_VMX_KERNEL_ENDING_RUNS_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <x86intrin.h>

#define LOOK_AGAIN (1 << 22)		/* ticks of the TSC: some milliseconds */

/* Read where instructions trap, so nothing that is allocated when it is first touched. */
static __thread struct {
	bool listens, came;
	int fd;
	unsigned long long next;
} waking __attribute__((tls_model("initial-exec")));

static void wake_by(int fd)
{
	waking.listens = fd >= 0;
	waking.fd = fd;
	waking.came = false;
	waking.next = 0;
}

static bool has_signal_come(void) { return waking.came; }

static bool signal_waits(void)
{
	struct pollfd ask = { .fd = waking.fd, .events = POLLIN };
	int before = errno;

	if (!waking.listens || __rdtsc() < waking.next)
		return false;
	waking.next = __rdtsc() + LOOK_AGAIN;
	waking.came = poll(&ask, 1, 0) > 0;
	errno = before;
	return waking.came;
}

#endif
