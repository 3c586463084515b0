// SPDX-License-Identifier: GPL-2.0-only
/* The vectors of the exceptions by the names that KVM has for them. */
#ifndef KVM_VMX_ASM_KVM_H
#define KVM_VMX_ASM_KVM_H

#include <asm/traps.h>

#define DE_VECTOR			X86_TRAP_DE
#define DB_VECTOR			X86_TRAP_DB
#define BP_VECTOR			X86_TRAP_BP
#define OF_VECTOR			X86_TRAP_OF
#define BR_VECTOR			X86_TRAP_BR
#define UD_VECTOR			X86_TRAP_UD
#define NM_VECTOR			X86_TRAP_NM
#define DF_VECTOR			X86_TRAP_DF
#define TS_VECTOR			X86_TRAP_TS
#define NP_VECTOR			X86_TRAP_NP
#define SS_VECTOR			X86_TRAP_SS
#define GP_VECTOR			X86_TRAP_GP
#define PF_VECTOR			X86_TRAP_PF
#define MF_VECTOR			X86_TRAP_MF
#define AC_VECTOR			X86_TRAP_AC
#define MC_VECTOR			X86_TRAP_MC

#endif
