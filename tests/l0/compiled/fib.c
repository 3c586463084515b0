// SPDX-License-Identifier: GPL-2.0-only
/* Fibonacci's number 25, by recursion. */
#include "start.h"

static u64 fib(u32 n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

u64 work(void)
{
	volatile u32 n = 25;

	return fib(n);
}
