// SPDX-License-Identifier: GPL-2.0-only
/*
 * The port's stores into a VMCS, each told with its function and line: for the build that a
 * machine with lints loads. kvm_vmx/building.py puts what is behind WATCHED in front of the accessors' calls.
 */
#ifndef KVM_VMX_ASM_VMX_WATCHED_H
#define KVM_VMX_ASM_VMX_WATCHED_H

#include <asm/percpu.h>

/* at: anywhere in the VMCS's page. */
static noinline void l1_wrote(const void *at, u64 field, const struct l1_line *where)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);
	u64 vmcs = ((u64)at & ~0xfffull) - (u64)cpu->mem->base;

	if (at && cpu->mem->wrote)
		cpu->mem->wrote(cpu, vmcs, field, WRITER_LINE, (u64)where);
}

/* Where this stands in the source, as #line has it. */
#define L1_HERE ({							\
	static const struct l1_line here__ = { __func__, __LINE__ };	\
	&here__; })

/* Behind the store: what stands there then is what was written. */
#define WATCHED(accessor, field, operand) ({				\
	accessor(field, operand);					\
	l1_wrote(this_cpu_read(current_vmcs), field, L1_HERE); })

#endif
