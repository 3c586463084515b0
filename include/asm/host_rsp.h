// SPDX-License-Identifier: GPL-2.0-only
/*
 * Three ways in which an entry notes a stack pointer that has moved: under eVMCS by a store to
 * the address in RSI, else by VMWRITE to the field in RDX. Each goes on at label 4, and label 1
 * is its VMWRITE. v4.19 has the first; the other two are what its review weighed, for
 * measurements.
 */
#ifndef KVM_VMX_ASM_HOST_RSP_H
#define KVM_VMX_ASM_HOST_RSP_H

#include <asm/insn_form.h>
#include <linux/jump_label.h>

/* MOV RSP to (RSI): as long as the VMWRITE that it takes the place of. */
#define HOST_RSP_MOV		0x48, 0x89, 0x26
#define HOST_RSP_VMWRITE	0x0f, 0x79, 0xd4
#define HOST_RSP_SIZE		3

/* As merged: RSI is 0 where eVMCS is not in use. */
#define HOST_RSP_TEST							\
	"test %%rsi, %%rsi\n\t"						\
	"jz 1f\n\t"							\
	"mov %%rsp, (%%rsi)\n\t"					\
	"jmp 4f\n\t"							\
	"1: " INSN_VMWRITE_RSP_RDX "\n"

/* A static key in the assembly; the operand [key] is its address. The tree before the patch has
 * no such key, and a build without jump labels no text that changes. */
#if defined(BEFORE_EVMCS) || !CONFIG_JUMP_LABEL
#define HOST_RSP_KEY HOST_RSP_TEST
#else
#define HOST_RSP_KEY							\
	"9: .byte " __stringify(STATIC_KEY_INIT_NOP) "\n\t"		\
	"1: " INSN_VMWRITE_RSP_RDX "\n\t"				\
	"jmp 4f\n"							\
	"3: mov %%rsp, (%%rsi)\n\t"					\
	".pushsection __jump_table, \"aw\"\n\t"				\
	".balign 8\n\t"							\
	".quad 9b, 3b, %c[key]\n\t"					\
	".popsection\n"
#endif

/* One instruction, which whoever turns eVMCS on or off rewrites: a site of the table. */
#define HOST_RSP_POKE							\
	"1: " INSN_VMWRITE_RSP_RDX "\n\t"				\
	".pushsection host_rsp_poke, \"aw\"\n\t"			\
	".balign 8\n\t"							\
	".quad 1b\n\t"							\
	".popsection\n"

#endif
