// SPDX-License-Identifier: GPL-2.0-only
/*
 * Privileged instructions of an image's: what it calls its table for, what stands in its text and
 * would not trap or not by itself, and its interrupts' gates.
 */
#ifndef KVM_VMX_KERNEL_INSTRUCTIONS_H
#define KVM_VMX_KERNEL_INSTRUCTIONS_H

#include <kvm_vmx/kernel/image.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static void keep_struck(u32 number, bool write, bool call)
{
	if (the_image->nr_struck == IMAGE_STRUCK)
		return;
	the_image->struck[the_image->nr_struck++] = (struct struck){
		this_virt_cpu()->index, number, write, call };
}

/* Both count, where both were asked for. */
static bool msr_strikes(u32 msr, bool write)
{
	bool found = msr == the_image->one_msr && host_fail(FAIL_ONE_MSR);

	found |= host_fail(FAIL_MSR);
	if (found)
		keep_struck(msr, write, false);
	return found;
}

static FROM_KERNEL int host_read_msr(unsigned int msr, unsigned long long *value)
{
	u64 found = 0;
	insn_t status;

	if (msr_strikes(msr, false))
		return 1;
	status = this_virt_cpu()->ops->rdmsr(this_virt_cpu(), msr, &found);
	*value = found;
	return status != INSN_OK;
}

static FROM_KERNEL int host_write_msr(unsigned int msr, unsigned long long value)
{
	return msr_strikes(msr, true) ||
	       this_virt_cpu()->ops->wrmsr(this_virt_cpu(), msr, value) != INSN_OK;
}

static FROM_KERNEL void host_cpuid(unsigned int *regs)
{
	this_virt_cpu()->ops->cpuid(this_virt_cpu(), &regs[0], &regs[1], &regs[2], &regs[3]);
}

static FROM_KERNEL unsigned long host_read_cr(int cr)
{
	const struct virt_cpu *cpu = this_virt_cpu();

	switch (cr) {
	case 0: return cpu->cr0;
	case 2: return cpu->cr2;
	case 3: return cpu->cr3;
	case 4: return cpu->cr4;
	default: return cpu->cr8;
	}
}

static FROM_KERNEL int host_write_cr(int cr, unsigned long value)
{
	return this_virt_cpu()->ops->mov_to_cr(this_virt_cpu(), cr, value) != INSN_OK;
}

/* DR0 to DR3, 6 and 7: L1 and L2 share all but the last, which an entry and an exit load. */
static u64 *debug_register(int dr)
{
	struct virt_cpu *cpu = this_virt_cpu();

	return dr < 4 ? &cpu->dr[dr] : dr == 6 ? &cpu->dr6 : &cpu->dr7;
}

static FROM_KERNEL unsigned long host_read_dr(int dr)
{
	return *debug_register(dr);
}

static FROM_KERNEL void host_write_dr(int dr, unsigned long value)
{
	*debug_register(dr) = value;
}

static FROM_KERNEL int host_vmcall(unsigned long long *regs)
{
	if (host_fail(FAIL_HYPERCALL)) {
		keep_struck(regs[GPR_RCX], false, true);
		regs[0] = HYPERCALL_HAS_NO_MEMORY;
		return 0;
	}
	return this_virt_cpu()->ops->vmcall(this_virt_cpu(), (u64 *)regs) != INSN_OK;
}

/* A page of user space's is another one of memory's from now on. */
static FROM_KERNEL int host_move_user(unsigned long user, unsigned long gpa)
{
	void *from = (void *)(the_image->host.memory + gpa);

	return mremap(from, 0, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)user) == MAP_FAILED;
}

