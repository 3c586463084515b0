// SPDX-License-Identifier: GPL-2.0-only
/*
 * What L0 reads of L1's memory, told by a compiler that calls here before each access, as it would
 * call a thread sanitizer: a byte that one instruction of L1 reads twice may have changed between.
 */
#ifndef KVM_VMX_TESTS_FUZZ_FETCHED_H
#define KVM_VMX_TESTS_FUZZ_FETCHED_H

#define MOST_TOLD 4096
/* Lints and the trace look again, at what they tell of: neither is on. */
#define WATCHES (u8)~(4 | 16)

static struct twice { u64 gpa, first, second; } told[MOST_TOLD];
static u64 nr_told, moment = 1;
static struct { u64 moment, by; } last_read[MEMORY];
static u64 reader[4096];

static void next_moment(void)
{
	moment++;
}

/* What L1 hands over in memory: what L2 reads by itself, and tables, may be read again. */
static int is_handed_over(u64 gpa)
{
	static const u32 pages[] = { EVMCS_PAGE, EVMCS_PAGE + 0x1000, ASSIST_PAGE,
				     ASSIST_PAGE + 0x1000, VMXON_PAGE, VMCS_PAGE,
				     VMCS_PAGE + 0x1000, PARAMETER_PAGE, LISTS_PAGE,
				     LISTS_PAGE + 0x1000, LISTS_PAGE + 0x2000 };

	for (u32 i = 0; i < sizeof(pages) / sizeof(*pages); i++)
		if (gpa >> 12 == pages[i] >> 12)
			return 1;
	return 0;
}

/* Each has a place of its own, however the linker lays the code out. */
static void note_reader(u64 by)
{
	for (u64 n = 0, at = by; n < 4096; n++, at++)
		if (!reader[at % 4096] || reader[at % 4096] == by) {
			reader[at % 4096] = by;
			return;
		}
}

/* Another processor clears a word just before so many reads of it are done. */
static u64 *cleared, reads_left;

void fuzz_clear(u64 *place, u64 reads)
{
	cleared = place, reads_left = reads;
}

static void fetched(const void *place, u64 size, const void *by)
{
	u64 gpa = (const u8 *)place - memory;

	if (cleared && place == cleared && !--reads_left)
		*cleared = 0;
	if (!memory || gpa >= MEMORY || size > MEMORY - gpa || !is_handed_over(gpa))
		return;
	note_reader((u64)by);
	for (u64 i = gpa; i < gpa + size; i++) {
		if (last_read[i].moment == moment && nr_told < MOST_TOLD)
			told[nr_told++] = (struct twice){ i, last_read[i].by, (u64)by };
		last_read[i].moment = moment, last_read[i].by = (u64)by;
	}
}

/* What L0 has written itself it may read. */
static void stored(void *place, u64 size)
{
	u64 gpa = (u8 *)place - memory;

	for (u64 i = gpa; memory && i < MEMORY && i < gpa + size; i++)
		last_read[i].moment = 0;
}

#define CALLER __builtin_return_address(0)
#define ACCESS(size) \
	void __tsan_read##size(void *place) { fetched(place, size, CALLER); } \
	void __tsan_unaligned_read##size(void *place) { fetched(place, size, CALLER); } \
	void __tsan_volatile_read##size(void *place) { fetched(place, size, CALLER); } \
	void __tsan_write##size(void *place) { stored(place, size); } \
	void __tsan_unaligned_write##size(void *place) { stored(place, size); } \
	void __tsan_volatile_write##size(void *place) { stored(place, size); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void *place, u64 size) { fetched(place, size, CALLER); }
void __tsan_write_range(void *place, u64 size) { stored(place, size); }
void __tsan_init(void) { }
void __tsan_atomic_thread_fence(int order) { __sync_synchronize(); }
void __tsan_func_entry(void *caller) { }
void __tsan_func_exit(void) { }

#define ATOMIC(bits) \
	u##bits __tsan_atomic##bits##_load(const u##bits *place, int order) \
	{ \
		fetched(place, bits / 8, CALLER); \
		return __atomic_load_n(place, __ATOMIC_SEQ_CST); \
	} \
	void __tsan_atomic##bits##_store(u##bits *place, u##bits value, int order) \
	{ \
		stored(place, bits / 8); \
		__atomic_store_n(place, value, __ATOMIC_SEQ_CST); \
	} \
	int __tsan_atomic##bits##_compare_exchange_strong(u##bits *place, u##bits *old, \
							  u##bits value, int order, int other) \
	{ \
		stored(place, bits / 8); \
		return __atomic_compare_exchange_n(place, old, value, 0, __ATOMIC_SEQ_CST, \
						   __ATOMIC_SEQ_CST); \
	}
ATOMIC(32) ATOMIC(64)
#define FETCH(bits, name) \
	u##bits __tsan_atomic##bits##_fetch_##name(u##bits *place, u##bits value, int order) \
	{ \
		stored(place, bits / 8); \
		return __atomic_fetch_##name(place, value, __ATOMIC_SEQ_CST); \
	}
FETCH(64, add) FETCH(64, and) FETCH(64, or)
FETCH(32, add) FETCH(32, and) FETCH(32, or)
u32 __tsan_atomic32_exchange(u32 *place, u32 value, int order)
{
	fetched(place, 4, CALLER);
	stored(place, 4);
	return __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST);
}

void *__real_memcpy(void *to, const void *from, size_t size);
int __real_memcmp(const void *one, const void *other, size_t size);

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
	fetched(from, size, CALLER);
	stored(to, size);
	return __real_memcpy(to, from, size);
}

int __wrap_memcmp(const void *one, const void *other, size_t size)
{
	fetched(one, size, CALLER);
	fetched(other, size, CALLER);
	return __real_memcmp(one, other, size);
}

/* Where there was a read. */
void fuzz_readers(u64 *to)
{
	memcpy(to, reader, sizeof(reader));
}

/* The bytes that were read twice so far. */
u64 fuzz_told(struct twice *to)
{
	u64 count = nr_told;

	memcpy(to, told, sizeof(told));
	nr_told = 0;
	return count;
}

#endif
