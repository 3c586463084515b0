// SPDX-License-Identifier: GPL-2.0-only
/* Memory of L1: pages, objects, per-CPU chunks; whatever is handed out is counted. */
#include "standin.h"
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#ifdef STANDIN_SANITIZED
/* what is nobody's is filled here, and asked for by nobody */
#undef memset
#define memset __memset
#endif

unsigned long page_offset_base, vmemmap_base, phys_base, vmalloc_base, zero_pfn;
unsigned long empty_zero_page[PAGE_SIZE / sizeof(unsigned long)] __aligned(PAGE_SIZE);
struct mem_section **mem_section;

void __percpu *standin_per_cpu_chunk(size_t size, size_t align);

long standin_pages, standin_objects;

#ifdef HAVE_SECTION_EARLY
#define SECTION_EARLY SECTION_IS_EARLY
#else
#define SECTION_EARLY 0
#endif

#define SLAB_MIN 4
#define SLAB_MAX 11
void clear_page_orig(void *page);
#define POISON 0x6b6b6b6b6b6b6b6bUL
#define RED_ZONE 0x5a5a5a5a5a5a5a5aUL	/* the last word of an object's room, behind the object */
#ifdef STANDIN_SANITIZED
#define RED_ROOM 32
#else
#define RED_ROOM sizeof(RED_ZONE)
#endif

static unsigned long next_page = FIRST_PAGE;
static void *free_objects[SLAB_MAX + 1];

static unsigned long nr_pages(void)
{
	return host->memory_size >> PAGE_SHIFT;
}

static bool is_free(unsigned long first, unsigned int order)
{
	unsigned long i;

	for (i = 0; i < 1UL << order; i++)
		if (host->page_kind[first + i] != PAGE_FREE)
			return false;
	return true;
}

static unsigned long find_block(unsigned int order)
{
	unsigned long size = 1UL << order, at = round_up(next_page, size), turn;

	for (turn = 0; turn < 2; turn++, at = round_up(FIRST_PAGE, size))
		for (; at + size <= nr_pages(); at += size)
			if (is_free(at, order))
				return at;
	return 0;
}

/* The address of a block of pages, or 0. */
static unsigned long take_pages(unsigned int order, gfp_t flags)
{
	unsigned long pfn, i, address;

	if (!(pfn = find_block(order)))
		return 0;
	for (i = 0; i < 1UL << order; i++) {
		struct page *page = pfn_to_page(pfn + i);

		host->page_kind[pfn + i] = i ? PAGE_TAIL : PAGE_BLOCK + order;
		memset(page, 0, sizeof(*page));
		set_page_count(page, 1);
	}
	next_page = pfn + (1UL << order);
	standin_pages += 1L << order;
	address = (unsigned long)__va(pfn << PAGE_SHIFT);
	standin_shadow((void *)address, PAGE_SIZE << order, 0);
	if (flags & __GFP_ZERO)
		memset((void *)address, 0, PAGE_SIZE << order);
	return address;
}

/* As others ask for them: a step that can be made to fail. */
static unsigned long ask_pages(unsigned int order, gfp_t flags)
{
	return host->fail(FAIL_PAGE) ? 0 : take_pages(order, flags);
}

static void give_pages(unsigned long address, unsigned int order)
{
	unsigned long pfn = __pa(address) >> PAGE_SHIFT, i;

	if (address < page_offset_base || pfn >= nr_pages() ||
	    host->page_kind[pfn] != PAGE_BLOCK + order)
		die("pages are freed that nobody has");
	for (i = 0; i < 1UL << order; i++)
		host->page_kind[pfn + i] = PAGE_FREE;
	standin_shadow((void *)address, PAGE_SIZE << order, SHADOW_FREED);
	standin_pages -= 1L << order;
}

/* A page for user space, which may run out of them. */
unsigned long standin_page(void) { return ask_pages(0, 0); }

static unsigned int slab_of(unsigned long size)
{
	return size <= 1UL << SLAB_MIN ? SLAB_MIN : ilog2(size - 1) + 1;
}

