// SPDX-License-Identifier: GPL-2.0-only
/* Spinlocks, for sections of a few instructions. */
#ifndef KVM_VMX_LINUX_SPINLOCK_H
#define KVM_VMX_LINUX_SPINLOCK_H

#include <linux/types.h>
#include <sched.h>

typedef int spinlock_t;

static inline void spin_lock_init(spinlock_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

/* The holder may have lost its processor: let it have this one. */
static inline void spin_lock(spinlock_t *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static inline bool spin_trylock(spinlock_t *lock)
{
	return !__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE);
}

static inline bool spin_is_locked(const spinlock_t *lock)
{
	return __atomic_load_n(lock, __ATOMIC_RELAXED);
}

#define raw_spin_is_locked(lock) spin_is_locked(lock)

static inline void spin_unlock(spinlock_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
