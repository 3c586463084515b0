// SPDX-License-Identifier: GPL-2.0-only
/*
 * Per-CPU variables through %gs, as in the kernel: this_cpu_read(x) is one MOV.
 *
 * Where the kernel's linker lays the variables out, one struct does here, so that an offset
 * is a compile-time constant in every module. A thread runs as CPU n while its %gs base
 * points at CPU n's struct.
 */
#ifndef KVM_VMX_ASM_PERCPU_H
#define KVM_VMX_ASM_PERCPU_H

#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/types.h>
#include <asm/virt_cpu.h>

struct vmcs;
struct task_struct;
struct vmlinux;

struct percpu_area {
	/* the processor and the kernel proper */
	struct virt_cpu *virt_cpu;
	const struct vmlinux *vmlinux;
	struct percpu_area *per_cpu_base;	/* CPU 0's area; CPU n's is at index n */
	unsigned long page_offset_base;		/* where GPA 0 is in the linear mapping */
	unsigned long vmalloc_base;		/* where GPA 0 is in the vmalloc mapping */
	struct task_struct *current_task;
	int cpu_number;
	int preempt_count;
	int irqs_disabled;

	/* arch/x86/kvm/vmx.c */
	struct vmcs *vmxarea;
	struct vmcs *current_vmcs;
	struct list_head loaded_vmcss_on_cpu;
	struct list_head blocked_vcpu_on_cpu;
	int blocked_vcpu_on_cpu_lock;

	/* arch/x86/kvm/x86.c and arch/x86/hyperv/hv_init.c */
	void *current_vcpu;
	void *hyperv_pcpu_input_arg;
} __attribute__((aligned(64)));

#ifndef __x86_64__
#error "per-CPU variables need %gs: build on x86-64"
#endif

/* volatile, as in v4.19: each use reads the variable again. */
#define this_cpu_read(var) ({						\
	__typeof__(((struct percpu_area *)0)->var) pfo_ret__;		\
	__asm__ __volatile__("mov %%gs:%c1, %0"				\
		: "=r"(pfo_ret__)					\
		: "i"(offsetof(struct percpu_area, var)));		\
	pfo_ret__; })

/* What is written so has 32 bits; a constant needs no register. */
#define percpu_to_op(op, var, value) do {				\
	_Static_assert(sizeof(((struct percpu_area *)0)->var) == 4, "a u32 or an int"); \
	__asm__ __volatile__(op "l %0, %%gs:%c1"			\
		: : "ri"(value), "i"(offsetof(struct percpu_area, var)) : "memory"); \
} while (0)

#define this_cpu_write(var, value) percpu_to_op("mov", var, value)
#define this_cpu_add(var, value) percpu_to_op("add", var, value)

/* Of a variable that does not change as long as a function runs: read once is enough. */
#define this_cpu_read_stable(var) ({					\
	__typeof__(((struct percpu_area *)0)->var) pfo_ret__;		\
	__asm__("mov %%gs:%c1, %0"					\
		: "=r"(pfo_ret__)					\
		: "i"(offsetof(struct percpu_area, var)));		\
	pfo_ret__; })

#define per_cpu_ptr(var, cpu) (&this_cpu_read(per_cpu_base)[cpu].var)
#define per_cpu(var, cpu) (*per_cpu_ptr(var, cpu))
#define this_cpu_ptr(var) per_cpu_ptr(var, this_cpu_read(cpu_number))

#define raw_smp_processor_id() this_cpu_read(cpu_number)
#define smp_processor_id() this_cpu_read(cpu_number)
#define current this_cpu_read_stable(current_task)

#endif
