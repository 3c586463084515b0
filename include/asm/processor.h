// SPDX-License-Identifier: GPL-2.0-only
/* CPUID, control registers, and what else of the processor L1 looks at. */
#ifndef KVM_VMX_ASM_PROCESSOR_H
#define KVM_VMX_ASM_PROCESSOR_H

#include <asm/cpuid_fault.h>
#include <asm/msr.h>
#include <asm/percpu.h>
#include <time.h>
#include <x86intrin.h>

#define __KERNEL_CS 0x10
#define __KERNEL_DS 0x18
#define GDT_ENTRY_TSS 8

/* A feature is leaf << 8 | register << 5 | bit; registers in the order EAX, EBX, ECX, EDX. */
#define X86_FEATURE(leaf, reg, bit) ((u64)(leaf) << 8 | (reg) << 5 | (bit))
#define X86_FEATURE_PCID X86_FEATURE(1, 2, 17)
#define X86_FEATURE_X2APIC X86_FEATURE(1, 2, 21)
#define X86_FEATURE_XSAVE X86_FEATURE(1, 2, 26)
#define X86_FEATURE_VMX X86_FEATURE(1, 2, 5)
#define X86_FEATURE_HYPERVISOR X86_FEATURE(1, 2, 31)
#define X86_FEATURE_FSGSBASE X86_FEATURE(7, 1, 0)
#define X86_FEATURE_TSC_ADJUST X86_FEATURE(7, 1, 1)
#define X86_FEATURE_SMEP X86_FEATURE(7, 1, 7)
#define X86_FEATURE_INVPCID X86_FEATURE(7, 1, 10)
#define X86_FEATURE_RDSEED X86_FEATURE(7, 1, 18)
#define X86_FEATURE_SMAP X86_FEATURE(7, 1, 20)
#define X86_FEATURE_UMIP X86_FEATURE(7, 2, 2)
#define X86_FEATURE_PKU X86_FEATURE(7, 2, 3)
#define X86_FEATURE_LA57 X86_FEATURE(7, 2, 16)
#define X86_FEATURE_RDRAND X86_FEATURE(1, 2, 30)
#define X86_FEATURE_SPEC_CTRL X86_FEATURE(7, 3, 26)
#define X86_FEATURE_STIBP X86_FEATURE(7, 3, 27)
#define X86_FEATURE_ARCH_CAPABILITIES X86_FEATURE(7, 3, 29)
#define X86_FEATURE_XSAVES X86_FEATURE(0xd, 0, 3)
#define X86_FEATURE_OSVW X86_FEATURE(0x80000001, 2, 9)
#define X86_FEATURE_NX X86_FEATURE(0x80000001, 3, 20)
#define X86_FEATURE_RDTSCP X86_FEATURE(0x80000001, 3, 27)
#define X86_FEATURE_LM X86_FEATURE(0x80000001, 3, 29)

static inline void cpuid(u32 op, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);

	*eax = op;
	*ecx = 0;
	if (insn_by_trap() && cpuid_traps())
		trap_cpuid(eax, ebx, ecx, edx);
	else
		cpu->ops->cpuid(cpu, eax, ebx, ecx, edx);
}

static inline u32 cpuid_reg(u32 op, int reg)
{
	u32 regs[4];

	cpuid(op, &regs[0], &regs[1], &regs[2], &regs[3]);
	return regs[reg];
}

#define cpuid_eax(op) cpuid_reg(op, 0)
#define cpuid_ebx(op) cpuid_reg(op, 1)
#define cpuid_ecx(op) cpuid_reg(op, 2)
#define cpuid_edx(op) cpuid_reg(op, 3)

/* A leaf above the highest says nothing. XSAVES stands in sub-leaf 1: not offered. */
static inline bool boot_cpu_has(u64 feature)
{
	u32 leaf = feature >> 8;

	if (leaf == 0xd || cpuid_eax(leaf & 0x80000000) < leaf)
		return false;
	return cpuid_reg(leaf, feature >> 5 & 3) >> (feature & 31) & 1;
}

#define cpu_has_vmx() boot_cpu_has(X86_FEATURE_VMX)
#define tboot_enabled() 0

static inline u32 boot_cpu_data_x86(void)
{
	u32 eax = cpuid_eax(1), family = eax >> 8 & 15;

	return family == 15 ? family + (eax >> 20 & 255) : family;
}

static inline u32 boot_cpu_data_x86_model(void)
{
	u32 eax = cpuid_eax(1);

	return (eax >> 4 & 15) | (eax >> 12 & 0xf0);
}

#define read_cr0() (this_cpu_read(virt_cpu)->cr0)
#define __read_cr3() (this_cpu_read(virt_cpu)->cr3)
#define __get_current_cr3_fast() (this_cpu_read(virt_cpu)->cr3)
#define cr4_read_shadow() (this_cpu_read(virt_cpu)->cr4)
/* SIDT: of the IDT the base alone is known, its limit the largest that a table can have. */
#define store_idt(dt) do {						\
	(dt)->size = 0xfff;						\
	(dt)->address = this_cpu_read(virt_cpu)->idtr_base;		\
} while (0)
#define get_current_gdt_ro() ((void *)this_cpu_read(virt_cpu)->gdtr_base)
#define get_cpu_entry_area_tss(cpu) (per_cpu(virt_cpu, cpu)->tr_base)
#define cpu_kernelmode_gs_base(cpu) (0xffff888000000000UL + (unsigned long)(cpu) * 0x20000)

static inline void cr4_set_bits(u64 mask)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);

	cpu->ops->mov_to_cr(cpu, 4, cpu->cr4 | mask);
}

static inline void cr4_clear_bits(u64 mask)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);

	cpu->ops->mov_to_cr(cpu, 4, cpu->cr4 & ~mask);
}

static inline u64 get_debugctlmsr(void)
{
	u64 value;

	rdmsrl(0x1d9, &value);
	return value;
}

#define update_debugctlmsr(value) wrmsrl(0x1d9, value)
/* MOV DR, which no hypervisor of L1's intercepts. */
#define set_debugreg(value, n) ((void)(*debugreg(n) = (value)))
#define get_debugreg(var, n) ((var) = *debugreg(n))

static inline u64 *debugreg(int n)
{
	struct virt_cpu *cpu = this_cpu_read(virt_cpu);

	return n < 4 ? &cpu->dr[n] : n == 6 ? &cpu->dr6 : &cpu->dr7;
}

#define rdtsc() __rdtsc()

static inline u64 ktime_get(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
