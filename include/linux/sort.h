// SPDX-License-Identifier: GPL-2.0-only
/* Sorting in place. What compares equal keeps its order, and what is in order costs one pass. */
#ifndef KVM_VMX_LINUX_SORT_H
#define KVM_VMX_LINUX_SORT_H

#include <string.h>

#define SORT_SIZE_MAX 64

static inline void sort(void *base, size_t num, size_t size,
			int (*cmp)(const void *, const void *), void *swap)
{
	char one[SORT_SIZE_MAX], *start = base, *at, *to;

	for (at = start + size; num > 1 && at < start + num * size; at += size) {
		for (to = at; to > start && cmp(to - size, at) > 0; to -= size)
			;
		if (to == at)
			continue;
		memcpy(one, at, size);
		memmove(to + size, to, at - to);
		memcpy(to, one, size);
	}
}

#endif
