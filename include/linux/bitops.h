// SPDX-License-Identifier: GPL-2.0-only
/* Bits in arrays of unsigned long, numbered from the least significant bit of word 0. */
#ifndef KVM_VMX_LINUX_BITOPS_H
#define KVM_VMX_LINUX_BITOPS_H

#include <linux/types.h>

#define BIT(nr) (1UL << (nr))
#define BITS_TO_LONGS(nr) (((nr) + BITS_PER_LONG - 1) / BITS_PER_LONG)

/* The __ forms are not atomic: their caller holds a lock, or owns the word. */
static inline void __set_bit(long nr, unsigned long *word)
{
	word[nr / BITS_PER_LONG] |= BIT(nr % BITS_PER_LONG);
}

static inline void __clear_bit(long nr, unsigned long *word)
{
	word[nr / BITS_PER_LONG] &= ~BIT(nr % BITS_PER_LONG);
}

static inline bool test_bit(long nr, const unsigned long *word)
{
	return word[nr / BITS_PER_LONG] >> (nr % BITS_PER_LONG) & 1;
}

static inline void set_bit(long nr, unsigned long *word)
{
	__atomic_or_fetch(&word[nr / BITS_PER_LONG], BIT(nr % BITS_PER_LONG), __ATOMIC_SEQ_CST);
}

static inline void clear_bit(long nr, unsigned long *word)
{
	__atomic_and_fetch(&word[nr / BITS_PER_LONG], ~BIT(nr % BITS_PER_LONG), __ATOMIC_SEQ_CST);
}

/* The first clear bit below size, or size. */
static inline unsigned long find_first_zero_bit(const unsigned long *word, unsigned long size)
{
	for (unsigned long base = 0; base < size; base += BITS_PER_LONG) {
		if (~word[base / BITS_PER_LONG]) {
			unsigned long bit = base + __builtin_ctzl(~word[base / BITS_PER_LONG]);

			return bit < size ? bit : size;
		}
	}
	return size;
}

#endif
