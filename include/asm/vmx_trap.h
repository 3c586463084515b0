// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMX instructions as opcodes: what each did comes back as a call would say it, from one
 * piece of assembly, so that the compiler sees nothing in it that would change the call beside.
 */
#ifndef KVM_VMX_ASM_VMX_TRAP_H
#define KVM_VMX_ASM_VMX_TRAP_H

#include <asm/host_rsp.h>
#include <asm/insn_form.h>
#include <asm/vmx.h>

/* RFLAGS of a VMX instruction as a status in EAX, out of line where it failed; then is executed
 * where it did not. */
#define VMX_STATUS(then)						\
	"jbe 4f\n\t"							\
	then								\
	"xor %%eax, %%eax\n"						\
	INSN_DONE							\
	".pushsection .fixup, \"ax\"\n"					\
	"4: mov %[fail_valid], %%eax\n\t"				\
	"jnc 2b\n\t"							\
	"mov %[fail_invalid], %%eax\n\t"				\
	"jmp 2b\n\t"							\
	".popsection\n\t"
#define VMX_STATUSES [fail_valid] "i"(INSN_VMFAIL_VALID), [fail_invalid] "i"(INSN_VMFAIL_INVALID)

/* Operands in RAX, as in the kernel, and elsewhere. */
#define TRAP_VMX(opcode, rax, ...) ({					\
	u64 status__ = (u64)(rax);					\
	__asm__ __volatile__("1: " opcode "\n\t" VMX_STATUS("")		\
		: "+a"(status__) : VMX_STATUSES, ##__VA_ARGS__ : "cc", "memory");	\
	(insn_t)status__; })

static __always_inline insn_t trap_vmxon(const u64 *phys_addr)
{
	return TRAP_VMX(INSN_VMXON_RAX, phys_addr);
}

static __always_inline insn_t trap_vmxoff(void)
{
	return TRAP_VMX(INSN_VMXOFF, 0);
}

static __always_inline insn_t trap_vmclear(const u64 *phys_addr)
{
	return TRAP_VMX(INSN_VMCLEAR_RAX, phys_addr);
}

static __always_inline insn_t trap_vmptrld(const u64 *phys_addr)
{
	return TRAP_VMX(INSN_VMPTRLD_RAX, phys_addr);
}

static __always_inline insn_t trap_vmptrst(u64 *phys_addr)
{
	return TRAP_VMX(INSN_VMPTRST_RAX, phys_addr);
}

/* To memory, which is left alone if the read fails, and from the registers that a call has. */
static __always_inline insn_t trap_vmread(unsigned long field, u64 *value)
{
	insn_t status;

	__asm__ __volatile__("xchg %%rdx, %%rsi\n"
			     "1: " INSN_VMREAD_RDX_RAX "\n\t"
			     VMX_STATUS("mov %%rax, (%%rsi)\n\t")
			     : "=a"(status), "+S"(field), "+d"(value) : VMX_STATUSES
			     : "cc", "memory");
	return status;
}

static __always_inline insn_t trap_vmwrite(unsigned long field, unsigned long value)
{
	return TRAP_VMX(INSN_VMWRITE_RAX_RDX, value, "d"(field));
}

static __always_inline insn_t trap_invept(unsigned long ext, u64 eptp, u64 gpa)
{
	struct { u64 eptp, gpa; } operand = { eptp, gpa };

	return TRAP_VMX(INSN_INVEPT, &operand, "c"(ext));
}

static __always_inline insn_t trap_invvpid(unsigned long ext, u64 vpid, u64 gva)
{
	struct { u64 vpid, gva; } operand = { vpid, gva };

	return TRAP_VMX(INSN_INVVPID, &operand, "c"(ext));
}

/* What the assembly of a VM entry is given, and gives back: fail, or fault if it is not 0. */
struct vm_entry {
	unsigned long *regs;
	unsigned long *host_rsp;
	unsigned long evmcs_rsp;
	u8 launched;
	u8 fail;
	insn_t fault;
};

#define VM_ENTRY(member) [member] "i"(offsetof(struct vm_entry, member))
#define VM_REG(register, number) "mov " #number "*8(%%rcx), " #register "\n\t"
#define VM_SAVE(register, number) "mov " #register ", " #number "*8(%%rcx)\n\t"
#define VM_REGS(each)							\
	each(%%rax, 0) each(%%rdx, 2) each(%%rbx, 3) each(%%rbp, 5)	\
	each(%%rsi, 6) each(%%rdi, 7) each(%%r8, 8) each(%%r9, 9)	\
	each(%%r10, 10) each(%%r11, 11) each(%%r12, 12) each(%%r13, 13)	\
	each(%%r14, 14) each(%%r15, 15)

