// SPDX-License-Identifier: GPL-2.0-only
/* A matrix of whole numbers to the power of 5. */
#include "start.h"

static s64 a[12][12], p[12][12], t[12][12];

u64 work(void)
{
	u64 sum = 0;

	for (int i = 0; i < 12; i++)
		for (int j = 0; j < 12; j++) {
			a[i][j] = (i - j) * (i + 2 * j) % 17;
			p[i][j] = i == j;
		}
	for (int n = 0; n < 5; n++) {
		for (int i = 0; i < 12; i++)
			for (int j = 0; j < 12; j++) {
				t[i][j] = 0;
				for (int k = 0; k < 12; k++)
					t[i][j] += p[i][k] * a[k][j];
			}
		for (int i = 0; i < 12; i++)
			for (int j = 0; j < 12; j++)
				p[i][j] = t[i][j];
	}
	for (int i = 0; i < 12; i++)
		for (int j = 0; j < 12; j++)
			sum = sum * 33 + (u64)p[i][j];
	return sum;
}
