// SPDX-License-Identifier: GPL-2.0-only
/* THE list of the instructions of L1 that a hypervisor sees: all that has a row for each of them
 * is made of it (the processor's table, counters, trace, traps, and the names in Python). */
#ifndef KVM_VMX_ASM_INSNS_H
#define KVM_VMX_ASM_INSNS_H

/*
 * OP(name, parameters after the processor): a function of struct virt_cpu_ops. Behind it the
 * instructions that it carries out: INSN(name, operands, results) where they fault in user
 * space, CALL(...) where they are calls on every host. operands and results are how many
 * numbers the trace keeps: of CPUID two results with two registers in each, of an entry the
 * VMCS, and the exit's reason and qualification.
 *
 * The order is that of the counters.
 */
#define INSNS(OP, INSN, CALL)								\
	OP(cpuid, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)	INSN(cpuid, 2, 2)	\
	OP(rdmsr, u32 msr, u64 *value)				INSN(rdmsr, 1, 1)	\
	OP(wrmsr, u32 msr, u64 value)				INSN(wrmsr, 2, 0)	\
	/* control registers change through it alone */					\
	OP(mov_to_cr, u32 cr, u64 value)			CALL(mov_to_cr, 2, 0)	\
	OP(vmxon, u64 pa)					INSN(vmxon, 1, 0)	\
	OP(vmxoff)						INSN(vmxoff, 0, 0)	\
	OP(vmclear, u64 pa)					INSN(vmclear, 1, 0)	\
	OP(vmptrld, u64 pa)					INSN(vmptrld, 1, 0)	\
	OP(vmptrst, u64 *pa)					INSN(vmptrst, 0, 1)	\
	OP(vmread, u64 field, u64 *value)			INSN(vmread, 1, 1)	\
	OP(vmwrite, u64 field, u64 value)			INSN(vmwrite, 2, 0)	\
	/* regs is both L1's register file at the instruction and L2's while it runs		\
	 * (entry and exit leave the general registers alone); RSP and RIP of L2 are in the	\
	 * VMCS, and regs[GPR_RSP] is not touched. INSN_OK: L2 ran and exited, and cpu->rip	\
	 * and cpu->rsp are what the exit loaded from the host state. */			\
	OP(vmentry, u64 *regs, int launch)			INSN(vmlaunch, 1, 2)	\
								INSN(vmresume, 1, 2)	\
	OP(invept, u64 type, u64 eptp, u64 gpa)			INSN(invept, 3, 0)	\
	OP(invvpid, u64 type, u64 vpid, u64 gla)		INSN(invvpid, 3, 0)	\
	/* from L1: the hypercall ABI of Hyper-V, registers in and out */		\
	OP(vmcall, u64 *regs)					INSN(vmcall, 3, 1)

#define INSN_NONE(...)

/* X(name, operands, results) for every instruction; the same for those that fault. */
#define INSN_ALL(X)		INSNS(INSN_NONE, X, X)
#define INSN_FAULTING(X)	INSNS(INSN_NONE, X, INSN_NONE)
/* X(name, parameters after the processor) for every function of the table. */
#define INSN_OPS(X)		INSNS(X, INSN_NONE, INSN_NONE)

#endif
