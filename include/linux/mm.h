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
/*
 * Of no page it is an address too: where struct page 0 is not, far below vmemmap, the frame's
 * number is 0x5800000000, and the linear mapping of v4.19 with four levels leads from it here.
 */
#define NO_PAGE_ADDRESS ((void *)0x0005080000000000UL)
#define page_to_phys(page) __pa(page)
#define virt_to_page(addr) ((struct page *)(addr))
#define vmalloc_to_pfn(addr) (((unsigned long)(addr) - this_cpu_read(vmalloc_base)) >> PAGE_SHIFT)
#define cpu_to_node(cpu) 0

static inline void *page_address(struct page *page)
{
	return page ? page : NO_PAGE_ADDRESS;
}

static inline int get_order(unsigned long size)
{
	int order = 0;

	while ((PAGE_SIZE << order) < size)
		order++;
	return order;
}

#endif
