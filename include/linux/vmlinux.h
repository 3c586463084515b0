// SPDX-License-Identifier: GPL-2.0-only
/* What the kernel proper exports to code in headers: a table that every CPU points at. */
#ifndef KVM_VMX_LINUX_VMLINUX_H
#define KVM_VMX_LINUX_VMLINUX_H

#include <linux/types.h>

struct vmlinux {
	void (*emit)(int level, const char *text);	/* one message into the kernel log */
	void (*warn)(void);				/* count a WARNING */
	void (*oops)(void);				/* end the thread; does not return */
	void (*service)(void);				/* run what other CPUs asked of this one */
	int kvm_rebooting;
};

#endif
