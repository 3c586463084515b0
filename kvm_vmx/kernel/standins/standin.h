// SPDX-License-Identifier: GPL-2.0-only
/* What every stand-in includes: the host's table, and how one of them ends the kernel. */
#ifndef KVM_VMX_KERNEL_STANDIN_H
#define KVM_VMX_KERNEL_STANDIN_H

#include <linux/kvm_host.h>
#include "probes.h"
#include "host.h"

extern struct host *host;

#define die(why) (host->die)(why, (unsigned long)__builtin_return_address(0))

/* The first megabyte is nobody's; a page is free, a block's first or a later one, or of a slab. */
#define FIRST_PAGE 256
#define PAGE_FREE 0
#define PAGE_BLOCK 1		/* plus its order */
#define PAGE_TAIL 0x40
#define PAGE_SLAB 0x80		/* plus the logarithm of the size */

extern long standin_pages, standin_objects;
DECLARE_PER_CPU(unsigned long, standin_flags);

/* Wait while something is so. Where nobody is left who could change it, it is so for good. */
#define SPIN_WHILE(condition, why) do {					\
	unsigned long turns = 0;					\
	while (condition)						\
		if (!standin_spin(&turns))				\
			die(why);					\
} while (0)
#define SLEEP_WHILE(condition, why) do {				\
	while (condition)						\
		if (!standin_sleep())					\
			die(why);					\
} while (0)

/* What nobody may touch, as the shadow of memory has it. */
enum { SHADOW_RED = 0xfc, SHADOW_FREED = 0xfb, SHADOW_NOBODY = 0xff };

#ifdef STANDIN_SANITIZED
void standin_shadow(const void *at, unsigned long size, unsigned char kind);
void standin_shadow_object(const void *object, unsigned long size, unsigned long room);
bool standin_is_freed(const void *object);
void standin_check(const void *at, unsigned long size, bool write, unsigned long ip);
#else
static inline void standin_shadow(const void *at, unsigned long size, unsigned char kind) { }
static inline void standin_shadow_object(const void *at, unsigned long size, unsigned long room) { }
static inline void standin_check(const void *at, unsigned long n, bool write, unsigned long ip) { }
static inline bool standin_is_freed(const void *object) { return false; }
#endif

void *standin_alloc(unsigned long size, gfp_t flags);
void standin_free(const void *object);
void standin_quiesce(void);
void standin_no_signal(void);
void standin_maybe_preempt(void);
bool standin_sleep(void);
bool standin_spin(unsigned long *turns);
void standin_others_leave(void);
bool standin_alone(void);
void standin_calls_begin(void);
void standin_calls_end(void);
void standin_close_cpu(int cpu);
void standin_open_cpu(int cpu);
void standin_tasks(void);
void standin_mm(pgd_t *pgd);
void standin_start_cpu(void *unused);
long standin_cpu_up(long cpu);
long standin_cpu_down(long cpu);
unsigned long standin_page(void);
void standin_memory(void);
void standin_per_cpu(void);
void standin_features(void);
int standin_hyperv(void);
void standin_hyperv_cleanup(bool by_kexec);
void standin_hyperv_sleeps(void);
void standin_hyperv_wakes(void);
void standin_on(int cpu, void (*fn)(void *), void *arg);

#endif
