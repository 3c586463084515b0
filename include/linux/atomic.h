// SPDX-License-Identifier: GPL-2.0-only
/* Counters that several threads change at once. */
#ifndef KVM_VMX_LINUX_ATOMIC_H
#define KVM_VMX_LINUX_ATOMIC_H

#include <linux/types.h>

static inline int atomic_read(const int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void atomic_set(int *counter, int value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline void atomic_set_release(int *counter, int value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

static inline void atomic_inc(int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static inline bool atomic_dec_and_test(int *counter)
{
	return __atomic_sub_fetch(counter, 1, __ATOMIC_SEQ_CST) == 0;
}

/* What it was: the new value is stored where that is the old one. */
static inline int atomic_cmpxchg(int *counter, int old, int value)
{
	__atomic_compare_exchange_n(counter, &old, value, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return old;
}

static inline bool atomic_add_unless(int *counter, int more, int unless)
{
	int now = atomic_read(counter), seen;

	while (now != unless) {
		seen = atomic_cmpxchg(counter, now, now + more);
		if (seen == now)
			return true;
		now = seen;
	}
	return false;
}

#endif
