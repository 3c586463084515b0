// SPDX-License-Identifier: GPL-2.0-only
/* CPUs: their variables, who is online, what comes and goes with them, calls from one to another. */
#include "standin.h"
#include <linux/cpuhotplug.h>
#include <linux/smp.h>
#include <asm/apic.h>
#include <asm/desc.h>
#include <asm/tlbflush.h>
#include <asm/cpu_entry_area.h>
#include <linux/perf_event.h>

unsigned int nr_cpu_ids;
struct cpumask __cpu_online_mask, __cpu_possible_mask, __cpu_present_mask;
unsigned long __per_cpu_offset[NR_CPUS];
const unsigned long cpu_bit_bitmap[BITS_PER_LONG + 1][BITS_TO_LONGS(NR_CPUS)];
struct smp_ops smp_ops;
struct apic *apic;

#ifdef HAVE_IRQ_STACK_UNION
DEFINE_PER_CPU_FIRST(union irq_stack_union, irq_stack_union);
#else
DEFINE_PER_CPU_FIRST(struct fixed_percpu_data, fixed_percpu_data);
#endif
#ifdef HAVE_PCPU_HOT
#define NUMBER_OF(cpu) per_cpu(pcpu_hot.cpu_number, cpu)
#else
DEFINE_PER_CPU(int, cpu_number);
#define NUMBER_OF(cpu) per_cpu(cpu_number, cpu)
#endif
DEFINE_PER_CPU(unsigned long, this_cpu_off);
DEFINE_PER_CPU(int, numa_node);
DEFINE_PER_CPU(typeof(x86_cpu_to_apicid), x86_cpu_to_apicid);
DEFINE_PER_CPU(irq_cpustat_t, irq_stat);
DEFINE_PER_CPU(struct gdt_page, gdt_page);
DEFINE_PER_CPU(bool, __tss_limit_invalid);
DEFINE_PER_CPU(unsigned long, cpu_dr7);
DEFINE_PER_CPU(struct tlb_state, cpu_tlbstate);

/* Somebody has to have been told: a reschedule of the CPU that runs is of no use. */
static void kick(int cpu) { }
static int apic_id(void) { return smp_processor_id(); }

void standin_on(int cpu, void (*fn)(void *), void *arg)
{
	int here = smp_processor_id();
	unsigned long flags;

	if (cpu != here)
		host->become(cpu);
	local_irq_save(flags);
	fn(arg);
	local_irq_restore(flags);
	if (cpu != here)
		host->become(here);
}

int smp_call_function_single(int cpu, smp_call_func_t fn, void *arg, int wait)
{
	if (!cpu_online(cpu))
		return -ENXIO;
	standin_on(cpu, fn, arg);
	return 0;
}

void smp_call_function_many(const struct cpumask *mask, smp_call_func_t fn, void *arg, bool wait)
{
	int cpu;

	for_each_cpu_and(cpu, mask, cpu_online_mask)
		if (cpu != smp_processor_id())
			standin_on(cpu, fn, arg);
}

#ifdef HAVE_ON_EACH_CPU
int on_each_cpu(smp_call_func_t fn, void *arg, int wait)
{
	int cpu;

	for_each_online_cpu(cpu)
		standin_on(cpu, fn, arg);
	return 0;
}
#else
void on_each_cpu_cond_mask(smp_cond_func_t wanted, smp_call_func_t fn, void *arg, bool wait,
			   const struct cpumask *mask)
{
	int cpu;

	for_each_cpu(cpu, mask)
		if (cpu_online(cpu) && (!wanted || wanted(cpu, arg)))
			standin_on(cpu, fn, arg);
}
#endif

/* Hotplug: in the order of the states upwards, in the other one down. */
static struct hotplug { int (*up)(unsigned int); int (*down)(unsigned int); } states[CPUHP_ONLINE + 1];
struct step { int (*fn)(unsigned int); int cpu, ret; };