static const u8 gpr_place[NR_GPRS] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* MOV from and to a control register that KVM writes down itself: CR2, around an entry. */
static bool emulate_mov_cr(long long *gregs)
{
	const u8 *at = (const u8 *)gregs[REG_RIP];
	u8 rex = (*at & 0xf0) == 0x40 ? *at++ : 0;
	unsigned int gpr, cr;

	if (at[0] != 0x0f || (at[1] != 0x20 && at[1] != 0x22))
		return false;
	gpr = (at[2] & 7) | (rex & 1) << 3;
	cr = (at[2] >> 3 & 7) | (rex & 4) << 1;
	if (at[1] == 0x20)
		gregs[gpr_place[gpr]] = host_read_cr(cr);
	else if (host_write_cr(cr, gregs[gpr_place[gpr]]))
		return false;
	gregs[REG_RIP] = (long long)(at + 3);
	return true;
}

/* SIDT and SGDT of a site: ten bytes, the limit and the base. SLDT and STR: a selector. */
static bool emulate_site(const struct image_site *site, long long *gregs)
{
	const u8 *end = site->code + site->length;
	struct prefixes prefix = { 0 };
	struct trap_insn insn;
	u64 regs[NR_GPRS], base;
	u16 limit = 0xfff;
	const u8 *at;
	int i;

	for (i = 0; i < NR_GPRS; i++)
		regs[i] = gregs[gpr_place[i]];
	at = read_prefixes(site->code, end, &prefix) + 1;
	if (!read_modrm(at + 1, end, &prefix, regs, site->ip, site->code, &insn))
		return false;
	if (*at == 0x00) {
		base = (insn.reg & 7) == 1 ? 0x40 : 0;
		if (insn.memory)
			memcpy((void *)insn.address, &base, 2);
		else
			gregs[gpr_place[insn.rm]] = base;
	} else {
		base = (insn.reg & 7) == 1 ? this_virt_cpu()->idtr_base
					   : this_virt_cpu()->gdtr_base;
		memcpy((void *)insn.address, &limit, 2);
		memcpy((void *)(insn.address + 2), &base, 8);
	}
	gregs[REG_RIP] += site->length;
	return true;
}

static int image_exception(long long *gregs, unsigned int vector)
{
	int i;

	for (i = 0; i < the_image->nr_sites; i++)
		if (the_image->sites[i].ip == (u64)gregs[REG_RIP])
			return emulate_site(&the_image->sites[i], gregs);
	if (vector == 13 && emulate_mov_cr(gregs))
		return 1;
	return the_image->exception(gregs, vector);
}

static FROM_KERNEL __attribute__((used)) void image_interrupted(void)
{
	crowd_interrupted();
}

/* L1's interrupt handlers: KVM calls the one of an interrupt that ended a guest's turn, by its gate.
 * All there is to serve is another thread. What IRETQ would do from a kernel's code segment is done
 * by hand: back to where it was called, on the stack that was in use. */
void image_interrupt(void);
__asm__(".pushsection .text\n"
	".local image_interrupt\n"
	"image_interrupt:\n\t"
	"push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10\n\t"
	"push %r11; push %rbp; mov %rsp, %rbp; cld; call image_interrupted\n\t"
	"mov %rbp, %rsp; pop %rbp; pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx\n\t"
	"push %rdx; mov 16(%rsp), %rdx; mov 40(%rsp), %rax\n\t"
	"mov %rdx, -8(%rax)\n\t"
	"pop %rdx; pop %rax\n\t"
	"mov 24(%rsp), %rsp; lea -8(%rsp), %rsp; ret\n\t"
	".popsection");

#define IDT_GATES 256
#define GATE_KIND 0x8e0000100000UL	/* an interrupt gate that is there, by the kernel's selector */

static u64 image_idt[IDT_GATES][2];

static void image_fill_idt(void)
{
	u64 handler = (u64)image_interrupt;
	int i;

	for (i = 0; i < IDT_GATES; i++) {
		image_idt[i][0] = (handler & 0xffff) | GATE_KIND | (handler >> 16 & 0xffff) << 48;
		image_idt[i][1] = handler >> 32;
	}
}

#endif
