// SPDX-License-Identifier: GPL-2.0-only
/* Clocks that tick when they are read, timers and work: all that waits, waits for its end. */
#include "standin.h"
#include <linux/hrtimer.h>
#include <linux/workqueue.h>
#include <linux/timekeeping.h>
#include <linux/pvclock_gtod.h>
#include <linux/cpufreq.h>

unsigned int tsc_khz = 2600000;
struct workqueue_struct *system_wq, *system_long_wq;

ktime_t ktime_get(void)
{
	static ktime_t now;

	return now += NSEC_PER_USEC;
}

ktime_t ktime_get_with_offset(enum tk_offsets offset) { return ktime_get(); }
void getboottime64(struct timespec64 *time) { time->tv_sec = time->tv_nsec = 0; }
static bool tsc_unstable;

int check_tsc_unstable(void) { return tsc_unstable; }
void mark_tsc_unstable(char *reason) { tsc_unstable = true; }

void set_normalized_timespec64(struct timespec64 *time, time64_t seconds, s64 nanoseconds)
{
	time->tv_sec = seconds + nanoseconds / NSEC_PER_SEC;
	time->tv_nsec = nanoseconds % NSEC_PER_SEC;
}

struct timespec64 ns_to_timespec64(const s64 nanoseconds)
{
	return (struct timespec64){ nanoseconds / NSEC_PER_SEC, nanoseconds % NSEC_PER_SEC };
}

void hrtimer_init(struct hrtimer *timer, clockid_t clock, enum hrtimer_mode mode)
{
	memset(timer, 0, sizeof(*timer));
}

void hrtimer_start_range_ns(struct hrtimer *timer, ktime_t at, u64 range,
			    const enum hrtimer_mode mode)
{
	timer->node.expires = at;
	timer->state = HRTIMER_STATE_ENQUEUED;
}

int hrtimer_cancel(struct hrtimer *timer)
{
	int active = timer->state;

	timer->state = 0;
	return active;
}

ktime_t __hrtimer_get_remaining(const struct hrtimer *timer, bool adjust)
{
	return timer->node.expires - ktime_get();
}

void init_timer_key(struct timer_list *timer, void (*function)(struct timer_list *),
		    unsigned int flags, const char *name, struct lock_class_key *key)
{
	memset(timer, 0, sizeof(*timer));
	timer->function = function;
}

void delayed_work_timer_fn(struct timer_list *timer) { }

/* What is queued is done at once, what is delayed is not done. */
bool queue_work_on(int cpu, struct workqueue_struct *queue, struct work_struct *work)
{
	work->func(work);
	return true;
}

bool queue_delayed_work_on(int cpu, struct workqueue_struct *queue, struct delayed_work *work,
			   unsigned long delay)
{
	return true;
}

bool cancel_work_sync(struct work_struct *work) { return false; }
bool cancel_delayed_work_sync(struct delayed_work *work) { return false; }
bool flush_work(struct work_struct *work) { return false; }
#ifdef flush_workqueue
#undef flush_workqueue
#define flush_workqueue __flush_workqueue
#endif
void flush_workqueue(struct workqueue_struct *queue) { }

#ifndef HAVE_ALLOC_WORKQUEUE
struct workqueue_struct *__alloc_workqueue_key(const char *format, unsigned int flags,
	int max_active, struct lock_class_key *key, const char *name, ...)
#else
struct workqueue_struct *alloc_workqueue(const char *format, unsigned int flags, int max_active, ...)
#endif
{
	return standin_alloc(64, __GFP_ZERO);
}

void destroy_workqueue(struct workqueue_struct *queue) { standin_free(queue); }

bool irq_work_queue(struct irq_work *work)
{
	work->func(work);
	return true;
}

void irq_work_sync(struct irq_work *work) { }
int pvclock_gtod_register_notifier(struct notifier_block *block) { return 0; }
int pvclock_gtod_unregister_notifier(struct notifier_block *block) { return 0; }
int cpufreq_register_notifier(struct notifier_block *block, unsigned int list) { return 0; }
int cpufreq_unregister_notifier(struct notifier_block *block, unsigned int list) { return 0; }
int cpufreq_get_policy(struct cpufreq_policy *policy, unsigned int cpu) { return -EINVAL; }
unsigned int cpufreq_quick_get(unsigned int cpu) { return 0; }