static bool fill_slab(unsigned int slab)
{
	unsigned long page = take_pages(0, 0), at;

	if (!page)
		return false;
	standin_pages--;
	host->page_kind[__pa(page) >> PAGE_SHIFT] = PAGE_SLAB + slab;
	memset((void *)page, 0x6b, PAGE_SIZE);
	standin_shadow((void *)page, PAGE_SIZE, SHADOW_RED);
	for (at = page + PAGE_SIZE; at > page; ) {
		at -= 1UL << slab;
		*(void **)at = free_objects[slab];
		free_objects[slab] = (void *)at;
	}
	return true;
}

static unsigned long *red_zone(void *object, unsigned int slab)
{
	return (unsigned long *)(object + (1UL << slab)) - 1;
}

/* What nobody has is poisoned but for its first word, which links it. */
static void look_for_late_writes(const unsigned long *words, unsigned int slab)
{
	unsigned long i;

	for (i = 1; i < 1UL << (slab - 3); i++)
		if (words[i] != POISON)
			die("an object was written to after it was freed");
}

static void *alloc_large(unsigned long size, gfp_t flags)
{
	unsigned int order = get_order(size + (RED_ROOM > sizeof(RED_ZONE) ? RED_ROOM : 0));
	void *object = (void *)take_pages(order, flags);

	if (object)
		standin_shadow_object(object, size, PAGE_SIZE << order);
	return object;
}

void *standin_alloc(unsigned long size, gfp_t flags)
{
	unsigned int slab = slab_of(size + RED_ROOM);
	void *object;

	if (host->fail(FAIL_KMALLOC))
		return NULL;
	if (slab > SLAB_MAX)
		return alloc_large(size, flags);
	if (!free_objects[slab] && !fill_slab(slab))
		return NULL;
	object = free_objects[slab];
	free_objects[slab] = *(void **)object;
	look_for_late_writes(object, slab);
	if (flags & __GFP_ZERO)
		memset(object, 0, 1UL << slab);
	*red_zone(object, slab) = RED_ZONE;
	standin_shadow_object(object, size, 1UL << slab);
	standin_objects++;
	return object;
}

static void put_on_list(void *object, unsigned int slab)
{
	*(void **)object = free_objects[slab];
	free_objects[slab] = object;
}

#ifdef STANDIN_SANITIZED
/* What is freed stays nobody's for a while, so that a late access finds it so. */
#define QUARANTINE 1024
static struct { void *object; unsigned int slab; } quarantine[QUARANTINE];
static unsigned long quarantined;

static void give_object(void *object, unsigned int slab)
{
	unsigned long place = quarantined++ % QUARANTINE;

	if (quarantine[place].object)
		put_on_list(quarantine[place].object, quarantine[place].slab);
	quarantine[place].object = object;
	quarantine[place].slab = slab;
}
#else
static void give_object(void *object, unsigned int slab) { put_on_list(object, slab); }
#endif

static bool is_on_list(const void *object, unsigned int slab)
{
	void *other;

	for (other = free_objects[slab]; other; other = *(void **)other)
		if (other == object)
			return true;
	return false;
}

/* What is freed is poisoned, so that a second time is noticed, and a later use, too. */
void standin_free(const void *object)
{
	unsigned long pfn, *words = (unsigned long *)object;
	unsigned int kind;

	if (ZERO_OR_NULL_PTR(object))
		return;
	pfn = __pa(object) >> PAGE_SHIFT;
	if ((unsigned long)object < page_offset_base || pfn >= nr_pages())
		die("an object is freed that was never allocated");
	kind = host->page_kind[pfn];
	if (kind >= PAGE_BLOCK && kind < PAGE_TAIL) {
		give_pages((unsigned long)object, kind - PAGE_BLOCK);
		return;
	}
	if (kind < PAGE_SLAB || (unsigned long)object & ((1UL << (kind - PAGE_SLAB)) - 1))
		die("an object is freed that was never allocated");
	kind -= PAGE_SLAB;
	if (standin_is_freed(object) || kind > SLAB_MIN && words[1] == POISON && is_on_list(object, kind))
		die("an object is freed twice");
	if (*red_zone((void *)object, kind) != RED_ZONE)
		die("an object was written to behind its end");
	memset((void *)object, 0x6b, 1UL << kind);
	standin_shadow(object, 1UL << kind, SHADOW_FREED);
	give_object((void *)object, kind);
	standin_objects--;
}

