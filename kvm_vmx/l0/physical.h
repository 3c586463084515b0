// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest-physical memory as L0 finds it: a host pointer, or nothing.
 */
#ifndef KVM_VMX_L0_PHYSICAL_H
#define KVM_VMX_L0_PHYSICAL_H

#include <asm/virt_cpu.h>

/* A host pointer to len bytes of guest-physical memory, or NULL where any of it is missing. */
static inline u8 *phys_ptr(const struct phys_mem *mem, u64 gpa, u64 len)
{
	if (gpa >= mem->size || len > mem->size - gpa)
		return NULL;
	if (__builtin_expect(!!(mem->unbacked), 0)) {
		for (u64 page = gpa >> 12; page <= (gpa + len - 1) >> 12; page++)
			if (mem->unbacked[page / 64] >> (page % 64) & 1)
				return NULL;
	}
	return mem->base + gpa;
}

/* The page around gpa, or NULL where there is none. Memory ends at a page's end. */
static inline u8 *phys_page(const struct phys_mem *mem, u64 gpa)
{
	gpa &= ~0xfffull;
	if (gpa >= mem->size)
		return NULL;
	if (__builtin_expect(!!(mem->unbacked), 0) && mem->unbacked[gpa >> 18] >> (gpa >> 12 & 63) & 1)
		return NULL;
	return mem->base + gpa;
}

#endif
