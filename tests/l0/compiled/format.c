// SPDX-License-Identifier: GPL-2.0-only
/* Numbers formatted as printf() does, into one string, which is folded. */
#include "start.h"

#include <stdarg.h>

static char out[400];
static int at;

static void number(u64 v, u32 base, int width, char pad)
{
	char digits[65];
	int n = 0;

	do
		digits[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (width-- > n)
		out[at++] = pad;
	while (n)
		out[at++] = digits[--n];
}

static void print(const char *f, ...)
{
	va_list list;

	va_start(list, f);
	for (; *f; f++) {
		int width = 0;
		char pad = ' ';

		if (*f != '%') {
			out[at++] = *f;
			continue;
		}
		if (*++f == '0')
			pad = *f++;
		while (*f >= '0' && *f <= '9')
			width = width * 10 + *f++ - '0';
		switch (*f) {
		case 'd': {
			s64 v = va_arg(list, int);

			if (v < 0)
				out[at++] = '-';
			number(v < 0 ? -v : v, 10, width, pad);
			break;
		}
		case 'x': number(va_arg(list, u64), 16, width, pad); break;
		case 'o': number(va_arg(list, u64), 8, width, pad); break;
		case 'c': out[at++] = (char)va_arg(list, int); break;
		case 's':
			for (const char *s = va_arg(list, const char *); *s; s++)
				out[at++] = *s;
		}
	}
	va_end(list);
}

u64 work(void)
{
	u64 sum = 0;

	print("%d %08d|%016x|%o|%s%c%5d", -12345, 678, 0xdeadbeefcafeull, 01234567ull, "text", '!', 42);
	for (int i = 0; i < at; i++)
		sum = sum * 257 + (u8)out[i];
	return sum;
}
