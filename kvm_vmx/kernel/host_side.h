// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's half of an image: the table that its stand-ins call, and the way of a thread into its
 * text and back. One image at a time is loaded in a process, at the address it was linked for.
 */
#ifndef KVM_VMX_KERNEL_HOST_SIDE_H
#define KVM_VMX_KERNEL_HOST_SIDE_H

#include <kvm_vmx/kernel/ending_runs.h>
#include <kvm_vmx/kernel/standins/host.h>
#include <kvm_vmx/trap/decode.h>
#include <asm/virt_cpu.h>
#include <linux/cpu.h>
#include <linux/vmlinux.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* The kernel is compiled for a stack of 8-byte words; what libc is compiled for is more. */
#define FROM_KERNEL __attribute__((force_align_arg_pointer))

/* A step that the host itself lets fail, after those that the stand-ins ask for. */
enum { FAIL_HYPERCALL = NR_FAIL_POINTS, NR_IMAGE_FAIL_POINTS };
#define HYPERCALL_HAS_NO_MEMORY 0x0b

#define LOG_RECORDS 1024
#define LOG_TEXT 256
#define IMAGE_SITES 256

/* One line of the kernel log, and whose call it is of; ip is where a WARNING stands, or 0. */
struct log_record {
	int level;
	unsigned long ip, thread;
	char text[LOG_TEXT];
};

/* An instruction that user space executes without a trap, and which therefore does not stand in
 * the text as it was: what it was. */
struct image_site {
	u64 ip;
	u8 code[INSN_LENGTH_MAX + 1];
	u32 length;
};

struct image {
	struct host host;
	struct vmlinux vmlinux;
	struct task_struct task;
	struct virt_cpu **cpus;
	const u64 **faults;		/* of each CPU: how many exits for a page */
	u64 faults_seen;
	int (*exception)(long long *regs, unsigned int vector);
	struct image_site sites[IMAGE_SITES];
	int nr_sites;
	unsigned long fail[NR_IMAGE_FAIL_POINTS];
	struct log_record *records;
	u64 log_end;
	void (*kick)(void);
	void (*resched)(void);
	u64 preempt_at;			/* VM exits to come before the task loses its CPU, or 0 */
	u64 all_exits;			/* since it was booted */
	u64 exits, exits_until;		/* VM exits in this call, and after how many it is to end */
	bool fsgsbase;
	int cpu;
	/* why the kernel died, and where */
	char why[LOG_TEXT];
	unsigned long where;
};

static struct image *the_image;

static struct virt_cpu *this_virt_cpu(void)
{
	return the_image->cpus[the_image->cpu];
}

static unsigned long this_thread(void)
{
	return (unsigned long)pthread_self();
}

static void log_line(int level, unsigned long ip, const char *text)
{
	struct log_record *record = &the_image->records[the_image->log_end++ % LOG_RECORDS];
	size_t length;

	record->level = level;
	record->ip = ip;
	record->thread = this_thread();
	snprintf(record->text, LOG_TEXT, "%s", text);
	length = strlen(record->text);
	if (length && record->text[length - 1] == '\n')
		record->text[length - 1] = 0;
}

static FROM_KERNEL void host_log(int level, const char *text)
{
	log_line(level, 0, text);
}

static FROM_KERNEL void host_warn(unsigned long ip, const char *text)
{
	log_line(4, ip, text);
}

static FROM_KERNEL int host_format(char *to, unsigned long size, const char *format, va_list list)
{
	return vsnprintf(to, size, format, list);
}

static FROM_KERNEL void host_die(const char *why, unsigned long ip)
{
	snprintf(the_image->why, sizeof(the_image->why), "%s", why);
	the_image->where = ip;
	task_oops();
}

/* %gs and the processor change together; the task, the stack and the thread stay. */
static FROM_KERNEL void host_become(int cpu)
{
	struct percpu_area *area = (struct percpu_area *)the_image->host.per_cpu[cpu];

	the_image->cpu = cpu;
	area->current_task = &the_image->task;
	write_gs_base(the_image->fsgsbase, (unsigned long)area);
}

static FROM_KERNEL int host_patch(void *at, const void *bytes, unsigned long size)
{
	unsigned long first = (unsigned long)at & PAGE_MASK;
	unsigned long length = (unsigned long)at + size - first;

	if (mprotect((void *)first, length, PROT_READ | PROT_WRITE))
		return -errno;
	memcpy(at, bytes, size);
	return mprotect((void *)first, length, PROT_READ | PROT_EXEC) ? -errno : 0;
}

