// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads in an image: how they come in and leave, which has which CPU, who is another one's for a
 * moment, and what of all that is let go of around a guest.
 */
#ifndef KVM_VMX_KERNEL_THREADS_H
#define KVM_VMX_KERNEL_THREADS_H

#include <kvm_vmx/kernel/turns.h>
#include <string.h>

/* %gs and the processor change together; the task, the stack and the thread stay. */
static void crowd_become(int cpu)
{
	running->cpu = cpu;
	write_gs_base(crowd.fsgsbase, (unsigned long)crowd.cpus[cpu].area);
	be_here();
}

/* Is it this thread's turn to have a CPU? Then it has. */
static bool crowd_take(int cpu)
{
	struct image_thread *me = running, *other;

	if (me->wants != cpu) {
		me->wants = cpu;
		me->ticket = crowd.tickets++;
	}
	if (crowd.cpus[cpu].owner || crowd.cpus[cpu].guest)
		return false;
	for (other = crowd.threads; other < crowd.threads + IMAGE_THREADS; other++)
		if (other->used && other->wants == cpu && other->ticket < me->ticket)
			return false;
	me->wants = NOWHERE;
	crowd.cpus[cpu].owner = me;
	crowd_become(cpu);
	return true;
}

/* May what an interrupt would do on a CPU be done there now, by this thread? */
static bool may_borrow(struct image_cpu *of, bool enabled)
{
	struct image_thread *owner = of->owner;

	if (of->guest)
		return false;
	if (!owner || owner == running)
		return true;
	return owner->asleep && &crowd.cpus[owner->cpu] == of && (owner->open || enabled);
}

/* Be another CPU, as soon as that can be interrupted. */
static void crowd_borrow(int cpu, bool enabled, int how)
{
	struct image_cpu *of = &crowd.cpus[cpu];

	of->borrowers++;
	while (!may_borrow(of, enabled)) {
		if (of->owner)
			kick_guest(of->owner, CALL_FUNCTION_VECTOR);
		crowd_sleep(how, POLL_US);
	}
	of->borrowers--;
	of->guest = running;
	crowd_become(cpu);
}

static void crowd_give_back(int here)
{
	struct image_cpu *of = &crowd.cpus[running->cpu];

	of->guest = NULL;
	if (of->owner)
		of->area->current_task = &of->owner->task;
	if (!of->borrowers)
		irq_forget(of->processor, CALL_FUNCTION_VECTOR);
	crowd_become(here);
	crowd_wake();
}

/* An interrupt of another thread's: whoever wants the CPU for a moment has it now. */
static void crowd_interrupted(void)
{
	if (!running)
		return;
	while (crowd.cpus[running->cpu].borrowers) {
		crowd_wake();
		crowd_sleep(SLEEP_OPEN, POLL_US);
	}
}

/* To a guest, whose first boundary finds a signal that has come before. */
static void guest_begin(struct image_thread *me)
{
	pthread_mutex_lock(&crowd.lock);
	me->in_guest = true;
	if (is_signalled(me))
		kick_guest(me, RESCHEDULE_VECTOR);
	end_turn();
	pthread_mutex_unlock(&crowd.lock);
}

static void guest_end(struct image_thread *me)
{
	pthread_mutex_lock(&crowd.lock);
	wait_for_turn();
	me->in_guest = false;
	pthread_mutex_unlock(&crowd.lock);
}

/* L2 runs beside whoever has the turn. */
static insn_t crowd_vmentry(struct virt_cpu *cpu, u64 *regs, int launch)
{
	struct image_thread *me = running;
	u64 before[IMAGE_REASONS];
	const u64 *now;
	insn_t status;
	int i;

	if (!me)
		return crowd.under->vmentry(cpu, regs, launch);
	now = crowd.cpus[me->cpu].reasons;
	memcpy(before, now, sizeof(before));
	guest_begin(me);
	status = crowd.under->vmentry(cpu, regs, launch);
	guest_end(me);
	if (crowd.dead)
		crowd_leave();
	me->last = NOWHERE;
	for (i = 0; i < IMAGE_REASONS; i++)
		if (now[i] != before[i])
			me->reasons[me->last = i]++;
	/* v4.19 may exit to where another thread ran the vCPU before (erratum: host_rsp) */
	if (status == INSN_OK && me->task.stack - cpu->rsp > TASK_STACK)
		crowd.lost(cpu->rip);
	return status;
}

