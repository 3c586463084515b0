// SPDX-License-Identifier: GPL-2.0-only
/* Addresses: every page of physical memory is in the linear mapping, and once more for vmalloc. */
#ifndef KVM_VMX_LINUX_MM_H
#define KVM_VMX_LINUX_MM_H

#include <asm/percpu.h>

#define GFP_KERNEL 0
#define __GFP_ZERO 1

#define INVALID_PAGE (~(u64)0)
#define VALID_PAGE(x) ((x) != INVALID_PAGE)

/* A page is named by its address in the linear mapping. */
struct page;

#define __pa(x) ((u64)(unsigned long)(x) - this_cpu_read(page_offset_base))
#define __va(x) ((void *)(this_cpu_read(page_offset_base) + (unsigned long)(x)))
#define page_address(page) ((void *)(page))
#define page_to_phys(page) __pa(page)
#define virt_to_page(addr) ((struct page *)(addr))
#define vmalloc_to_pfn(addr) (((unsigned long)(addr) - this_cpu_read(vmalloc_base)) >> PAGE_SHIFT)
#define cpu_to_node(cpu) 0

static inline int get_order(unsigned long size)
{
	int order = 0;

	while ((PAGE_SIZE << order) < size)
		order++;
	return order;
}

#endif
