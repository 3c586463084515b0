// SPDX-License-Identifier: GPL-2.0-only
/* Tricks with bits: counts, scans, byte order, rotates, atomics, conditions. */
#include "start.h"

static u64 cell = 0x123456789abcdef0ull;
static u64 pair[2] __attribute__((aligned(16)));

static u64 reversed(u64 v)
{
	u64 r = 0;

	for (int i = 0; i < 64; i++, v >>= 1)
		r = r << 1 | (v & 1);
	return r;
}

u64 work(void)
{
	u64 sum = 0, v = 0x0123456789abcdefull;

	for (int i = 0; i < 64; i++) {
		v = v << 13 | v >> 51;
		v ^= __builtin_bswap64(v) + i;
		sum += __builtin_ctzll(v | 1ull << 63) * 3 + __builtin_clzll(v | 1) * 5;
		sum += (u64)__builtin_popcountll(v) + __builtin_parityll(v);
		sum ^= reversed(v) + __builtin_bswap32((u32)v) + (u16)(v << 3 | (u16)v >> 13);
		sum += (v > sum) + 2 * ((s64)v < (s64)sum) + 4 * ((v >> (i & 63)) & 1);
		__atomic_fetch_add(&cell, v, __ATOMIC_SEQ_CST);
		__atomic_fetch_or(&cell, 1ull << (i & 31), __ATOMIC_SEQ_CST);
		u64 old = cell;

		__atomic_compare_exchange_n(&cell, &old, sum, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		sum += __atomic_exchange_n(&pair[i & 1], v, __ATOMIC_SEQ_CST) ^ old;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	return sum;
}