/* How many others are in the middle of the kernel's text. */
static int crowd_others(void)
{
	int i, found = 0;

	for (i = 0; i < IMAGE_THREADS; i++)
		if (crowd.threads[i].used && &crowd.threads[i] != running)
			found += !crowd.threads[i].in_guest && !crowd.threads[i].quiet;
	return found;
}

/* This thread is one of the image's from now on: 0 or a negative errno. */
static int crowd_enter(unsigned long stack, u64 exits_until)
{
	struct image_thread *me = crowd.threads;
	int ret = 0;

	turn_begin();
	if (crowd.alone && crowd.alone != pthread_self())
		ret = -EBUSY;
	while (!ret && me->used)
		if (++me == crowd.threads + IMAGE_THREADS)
			ret = -EAGAIN;
	if (!ret && crowd.dead)
		ret = -ESHUTDOWN;
	if (ret) {
		turn_end();
		return ret;
	}
	memset(me, 0, sizeof(*me));
	me->used = true;
	me->number = me - crowd.threads;
	me->wants = NOWHERE;
	me->task.stack = stack;
	me->exits_until = exits_until;
	crowd.inside++;
	running = me;
	return 0;
}

static void crowd_exit(void)
{
	int cpu;

	for (cpu = 0; cpu < IMAGE_THREADS; cpu++) {
		if (crowd.cpus[cpu].owner == running)
			crowd.cpus[cpu].owner = NULL;
		if (crowd.cpus[cpu].guest == running)
			crowd.cpus[cpu].guest = NULL;
	}
	crowd_wake();
	crowd.inside--;
	running->used = false;
	running = NULL;
	turn_end();
}

/* From here to crowd_together() nobody else comes in: false where somebody is. */
static bool crowd_alone(void)
{
	bool free;

	turn_begin();
	free = !crowd.inside && (!crowd.alone || crowd.alone == pthread_self());
	if (free) {
		crowd.alone = pthread_self();
		crowd.depth++;
	}
	turn_end();
	return free;
}

static void crowd_together(void)
{
	turn_begin();
	if (!--crowd.depth)
		crowd.alone = 0;
	turn_end();
}

/* Is anybody inside, as whoever has not come in may ask? */
static bool crowd_has_anyone(void)
{
	bool inside;

	turn_begin();
	inside = crowd.inside;
	turn_end();
	return inside;
}

/* Whoever is inside a kernel that has died comes out soon: true once nobody is. */
static bool crowd_is_gone(void)
{
	bool gone;

	turn_begin();
	crowd_dies();
	gone = !crowd.inside;
	turn_end();
	return gone;
}

/* It is entered once more; those who waited for a CPU when it died have left. */
static void crowd_revive(void)
{
	int cpu;

	for (cpu = 0; cpu < IMAGE_THREADS; cpu++)
		crowd.cpus[cpu].borrowers = 0;
	crowd.dead = false;
}

/* In a child of fork() nobody is inside, and whoever had the turn is not there to end it. */
static void crowd_forget(void)
{
	const struct virt_cpu_ops *under = crowd.under;
	bool fsgsbase = crowd.fsgsbase;

	memset(&crowd, 0, sizeof(crowd));
	pthread_mutex_init(&crowd.lock, NULL);
	pthread_cond_init(&crowd.turn, NULL);
	pthread_cond_init(&crowd.event, NULL);
	crowd.under = under;
	crowd.fsgsbase = fsgsbase;
	running = NULL;
}

#endif
