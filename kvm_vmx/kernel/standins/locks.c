// SPDX-License-Identifier: GPL-2.0-only
/* Locks: whoever finds one taken lets others run. Where none is left who could release it, it is
 * taken for good, and that is said. */
#include "standin.h"
#include <linux/mutex.h>
#include <linux/srcu.h>
#include <linux/rwsem.h>
#include <linux/swait.h>
#include <linux/preempt.h>
#include <linux/user-return-notifier.h>

static __always_inline void take(raw_spinlock_t *lock)
{
	SPIN_WHILE(READ_ONCE(lock->raw_lock.val.counter), "a spinlock is taken twice");
	lock->raw_lock.val.counter = 1;
}

void _raw_spin_lock(raw_spinlock_t *lock) { take(lock); }

void _raw_spin_lock_irq(raw_spinlock_t *lock)
{
	local_irq_disable();
	take(lock);
}

unsigned long _raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	unsigned long flags;

	local_irq_save(flags);
	take(lock);
	return flags;
}

void _raw_spin_unlock_irqrestore(raw_spinlock_t *lock, unsigned long flags)
{
	lock->raw_lock.val.counter = 0;
	local_irq_restore(flags);
}

void __mutex_init(struct mutex *lock, const char *name, struct lock_class_key *key)
{
	memset(lock, 0, sizeof(*lock));
	INIT_LIST_HEAD(&lock->wait_list);
}

void mutex_lock(struct mutex *lock)
{
	SLEEP_WHILE(atomic_long_read(&lock->owner), "a mutex is taken twice");
	atomic_long_set(&lock->owner, (long)current);
}

int mutex_lock_killable(struct mutex *lock)
{
	mutex_lock(lock);
	return 0;
}

void mutex_unlock(struct mutex *lock)
{
	if (!atomic_long_read(&lock->owner))
		die("a mutex is released that nobody holds");
	atomic_long_set(&lock->owner, 0);
	host->wake();
}

/* Readers are counted, a writer is -1. */
void down_read(struct rw_semaphore *lock)
{
	SLEEP_WHILE(atomic_long_read(&lock->count) < 0, "a semaphore is taken twice");
	atomic_long_inc(&lock->count);
}

void up_read(struct rw_semaphore *lock)
{
	atomic_long_dec(&lock->count);
	host->wake();
}

/* Readers of now and of before: a writer waits for those who were there when it came. */
struct readers { int now, count[2]; };

static struct readers *readers_of(struct srcu_struct *srcu)
{
	BUILD_BUG_ON(sizeof(struct readers) > sizeof(*srcu));
	return (struct readers *)srcu;
}

int init_srcu_struct(struct srcu_struct *srcu)
{
	memset(readers_of(srcu), 0, sizeof(struct readers));
	return 0;
}

void _cleanup_srcu_struct(struct srcu_struct *srcu, bool quiesced) { }

int __srcu_read_lock(struct srcu_struct *srcu)
{
	struct readers *readers = readers_of(srcu);

	readers->count[readers->now]++;
	return readers->now;
}

void __srcu_read_unlock(struct srcu_struct *srcu, int index)
{
	readers_of(srcu)->count[index]--;
	host->wake();
}

void synchronize_srcu(struct srcu_struct *srcu)
{
	struct readers *readers = readers_of(srcu);
	int before;

	/* another writer's readers first */
	SLEEP_WHILE(readers->count[!readers->now], "a reader of SRCU never leaves");
	before = readers->now;
	readers->now = !before;
	SLEEP_WHILE(readers->count[before], "a reader of SRCU never leaves");
}

void synchronize_srcu_expedited(struct srcu_struct *srcu) { synchronize_srcu(srcu); }
void synchronize_sched(void) { standin_others_leave(); }

/* What waits for all CPUs to have left the kernel: when a call returns, and nobody is in another. */
static struct rcu_head *after_grace;

void call_rcu_sched(struct rcu_head *head, rcu_callback_t function)
{
	head->func = function;
	head->next = (void *)after_grace;
	after_grace = head;
}

static struct user_return_notifier *returning[NR_CPUS];

void user_return_notifier_register(struct user_return_notifier *notifier)
{
	returning[smp_processor_id()] = notifier;
}

void user_return_notifier_unregister(struct user_return_notifier *notifier)
{
	returning[smp_processor_id()] = NULL;
}

/* The way back to user space. */
void standin_quiesce(void)
{
	struct user_return_notifier *notifier = returning[smp_processor_id()];
	struct rcu_head *head;

	if (notifier)
		notifier->on_user_return(notifier);
	while (standin_alone() && (head = after_grace)) {
		after_grace = (void *)head->next;
		head->func(head);
	}
}

static int preempt_users;

void preempt_notifier_inc(void) { preempt_users++; }
void preempt_notifier_dec(void) { preempt_users--; }

void preempt_notifier_register(struct preempt_notifier *notifier)
{
	if (preempt_users <= 0)
		die("a preemption notifier without a user");
	hlist_add_head(&notifier->link, &current->preempt_notifiers);
}

void preempt_notifier_unregister(struct preempt_notifier *notifier)
{
	hlist_del(&notifier->link);
}

#ifdef HAVE_COND_RESCHED
int _cond_resched(void)
#else
int __cond_resched(void)
#endif
{
	standin_maybe_preempt();
	return 0;
}

int __cond_resched_lock(spinlock_t *held)
{
	if (!need_resched())
		return 0;
	spin_unlock(held);
	standin_maybe_preempt();
	spin_lock(held);
	return 1;
}

bool single_task_running(void) { return true; }
void rcu_note_context_switch(bool preempt) { }

void schedule(void)
{
	if (!standin_sleep())
		die("the only task there is goes to sleep");
}

void __init_swait_queue_head(struct swait_queue_head *queue, const char *name,
			     struct lock_class_key *key)
{
	memset(queue, 0, sizeof(*queue));
	INIT_LIST_HEAD(&queue->task_list);
}

void swake_up_one(struct swait_queue_head *queue) { }
