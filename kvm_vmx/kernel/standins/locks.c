// SPDX-License-Identifier: GPL-2.0-only
/* Locks of a kernel of which one CPU runs at a time: one that is taken already is taken for good,
 * and that is said. */
#include "standin.h"
#include <linux/mutex.h>
#include <linux/srcu.h>
#include <linux/rwsem.h>
#include <linux/swait.h>
#include <linux/preempt.h>
#include <linux/user-return-notifier.h>

static void take(raw_spinlock_t *lock)
{
	if (READ_ONCE(lock->raw_lock.val.counter))
		die("a spinlock is taken twice");
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
	if (atomic_long_read(&lock->owner))
		die("a mutex is taken twice");
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
}

void down_read(struct rw_semaphore *lock) { }
void up_read(struct rw_semaphore *lock) { }

/* Readers have left whenever a writer runs. */
int init_srcu_struct(struct srcu_struct *srcu) { return 0; }
void _cleanup_srcu_struct(struct srcu_struct *srcu, bool quiesced) { }
int __srcu_read_lock(struct srcu_struct *srcu) { return 0; }
void __srcu_read_unlock(struct srcu_struct *srcu, int index) { }
void synchronize_srcu(struct srcu_struct *srcu) { }
void synchronize_srcu_expedited(struct srcu_struct *srcu) { }
void synchronize_sched(void) { }

/* What waits for all CPUs to have left the kernel: they have when a call of it returns. */
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
	while ((head = after_grace)) {
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

/* The task loses its CPU and gets it back, as where a time slice ends. */
void standin_preempt(void)
{
	struct preempt_notifier *notifier;

	hlist_for_each_entry(notifier, &current->preempt_notifiers, link)
		notifier->ops->sched_out(notifier, current);
	hlist_for_each_entry(notifier, &current->preempt_notifiers, link)
		notifier->ops->sched_in(notifier, smp_processor_id());
}

/* Where the kernel offers to be preempted. */
void standin_maybe_preempt(void)
{
	if (!test_tsk_need_resched(current))
		return;
	clear_tsk_need_resched(current);
	standin_preempt();
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

int __cond_resched_lock(spinlock_t *lock) { return 0; }
bool single_task_running(void) { return true; }
void rcu_note_context_switch(bool preempt) { }
void schedule(void) { die("the only task there is goes to sleep"); }

void __init_swait_queue_head(struct swait_queue_head *queue, const char *name,
			     struct lock_class_key *key)
{
	memset(queue, 0, sizeof(*queue));
	INIT_LIST_HEAD(&queue->task_list);
}

void swake_up_one(struct swait_queue_head *queue) { }
