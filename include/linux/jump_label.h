// SPDX-License-Identifier: GPL-2.0-only
/* Static keys: conditions that the text itself remembers. */
#ifndef KVM_VMX_LINUX_JUMP_LABEL_H
#define KVM_VMX_LINUX_JUMP_LABEL_H

#include <linux/compiler.h>
#include <linux/types.h>

struct static_key {
	int enabled;		/* 0 off, 1 on, -1 while it is being turned on */
	unsigned long type;	/* 1: its initial value is true */
};

struct static_key_true {
	struct static_key key;
};

struct static_key_false {
	struct static_key key;
};

#define DEFINE_STATIC_KEY_TRUE(name)  static struct static_key_true name = { { 1, 1 } }
#define DEFINE_STATIC_KEY_FALSE(name) static struct static_key_false name = { { 0, 0 } }

#include <asm/jump_label.h>

static inline int static_key_count(const struct static_key *key)
{
	int n = READ_ONCE(key->enabled);

	return n >= 0 ? n : 1;
}

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
