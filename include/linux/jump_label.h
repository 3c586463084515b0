// SPDX-License-Identifier: GPL-2.0-only
/* Static keys: conditions that the text itself remembers. */
#ifndef KVM_VMX_LINUX_JUMP_LABEL_H
#define KVM_VMX_LINUX_JUMP_LABEL_H

#include <linux/compiler.h>
#include <linux/types.h>

/* The low bits of type: what the initial value is, and that a list of modules hangs there. */
#define JUMP_TYPE_FALSE 0UL
#define JUMP_TYPE_TRUE 1UL
#define JUMP_TYPE_LINKED 2UL
#define JUMP_TYPE_MASK 3UL

enum jump_label_type {
	JUMP_LABEL_NOP = 0,
	JUMP_LABEL_JMP,
};

struct jump_entry {
	u64 code;
	u64 target;
	u64 key;		/* bit 0: the branch is expected to be taken */
};

struct static_key {
	int enabled;		/* 0 off, 1 on, -1 while it is being turned on */
	union {
		unsigned long type;
		struct jump_entry *entries;	/* the first of its sites, in a sorted table */
	};
};

struct static_key_true {
	struct static_key key;
};

struct static_key_false {
	struct static_key key;
};

#define DEFINE_STATIC_KEY_TRUE(name) \
	static struct static_key_true name = { { 1, { JUMP_TYPE_TRUE } } }
#define DEFINE_STATIC_KEY_FALSE(name) \
	static struct static_key_false name = { { 0, { JUMP_TYPE_FALSE } } }

#include <asm/jump_label.h>

static inline int static_key_count(const struct static_key *key)
{
	int n = READ_ONCE(key->enabled);

	return n >= 0 ? n : 1;
}

/* Nobody limits the rate of a key: no work is ever delayed. */
struct delayed_work;

#define static_key_enabled(x) (static_key_count((const struct static_key *)(x)) > 0)

#define static_key_is_true_type(x) \
	__builtin_types_compatible_p(__typeof__(*(x)), struct static_key_true)

#if CONFIG_JUMP_LABEL
/* The instruction in place at the start is what the initial value calls for. */
#define static_branch_likely(x)						\
	likely(static_key_is_true_type(x) ? !arch_static_branch(&(x)->key, true) \
					  : !arch_static_branch_jump(&(x)->key, true))
#define static_branch_unlikely(x)					\
	unlikely(static_key_is_true_type(x) ? arch_static_branch_jump(&(x)->key, false) \
					    : arch_static_branch(&(x)->key, false))
#else
#define static_branch_likely(x)   likely(static_key_count(&(x)->key) > 0)
#define static_branch_unlikely(x) unlikely(static_key_count(&(x)->key) > 0)
#endif

#endif
