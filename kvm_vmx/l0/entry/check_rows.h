// SPDX-License-Identifier: GPL-2.0-only
/* The rows of the checks as data. */
#ifndef KVM_VMX_L0_CHECK_ROWS_H
#define KVM_VMX_L0_CHECK_ROWS_H

#include <string.h>
#include <kvm_vmx/l0/vmcs/fields.h>
#include <kvm_vmx/l0/watch/note.h>

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
	const char *id, *insn;	/* insn is empty for a check of VM entry */
	u32 error;		/* of another instruction: how it fails */
	u32 end, field, other;
	struct l0_limits limits;
	const char *section, *sentence, *field_name, *other_name;
};

static const struct l0_check_row l0_check_rows[L0_NR_CHECKS] = {
#define L0_CHECK_ROW(id, end, field, other, limits, section, sentence)	\
	[CHECK_##id] = { #id, "", 0, END_##end, field, other, { limits }, section, sentence, #field, \
			 #other },
	L0_CHECKS(L0_CHECK_ROW)
#undef L0_CHECK_ROW
#define L0_CHECK_ROW(id, insn, end, error, limits, section, sentence)	\
	[CHECK_##id] = { #id, #insn, error, END_##end, 0, 0, { limits }, section, sentence, "0", "0" },
	L0_OTHER_CHECKS(L0_CHECK_ROW)
#undef L0_CHECK_ROW
};

/* The row itself where something is refused: not what the compiler has folded of it, so that a
 * test may change one. */
static __attribute__((__cold__, __noipa__)) const struct l0_check_row *l0_row_of(u32 check)
{
	return &l0_check_rows[check];
}

/* Apart from the entry's own code, which must not grow by what a refusal needs. */
static __attribute__((__cold__, __noinline__)) u64 l0_row_value(const struct l0_vmcs *vmcs, u32 encoding)
{
	const struct l0_field *field = &l0_fields[L0_FIELD_INDEX(encoding)];
	u64 value = 0;

	if (encoding)
		memcpy(&value, (const u8 *)vmcs + field->offset, field->size);
	return value;
}

static __attribute__((__cold__, __noinline__)) void l0_set_refusal(struct l0_vp *vp, u32 check, u64 a, u64 b)
{
	vp->refusal = (struct l0_refusal) { .check = check, .a = a, .b = b,
		.entry = vp->counters.vmlaunch + vp->counters.vmresume };
}

/*
 * Of an entry. Whoever watches is told, but of what the machine itself has stopped. What is strict
 * stops where L1 wanted an eVMCS and has no assist page: of the rest L1 is told by the refusal.
 */
static __attribute__((__cold__, __noinline__)) void l0_note_refusal(struct l0_vp *vp, u32 check, u64 a, u64 b)
{
	u32 field = l0_check_rows[check].field;
	const struct l0_vmcs *vmcs = vp->active_evmcs != L0_NO_VMCS ? &vp->evmcs_cache
								    : &vp->current_vmcs;

	l0_set_refusal(vp, check, a, b);
	if (!vp->partition->lints_enabled || check == CHECK_machine_stopped)
		return;
	if (check == CHECK_assist_page_off || check == CHECK_assist_page_missing) {
		l0_note(vp, LINT_assist_page_unset, L0_OF_CHECK | check, 0, 0);
		return;
	}
	l0_record(vp, LINT_entry_refused, L0_OF_CHECK | check, 0, 0);
	if (*l0_check_rows[check].field_name != '0')
		l0_note_writer(vp, LINT_entry_refused, L0_OF_CHECK | check,
			       l0_fields[L0_FIELD_INDEX(field)].offset, l0_row_value(vmcs, field));
}

#endif
