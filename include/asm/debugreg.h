// SPDX-License-Identifier: GPL-2.0-only
/* DR6 and DR7: their bits, those that are always 1, and those that software may change. */
#ifndef KVM_VMX_ASM_DEBUGREG_H
#define KVM_VMX_ASM_DEBUGREG_H

#define DR6_BD				(1 << 13)
#define DR6_BS				(1 << 14)
#define DR6_RTM				(1 << 16)
#define DR6_FIXED_1			0xfffe0ff0
#define DR6_INIT			0xffff0ff0
#define DR6_VOLATILE			0x1e00f

#define DR7_BP_EN_MASK			0xff
#define DR7_GE				(1 << 9)
#define DR7_GD				(1 << 13)
#define DR7_FIXED_1			0x400
#define DR7_VOLATILE			0xffff2bff

#endif
