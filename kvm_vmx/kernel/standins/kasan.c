// SPDX-License-Identifier: GPL-2.0-only
/* What code that is compiled to ask calls before each access: is this memory that somebody has? */
#include "standin.h"

#ifdef STANDIN_SANITIZED
static bool begun;

void standin_shadow(const void *at, unsigned long size, unsigned char kind)
{
	begun = true;
	__memset(host->shadow + (((unsigned long)at - host->memory) >> 3), kind, size >> 3);
}

/* An object, and behind it the rest of its room. Of eight bytes in part its own, their number. */
void standin_shadow_object(const void *object, unsigned long size, unsigned long room)
{
	unsigned long whole = round_down(size, 8);

	standin_shadow(object, whole, 0);
	standin_shadow(object + whole, room - whole, SHADOW_RED);
	if (size & 7)
		host->shadow[((unsigned long)object - host->memory + whole) >> 3] = size & 7;
}

bool standin_is_freed(const void *object)
{
	return host->shadow[((unsigned long)object - host->memory) >> 3] == SHADOW_FREED;
}

static const char *what_is_there(unsigned char kind)
{
	switch (kind) {
	case SHADOW_FREED: return "of memory that was freed";
	case SHADOW_NOBODY: return "of memory that was never handed out";
	default: return "beyond an object";
	}
}

static void tell(unsigned long size, bool write, unsigned char kind, unsigned long ip)
{
	char line[120];

	snprintf(line, sizeof(line), "KASAN: a %s of %lu bytes %s", write ? "write" : "read", size,
		 what_is_there(kind));
	(host->die)(line, ip);
}

static void check(unsigned long at, unsigned long size, bool write, unsigned long ip)
{
	unsigned long i, offset = at - host->memory;
	unsigned char kind;

	if (!begun || at < host->memory || offset >= host->memory_size)
		return;
	if (size > host->memory_size - offset)
		tell(size, write, SHADOW_NOBODY, ip);
	for (i = offset; i < offset + size; i = (i | 7) + 1) {
		kind = host->shadow[i >> 3];
		/* the last of these eight that is asked for lies below what is there of them */
		if (kind && (min((i | 7) + 1, offset + size) - (i & ~7UL) > kind || kind >= 8))
			tell(size, write, kind, ip);
	}
}

#define HERE ((unsigned long)__builtin_return_address(0))
#define ASAN(size) \
	void __asan_load##size(unsigned long at) { check(at, size, false, HERE); } \
	void __asan_store##size(unsigned long at) { check(at, size, true, HERE); } \
	void __asan_load##size##_noabort(unsigned long at) { check(at, size, false, HERE); } \
	void __asan_store##size##_noabort(unsigned long at) { check(at, size, true, HERE); }
ASAN(1)
ASAN(2)
ASAN(4)
ASAN(8)
ASAN(16)
void __asan_loadN(unsigned long at, size_t size) { check(at, size, false, HERE); }
void __asan_storeN(unsigned long at, size_t size) { check(at, size, true, HERE); }
void __asan_loadN_noabort(unsigned long at, size_t size) { check(at, size, false, HERE); }
void __asan_storeN_noabort(unsigned long at, size_t size) { check(at, size, true, HERE); }
void __asan_handle_no_return(void) { }

/* Asked by the tree's own headers, for what no compiler sees; here these have other names. */
void check_read(const volatile void *at, unsigned int size) asm("kasan_check_read");
void check_write(const volatile void *at, unsigned int size) asm("kasan_check_write");

void check_read(const volatile void *at, unsigned int size)
{
	check((unsigned long)at, size, false, HERE);
}

void check_write(const volatile void *at, unsigned int size)
{
	check((unsigned long)at, size, true, HERE);
}

/* For those of lib/ that the compiler leaves to a call: who called them is to blame. */
void standin_check(const void *at, unsigned long size, bool write, unsigned long ip)
{
	check((unsigned long)at, size, write, ip);
}
#endif
