// SPDX-License-Identifier: GPL-2.0-only
/* Privileged instructions that user space cannot trap, or may not execute: the kernel calls a
 * table for them, and the table asks the processor of the emulated Hyper-V. */
#include "standin.h"
#include <asm/paravirt.h>
#include <asm/desc.h>
#include <asm/tlbflush.h>

DEFINE_PER_CPU(unsigned long, standin_flags) = X86_EFLAGS_IF | X86_EFLAGS_FIXED;
static pgd_t *kernel_pgd;

/* These keep every register but RAX. */
asm(".pushsection .text\n"
    "pv_save: mov %gs:standin_flags, %rax\n ret\n"
    "pv_restore: mov %rdi, %gs:standin_flags\n ret\n"
    "pv_disable: andq $~0x200, %gs:standin_flags\n ret\n"
    "pv_enable: orq $0x200, %gs:standin_flags\n ret\n"
    "pv_same: mov %rdi, %rax\n ret\n"
    ".popsection");
extern void pv_save(void), pv_restore(void), pv_disable(void), pv_enable(void), pv_same(void);

static unsigned long pv_read_cr0(void) { return host->read_cr(0); }
static unsigned long pv_read_cr2(void) { return host->read_cr(2); }
static unsigned long pv_read_cr3(void) { return host->read_cr(3); }
static unsigned long pv_read_cr8(void) { return host->read_cr(8); }

static void write_cr(int cr, unsigned long value)
{
	if (host->write_cr(cr, value))
		die("MOV to a control register faults");
}

static void pv_write_cr0(unsigned long value) { write_cr(0, value); }
static void pv_write_cr2(unsigned long value) { write_cr(2, value); }
static void pv_write_cr3(unsigned long value) { write_cr(3, value); }
static void pv_write_cr4(unsigned long value) { write_cr(4, value); }
static void pv_write_cr8(unsigned long value) { write_cr(8, value); }

static void pv_cpuid(unsigned int *eax, unsigned int *ebx, unsigned int *ecx, unsigned int *edx)
{
	unsigned int regs[4] = { *eax, *ebx, *ecx, *edx };

	host->cpuid(regs);
	*eax = regs[0];
	*ebx = regs[1];
	*ecx = regs[2];
	*edx = regs[3];
}

static int rdmsr_or_fault(unsigned int msr, unsigned long long *value)
{
	*value = 0;
	return host->read_msr(msr, value);
}

static int wrmsr_or_fault(unsigned int msr, unsigned int low, unsigned int high)
{
	return host->write_msr(msr, (u64)high << 32 | low);
}

static u64 pv_read_msr(unsigned int msr)
{
	unsigned long long value;

	if (rdmsr_or_fault(msr, &value))
		WARN_ONCE(1, "unchecked MSR access error: RDMSR from 0x%x", msr);
	return value;
}

static u64 pv_read_msr_safe(unsigned int msr, int *error)
{
	unsigned long long value;

	*error = rdmsr_or_fault(msr, &value) ? -EIO : 0;
	return value;
}

static void pv_write_msr(unsigned int msr, unsigned int low, unsigned int high)
{
	if (wrmsr_or_fault(msr, low, high))
		WARN_ONCE(1, "unchecked MSR access error: WRMSR to 0x%x", msr);
}

static int pv_write_msr_safe(unsigned int msr, unsigned int low, unsigned int high)
{
	return wrmsr_or_fault(msr, low, high) ? -EIO : 0;
}

static unsigned long pv_get_debugreg(int n) { return host->read_dr(n); }
static void pv_set_debugreg(int n, unsigned long value) { host->write_dr(n, value); }
static unsigned long pv_store_tr(void) { return GDT_ENTRY_TSS * 8; }
static void pv_load_gdt(const struct desc_ptr *table) { }
static void pv_load_gs(unsigned int index) { }
static void pv_nothing(void) { }
static void pv_one(unsigned long address) { }
static void pv_halt(void) { die("the kernel halts its processor"); }

#ifdef HAVE_PV_CPU_OPS
#define PV_CR8 .read_cr8 = pv_read_cr8, .write_cr8 = pv_write_cr8, .swapgs = pv_nothing,
#define PV_RESTORE .restore_fl = { pv_restore },
#define PV_CR2 .read_cr2 = pv_read_cr2,
#else
#define PV_CR8
#define PV_RESTORE
#define PV_CR2
#endif

#define CPU_OPS								\
	.get_debugreg = pv_get_debugreg, .set_debugreg = pv_set_debugreg,	\
	.read_cr0 = pv_read_cr0, .write_cr0 = pv_write_cr0, .write_cr4 = pv_write_cr4, \
	PV_CR8								\
	.load_tr_desc = pv_nothing, .load_gdt = pv_load_gdt, .store_tr = pv_store_tr, \
	.load_gs_index = pv_load_gs, .cpuid = pv_cpuid, .wbinvd = pv_nothing,	\
	.read_msr = pv_read_msr, .write_msr = pv_write_msr,		\
	.read_msr_safe = pv_read_msr_safe, .write_msr_safe = pv_write_msr_safe,
#define IRQ_OPS								\
	.save_fl = { pv_save }, PV_RESTORE				\
	.irq_disable = { pv_disable }, .irq_enable = { pv_enable },	\
	.safe_halt = pv_halt, .halt = pv_halt
#define MMU_OPS								\
	PV_CR2 .write_cr2 = pv_write_cr2,				\
	.pte_val = { pv_same }, .make_pte = { pv_same },		\
	.pmd_val = { pv_same }, .make_pmd = { pv_same },		\
	.pud_val = { pv_same }, .make_pud = { pv_same },		\
	.pgd_val = { pv_same }, .make_pgd = { pv_same },		\
	.read_cr3 = pv_read_cr3, .write_cr3 = pv_write_cr3,		\
	.flush_tlb_user = pv_nothing, .flush_tlb_kernel = pv_nothing, .flush_tlb_one_user = pv_one

#ifdef HAVE_PV_CPU_OPS
struct pv_cpu_ops pv_cpu_ops = { CPU_OPS };
struct pv_irq_ops pv_irq_ops = { IRQ_OPS };
struct pv_mmu_ops pv_mmu_ops = { MMU_OPS };
#else
struct paravirt_patch_template pv_ops = {
	.cpu = { CPU_OPS }, .irq = { IRQ_OPS }, .mmu = { MMU_OPS },
};
#endif

/* On each CPU, as it comes up: page tables of which only the address matters. */
void standin_control_registers(void)
{
	if (!kernel_pgd)
		kernel_pgd = (pgd_t *)get_zeroed_page(GFP_KERNEL);
	write_cr(3, __pa(kernel_pgd));
	this_cpu_write(cpu_tlbstate.cr4, host->read_cr(4));
	this_cpu_write(cpu_tlbstate.loaded_mm, current->active_mm);
}

pgd_t *standin_pgd(void) { return kernel_pgd; }
