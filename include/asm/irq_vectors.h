// SPDX-License-Identifier: GPL-2.0-only
/* The interrupt vectors that this L1 gives away: its timer's, and another CPU's call; the NMI's. */
#ifndef KVM_VMX_ASM_IRQ_VECTORS_H
#define KVM_VMX_ASM_IRQ_VECTORS_H

#include <asm/traps.h>

#define NMI_VECTOR		X86_TRAP_NMI
#define RESCHEDULE_VECTOR	0xfd
#define CALL_FUNCTION_VECTOR	0xfc
#define LOCAL_TIMER_VECTOR	0xec

#endif