/* What the exit of each entry must load as RIP, by the addresses of its two instructions. */
struct vm_return {
	u64 vmlaunch, vmresume, rip;
};

/*
 * RCX: the struct, RDX: the encoding of HOST_RSP. Where RSP has moved, note it for the exit in
 * one of the ways of asm/host_rsp.h; RSI: where under eVMCS. Enter; the exit comes back at the
 * address that the variable `rip` holds, with L2's registers. RSP at the entry is what the exit
 * must load: nothing is pushed in between. Safe below RSP, since whoever enters L2 calls other
 * functions and so has no red zone. What a function must keep is pushed here and not left to
 * the compiler, which would make the call form pay for it.
 */
#define ASM_VM_ENTRY(note, rip)						\
	"push %%rbp; push %%rbx; push %%r12\n\t"			\
	"push %%r13; push %%r14; push %%r15\n\t"			\
	"push %%rcx\n\t"						\
	"mov %c[host_rsp](%%rcx), %%rax\n\t"				\
	"cmp %%rsp, (%%rax)\n\t"					\
	"je 4f\n\t"							\
	"mov %%rsp, (%%rax)\n\t"					\
	"mov %c[evmcs_rsp](%%rcx), %%rsi\n\t"				\
	note								\
	"4: cmpb $0, %c[launched](%%rcx)\n\t"				\
	"mov %c[regs](%%rcx), %%rcx\n\t"				\
	VM_REGS(VM_REG)							\
	"mov 1*8(%%rcx), %%rcx\n\t"					\
	"jne 5f\n\t"							\
	"2: " INSN_VMLAUNCH "\n\t"					\
	"jmp 6f\n"							\
	"5: " INSN_VMRESUME "\n"					\
	"6:\n\t"							\
	".pushsection vm_return, \"aw\"\n\t"				\
	".balign 8\n\t"							\
	".quad 2b, 5b\n\t"						\
	".globl " rip "\n\t"						\
	".hidden " rip "\n"						\
	rip ": .quad 6b\n\t"						\
	".popsection\n\t"						\
	"push %%rcx\n\t"						\
	"mov 8(%%rsp), %%rcx\n\t"					\
	"setbe %c[fail](%%rcx)\n\t"					\
	"mov %c[regs](%%rcx), %%rcx\n\t"				\
	VM_REGS(VM_SAVE)						\
	"pop %%rax\n\t"							\
	"mov %%rax, 1*8(%%rcx)\n"					\
	"7: pop %%rcx\n\t"						\
	"pop %%r15; pop %%r14; pop %%r13\n\t"				\
	"pop %%r12; pop %%rbx; pop %%rbp\n\t"				\
	".pushsection .fixup, \"ax\"\n"					\
	"8: mov (%%rsp), %%rcx\n\t"					\
	"mov %%eax, %c[fault](%%rcx)\n\t"				\
	"jmp 7b\n\t"							\
	".popsection\n\t"						\
	_ASM_EXTABLE(1b, 8b) _ASM_EXTABLE(2b, 8b) _ASM_EXTABLE(5b, 8b)

/* What the assembly above is given, and what it leaves changed. */
#define VM_ENTRY_OPERANDS(entry, field, ...)				\
	: "+c"(entry), "+d"(field)					\
	: VM_ENTRY(regs), VM_ENTRY(host_rsp), VM_ENTRY(evmcs_rsp),	\
	  VM_ENTRY(launched), VM_ENTRY(fail), VM_ENTRY(fault) __VA_ARGS__	\
	: "cc", "memory", "rax", "rdi", "rsi", "r8", "r9", "r10", "r11"

static __always_inline insn_t trap_vm_entry(unsigned long *regs, unsigned long *host_rsp,
					    unsigned long evmcs_rsp, bool launched)
{
	struct vm_entry vm_entry = { regs, host_rsp, evmcs_rsp, launched }, *entry = &vm_entry;
	unsigned long field = HOST_RSP;

	__asm__ __volatile__(ASM_VM_ENTRY(HOST_RSP_TEST, "vmx_return")
			     VM_ENTRY_OPERANDS(entry, field));
	return vm_entry.fault ?: vm_entry.fail;
}

#endif
