// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's half of an image: the table that its stand-ins call, and the way of a thread into its
 * text and back. One image at a time is loaded in a process, at the address it was linked for.
 */
#ifndef KVM_VMX_KERNEL_HOST_SIDE_H
#define KVM_VMX_KERNEL_HOST_SIDE_H

#include <kvm_vmx/kernel/instructions.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
	if (!crowd.dead) {
		snprintf(the_image->why, sizeof(the_image->why), "%s", why);
		the_image->where = ip;
	}
	crowd_dies();
	crowd_leave();
}

/* A number that the kernel took from memory may be any. */
static void there_is(int cpu, void *caller)
{
	if (cpu < 0 || cpu >= the_image->host.cpus)
		host_die("a CPU that is not there", (unsigned long)caller);
}

#define THERE_IS(cpu) there_is(cpu, __builtin_return_address(0))

static FROM_KERNEL int host_thread(void) { return running->number; }
static FROM_KERNEL int host_sleep(int how, unsigned int us) { return crowd_sleep(how, us); }
static FROM_KERNEL void host_wake(void) { crowd_wake(); }
static FROM_KERNEL int host_others(void) { return crowd_others(); }

static FROM_KERNEL int host_owner(int cpu)
{
	const struct image_thread *owner;

	THERE_IS(cpu);
	owner = crowd.cpus[cpu].owner;
	return owner ? owner->number : NOWHERE;
}

static FROM_KERNEL int host_take(int cpu)
{
	THERE_IS(cpu);
	return crowd_take(cpu);
}

static FROM_KERNEL void host_drop(void)
{
	crowd.cpus[running->cpu].owner = NULL;
	crowd_wake();
}

static FROM_KERNEL void host_kick(int cpu)
{
	THERE_IS(cpu);
	if (crowd.cpus[cpu].owner)
		kick_guest(crowd.cpus[cpu].owner, RESCHEDULE_VECTOR);
}

static FROM_KERNEL void host_borrow(int cpu, int enabled, int how)
{
	THERE_IS(cpu);
	crowd_borrow(cpu, enabled, how);
}

static FROM_KERNEL void host_give_back(int here)
{
	THERE_IS(here);
	crowd_give_back(here);
}

/* One change for the span of all: the kernel's text is not executed meanwhile. */
static FROM_KERNEL int host_patch(const struct host_patch *patches, int count)
{
	unsigned long first = -1UL, end = 0, at;
	int i;

	for (i = 0; i < count; i++) {
		at = (unsigned long)patches[i].at;
		first = at < first ? at : first;
		end = at + patches[i].size > end ? at + patches[i].size : end;
	}
	first &= PAGE_MASK;
	if (mprotect((void *)first, end - first, PROT_READ | PROT_WRITE))
		return -errno;
	for (i = 0; i < count; i++)
		memcpy(patches[i].at, patches[i].bytes, patches[i].size);
	return mprotect((void *)first, end - first, PROT_READ | PROT_EXEC) ? -errno : 0;
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

static void image_lost(unsigned long rip)
{
	host_die("a VM exit onto the stack of another task", rip);
}

/* After each VM exit: a signal for the task where its exits are up. One for a page that KVM has
 * to put into the guest's tables first counts as none. */
static void image_exited(void)
{
	bool ends = false;

	/* of whoever has the turn, and looked at by who has not */
	__atomic_store_n(&the_image->all_exits, the_image->all_exits + 1, __ATOMIC_RELAXED);
	if (the_image->preempt_at && !--the_image->preempt_at)
		the_image->resched();
	if (running->last != EPT_VIOLATION_EXIT)
		ends = ++running->exits == running->exits_until;
	if (ends || is_signalled(running))
		the_image->kick();
}

static unsigned long image_fixup(unsigned long ip)
{
	return 0;
}

struct image_call {
	unsigned long function;
	long arg[4], ret;
	long where;			/* a CPU, -1 for any, -2 - n for any but n */
	int cpu;			/* where it ended */
	u64 exits, exits_until;
	u64 reasons[IMAGE_REASONS];
	/* told of whom a signal ends, or NULL: none does */
	void (*kick_from)(void (*how)(void *whom), void *whom);
	void (*kick_till)(const void *whom);
};

static void do_call(void *arg)
{
	struct image_call *call = arg;

	the_image->begin(&the_image->host, call->where);
	if (is_signalled(running))
		the_image->kick();
	call->ret = ((long (*)(long, long, long, long))call->function)(
		call->arg[0], call->arg[1], call->arg[2], call->arg[3]);
	the_image->end();
}

/* Call into the image as a CPU, on the stack that ends at stack: 0, -EFAULT where it died, or why
 * this thread cannot. */
static int image_enter(unsigned long stack, struct image_call *call)
{
	unsigned long saved;
	u32 mxcsr = 0x1f80;
	int ret;

	if (!read_gs_base(crowd.fsgsbase, &saved))
		return -EFAULT;
	ret = crowd_enter(stack, call->exits_until);
	if (ret)
		return ret;
	crowd_become(call->where < 0 ? 0 : call->where);
	if (call->kick_from)
		call->kick_from(signal_thread, running);
	ret = call_until_oops(&running->task, do_call, call);
	if (ret)
		__asm__ __volatile__("fninit\n\tldmxcsr %0\n\tcld" : : "m"(mxcsr));
	if (call->kick_till)
		call->kick_till(running);
	/* nobody is in a guest here, so that none is to leave it */
	if (is_signalled(running))
		irq_forget(this_virt_cpu(), RESCHEDULE_VECTOR);
	call->cpu = running->cpu;
	call->exits = running->exits;
	memcpy(call->reasons, running->reasons, sizeof(call->reasons));
	crowd_exit();
	write_gs_base(crowd.fsgsbase, saved);
	return ret;
}

static struct virt_cpu_ops image_ops;

/* A processor of L0's, whose guests run beside the text. ops is what it executes by, below a trace:
 * one partition's table is not another's. */
static void image_has_cpu(int n, struct virt_cpu *cpu, const struct virt_cpu_ops **ops,
			  const u64 *reasons, struct percpu_area *area)
{
	if (*ops != &image_ops) {
		crowd.under = *ops;
		image_ops = **ops;
		image_ops.vmentry = crowd_vmentry;
		*ops = &image_ops;
	}
	crowd.cpus[n] = (struct image_cpu){ .processor = cpu, .reasons = reasons, .area = area };
	crowd.dead = false;
	crowd.lost = image_lost;
}

static void image_fill(struct image *image)
{
	image_fill_idt();
	image->host.log = host_log;
	image->host.warn = host_warn;
	image->host.format = host_format;
	image->host.die = host_die;
	image->host.thread = host_thread;
	image->host.sleep = host_sleep;
	image->host.wake = host_wake;
	image->host.owner = host_owner;
	image->host.take = host_take;
	image->host.drop = host_drop;
	image->host.kick = host_kick;
	image->host.borrow = host_borrow;
	image->host.give_back = host_give_back;
	image->host.others = host_others;
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
