// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two forms of a privileged instruction: a call to the processor that this thread runs as,
 * or the opcode itself, which traps to that processor since user space may not execute it.
 */
#ifndef KVM_VMX_ASM_INSN_FORM_H
#define KVM_VMX_ASM_INSN_FORM_H

#include <asm/percpu.h>
#include <linux/jump_label.h>

/* One key a module, off: by call. Whoever loads the module finds it by its section. */
static struct static_key_false insn_trap __attribute__((section("insn_form"), unused));
#define insn_by_trap() static_branch_unlikely(&insn_trap)

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

/* An opcode that leaves its fault in the operand [status]; clean undoes what it left half. */
#define INSN_ASM(opcode, clean)						\
	"1: " opcode "\n2:\n\t"						\
	".pushsection .fixup, \"ax\"\n"					\
	"3: mov %%eax, %k[status]\n\t" clean "\n\t"			\
	"jmp 2b\n\t"							\
	".popsection\n\t"						\
	_ASM_EXTABLE(1b, 3b)

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

/* EAX takes the status of a fault, so no operand may count on it afterwards. */
static __always_inline insn_t trap_rdmsr(u32 msr, u64 *value)
{
	insn_t status = INSN_OK;
	u32 low, high;

	__asm__ __volatile__(INSN_ASM(INSN_RDMSR, "xor %%eax, %%eax; xor %%edx, %%edx")
		: "=&a"(low), "=&d"(high), [status] "+&r"(status) : "c"(msr));
	*value = (u64)high << 32 | low;
	return status;
}

static __always_inline insn_t trap_wrmsr(u32 msr, u64 value)
{
	insn_t status = INSN_OK;
	u32 low = value;

	__asm__ __volatile__(INSN_ASM(INSN_WRMSR, "")
		: "+a"(low), [status] "+&r"(status)
		: "c"(msr), "d"((u32)(value >> 32)) : "memory");
	return status;
}

static __always_inline insn_t trap_vmcall(u64 control, u64 input, u64 output, u64 *result)
{
	register u64 r8 __asm__("r8") = output;
	insn_t status = INSN_OK;

	__asm__ __volatile__(INSN_ASM(INSN_VMCALL, "")
		: "=&a"(*result), [status] "+&r"(status), "+c"(control), "+d"(input), "+r"(r8)
		: : "cc", "memory", "r9", "r10", "r11");
	return status;
}

#endif
