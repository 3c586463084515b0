// SPDX-License-Identifier: GPL-2.0-only
/* Of lib/: strings, bits, formats; in the image, so that a fault in them is the kernel's. */
#include "standin.h"
#include <linux/bsearch.h>
#include <linux/idr.h>
#include <linux/uaccess.h>
#undef memcpy
#undef memset
#undef memmove
#undef memcmp

void *__memcpy(void *to, const void *from, size_t n)
{
	void *at = to;

	asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *__memset(void *to, int c, size_t n)
{
	void *at = to;

	asm volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
	return to;
}

void *__memmove(void *to, const void *from, size_t n)
{
	char *last = to + n;
	const char *source = from + n;

	if (to <= from)
		return __memcpy(to, from, n);
	while (last != to)
		*--last = *--source;
	return to;
}

int memcmp(const void *one, const void *other, size_t n)
{
	const unsigned char *a = one, *b = other;

	for (; n; n--, a++, b++)
		if (*a != *b)
			return *a - *b;
	return 0;
}

/* Of what the compiler does not see whoever calls is asked. */
#define CALLED_BY ((unsigned long)__builtin_return_address(0))

void *memcpy(void *to, const void *from, size_t n)
{
	standin_check(from, n, false, CALLED_BY);
	standin_check(to, n, true, CALLED_BY);
	return __memcpy(to, from, n);
}

void *memset(void *to, int c, size_t n)
{
	standin_check(to, n, true, CALLED_BY);
	return __memset(to, c, n);
}

void *memmove(void *to, const void *from, size_t n)
{
	standin_check(from, n, false, CALLED_BY);
	standin_check(to, n, true, CALLED_BY);
	return __memmove(to, from, n);
}

size_t strlen(const char *text)
{
	const char *end = text;

	while (*end)
		end++;
	return end - text;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

bool sysfs_streq(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (!*a || (*a == '\n' && !a[1])) && (!*b || (*b == '\n' && !b[1]));
}

void clear_page_orig(void *page) { memset(page, 0, PAGE_SIZE); }
void clear_page_rep(void *page) { memset(page, 0, PAGE_SIZE); }
void clear_page_erms(void *page) { memset(page, 0, PAGE_SIZE); }

static unsigned long scan(const unsigned long *bits, unsigned long size, unsigned long at, bool set)
{
	for (; at < size; at++)
		if ((bits[at / BITS_PER_LONG] >> at % BITS_PER_LONG & 1) == set)
			return at;
	return size;
}

#ifdef HAVE_FIND_BIT_INLINE
#define find_first_bit _find_first_bit
#define find_first_zero_bit _find_first_zero_bit
#define find_next_bit _find_next_bit
#define find_last_bit _find_last_bit
#endif
unsigned long find_first_bit(const unsigned long *bits, unsigned long size)
{
	return scan(bits, size, 0, true);
}

unsigned long find_first_zero_bit(const unsigned long *bits, unsigned long size)
{
	return scan(bits, size, 0, false);
}

unsigned long find_next_bit(const unsigned long *bits, unsigned long size, unsigned long at)
{
	return scan(bits, size, at, true);
}

unsigned long find_last_bit(const unsigned long *bits, unsigned long size)
{
	unsigned long at;

	for (at = size; at-- > 0; )
		if (bits[at / BITS_PER_LONG] >> at % BITS_PER_LONG & 1)
			return at;
	return size;
}

#ifndef HAVE_FIND_BIT_INLINE
unsigned int cpumask_next(int n, const struct cpumask *mask)
{
	return scan(cpumask_bits(mask), nr_cpu_ids, n + 1, true);
}

int cpumask_next_and(int n, const struct cpumask *one, const struct cpumask *other)
{
	do {
		n = cpumask_next(n, one);
	} while (n < nr_cpu_ids && !cpumask_test_cpu(n, other));
	return n;
}

#endif

void __bitmap_or(unsigned long *to, const unsigned long *a, const unsigned long *b,
		 unsigned int bits)
{
	unsigned int i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		to[i] = a[i] | b[i];
}

/* Called by an alternative that nobody takes apart: only RAX changes. */
asm(".globl __sw_hweight32, __sw_hweight64\n"
    "__sw_hweight32: mov %edi, %edi\n"
    "__sw_hweight64: push %rdi\n push %rdx\n xor %eax, %eax\n"
    "1: test %rdi, %rdi\n jz 2f\n lea -1(%rdi), %rdx\n and %rdx, %rdi\n inc %eax\n jmp 1b\n"
    "2: pop %rdx\n pop %rdi\n ret");

void *bsearch(const void *key, const void *base, size_t n, size_t size,
	      int (*compare)(const void *, const void *))
{
	size_t i;

	for (i = 0; i < n; i++)
		if (compare(key, base + i * size) == 0)
			return (void *)base + i * size;
	return NULL;
}

int snprintf(char *to, size_t size, const char *format, ...)
{
	va_list list;
	int n;

	va_start(list, format);
	n = host->format(to, size, format, list);
	va_end(list);
	return n;
}

int sprintf(char *to, const char *format, ...)
{
	va_list list;
	int n;

	va_start(list, format);
	n = host->format(to, INT_MAX, format, list);
	va_end(list);
	return n;
}

/* Nothing is ever allocated from one: idr_alloc() has no stand-in. */
void *idr_get_next(struct idr *idr, int *next) { return NULL; }
void *idr_find(const struct idr *idr, unsigned long id) { return NULL; }
void idr_destroy(struct idr *idr) { }
