// SPDX-License-Identifier: GPL-2.0-only
/* User space: its pages, which may move, what is copied from and to them, and who is told. */
#include "standin.h"
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/uaccess.h>

#ifdef HAVE_FAST_ONLY
#define USER_PAGES_FLAGS unsigned int
#else
#define USER_PAGES_FLAGS int
#endif

/* User space has L1's memory a second time, where no kernel address lies. A place there has the
 * frame of its own number until it is moved; user_frame says which, and 0 where nobody uses it. */
static unsigned long place_of(unsigned long address)
{
	return (address - host->user) >> PAGE_SHIFT;
}

static void take_frame(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);

	host->page_kind[pfn] = PAGE_BLOCK;
	host->user_frame[pfn] = pfn;
	standin_shadow(page_address(page), PAGE_SIZE, 0);
	memset(page, 0, sizeof(*page));
	set_page_count(page, 1);
	clear_page(page_address(page));
}

/* Any number of pages for user space, which has them one by one: the first, or 0. */
long standin_user_pages(long count)
{
	unsigned long at, nr_pages = host->memory_size >> PAGE_SHIFT, run = 0;

	for (at = FIRST_PAGE; at < nr_pages; at++) {
		run = host->page_kind[at] == PAGE_FREE && !host->user_frame[at] ? run + 1 : 0;
		if (run < count)
			continue;
		for (run = at + 1 - count; run <= at; run++)
			take_frame(run);
		standin_pages += count;
		return (at + 1 - count) << PAGE_SHIFT;
	}
	return 0;
}

/* A frame that a TLB may still lead to, though its place has another one: nobody else's till then. */
static struct stale {
	struct stale *next;
	unsigned long place, pfn;
} *stale_frames;

static void free_stale_frames(unsigned long first, unsigned long count)
{
	struct stale **link = &stale_frames, *one;

	while ((one = *link)) {
		if (one->place - first >= count) {
			link = &one->next;
			continue;
		}
		*link = one->next;
		put_page(pfn_to_page(one->pfn));
		standin_free(one);
	}
}

/* The place's own frame is what user space sees there again. */
long standin_free_user_pages(long gpa, long count)
{
	unsigned long place;

	free_stale_frames(gpa >> PAGE_SHIFT, count);
	for (place = gpa >> PAGE_SHIFT; count; place++, count--) {
		put_page(pfn_to_page(host->user_frame[place]));
		if (host->user_frame[place] != place)
			host->move_user(host->user + (place << PAGE_SHIFT), place << PAGE_SHIFT);
		host->user_frame[place] = 0;
	}
	return 0;
}

/* Pages for whoever looks at L1 from outside, counted as anybody's: where they are, or 0. */
long standin_take_pages(long order)
{
	unsigned long address = __get_free_pages(GFP_KERNEL | __GFP_ZERO, order);

	return address ? __pa(address) : 0;
}

long standin_give_pages(long gpa, long order)
{
	free_pages((unsigned long)__va(gpa), order);
	return 0;
}

static struct page *user_page(unsigned long address)
{
	struct page *page = pfn_to_page(host->user_frame[place_of(address)]);

	get_page(page);
	return page;
}

static int user_pages(unsigned long start, unsigned long count, struct page **pages)
{
	unsigned long i;

	if (start < host->user || start + count * PAGE_SIZE > host->user + host->memory_size)
		return -EFAULT;
	for (i = 0; i < count; i++)
		pages[i] = user_page(start + i * PAGE_SIZE);
	return count;
}

int get_user_pages_fast(unsigned long start, int count, USER_PAGES_FLAGS flags, struct page **pages)
{
	return user_pages(start, count, pages);
}

#ifndef HAVE_FAST_ONLY
#define get_user_pages_fast_only __get_user_pages_fast
#endif
int get_user_pages_fast_only(unsigned long start, int count, USER_PAGES_FLAGS flags,
			     struct page **pages)
{
	return max(user_pages(start, count, pages), 0);
}

long get_user_pages_unlocked(unsigned long start, unsigned long count, struct page **pages,
			     unsigned int flags)
{
	return user_pages(start, count, pages);
}

unsigned long _copy_from_user(void *to, const void __user *from, unsigned long size)
{
	memcpy(to, (const void *)from, size);
	return 0;
}

unsigned long _copy_to_user(void __user *to, const void *from, unsigned long size)
{
	memcpy((void *)to, from, size);
	return 0;
}

