// SPDX-License-Identifier: GPL-2.0-only
/* Greatest common divisors, by remainders signed and unsigned of all sizes. */
#include "start.h"

static u64 gcd(u64 a, u64 b)
{
	return b ? gcd(b, a % b) : a;
}

static int gcd_signed(int a, int b)
{
	while (b) {
		int r = a % b;

		a = b;
		b = r;
	}
	return a;
}

u64 work(void)
{
	u64 sum = 0;

	for (u64 i = 1; i < 60; i++) {
		volatile short s = (short)(i * 1234);
		volatile signed char c = (signed char)(i | 1);

		sum = sum * 5 + gcd(i * 720720, 1ull << 40 | i * 360) +
			(u64)(s64)gcd_signed(-(int)i * 9240, 46200) + (u64)(s64)(s / c) +
			(u64)((s64)(i << 55) / (s64)(i * 3));
	}
	return sum;
}
