// SPDX-License-Identifier: GPL-2.0-only
/* The rows of the checks as data. */
#ifndef KVM_VMX_L0_CHECK_ROWS_H
#define KVM_VMX_L0_CHECK_ROWS_H

#include <kvm_vmx/l0/state.h>

#define L0_UNCOVERED_SECONDARY						\
	(SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES | SECONDARY_EXEC_APIC_REGISTER_VIRT | \
	 SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY | SECONDARY_EXEC_PAUSE_LOOP_EXITING | \
	 SECONDARY_EXEC_ENABLE_VMFUNC | SECONDARY_EXEC_SHADOW_VMCS | SECONDARY_EXEC_ENABLE_PML)
#define L0_NEEDS_TPR_SHADOW						\
	(SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE | SECONDARY_EXEC_APIC_REGISTER_VIRT | \
	 SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)
/* bit 22: execute rights by privilege, which v4.19 does not know */
#define L0_NEEDS_EPT							\
	(SECONDARY_EXEC_UNRESTRICTED_GUEST | SECONDARY_EXEC_ENABLE_PML | 1u << 22)

struct l0_limits {
	u32 kind;		/* enum l0_limit */
	u64 must, may;
};

struct l0_check_row {
	const char *id;
	u32 end, field, other;
	struct l0_limits limits;
	const char *section, *sentence, *field_name, *other_name;
};

static const struct l0_check_row l0_check_rows[L0_NR_CHECKS] = {
#define L0_CHECK_ROW(id, end, field, other, limits, section, sentence)	\
	[CHECK_##id] = { #id, END_##end, field, other, { limits }, section, sentence, #field, #other },
	L0_CHECKS(L0_CHECK_ROW)
#undef L0_CHECK_ROW
};

#endif
