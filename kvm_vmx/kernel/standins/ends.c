// SPDX-License-Identifier: GPL-2.0-only
/* How a kernel ends, or sleeps: who is told, what each CPU does then, what Hyper-V is left with. */
#include "standin.h"
#include <linux/notifier.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <linux/syscore_ops.h>
#include <asm/processor-flags.h>
#include <asm/reboot.h>
#ifdef HAVE_CRASH_VMCLEAR
#include <asm/kexec.h>
#endif

static struct notifier_block *of_reboot, *of_sleep;

static int add(struct notifier_block **list, struct notifier_block *block)
{
	block->next = *list;
	*list = block;
	return 0;
}

static int take_out(struct notifier_block **list, struct notifier_block *block)
{
	for (; *list; list = (struct notifier_block **)&(*list)->next)
		if (*list == block) {
			*list = block->next;
			return 0;
		}
	return -ENOENT;
}

static void tell(struct notifier_block *list, unsigned long event)
{
	for (; list; list = list->next)
		list->notifier_call(list, event, NULL);
}

int register_reboot_notifier(struct notifier_block *block) { return add(&of_reboot, block); }
int unregister_reboot_notifier(struct notifier_block *block) { return take_out(&of_reboot, block); }
int register_pm_notifier(struct notifier_block *block) { return add(&of_sleep, block); }
int unregister_pm_notifier(struct notifier_block *block) { return take_out(&of_sleep, block); }

/* What is done last, on the one CPU that is left, with interrupts off. */
static LIST_HEAD(cores);
#ifdef HAVE_SYSCORE_DATA
#define CORE struct syscore
#define CALLS(core) ((core)->ops)
#define DATA(core) ((core)->data)
void register_syscore(struct syscore *core) { list_add_tail(&core->node, &cores); }
void unregister_syscore(struct syscore *core) { list_del(&core->node); }
#else
#define CORE struct syscore_ops
#define CALLS(core) (core)
#define DATA(core)
void register_syscore_ops(struct syscore_ops *core) { list_add_tail(&core->node, &cores); }
void unregister_syscore_ops(struct syscore_ops *core) { list_del(&core->node); }
#endif

static void core_shutdown(void)
{
	CORE *core;

	list_for_each_entry(core, &cores, node)
		if (CALLS(core)->shutdown)
			CALLS(core)->shutdown(DATA(core));
}

/* Everybody who asked is told, as before each end in good order. */
long standin_restart(void)
{
	tell(of_reboot, SYS_RESTART);
	core_shutdown();
	return 0;
}

/* Another kernel begins, which nothing has reset the processors for. */
long standin_kexec(void)
{
	standin_restart();
	standin_hyperv_cleanup(true);
	return 0;
}

#ifdef HAVE_EMERGENCY_CALL
static cpu_emergency_virt_cb *in_emergency;

void cpu_emergency_register_virt_callback(cpu_emergency_virt_cb *call) { in_emergency = call; }
void cpu_emergency_unregister_virt_callback(cpu_emergency_virt_cb *call) { in_emergency = NULL; }

static void leave_vmx(void *unused)
{
	if (in_emergency)
		in_emergency();
}
#else
static void leave_vmx(void *unused)
{
	unsigned long cr4 = host->read_cr(4);

#ifdef HAVE_CRASH_VMCLEAR
	if (crash_vmclear_loaded_vmcss)
		crash_vmclear_loaded_vmcss();
#endif
	if (!(cr4 & X86_CR4_VMXE))
		return;
	asm volatile("vmxoff" : : : "cc");
	host->write_cr(4, cr4 & ~X86_CR4_VMXE);
}
#endif

/* kdump's way: nobody is asked. The other CPUs get an NMI, then the one that has crashed goes. */
long standin_crash(void)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id())
			standin_on(cpu, leave_vmx, NULL);
	standin_on(smp_processor_id(), leave_vmx, NULL);
	standin_hyperv_cleanup(false);
	return 0;
}

static struct cpumask asleep;

/* To sleep, on CPU 0, which is called last. */
long standin_suspend(void)
{
	CORE *core;
	int cpu;

	host->log(6, "PM: suspend entry (deep)");
	tell(of_sleep, PM_SUSPEND_PREPARE);
	cpumask_clear(&asleep);
	for (cpu = nr_cpu_ids - 1; cpu > 0; cpu--)
		if (cpu_online(cpu)) {
			standin_cpu_down(cpu);
			cpumask_set_cpu(cpu, &asleep);
		}
	list_for_each_entry(core, &cores, node)
		if (CALLS(core)->suspend)
			CALLS(core)->suspend(DATA(core));
	standin_hyperv_sleeps();
	return 0;
}

/* And to wake up again, on processors that have been reset. */
long standin_resume(void)
{
	CORE *core;
	int cpu, ret, error = 0;

	standin_start_cpu(NULL);
	standin_hyperv_wakes();
	list_for_each_entry(core, &cores, node)
		if (CALLS(core)->resume)
			CALLS(core)->resume(DATA(core));
	for_each_cpu(cpu, &asleep) {
		standin_on(cpu, standin_start_cpu, NULL);
		ret = standin_cpu_up(cpu);
		error = error ?: ret;
	}
	tell(of_sleep, PM_POST_SUSPEND);
	host->log(6, "PM: suspend exit");
	standin_quiesce();
	return error;
}
