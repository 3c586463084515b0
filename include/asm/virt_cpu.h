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
#include <asm/processor-flags.h>
#include <linux/types.h>

/* Who wrote a field of a VMCS: a line of L1's source, the instruction at an address, or Python. */
enum writer { WRITER_UNKNOWN, WRITER_LINE, WRITER_ADDRESS, WRITER_PYTHON };

struct l1_line {
	const char *function;
	u32 line;
};

#define WRITTEN_CURRENT (~0ull)		/* for the address of a VMCS: the one that is current */

struct virt_cpu;

/* Guest-physical memory of the L1 machine: GPA 0..size at host address base. */
struct phys_mem {
	u8 *base;
	u64 size;
	u64 *unbacked;		/* one bit a page, 1: nothing is there; NULL: all is backed */
	/* No part of hardware: whoever has written a field of a VMCS says so where somebody watches;
	 * NULL: nobody does. where is a struct l1_line's address, or an instruction's. */
	void (*wrote)(struct virt_cpu *cpu, u64 vmcs, u64 field, u32 who, u64 where);
	void *written;		/* and what was said */
};

/*
 * What an instruction did. A VMX instruction leaves the RFLAGS bit that reports its failure
 * (CF: VMfailInvalid, ZF: VMfailValid); any instruction may fault instead.
 */
typedef u32 insn_t;

#define INSN_OK			0u
#define INSN_VMFAIL_INVALID	((u32)X86_EFLAGS_CF)
#define INSN_VMFAIL_VALID	((u32)X86_EFLAGS_ZF)
#define INSN_FAULT		0x80000000u
/* The flags that arithmetic writes, and a VMX instruction: it clears those that it does not set. */
#define INSN_STATUS_FLAGS	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
				 X86_EFLAGS_SF | X86_EFLAGS_OF)
#define INSN_FAULT_VECTOR(status)	((status) >> 16 & 0xff)
#define INSN_FAULT_ERROR(status)	((status) & 0xffff)
#define INSN_MAKE_FAULT(vector, error)	(INSN_FAULT | (u32)(vector) << 16 | (u32)(error))

/* General registers in the order of their encodings, as kvm_vcpu_arch.regs has them. */
enum gpr {
	GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
	GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15, NR_GPRS
};

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
	/* Whether an external interrupt is pending, 0 or 1: any thread may raise one, and an exit
	 * that acknowledges it takes it. Which ones are in irr. */
	u32 intr;
	/* A pending NMI, likewise: 0 or 1. */
	u32 nmi;
	u64 irr[4];		/* a bit a vector */
};

static inline void irq_raise(struct virt_cpu *cpu, u32 vector)
{
	__atomic_fetch_or(&cpu->irr[(vector & 0xff) / 64], 1ull << (vector & 63), __ATOMIC_SEQ_CST);
	__atomic_store_n(&cpu->intr, 1, __ATOMIC_SEQ_CST);
}

/* The highest vector that is pending, as 0x100 | vector, or 0. */
static inline u32 irq_first(const struct virt_cpu *cpu)
{
	for (int i = 3; i >= 0; i--) {
		u64 word = __atomic_load_n(&cpu->irr[i], __ATOMIC_SEQ_CST);

		if (word)
			return 0x100 | (u32)(64 * i + 63 - __builtin_clzll(word));
	}
	return 0;
}

static inline int irq_is_pending(const struct virt_cpu *cpu, u32 vector)
{
	return __atomic_load_n(&cpu->irr[(vector & 0xff) / 64], __ATOMIC_SEQ_CST) >> (vector & 63) & 1;
}

/* After bits went: whoever raises one sets its bit first, so that none goes unseen. */
static inline void irq_settle(struct virt_cpu *cpu)
{
	__atomic_store_n(&cpu->intr, 0, __ATOMIC_SEQ_CST);
	if (irq_first(cpu))
		__atomic_store_n(&cpu->intr, 1, __ATOMIC_SEQ_CST);
}

/* The highest pending vector as 0x100 | vector, which waits no more, or 0. */
static inline u32 irq_take(struct virt_cpu *cpu)
{
	u32 found = irq_first(cpu);

	if (found)
		__atomic_fetch_and(&cpu->irr[(found & 0xff) / 64], ~(1ull << (found & 63)),
				   __ATOMIC_SEQ_CST);
	irq_settle(cpu);
	return found;
}

/* It waits no more, if it did. */
static inline void irq_forget(struct virt_cpu *cpu, u32 vector)
{
	__atomic_fetch_and(&cpu->irr[(vector & 0xff) / 64], ~(1ull << (vector & 63)),
			   __ATOMIC_SEQ_CST);
	irq_settle(cpu);
}

#endif
