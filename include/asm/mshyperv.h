// SPDX-License-Identifier: GPL-2.0-only
/* The instruction of a hypercall. */
#ifndef KVM_VMX_ASM_MSHYPERV_H
#define KVM_VMX_ASM_MSHYPERV_H

#include <asm/insn_form.h>
#include <linux/vmlinux.h>

/* Control word and parameters in, the result out, in the registers of the 64-bit ABI. */
static inline insn_t hv_vmcall(u64 control, u64 input, u64 output, u64 *result)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);
	u64 regs[NR_GPRS] = { [GPR_RCX] = control, [GPR_RDX] = input, [GPR_R8] = output };
	insn_t status;

	if (insn_by_trap() && this_cpu_read(vmlinux)->vmcall_traps)
		return trap_vmcall(control, input, output, result);
	status = cpu->ops->vmcall(cpu, regs);
	*result = regs[GPR_RAX];
	return status;
}

#endif
