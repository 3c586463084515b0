// SPDX-License-Identifier: GPL-2.0-only
/* What perf asks of KVM: the MSRs to switch with the guest; usually none. */
#ifndef KVM_VMX_LINUX_PERF_EVENT_H
#define KVM_VMX_LINUX_PERF_EVENT_H

#include <asm/percpu.h>
#include <linux/vmlinux.h>

static inline struct perf_guest_switch_msr *perf_guest_get_msrs(int *nr)
{
	const struct vmlinux *vmlinux = this_cpu_read(vmlinux);

	*nr = vmlinux->nr_perf_msrs;
	return *nr ? (struct perf_guest_switch_msr *)vmlinux->perf_msrs : NULL;
}

#endif
