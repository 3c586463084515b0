// SPDX-License-Identifier: GPL-2.0-only
/* Sorts 200 numbers by heaps and folds them in their order. */
#include "start.h"

static int numbers[200];

static void sift(int *a, int root, int end)
{
	for (int child; (child = 2 * root + 1) < end; root = child) {
		if (child + 1 < end && a[child] < a[child + 1])
			child++;
		if (a[root] >= a[child])
			return;
		int t = a[root];

		a[root] = a[child];
		a[child] = t;
	}
}

u64 work(void)
{
	u64 sum = 0;
	u32 seed = 1;

	for (int i = 0; i < 200; i++) {
		seed = seed * 1103515245u + 12345u;
		numbers[i] = (int)(seed >> 8) - (1 << 23);
	}
	for (int i = 99; i >= 0; i--)
		sift(numbers, i, 200);
	for (int i = 199; i > 0; i--) {
		int t = numbers[0];

		numbers[0] = numbers[i];
		numbers[i] = t;
		sift(numbers, 0, i);
	}
	for (int i = 0; i < 200; i++)
		sum = sum * 31 + (u32)numbers[i];
	return sum;
}
