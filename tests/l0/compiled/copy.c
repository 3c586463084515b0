// SPDX-License-Identifier: GPL-2.0-only
/* Structures passed, returned and assigned by value. */
#include "start.h"

struct big {
	u64 words[40];
	u16 tail[7];
};

static struct big __attribute__((noinline)) turned(struct big b)
{
	struct big r = b;

	for (int i = 0; i < 40; i++)
		r.words[i] = b.words[39 - i] ^ i;
	r.tail[3] = (u16)~b.tail[4];
	return r;
}

u64 work(void)
{
	static struct big b, c[3];
	u64 sum = 0;

	for (int i = 0; i < 40; i++)
		b.words[i] = (u64)i * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 7; i++)
		b.tail[i] = (u16)(i * 777);
	c[0] = turned(b);
	c[1] = turned(c[0]);
	c[2] = c[1];
	for (int i = 0; i < 40; i++)
		sum = sum * 7 + c[2].words[i];
	return sum + c[2].tail[3] + sizeof(c);
}
