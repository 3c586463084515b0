// SPDX-License-Identifier: GPL-2.0-only
/* The first eight bytes of the SHA-256 of 'abc'; its constants are computed. */
#include "start.h"

static u32 rotate(u32 v, int n)
{
	return v >> n | v << (32 - n);
}

/* the first 32 bits of the fraction of the square or cube root of n */
static u32 fraction(u32 n, int cube)
{
	u64 low = 0, high = (u64)16 << 32;

	while (high - low > 1) {
		u64 mid = (low + high) / 2;
		unsigned __int128 p = (unsigned __int128)mid * mid;

		if (cube ? (p >> 32) * mid >= ((unsigned __int128)n << 64) : p >= ((unsigned __int128)n << 64))
			high = mid;
		else
			low = mid;
	}
	return (u32)low;
}

u64 work(void)
{
	u32 h[8], k[64], w[64] = { 0 }, s[8], n = 0;

	for (u32 p = 2; n < 64; p++) {
		int prime = 1;

		for (u32 d = 2; d * d <= p; d++)
			prime &= p % d != 0;
		if (!prime)
			continue;
		if (n < 8)
			h[n] = fraction(p, 0);
		k[n++] = fraction(p, 1);
	}
	w[0] = 0x61626380;
	w[15] = 24;
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] +
			(rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
			(rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (int i = 0; i < 8; i++)
		s[i] = h[i];
	for (int i = 0; i < 64; i++) {
		u32 a = s[0], e = s[4];
		u32 t = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
		u32 m = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		for (int j = 7; j > 0; j--)
			s[j] = s[j - 1];
		s[4] += t;
		s[0] = t + m;
	}
	return (u64)(h[0] + s[0]) << 32 | (u32)(h[1] + s[1]);
}
