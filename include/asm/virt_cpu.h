// SPDX-License-Identifier: GPL-2.0-only
/*
 * One logical processor and the physical memory beside it: all that L1 and L0 share.
 *
 * L1 stores into memory and executes instructions; L0 implements the instructions behind
 * struct virt_cpu_ops. Neither side sees anything else of the other.
 */
#ifndef KVM_VMX_ASM_VIRT_CPU_H
#define KVM_VMX_ASM_VIRT_CPU_H

#include <asm/insns.h>
#include <linux/types.h>

/* Guest-physical memory of the L1 machine: GPA 0..size at host address base. */
struct phys_mem {
	u8 *base;
	u64 size;
	u64 *unbacked;		/* one bit a page, 1: nothing is there; NULL: all is backed */
};

/*
 * What an instruction did. A VMX instruction leaves the RFLAGS bit that reports its failure
 * (CF: VMfailInvalid, ZF: VMfailValid); any instruction may fault instead.
 */
typedef u32 insn_t;

#define INSN_OK			0u
#define INSN_VMFAIL_INVALID	0x01u
#define INSN_VMFAIL_VALID	0x40u
#define INSN_FAULT		0x80000000u
#define INSN_FAULT_VECTOR(status)	((status) >> 16 & 0xff)
#define INSN_FAULT_ERROR(status)	((status) & 0xffff)
#define INSN_MAKE_FAULT(vector, error)	(INSN_FAULT | (u32)(vector) << 16 | (u32)(error))

/* General registers in the order of their encodings, as kvm_vcpu_arch.regs has them. */
enum gpr {
	GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
	GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15, NR_GPRS
};

struct virt_cpu;

/* VMLAUNCH and VMRESUME are one, as asm/insns.h says of them. */
struct virt_cpu_ops {
#define INSN_OP(name, ...) insn_t (*name)(struct virt_cpu *cpu, ##__VA_ARGS__);
	INSN_OPS(INSN_OP)
#undef INSN_OP
};

/* The registers that software of L1 reads without trapping. Written by L0; L1 changes
 * control registers only through ops->mov_to_cr. L0's own state lies behind this struct. */
struct virt_cpu {
	const struct virt_cpu_ops *ops;
	const struct phys_mem *mem;
	u64 rip, rsp, rflags;
	u64 cr0, cr2, cr3, cr4, dr7;
	/* Shared by L1 and L2, since neither entry nor exit loads them: MOV DR does not trap here,
	 * and cr8 is the priority of the local APIC. */
	u64 dr[4], dr6, cr8;
	u64 idtr_base, gdtr_base, tr_base;
	u32 index;		/* the VP index */
	u32 cpl;
	/* A pending external interrupt: 0, or 0x100 | vector. Any thread may set it; an exit
	 * that acknowledges the interrupt clears it. */
	u32 intr;
	/* A pending NMI, likewise: 0 or 1. */
	u32 nmi;
};

#endif
