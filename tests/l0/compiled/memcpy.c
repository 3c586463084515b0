// SPDX-License-Identifier: GPL-2.0-only
/* Blocks set, copied forward and backward, and compared. */
#include "start.h"

void *memcpy(void *to, const void *from, size_t n)
{
	void *r = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return r;
}

void *memset(void *to, int c, size_t n)
{
	void *r = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return r;
}

static void backward(u8 *to, const u8 *from, size_t n)
{
	to += n - 1;
	from += n - 1;
	__asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static size_t same(const u8 *a, const u8 *b, size_t n)
{
	size_t left = n;

	__asm__ volatile("repe cmpsb" : "+D"(a), "+S"(b), "+c"(left) : : "memory", "cc");
	return n - left;
}

u64 work(void)
{
	static u8 a[9000], b[9000];
	u64 sum = 0;

	for (int i = 0; i < 9000; i++)
		a[i] = (u8)(i * i >> 3);
	memset(b, 0x5a, sizeof(b));
	memcpy(b + 3, a + 5, 8000);
	backward(b + 100, b, 5000);
	for (int i = 0; i < 9000; i++)
		sum = sum * 131 + b[i];
	return sum + same(a + 5, b + 103, 8000);
}