#ifndef HAVE_CLEAR_USER_INLINE
unsigned long __clear_user(void __user *to, unsigned long n)
{
	memset((void *)to, 0, n);
	return 0;
}
#endif

void *memdup_user(const void __user *from, size_t n)
{
	void *copy = standin_alloc(n, 0);

	return copy ? memcpy(copy, (const void *)from, n) : ERR_PTR(-ENOMEM);
}

#define COPY_USER(name) \
	unsigned long name(void *to, const void *from, unsigned len) { memcpy(to, from, len); return 0; }
COPY_USER(copy_user_generic_string)
COPY_USER(copy_user_generic_unrolled)
COPY_USER(copy_user_enhanced_fast_string)

struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long address) { return NULL; }
unsigned long vma_kernel_pagesize(struct vm_area_struct *vma) { return PAGE_SIZE; }
/* Who wants to know when a page of user space's goes elsewhere. */
static HLIST_HEAD(listening);

int mmu_notifier_register(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	hlist_add_head(&notifier->hlist, &listening);
	return 0;
}

/* Who listens no longer lets go of all that it has of user space. */
void mmu_notifier_unregister(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	hlist_del_init(&notifier->hlist);
	if (notifier->ops->release)
		notifier->ops->release(notifier, mm);
}

static void tell(unsigned long address, bool before)
{
	struct mmu_notifier *one;
#ifdef HAVE_NOTIFIER_RANGE
	struct mmu_notifier_range range = {
		.mm = current->mm, .start = address, .end = address + PAGE_SIZE };

	hlist_for_each_entry(one, &listening, hlist)
		if (before)
			one->ops->invalidate_range_start(one, &range);
		else
			one->ops->invalidate_range_end(one, &range);
#else
	unsigned long end = address + PAGE_SIZE;

	hlist_for_each_entry(one, &listening, hlist)
		if (before)
			one->ops->invalidate_range_start(one, current->mm, address, end, true);
		else
			one->ops->invalidate_range_end(one, current->mm, address, end);
#endif
}

/* The bug to look at: KVM lets go of a page, and the flush that it asks for returns at once. */
static int tell_without_flush(unsigned long address)
{
	struct host_patch ret = { kvm_flush_remote_tlbs, 1, { 0xc3 } };
	struct host_patch first = { kvm_flush_remote_tlbs, 1, { *(u8 *)kvm_flush_remote_tlbs } };

	if (host->patch(&ret, 1))
		return -EACCES;
	tell(address, true);
	return host->patch(&first, 1) ? -EACCES : 0;
}

static int let_go(unsigned long address, struct stale *stale)
{
	if (stale)
		return tell_without_flush(address);
	tell(address, true);
	return 0;
}

/* The place's new frame, with the bytes of the old one. */
static int change_frame(unsigned long place, unsigned long page, struct stale *stale)
{
	unsigned long old = host->user_frame[place];

	memcpy((void *)page, __va(old << PAGE_SHIFT), PAGE_SIZE);
	if (host->move_user(host->user + (place << PAGE_SHIFT), __pa(page)))
		return -ENOMEM;
	host->user_frame[place] = __pa(page) >> PAGE_SHIFT;
	if (!stale) {
		put_page(pfn_to_page(old));
		return 0;
	}
	*stale = (struct stale){ stale_frames, place, old };
	stale_frames = stale;
	return 0;
}

/* Reclaim, or compaction: the page at a place gets another frame of memory. */
static long move_page(long gpa, long flush)
{
	struct stale *stale = flush ? NULL : standin_alloc(sizeof(*stale), 0);
	unsigned long address = host->user + gpa, page = flush || stale ? standin_page() : 0;
	int ret = page ? let_go(address, stale) : -ENOMEM;

	if (!ret)
		ret = change_frame(gpa >> PAGE_SHIFT, page, stale);
	if (ret && page)
		put_page(virt_to_page(page));
	if (ret)
		standin_free(stale);
	if (page)
		tell(address, false);
	return ret;
}

/* One at a time: whoever comes between would find the flush of another one's left out. */
static DEFINE_MUTEX(moves);

long standin_move_page(long gpa, long flush)
{
	long ret;

	mutex_lock(&moves);
	ret = move_page(gpa, flush);
	mutex_unlock(&moves);
	standin_quiesce();
	return ret;
}
