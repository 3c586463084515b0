// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two forms of a privileged instruction: a call to the processor that this thread runs as,
 * or the opcode itself, which traps to that processor since user space may not execute it.
 */
#ifndef KVM_VMX_ASM_INSN_FORM_H
#define KVM_VMX_ASM_INSN_FORM_H

#include <asm/percpu.h>
#include <linux/jump_label.h>

/* CONFIG_INSN_TRAP of a build that has the opcodes and no calls beside them. */
#define INSN_TRAP_ALONE 2

/* One key a module, off: by call. Whoever loads the module finds it by its section. */
static struct static_key_false insn_trap __attribute__((section("insn_form"), unused));
#if CONFIG_INSN_TRAP == INSN_TRAP_ALONE
static struct static_key_false insn_trap __attribute__((used));
#define insn_by_trap() 1
#elif CONFIG_INSN_TRAP
#define insn_by_trap() static_branch_unlikely(&insn_trap)
#else
#define insn_by_trap() 0
#endif

/* Where an instruction that faults goes on, with what it did (insn_t) in EAX. */
struct exception_table_entry {
	u64 insn;
	u64 fixup;
};

#define _ASM_EXTABLE(from, to)						\
	".pushsection __ex_table, \"aw\"\n\t"				\
	".balign 8\n\t"							\
	".quad " #from ", " #to "\n\t"					\
	".popsection\n\t"

/* Behind what begins at label 1: its status is in EAX, also where it faulted. */
#define INSN_DONE "2:\n\t" _ASM_EXTABLE(1b, 2b)

/* Bytes, as in the kernel: no assembler need know them. */
#define INSN_VMCLEAR_RAX	".byte 0x66, 0x0f, 0xc7, 0x30"
#define INSN_VMLAUNCH		".byte 0x0f, 0x01, 0xc2"
#define INSN_VMRESUME		".byte 0x0f, 0x01, 0xc3"
#define INSN_VMPTRLD_RAX	".byte 0x0f, 0xc7, 0x30"
#define INSN_VMPTRST_RAX	".byte 0x0f, 0xc7, 0x38"
#define INSN_VMREAD_RDX_RAX	".byte 0x0f, 0x78, 0xd0"
#define INSN_VMWRITE_RAX_RDX	".byte 0x0f, 0x79, 0xd0"
#define INSN_VMWRITE_RSP_RDX	".byte 0x0f, 0x79, 0xd4"
#define INSN_VMXOFF		".byte 0x0f, 0x01, 0xc4"
#define INSN_VMXON_RAX		".byte 0xf3, 0x0f, 0xc7, 0x30"
#define INSN_INVEPT		".byte 0x66, 0x0f, 0x38, 0x80, 0x08"
#define INSN_INVVPID		".byte 0x66, 0x0f, 0x38, 0x81, 0x08"
#define INSN_VMCALL		".byte 0x0f, 0x01, 0xc1"
#define INSN_RDMSR		"rdmsr"
#define INSN_WRMSR		"wrmsr"
#define INSN_CPUID		"cpuid"

/* Fills all of *value, unless it faults. */
static __always_inline insn_t trap_rdmsr(u32 msr, u64 *value)
{
	insn_t status;

	__asm__ __volatile__("1: " INSN_RDMSR "\n\t"
			     "mov %%eax, (%%rsi)\n\t"
			     "mov %%edx, 4(%%rsi)\n\t"
			     "xor %%eax, %%eax\n"
			     INSN_DONE
			     : "=a"(status) : "c"(msr), "S"(value) : "rdx", "cc", "memory");
	return status;
}

static __always_inline insn_t trap_wrmsr(u32 msr, u64 value)
{
	u32 status = value;

	__asm__ __volatile__("1: " INSN_WRMSR "\n\t"
			     "xor %%eax, %%eax\n"
			     INSN_DONE
			     : "+a"(status) : "c"(msr), "d"((u32)(value >> 32)) : "cc", "memory");
	return status;
}

/* Traps only while the thread has asked for it. */
static __always_inline void trap_cpuid(u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	__asm__ __volatile__(INSN_CPUID
			     : "+a"(*eax), "=b"(*ebx), "+c"(*ecx), "=d"(*edx));
}

static __always_inline insn_t trap_vmcall(u64 control, u64 input, u64 output, u64 *result)
{
	register u64 r8 __asm__("r8") = output;
	insn_t status;

	__asm__ __volatile__("1: " INSN_VMCALL "\n\t"
			     "mov %%rax, (%%rsi)\n\t"
			     "xor %%eax, %%eax\n"
			     INSN_DONE
			     : "=a"(status), "+c"(control), "+d"(input), "+r"(r8)
			     : "S"(result) : "cc", "memory", "r9", "r10", "r11");
	return status;
}

#endif
