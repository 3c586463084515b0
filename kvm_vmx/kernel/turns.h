// SPDX-License-Identifier: GPL-2.0-only
/*
 * Turns: one thread executes an image's text at a time, the others wait for theirs, sleep, or are in
 * their guests, which run beside it.
 */
#ifndef KVM_VMX_KERNEL_TURNS_H
#define KVM_VMX_KERNEL_TURNS_H

#include <kvm_vmx/kernel/standins/host.h>
#include <asm/irq_vectors.h>
#include <asm/virt_cpu.h>
#include <linux/cpu.h>
#include <pthread.h>
#include <time.h>

#define IMAGE_REASONS 80		/* there are fewer */
#define EPT_VIOLATION_EXIT 48
#define POLL_US 1000
#define TASK_STACK (64 << 10)		/* what a thread has of one, as the trap engine gives it */
#define NOWHERE (-1)

/* A thread that has called the image. All of it but its guest's is read and written in turn; what
 * is looked at without one, to signal it, under the lock as well. */
struct image_thread {
	struct task_struct task;	/* what the trap engine knows of it */
	bool used, asleep;
	bool in_guest;			/* its CPU stays that one meanwhile */
	bool signalled;			/* its call is to end at its next VM exit */
	bool open;			/* asleep, and its CPU takes interrupts */
	bool quiet;			/* asleep where it has let go of all that RCU protects */
	int number;
	int cpu;			/* whose variables %gs has */
	int wants;			/* the CPU that it waits for, or NOWHERE */
	u64 ticket;			/* since when */
	u64 exits, exits_until;		/* VM exits in this call, and after how many it is to end */
	u64 reasons[IMAGE_REASONS];	/* and how often each has come */
	int last;			/* the last one's */
};

/* Who has a CPU, and who borrows it for what an interrupt would do there. */
struct image_cpu {
	struct image_thread *owner, *guest;
	int borrowers;			/* and how many wait until it can be had */
	struct virt_cpu *processor;
	const u64 *reasons;		/* how often each exit has come, as L0 counts */
	struct percpu_area *area;
};

static struct crowd {
	pthread_mutex_t lock;
	pthread_cond_t turn, event;
	u64 next, serving;		/* whose turn it is */
	u64 events, tickets;
	int inside, sleepers;		/* sleepers: of those inside, whom only another one wakes */
	unsigned long alone;		/* the thread that wants nobody else inside, or 0 */
	int depth;
	bool dead, ends;
	struct image_thread threads[IMAGE_THREADS];
	struct image_cpu cpus[IMAGE_THREADS];
	const struct virt_cpu_ops *under;	/* L0's own table */
	void (*lost)(unsigned long rip);	/* an exit onto the stack of another task */
	bool fsgsbase;
} crowd = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.turn = PTHREAD_COND_INITIALIZER, .event = PTHREAD_COND_INITIALIZER,
};

/* Read in signal handlers, so nothing that is allocated when it is first touched. */
static __thread struct image_thread *running __attribute__((tls_model("initial-exec")));

static void wait_for_turn(void)
{
	u64 mine = crowd.next++;

	while (crowd.serving != mine)
		pthread_cond_wait(&crowd.turn, &crowd.lock);
}

static void end_turn(void)
{
	if (++crowd.serving != crowd.next)
		pthread_cond_broadcast(&crowd.turn);
}

/* In the order in which they ask. */
static void turn_begin(void)
{
	pthread_mutex_lock(&crowd.lock);
	wait_for_turn();
	pthread_mutex_unlock(&crowd.lock);
}

static void turn_end(void)
{
	pthread_mutex_lock(&crowd.lock);
	end_turn();
	pthread_mutex_unlock(&crowd.lock);
}

/* Something has changed that somebody may be waiting for. */
static void crowd_wake(void)
{
	if (crowd.inside < 2 && running)
		return;
	pthread_mutex_lock(&crowd.lock);
	crowd.events++;
	crowd.sleepers = 0;
	pthread_cond_broadcast(&crowd.event);
	pthread_mutex_unlock(&crowd.lock);
}

static void kick_guest(const struct image_thread *thread, u32 vector)
{
	if (thread->in_guest)
		irq_raise(crowd.cpus[thread->cpu].processor, vector);
}

/* A signal for a thread, by one that has no turn and waits for none. */
static void signal_thread(void *whom)
{
	struct image_thread *thread = whom;

	pthread_mutex_lock(&crowd.lock);
	__atomic_store_n(&thread->signalled, true, __ATOMIC_RELAXED);
	kick_guest(thread, RESCHEDULE_VECTOR);
	pthread_mutex_unlock(&crowd.lock);
}

static bool is_signalled(const struct image_thread *thread)
{
	return __atomic_load_n(&thread->signalled, __ATOMIC_RELAXED);
}

/* The kernel has died, of this thread or of another one: every thread leaves it. */
static void crowd_leave(void)
{
	longjmp(running->task.oops_buf, 1);
}

static void crowd_dies(void)
{
	int i;

	crowd.dead = true;
	for (i = 0; i < IMAGE_THREADS; i++)
		if (crowd.threads[i].used)
			kick_guest(&crowd.threads[i], RESCHEDULE_VECTOR);
	crowd_wake();
}

/* What %gs has of the thread again, where another one had its CPU meanwhile. */
static void be_here(void)
{
	struct image_cpu *cpu = &crowd.cpus[running->cpu];

	if (cpu->guest == running || (cpu->owner == running && !cpu->guest))
		cpu->area->current_task = &running->task;
}

/* Let others have their turn until something changes, or for so many microseconds: 0, 1 where
 * nothing did, -1 where nobody is left who could change anything. */
static int crowd_sleep(int how, unsigned int microseconds)
{
	struct image_thread *me = running;
	u64 seen = crowd.events;
	struct timespec until;
	int late = 0;

	if (crowd.inside < 2)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += microseconds * 1000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&crowd.lock);
	if (!microseconds && ++crowd.sleepers == crowd.inside) {
		crowd.sleepers--;
		pthread_mutex_unlock(&crowd.lock);
		return -1;
	}
	me->asleep = true;
	me->open = how & SLEEP_OPEN;
	me->quiet = how & SLEEP_QUIET;
	end_turn();
	while (crowd.events == seen && !late)
		late = microseconds ? pthread_cond_clockwait(&crowd.event, &crowd.lock,
							     CLOCK_MONOTONIC, &until)
				    : pthread_cond_wait(&crowd.event, &crowd.lock);
	do {
		wait_for_turn();
		/* whoever borrows its CPU has it until he is done, wherever he waits */
		if (!crowd.cpus[me->cpu].guest || crowd.cpus[me->cpu].guest == me ||
		    crowd.cpus[me->cpu].owner != me || crowd.dead)
			break;
		end_turn();
		pthread_cond_wait(&crowd.event, &crowd.lock);
	} while (true);
	me->asleep = me->open = me->quiet = false;
	pthread_mutex_unlock(&crowd.lock);
	if (crowd.dead)
		crowd_leave();
	be_here();
	return late != 0;
}

#endif
