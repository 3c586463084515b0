// SPDX-License-Identifier: GPL-2.0-only
/* What every stand-in includes: the host's table, and how one of them ends the kernel. */
#ifndef KVM_VMX_KERNEL_STANDIN_H
#define KVM_VMX_KERNEL_STANDIN_H

#include <linux/kvm_host.h>
#include "probes.h"
#include "host.h"

extern struct host *host;

#define die(why) (host->die)(why, (unsigned long)__builtin_return_address(0))

void *standin_alloc(unsigned long size, gfp_t flags);
void standin_free(const void *object);
void standin_quiesce(void);
void standin_no_signal(void);
void standin_memory(void);
void standin_per_cpu(void);
void standin_features(void);
int standin_hyperv(void);
void standin_on(int cpu, void (*fn)(void *), void *arg);

#endif
