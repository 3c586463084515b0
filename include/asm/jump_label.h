// SPDX-License-Identifier: GPL-2.0-only
/* A branch that is five bytes of text: a NOP, or a jump to the other side. */
#ifndef KVM_VMX_ASM_JUMP_LABEL_H
#define KVM_VMX_ASM_JUMP_LABEL_H

#include <linux/compiler.h>
#include <linux/types.h>

#define JUMP_LABEL_NOP_SIZE 5
#define STATIC_KEY_INIT_NOP 0x0f, 0x1f, 0x44, 0x00, 0x00
#define STATIC_KEY_INIT_JMP 0xe9

#if CONFIG_JUMP_LABEL
#define JUMP_TABLE_ENTRY						\
	".pushsection __jump_table, \"aw\"\n\t"				\
	".balign 8\n\t"							\
	".quad 1b, %l[l_yes], %c0 + %c1\n\t"				\
	".popsection\n\t"

static __always_inline bool arch_static_branch(struct static_key *key, bool branch)
{
	__asm__ goto("1: .byte " __stringify(STATIC_KEY_INIT_NOP) "\n\t"
		     JUMP_TABLE_ENTRY
		     : : "i"(key), "i"(branch) : : l_yes);
	return false;
l_yes:
	return true;
}

static __always_inline bool arch_static_branch_jump(struct static_key *key, bool branch)
{
	__asm__ goto("1: .byte 0xe9\n\t"
		     ".long %l[l_yes] - 2f\n\t"
		     "2:\n\t"
		     JUMP_TABLE_ENTRY
		     : : "i"(key), "i"(branch) : : l_yes);
	return false;
l_yes:
	return true;
}
#endif

#endif
