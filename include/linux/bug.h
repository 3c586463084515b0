// SPDX-License-Identifier: GPL-2.0-only
/* WARN and BUG: the first is counted and goes on, the second ends the thread. */
#ifndef KVM_VMX_LINUX_BUG_H
#define KVM_VMX_LINUX_BUG_H

#include <linux/printk.h>

#define WARN(condition, ...) ({						\
	bool warn__ = !!(condition);					\
	if (unlikely(warn__)) {						\
		this_cpu_read(vmlinux)->warn();				\
		printk_prefixed(4, "WARNING: ", __VA_ARGS__);		\
	}								\
	unlikely(warn__); })

#define WARN_ONCE(condition, ...) ({					\
	bool warn_once__ = !!(condition);				\
	if (unlikely(warn_once__) && first_time())			\
		WARN(1, __VA_ARGS__);					\
	unlikely(warn_once__); })

#define WARN_ON(condition) WARN(condition, "%s:%d\n", __FILE__, __LINE__)
#define WARN_ON_ONCE(condition) WARN_ONCE(condition, "%s:%d\n", __FILE__, __LINE__)

#define BUG_MSG(...) do {						\
	printk_prefixed(2, "kernel BUG: ", __VA_ARGS__);		\
	this_cpu_read(vmlinux)->oops();					\
	__builtin_unreachable();					\
} while (0)
#define BUG() BUG_MSG("at %s:%d", __FILE__, __LINE__)
#define BUG_ON(condition) do {						\
	if (unlikely(condition))					\
		BUG();							\
} while (0)

/* A processor refuses an address that is not canonical, whoever uses it. */
#define check_canonical(address) do {					\
	if (unlikely((s64)(address) << 16 >> 16 != (s64)(address)))	\
		BUG_MSG("general protection fault: address %lx",	\
			(unsigned long)(address));			\
} while (0)

#endif
