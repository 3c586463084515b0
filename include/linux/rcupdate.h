// SPDX-License-Identifier: GPL-2.0-only
/* A pointer that others follow at any moment: what it leads to is whole before it does. */
#ifndef KVM_VMX_LINUX_RCUPDATE_H
#define KVM_VMX_LINUX_RCUPDATE_H

#include <linux/compiler.h>

/* Nothing that was published is freed: whoever looks holds nobody up. */
#define rcu_read_lock() barrier()
#define rcu_read_unlock() barrier()
#define rcu_assign_pointer(p, v) __atomic_store_n(&(p), v, __ATOMIC_RELEASE)
#define RCU_INIT_POINTER(p, v) __atomic_store_n(&(p), v, __ATOMIC_RELAXED)
#define rcu_dereference(p) __atomic_load_n(&(p), __ATOMIC_CONSUME)

#endif
