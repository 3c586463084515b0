// SPDX-License-Identifier: GPL-2.0-only
/* Tasks: one for each thread of user space that is in the kernel. It has a CPU, leaves it where the
 * kernel offers that or waits, and comes back to it, or to another one where that has gone. */
#include "standin.h"
#include <linux/preempt.h>

/* How long a task has its CPU for itself where another one waits, and how often a lock is looked at
 * that is released without a call; microseconds. */
#define SLICE 1000
#define POLL 100
#define POLLS 300000

static struct mm_struct mm;
static struct task_struct tasks[IMAGE_THREADS] = { [0 ... IMAGE_THREADS - 1] = { .pid = 1 } };
#ifdef HAVE_PCPU_HOT
DEFINE_PER_CPU_ALIGNED(struct pcpu_hot, pcpu_hot) = { .current_task = &tasks[0] };
asm(".globl const_pcpu_hot\n.set const_pcpu_hot, pcpu_hot");
#define CURRENT pcpu_hot.current_task
#else
DEFINE_PER_CPU(struct task_struct *, current_task) = &tasks[0];
#define CURRENT current_task
#endif
/* Unlike current, these are read and written where they stand: this is where it changes. */
#define get_current_now() this_cpu_read(CURRENT)
#define set_current_now(task) this_cpu_write(CURRENT, task)

/* CPUs that no task may come to. */
static struct cpumask closed;
/* Calls of other CPUs that are under way, during which none goes or comes. */
static int calls;

void standin_tasks(void)
{
	int i;

	atomic_set(&mm.mm_count, 1);
	atomic_set(&mm.mm_users, 1);
	for (i = 0; i < IMAGE_THREADS; i++) {
		tasks[i].mm = tasks[i].active_mm = &mm;
		tasks[i].tgid = 1;
		tasks[i].thread.fsbase = host->thread_pointer;
#ifdef HAVE_ADDR_LIMIT
		tasks[i].thread.addr_limit = MAKE_MM_SEG(-1UL);
#endif
	}
}

void standin_mm(pgd_t *pgd) { mm.pgd = pgd; }

static struct task_struct *this_task(void) { return &tasks[host->thread()]; }

/* A signal for the task, until its system call has ended. */
void standin_kick(void) { set_tsk_thread_flag(this_task(), TIF_SIGPENDING); }
void standin_resched(void) { set_tsk_need_resched(this_task()); }
void standin_no_signal(void) { clear_tsk_thread_flag(this_task(), TIF_SIGPENDING); }

static bool enabled(void) { return !irqs_disabled(); }

static bool can_have(int cpu) { return cpu_online(cpu) && !cpumask_test_cpu(cpu, &closed); }

/* The CPU itself while there is one, else any that a task may come to. */
static int usable(int cpu)
{
	int other;

	if (can_have(cpu))
		return cpu;
	for_each_online_cpu(other)
		if (can_have(other))
			return other;
	return cpu;
}

/* Which CPU: one, -1 for any, -2 - n for any but n; best one that nobody has. */
static int choose(long where)
{
	int cpu, found = -1;

	if (where >= 0)
		return where;
	for_each_online_cpu(cpu) {
		if (cpu == -2 - where || !can_have(cpu))
			continue;
		if (host->owner(cpu) < 0)
			return cpu;
		if (found < 0)
			found = cpu;
	}
	return found < 0 ? 0 : found;
}

/* Whoever has a CPU is to leave it. */
static void press(int cpu)
{
	int owner = host->owner(cpu);

	if (owner < 0)
		return;
	set_tsk_need_resched(&tasks[owner]);
	host->kick(cpu);
}

static void come_to(int cpu)
{
	while (cpu = usable(cpu), !host->take(cpu))
		if (host->sleep(SLEEP_QUIET, SLICE))
			press(cpu);
	set_current_now(this_task());
}

/* A thread comes into the kernel, and leaves it. */
void standin_begin(struct host *table, long where)
{
	host = table;
	clear_tsk_need_resched(this_task());
	come_to(choose(where));
}

void standin_end(void) { host->drop(); }

/* The task has no CPU from here on, until it has one again. */
static void sched_out(struct task_struct *task)
{
	struct preempt_notifier *notifier;

	hlist_for_each_entry(notifier, &task->preempt_notifiers, link)
		notifier->ops->sched_out(notifier, task);
	host->drop();
}

static void sched_in(struct task_struct *task, int cpu)
{
	struct preempt_notifier *notifier;

	come_to(cpu);
	hlist_for_each_entry(notifier, &task->preempt_notifiers, link)
		notifier->ops->sched_in(notifier, smp_processor_id());
}

/* Where the kernel offers to be preempted. */
void standin_maybe_preempt(void)
{
	struct task_struct *task = this_task();
	int cpu = smp_processor_id();

	if (!test_tsk_need_resched(task))
		return;
	clear_tsk_need_resched(task);
	sched_out(task);
	sched_in(task, cpu);
}

/* Until something changes; false where nobody is left who could change anything. */
bool standin_sleep(void)
{
	struct task_struct *task = this_task();
	int cpu = smp_processor_id(), ret;

	sched_out(task);
	ret = host->sleep(SLEEP_QUIET, 0);
	sched_in(task, cpu);
	return ret >= 0;
}

/* The same for who keeps his CPU, as at a spinlock, or for what no call says the end of. */
bool standin_spin(unsigned long *turns)
{
	int ret = ++*turns < POLLS ? host->sleep(enabled() ? SLEEP_OPEN : 0, POLL) : -1;

	set_current_now(this_task());
	return ret >= 0;
}

/* All others have let go of what they had of RCU: they are in user space, in a guest, or asleep. */
void standin_others_leave(void)
{
	unsigned long turns = 0;

	while (host->others() && standin_spin(&turns))
		;
}

bool standin_alone(void) { return !host->others(); }

void standin_on(int cpu, void (*fn)(void *), void *arg)
{
	int here = smp_processor_id();
	struct task_struct *was = NULL;
	unsigned long flags;

	if (cpu != here) {
		calls++;
		host->borrow(cpu, !!(per_cpu(standin_flags, cpu) & X86_EFLAGS_IF),
			     enabled() ? SLEEP_OPEN : 0);
		was = get_current_now();
		set_current_now(this_task());
	}
	local_irq_save(flags);
	fn(arg);
	local_irq_restore(flags);
	if (cpu != here) {
		set_current_now(was);
		host->give_back(here);
		set_current_now(this_task());
		calls--;
	}
}

/* CPUs stay as they are from one to the other. */
void standin_calls_begin(void) { calls++; }
void standin_calls_end(void) { calls--; }

/* A CPU is about to go, or not all there yet: no task comes, and who has it leaves for another. */
void standin_close_cpu(int cpu)
{
	cpumask_set_cpu(cpu, &closed);
	if (cpu == smp_processor_id() && cpu_online(cpu)) {
		standin_resched();
		standin_maybe_preempt();
	}
	while (host->owner(cpu) >= 0 || calls) {
		press(cpu);
		host->sleep(enabled() ? SLEEP_OPEN : 0, SLICE);
	}
}

void standin_open_cpu(int cpu) { cpumask_clear_cpu(cpu, &closed); }
