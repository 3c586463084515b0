// SPDX-License-Identifier: GPL-2.0-only
/* Lengths of strings of many alignments. */
#include "start.h"

static size_t __attribute__((noinline)) length(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return p - s;
}

u64 work(void)
{
	static char text[600];
	u64 sum = 0;

	for (int i = 0; i < 599; i++)
		text[i] = i % 37 ? 'a' + i % 26 : 0;
	for (int i = 0; i < 590; i++)
		sum = sum * 3 + length(text + i);
	return sum;
}