static FROM_KERNEL int host_fail(int point)
{
	return the_image->fail[point] && --the_image->fail[point] == 0;
}

static FROM_KERNEL int host_read_msr(unsigned int msr, unsigned long long *value)
{
	u64 found = 0;
	insn_t status = this_virt_cpu()->ops->rdmsr(this_virt_cpu(), msr, &found);

	*value = found;
	return status != INSN_OK;
}

static FROM_KERNEL int host_write_msr(unsigned int msr, unsigned long long value)
{
	return this_virt_cpu()->ops->wrmsr(this_virt_cpu(), msr, value) != INSN_OK;
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

static void image_die(unsigned long ip, u32 status)
{
	static const char *const names[] = {
		[0] = "a division error", [3] = "a breakpoint", [6] = "an invalid opcode",
		[13] = "a general protection fault", [14] = "a page fault",
	};
	unsigned int vector = INSN_FAULT_VECTOR(status);
	const char *name = vector < ARRAY_SIZE(names) ? names[vector] : NULL;

	host_die(name ? name : "an exception", ip);
}

static void image_stale(unsigned long rip, unsigned long rsp)
{
	host_die("a VM exit into what is no text of the kernel's", rip);
}

/* After each VM exit: a signal for the task where its exits are up. One for a page that KVM has
 * to put into the guest's tables first counts as none. */
static void image_exited(void)
{
	u64 faults = *the_image->faults[the_image->cpu];

	the_image->all_exits++;
	if (the_image->preempt_at && !--the_image->preempt_at)
		the_image->resched();
	if (faults != the_image->faults_seen) {
		the_image->faults_seen = faults;
		return;
	}
	if (++the_image->exits == the_image->exits_until || signal_waits())
		the_image->kick();
}

static unsigned long image_fixup(unsigned long ip)
{
	return 0;
}

/* L1's interrupt handlers: KVM calls the one of an interrupt that ended a guest's turn, by its gate.
 * There is nobody to serve. What IRETQ would do from a kernel's code segment is done by hand: back
 * to where it was called, on the stack that was in use. */
void image_interrupt(void);
__asm__(".pushsection .text\n"
	".local image_interrupt\n"
	"image_interrupt:\n\t"
	"push %rax; push %rdx\n\t"
	"mov 16(%rsp), %rdx; mov 40(%rsp), %rax\n\t"
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

struct image_call {
	unsigned long function;
	long arg[4], ret;
};

static void do_call(void *arg)
{
	struct image_call *call = arg;

	call->ret = ((long (*)(long, long, long, long))call->function)(
		call->arg[0], call->arg[1], call->arg[2], call->arg[3]);
}

/* Call into the image as a CPU, on the stack that ends at stack: 0, or -EFAULT where it died. */
static int image_enter(int cpu, unsigned long stack, struct image_call *call)
{
	unsigned long saved;
	u32 mxcsr = 0x1f80;
	int ret;

	if (!read_gs_base(the_image->fsgsbase, &saved))
		return -EFAULT;
	memset(&the_image->task, 0, sizeof(the_image->task));
	the_image->task.stack = stack;
	host_become(cpu);
	the_image->faults_seen = *the_image->faults[cpu];
	ret = call_until_oops(&the_image->task, do_call, call);
	if (ret)
		__asm__ __volatile__("fninit\n\tldmxcsr %0\n\tcld" : : "m"(mxcsr));
	write_gs_base(the_image->fsgsbase, saved);
	return ret;
}

static void image_fill(struct image *image)
{
	image_fill_idt();
	image->host.log = host_log;
	image->host.warn = host_warn;
	image->host.format = host_format;
	image->host.die = host_die;
	image->host.become = host_become;
	image->host.patch = host_patch;
	image->host.fail = host_fail;
	image->host.read_msr = host_read_msr;
	image->host.write_msr = host_write_msr;
	image->host.cpuid = host_cpuid;
	image->host.read_cr = host_read_cr;
	image->host.write_cr = host_write_cr;
	image->host.read_dr = host_read_dr;
	image->host.write_dr = host_write_dr;
	image->host.vmcall = host_vmcall;
	image->host.move_user = host_move_user;
	image->vmlinux.service = image_exited;
	image->vmlinux.exception = image_exception;
	image->vmlinux.fixup_exception = image_fixup;
	image->vmlinux.die = image_die;
	image->vmlinux.stale_exit = image_stale;
}

#endif
