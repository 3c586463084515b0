// SPDX-License-Identifier: GPL-2.0-only
/* Circular doubly linked lists whose links live inside their elements. */
#ifndef KVM_VMX_LINUX_LIST_H
#define KVM_VMX_LINUX_LIST_H

#include <linux/compiler.h>
#include <linux/types.h>

struct list_head {
	struct list_head *next, *prev;
};

/* A removed link points here, so that a second removal faults instead of corrupting. */
#define LIST_POISON1 ((struct list_head *)0xdead000000000100UL)
#define LIST_POISON2 ((struct list_head *)0xdead000000000200UL)

static inline void INIT_LIST_HEAD(struct list_head *head)
{
	head->next = head->prev = head;
}

static inline void list_add(struct list_head *link, struct list_head *head)
{
	link->next = head->next;
	link->prev = head;
	head->next->prev = link;
	head->next = link;
}

static inline void list_del(struct list_head *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
	link->next = LIST_POISON1;
	link->prev = LIST_POISON2;
}

static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}

/* One step along a list of elements whose link stands so far into them: from NULL to the first;
 * false behind the last. */
static inline bool list_step(void **at, struct list_head *head, size_t link)
{
	struct list_head *next = *at ? ((struct list_head *)((char *)*at + link))->next : head->next;

	*at = (char *)next - link;
	return next != head;
}

/* The same where the element may be gone when the next one is asked for: *behind is that one. */
static inline bool list_step_safe(void **at, void **behind, struct list_head *head, size_t link)
{
	if (!*at)
		*behind = (char *)head->next - link;
	*at = *behind;
	if ((char *)*at + link == (char *)head)
		return false;
	*behind = (char *)((struct list_head *)((char *)*at + link))->next - link;
	return true;
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

#endif