/* kmalloc's caches stand for nothing here: the size is enough. */
struct cache { unsigned long size; void (*make)(void *); };
static struct cache kmalloc_sizes[KMALLOC_SHIFT_HIGH + 1];

#ifdef HAVE_NOPROF
#undef kmem_cache_alloc
#undef vmalloc
#undef vzalloc
#undef __get_free_pages
#undef get_zeroed_page
#define kmem_cache_alloc kmem_cache_alloc_noprof
#define __kmalloc __kmalloc_noprof
#define vmalloc vmalloc_noprof
#define vzalloc vzalloc_noprof
#define __get_free_pages get_free_pages_noprof
#define get_zeroed_page get_zeroed_page_noprof
#endif

void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t flags)
{
	struct cache *of = (struct cache *)cache;
	void *object = standin_alloc(of->size, flags);

	if (object && of->make)
		of->make(object);
	return object;
}

void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	standin_free(object);
}

#ifndef HAVE_CACHE_ARGS
struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     slab_flags_t flags, void (*make)(void *))
{
	struct cache *cache = standin_alloc(sizeof(*cache), __GFP_ZERO);

	if (!cache)
		return NULL;
	cache->size = max(size, align);
	cache->make = make;
	return (struct kmem_cache *)cache;
}

struct kmem_cache *kmem_cache_create_usercopy(const char *name, unsigned int size,
	unsigned int align, slab_flags_t flags, unsigned int offset, unsigned int length,
	void (*make)(void *))
{
	return kmem_cache_create(name, size, align, flags, make);
}
#else
struct kmem_cache *__kmem_cache_create_args(const char *name, unsigned int size,
					    struct kmem_cache_args *args, slab_flags_t flags)
{
	struct cache *cache = standin_alloc(sizeof(*cache), __GFP_ZERO);

	if (!cache)
		return NULL;
	cache->size = max(size, args->align);
	cache->make = args->ctor;
	return (struct kmem_cache *)cache;
}
#endif

void kmem_cache_destroy(struct kmem_cache *cache) { standin_free(cache); }
void *__kmalloc(size_t size, gfp_t flags) { return standin_alloc(size, flags); }
void kfree(const void *object) { standin_free(object); }
void kvfree(const void *object) { standin_free(object); }
void vfree(const void *object) { standin_free(object); }

#ifdef HAVE_KMALLOC_CACHES
struct kmem_cache *kmalloc_caches[KMALLOC_SHIFT_HIGH + 1];
#endif

#if defined(HAVE_KMEM_CACHE_ALLOC_TRACE) && defined(CONFIG_TRACING)
void *kmem_cache_alloc_trace(struct kmem_cache *cache, gfp_t flags, size_t size)
{
	return standin_alloc(size, flags);
}
#endif

void *vmalloc(unsigned long size)
{
	return host->fail(FAIL_VMALLOC) ? NULL : standin_alloc(size, 0);
}

void *vzalloc(unsigned long size)
{
	return host->fail(FAIL_VMALLOC) ? NULL : standin_alloc(size, __GFP_ZERO);
}

#ifndef HAVE_NOPROF
void *kvmalloc_node(size_t size, gfp_t flags, int node) { return standin_alloc(size, flags); }
#endif

unsigned long __get_free_pages(gfp_t flags, unsigned int order) { return ask_pages(order, flags); }
unsigned long get_zeroed_page(gfp_t flags) { return ask_pages(0, flags | __GFP_ZERO); }

void free_pages(unsigned long address, unsigned int order)
{
	if (address)
		give_pages(address, order);
}

void __free_pages(struct page *page, unsigned int order)
{
	if (put_page_testzero(page))
		give_pages((unsigned long)page_address(page), order);
}

static struct page *page_at(unsigned long address)
{
	return address ? virt_to_page(address) : NULL;
}

#ifdef HAVE_NOPROF
struct page *alloc_pages_noprof(gfp_t flags, unsigned int order)
{
	return page_at(ask_pages(order, flags));
}

struct page *__alloc_pages_noprof(gfp_t flags, unsigned int order, int node, nodemask_t *mask)
{
	return page_at(ask_pages(order, flags));
}

