// SPDX-License-Identifier: GPL-2.0-only
/* A linked list, reversed and summed by place. */
#include "start.h"

struct node {
	struct node *next;
	s64 value;
};

static struct node nodes[50];

u64 work(void)
{
	struct node *head = 0, *back = 0;
	s64 sum = 0, place = 1;

	for (int i = 0; i < 50; i++) {
		nodes[i].value = (s64)i * i - 700;
		nodes[i].next = head;
		head = &nodes[i];
	}
	while (head) {
		struct node *next = head->next;

		head->next = back;
		back = head;
		head = next;
	}
	for (; back; back = back->next)
		sum += back->value * place++;
	return (u64)sum;
}