static void run_step(void *arg)
{
	struct step *step = arg;

	step->ret = step->fn(step->cpu);
}

static int on_cpu(int cpu, int (*fn)(unsigned int))
{
	struct step step = { fn, cpu };

	if (fn)
		standin_on(cpu, run_step, &step);
	return step.ret;
}

int __cpuhp_setup_state(enum cpuhp_state state, const char *name, bool invoke,
			int (*up)(unsigned int), int (*down)(unsigned int), bool multi)
{
	int cpu, other, ret, place = state == CPUHP_AP_ONLINE_DYN ? CPUHP_AP_ONLINE_DYN : state;

	while (state == CPUHP_AP_ONLINE_DYN && (states[place].up || states[place].down))
		place++;
	states[place] = (struct hotplug){ up, down };
	for_each_online_cpu(cpu) {
		ret = invoke ? on_cpu(cpu, up) : 0;
		if (!ret)
			continue;
		for_each_online_cpu(other)
			if (other < cpu)
				on_cpu(other, down);
		states[place] = (struct hotplug){ };
		return ret;
	}
	return state == CPUHP_AP_ONLINE_DYN ? place : 0;
}

void __cpuhp_remove_state(enum cpuhp_state state, bool invoke)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (invoke)
			on_cpu(cpu, states[state].down);
	states[state] = (struct hotplug){ };
}

/* A state that fails on the way up is taken back. */
long standin_cpu_up(long cpu)
{
	int state, ret;

	if (cpu_online(cpu))
		return -EINVAL;
	for (state = 0; state <= CPUHP_ONLINE; state++) {
		if (state == CPUHP_AP_ONLINE)
			cpumask_set_cpu(cpu, &__cpu_online_mask);
		ret = on_cpu(cpu, states[state].up);
		if (!ret)
			continue;
		while (state--)
			on_cpu(cpu, states[state].down);
		cpumask_clear_cpu(cpu, &__cpu_online_mask);
		return ret;
	}
	return 0;
}

static bool is_last_online(int cpu)
{
	int other;

	for_each_online_cpu(other)
		if (other != cpu)
			return false;
	return true;
}

long standin_cpu_down(long cpu)
{
	int state;

	if (!cpu_online(cpu))
		return -EINVAL;
	if (is_last_online(cpu))
		return -EBUSY;
	for (state = CPUHP_ONLINE; state >= 0; state--) {
		if (state == CPUHP_AP_ONLINE)
			cpumask_clear_cpu(cpu, &__cpu_online_mask);
		on_cpu(cpu, states[state].down);
	}
	return 0;
}

struct cpu_entry_area *get_cpu_entry_area(int cpu)
{
	static struct cpu_entry_area *areas[NR_CPUS];

	if (!areas[cpu])
		areas[cpu] = standin_alloc(sizeof(*areas[cpu]), __GFP_ZERO);
	return areas[cpu];
}

void load_fixmap_gdt(int cpu) { }
void save_fsgs_for_kvm(void) { }
void hw_breakpoint_restore(void) { }

/* Every CPU's variables, before the first of them is online. */
void standin_cpus(void)
{
	static struct apic one = { .read = NULL };
	int cpu;

	apic = &one;
	smp_ops.smp_send_reschedule = kick;
	(void)apic_id;
	nr_cpu_ids = host->cpus;
	for (cpu = 0; cpu < host->cpus; cpu++) {
		__per_cpu_offset[cpu] = host->per_cpu[cpu];
		per_cpu(this_cpu_off, cpu) = host->per_cpu[cpu];
		NUMBER_OF(cpu) = cpu;
		per_cpu(x86_cpu_to_apicid, cpu) = cpu;
		cpumask_set_cpu(cpu, &__cpu_possible_mask);
		cpumask_set_cpu(cpu, &__cpu_present_mask);
		if (cpu < host->online)
			cpumask_set_cpu(cpu, &__cpu_online_mask);
	}
}