void __folio_put(struct folio *folio) { give_pages((unsigned long)folio_address(folio), 0); }

void __percpu *pcpu_alloc_noprof(size_t size, size_t align, bool reserved, gfp_t flags)
{
	return standin_per_cpu_chunk(size, align);
}
#else
struct page *alloc_pages_current(gfp_t flags, unsigned int order)
{
	return page_at(ask_pages(order, flags));
}

struct page *__alloc_pages_nodemask(gfp_t flags, unsigned int order, int node, nodemask_t *mask)
{
	return page_at(ask_pages(order, flags));
}

void __put_page(struct page *page)
{
	give_pages((unsigned long)page_address(page), 0);
}

#endif

void mark_page_accessed(struct page *page) { }

/* The sections of memory that there is a struct page for. */
void standin_memory(void)
{
	unsigned long i, size;

	page_offset_base = host->memory;
	vmemmap_base = host->pages;
	zero_pfn = -1UL;
	standin_shadow((void *)host->memory, host->memory_size, SHADOW_NOBODY);
	for (i = 0; i <= KMALLOC_SHIFT_HIGH; i++) {
		/* the first two are no powers of 2, and stand where none is as small */
		kmalloc_sizes[i].size = i == 1 ? 96 : i == 2 ? 192 : 1UL << i;
#ifdef HAVE_KMALLOC_CACHES
		kmalloc_caches[i] = (struct kmem_cache *)&kmalloc_sizes[i];
#endif
	}
	size = DIV_ROUND_UP(nr_pages(), PAGES_PER_SECTION);
	mem_section = standin_alloc(NR_SECTION_ROOTS * sizeof(void *), __GFP_ZERO);
	for (i = 0; mem_section && i < size; i++) {
		struct mem_section **root = &mem_section[SECTION_NR_TO_ROOT(i)];

		if (!*root)
			*root = standin_alloc(PAGE_SIZE, __GFP_ZERO);
		(*root)[i & SECTION_ROOT_MASK].section_mem_map =
			SECTION_MARKED_PRESENT | SECTION_HAS_MEM_MAP | SECTION_EARLY;
	}
}

/* Per-CPU chunks lie behind what the linker has laid out, at the same place on every CPU. */
static unsigned long per_cpu_top;

void standin_per_cpu(void)
{
	per_cpu_top = round_up(host->per_cpu_size, 64);
}

/* What has been given out: a chunk that is free again is taken for the next of its size. */
#define PER_CPU_CHUNKS 512
static struct chunk { unsigned long at; size_t size; bool used; } chunks[PER_CPU_CHUNKS];
static int nr_chunks;

static struct chunk *free_chunk(size_t size, size_t align)
{
	int i;

	for (i = 0; i < nr_chunks; i++)
		if (!chunks[i].used && chunks[i].size == size && IS_ALIGNED(chunks[i].at, align))
			return &chunks[i];
	return NULL;
}

static struct chunk *new_chunk(size_t size, size_t align)
{
	unsigned long at = round_up(per_cpu_top, align);

	if (nr_chunks == PER_CPU_CHUNKS || at + size > host->per_cpu_room)
		return NULL;
	per_cpu_top = at + size;
	chunks[nr_chunks] = (struct chunk){ at, size, false };
	return &chunks[nr_chunks++];
}

void __percpu *standin_per_cpu_chunk(size_t size, size_t align)
{
	struct chunk *chunk;
	int cpu;

	if (host->fail(FAIL_KMALLOC))
		return NULL;
	chunk = free_chunk(size, align) ?: new_chunk(size, align);
	if (!chunk)
		return NULL;
	chunk->used = true;
	for (cpu = 0; cpu < host->cpus; cpu++)
		memset((void *)(host->per_cpu[cpu] + chunk->at), 0, size);
	return (void __percpu *)chunk->at;
}

#ifndef HAVE_NOPROF
void __percpu *__alloc_percpu(size_t size, size_t align)
{
	return standin_per_cpu_chunk(size, align);
}
#endif

void free_percpu(void __percpu *given)
{
	int i;

	for (i = 0; i < nr_chunks; i++)
		if (chunks[i].at == (unsigned long)given)
			chunks[i].used = false;
}
