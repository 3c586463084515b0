// SPDX-License-Identifier: GPL-2.0-only
/* RDMSR and WRMSR. The plain forms warn about a fault and go on; the safe ones return -EIO. */
#ifndef KVM_VMX_ASM_MSR_H
#define KVM_VMX_ASM_MSR_H

#include <asm/insn_form.h>
#include <asm/percpu.h>
#include <linux/bug.h>

static inline int rdmsrl_safe(u32 msr, u64 *value)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);
	insn_t status;

	*value = 0;
	if (insn_by_trap())
		status = trap_rdmsr(msr, value);
	else
		status = cpu->ops->rdmsr(cpu, msr, value);
	return unlikely(status != INSN_OK) ? -EIO : 0;
}

static inline int wrmsrl_safe(u32 msr, u64 value)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);
	insn_t status;

	if (insn_by_trap())
		status = trap_wrmsr(msr, value);
	else
		status = cpu->ops->wrmsr(cpu, msr, value);
	return unlikely(status != INSN_OK) ? -EIO : 0;
}

static inline void rdmsrl(u32 msr, u64 *value)
{
	if (rdmsrl_safe(msr, value))
		WARN_ONCE(1, "unchecked MSR access error: RDMSR from 0x%x\n", msr);
}

static inline void wrmsrl(u32 msr, u64 value)
{
	if (wrmsrl_safe(msr, value))
		WARN_ONCE(1, "unchecked MSR access error: WRMSR to 0x%x (tried to write 0x%016llx)\n",
			  msr, (unsigned long long)value);
}

static inline void rdmsr(u32 msr, u32 *low, u32 *high)
{
	u64 value;

	rdmsrl(msr, &value);
	*low = value;
	*high = value >> 32;
}

static inline int rdmsr_safe(u32 msr, u32 *low, u32 *high)
{
	u64 value;
	int err = rdmsrl_safe(msr, &value);

	*low = value;
	*high = value >> 32;
	return err;
}

static inline int wrmsr_safe(u32 msr, u32 low, u32 high)
{
	return wrmsrl_safe(msr, (u64)high << 32 | low);
}

#endif
