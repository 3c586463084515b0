// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bits of RFLAGS and of the control registers. One that the complement of an int would not
 * reach is wider.
 */
#ifndef KVM_VMX_ASM_PROCESSOR_FLAGS_H
#define KVM_VMX_ASM_PROCESSOR_FLAGS_H

/* RFLAGS */
#define X86_EFLAGS_CF			(1 << 0)
#define X86_EFLAGS_FIXED		(1 << 1)
#define X86_EFLAGS_PF			(1 << 2)
#define X86_EFLAGS_AF			(1 << 4)
#define X86_EFLAGS_ZF			(1 << 6)
#define X86_EFLAGS_SF			(1 << 7)
#define X86_EFLAGS_TF			(1 << 8)
#define X86_EFLAGS_IF			(1 << 9)
#define X86_EFLAGS_DF			(1 << 10)
#define X86_EFLAGS_OF			(1 << 11)
#define X86_EFLAGS_IOPL			(3 << 12)
#define X86_EFLAGS_NT			(1 << 14)
#define X86_EFLAGS_RF			(1 << 16)
#define X86_EFLAGS_VM			(1 << 17)
#define X86_EFLAGS_AC			(1 << 18)

/* CR0 */
#define X86_CR0_PE			(1 << 0)
#define X86_CR0_MP			(1 << 1)
#define X86_CR0_EM			(1 << 2)
#define X86_CR0_TS			(1 << 3)
#define X86_CR0_ET			(1 << 4)
#define X86_CR0_NE			(1 << 5)
#define X86_CR0_WP			(1 << 16)
#define X86_CR0_AM			(1 << 18)
#define X86_CR0_NW			(1 << 29)
#define X86_CR0_CD			(1 << 30)
#define X86_CR0_PG			(1UL << 31)

/* CR3 */
#define X86_CR3_PCID_MASK		0xfff

/* CR4 */
#define X86_CR4_VME			(1 << 0)
#define X86_CR4_PVI			(1 << 1)
#define X86_CR4_TSD			(1 << 2)
#define X86_CR4_DE			(1 << 3)
#define X86_CR4_PSE			(1 << 4)
#define X86_CR4_PAE			(1 << 5)
#define X86_CR4_MCE			(1 << 6)
#define X86_CR4_PGE			(1 << 7)
#define X86_CR4_PCE			(1 << 8)
#define X86_CR4_OSFXSR			(1 << 9)
#define X86_CR4_OSXMMEXCPT		(1 << 10)
#define X86_CR4_UMIP			(1 << 11)
#define X86_CR4_LA57			(1 << 12)
#define X86_CR4_VMXE			(1 << 13)
#define X86_CR4_SMXE			(1 << 14)
#define X86_CR4_FSGSBASE		(1 << 16)
#define X86_CR4_PCIDE			(1 << 17)
#define X86_CR4_OSXSAVE			(1 << 18)
#define X86_CR4_SMEP			(1 << 20)
#define X86_CR4_SMAP			(1 << 21)
#define X86_CR4_PKE			(1 << 22)

#endif
