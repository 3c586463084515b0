// SPDX-License-Identifier: GPL-2.0-only
/* The checks of host and guest state, and of the list of MSRs to load; rows as in checks.h. */
#ifndef KVM_VMX_L0_STATE_CHECKS_H
#define KVM_VMX_L0_STATE_CHECKS_H

#include <linux/types.h>
#include <kvm_vmx/l0/entry/checks.h>
#include <kvm_vmx/l0/vmcs/insn_checks.h>
#include <kvm_vmx/l0/hv/msr_checks.h>
#include <kvm_vmx/l0/hv/call_checks.h>

#define L0_CANONICAL_CHECK(X, id, end, field, section)			\
	X(id, end, field, 0, LIMIT_NONE, section, "must be canonical: bits 63:47 alike")

#define L0_SELECTOR_CHECK(X, reg, REG)					\
	X(host_##reg##_selector, HOST, HOST_##REG##_SELECTOR, 0, L0_NEVER(7), "27.2.3", "{bits}")

#define L0_NULL_CHECK(X, reg, REG, when)				\
	X(host_##reg##_null, HOST, HOST_##REG##_SELECTOR, 0, LIMIT_NONE, "27.2.3", "must not be 0" when)

#define L0_PAT_CHECK(X, id, end, field, section)			\
	X(id, end, field, 0, LIMIT_NONE, section, "each byte must be a memory type: 0, 1, 4, 5, 6 or 7")

#define L0_EFER_CHECK(X, id, end, field, section)			\
	X(id, end, field, 0, L0_BITS(0, 0xd01), section, "{bits}")

#define L0_HOST_CHECKS(X)						\
	X(host_address_space, HOST, VM_EXIT_CONTROLS, 0, LIMIT_NONE, "27.2.4", "bit 9, VM_EXIT_HOST_ADDR_SPACE_SIZE, must be as IA32_EFER.LMA of the host, {a:#x}") \
	X(host_cr0, HOST, HOST_CR0, 0, LIMIT_CR0, "27.2.2", "{bits}")	\
	X(host_cr4, HOST, HOST_CR4, 0, LIMIT_CR4, "27.2.2", "{bits}")	\
	X(host_cr3, HOST, HOST_CR3, 0, LIMIT_ADDRESS, "27.2.2", "{bits}") \
	L0_CANONICAL_CHECK(X, host_sysenter_esp, HOST, HOST_IA32_SYSENTER_ESP, "27.2.2") \
	L0_CANONICAL_CHECK(X, host_sysenter_eip, HOST, HOST_IA32_SYSENTER_EIP, "27.2.2") \
	X(host_pae, HOST, HOST_CR4, VM_EXIT_CONTROLS, L0_BITS(1 << 5, ~0ull), "27.2.4", "{bits:PAE} for a 64-bit host, {other}") \
	L0_CANONICAL_CHECK(X, host_rip, HOST, HOST_RIP, "27.2.4")	\
	X(host_guest_wider, HOST, VM_ENTRY_CONTROLS, VM_EXIT_CONTROLS, L0_NEVER(VM_ENTRY_IA32E_MODE), "27.2.4", "{bits} for a 32-bit host, {other}") \
	X(host_pcide, HOST, HOST_CR4, VM_EXIT_CONTROLS, L0_NEVER(1 << 17), "27.2.4", "{bits:PCIDE} for a 32-bit host, {other}") \
	X(host_rip_high, HOST, HOST_RIP, VM_EXIT_CONTROLS, L0_BITS(0, 0xffffffff), "27.2.4", "{bits} for a 32-bit host, {other}") \
	X(host_perf_global, HOST, HOST_IA32_PERF_GLOBAL_CTRL, 0, LIMIT_PERF_GLOBAL, "27.2.2", "{bits}") \
	L0_PAT_CHECK(X, host_pat, HOST, HOST_IA32_PAT, "27.2.2")	\
	L0_EFER_CHECK(X, host_efer, HOST, HOST_IA32_EFER, "27.2.2")	\
	X(host_efer_mode, HOST, HOST_IA32_EFER, VM_EXIT_CONTROLS, LIMIT_NONE, "27.2.2", "bits 8 (LME) and 10 (LMA) must be as bit 9 (64-bit host) of {other}") \
	L0_SELECTOR_CHECK(X, es, ES) L0_SELECTOR_CHECK(X, cs, CS)	\
	L0_SELECTOR_CHECK(X, ss, SS) L0_SELECTOR_CHECK(X, ds, DS)	\
	L0_SELECTOR_CHECK(X, fs, FS) L0_SELECTOR_CHECK(X, gs, GS)	\
	L0_SELECTOR_CHECK(X, tr, TR)					\
	L0_NULL_CHECK(X, cs, CS, "") L0_NULL_CHECK(X, tr, TR, "")	\
	L0_NULL_CHECK(X, ss, SS, " in a 32-bit host")			\
	L0_CANONICAL_CHECK(X, host_fs_base, HOST, HOST_FS_BASE, "27.2.3") \
	L0_CANONICAL_CHECK(X, host_gs_base, HOST, HOST_GS_BASE, "27.2.3") \
	L0_CANONICAL_CHECK(X, host_tr_base, HOST, HOST_TR_BASE, "27.2.3") \
	L0_CANONICAL_CHECK(X, host_gdtr_base, HOST, HOST_GDTR_BASE, "27.2.3") \
	L0_CANONICAL_CHECK(X, host_idtr_base, HOST, HOST_IDTR_BASE, "27.2.3")

/* The families of a segment register: each row of one register at the same place. */
#define L0_DESCRIPTOR_CHECKS(X, reg, REG)				\
	X(reg##_present, GUEST, GUEST_##REG##_AR_BYTES, 0, L0_BITS(VMX_AR_P_MASK, ~0ull), "27.3.1.2", "{bits:P}") \
	X(reg##_reserved, GUEST, GUEST_##REG##_AR_BYTES, 0, L0_NEVER(VMX_AR_RESERVD_MASK), "27.3.1.2", "{bits}") \
	X(reg##_granular, GUEST, GUEST_##REG##_AR_BYTES, GUEST_##REG##_LIMIT, L0_NEVER(VMX_AR_G_MASK), "27.3.1.2", "{bits:G} unless bits 11:0 of the limit are all 1, {other}") \
	X(reg##_fine, GUEST, GUEST_##REG##_AR_BYTES, GUEST_##REG##_LIMIT, L0_BITS(VMX_AR_G_MASK, ~0ull), "27.3.1.2", "{bits:G} where bits 31:20 of the limit are not 0, {other}")

#define L0_VM86_CHECKS(X, reg, REG)					\
	X(vm86_##reg##_base, GUEST, GUEST_##REG##_BASE, GUEST_##REG##_SELECTOR, LIMIT_NONE, "27.3.1.2", "must be 16 times the selector in virtual-8086 mode, {other}") \
	X(vm86_##reg##_limit, GUEST, GUEST_##REG##_LIMIT, 0, LIMIT_NONE, "27.3.1.2", "must be 0xffff in virtual-8086 mode") \
	X(vm86_##reg##_rights, GUEST, GUEST_##REG##_AR_BYTES, 0, LIMIT_NONE, "27.3.1.2", "must be 0xf3 in virtual-8086 mode")

#define L0_DATA_CHECKS(X, reg, REG)					\
	X(reg##_data_system, GUEST, GUEST_##REG##_AR_BYTES, 0, L0_BITS(VMX_AR_S_MASK, ~0ull), "27.3.1.2", "{bits:S}") \
	X(reg##_accessed, GUEST, GUEST_##REG##_AR_BYTES, 0, L0_BITS(1, ~0ull), "27.3.1.2", "{bits:accessed}") \
	X(reg##_readable, GUEST, GUEST_##REG##_AR_BYTES, 0, L0_BITS(2, ~0ull), "27.3.1.2", "{bits:readable} of a code segment") \
	X(reg##_privilege, GUEST, GUEST_##REG##_AR_BYTES, GUEST_##REG##_SELECTOR, LIMIT_NONE, "27.3.1.2", "DPL (bits 6:5) must not be below the RPL, {other}")

#define L0_OF_SIX(FAMILY, X)						\
	FAMILY(X, es, ES) FAMILY(X, cs, CS) FAMILY(X, ss, SS)		\
	FAMILY(X, ds, DS) FAMILY(X, fs, FS) FAMILY(X, gs, GS)

#define L0_SEGMENT_CHECKS(X)						\
	L0_CANONICAL_CHECK(X, tr_base, GUEST, GUEST_TR_BASE, "27.3.1.2") \
	L0_CANONICAL_CHECK(X, fs_base, GUEST, GUEST_FS_BASE, "27.3.1.2") \
	L0_CANONICAL_CHECK(X, gs_base, GUEST, GUEST_GS_BASE, "27.3.1.2") \
	X(cs_base, GUEST, GUEST_CS_BASE, 0, L0_BITS(0, 0xffffffff), "27.3.1.2", "{bits}") \
	X(tr_table, GUEST, GUEST_TR_SELECTOR, 0, L0_NEVER(4), "27.3.1.2", "{bits:TI}") \
	X(tr_usable, GUEST, GUEST_TR_AR_BYTES, 0, L0_NEVER(VMX_AR_UNUSABLE_MASK | VMX_AR_S_MASK), "27.3.1.2", "{bits}: TR is usable, and a system segment") \
	X(tr_type, GUEST, GUEST_TR_AR_BYTES, VM_ENTRY_CONTROLS, LIMIT_NONE, "27.3.1.2", "type (bits 3:0) must be 11, a busy TSS, or 3 outside IA-32e mode, {other}") \
	X(ldtr_type, GUEST, GUEST_LDTR_AR_BYTES, 0, LIMIT_NONE, "27.3.1.2", "type (bits 3:0) must be 2, an LDT") \
	X(ldtr_system, GUEST, GUEST_LDTR_AR_BYTES, 0, L0_NEVER(VMX_AR_S_MASK), "27.3.1.2", "{bits:S}") \
	X(ldtr_table, GUEST, GUEST_LDTR_SELECTOR, 0, L0_NEVER(4), "27.3.1.2", "{bits:TI}") \
	L0_CANONICAL_CHECK(X, ldtr_base, GUEST, GUEST_LDTR_BASE, "27.3.1.2") \
	L0_OF_SIX(L0_DESCRIPTOR_CHECKS, X)				\
	L0_DESCRIPTOR_CHECKS(X, ldtr, LDTR) L0_DESCRIPTOR_CHECKS(X, tr, TR) \
	L0_OF_SIX(L0_VM86_CHECKS, X)					\
	X(cs_system, GUEST, GUEST_CS_AR_BYTES, 0, L0_BITS(VMX_AR_S_MASK, ~0ull), "27.3.1.2", "{bits:S}") \
	X(cs_type, GUEST, GUEST_CS_AR_BYTES, SECONDARY_VM_EXEC_CONTROL, LIMIT_NONE, "27.3.1.2", "type (bits 3:0) must be 9, 11, 13 or 15, accessed code, or 3 with DPL 0 in an unrestricted guest, {other}") \
	X(cs_privilege, GUEST, GUEST_CS_AR_BYTES, GUEST_SS_AR_BYTES, LIMIT_NONE, "27.3.1.2", "DPL (bits 6:5) of code must be that of SS, {other}") \
	X(cs_conforming, GUEST, GUEST_CS_AR_BYTES, GUEST_SS_AR_BYTES, LIMIT_NONE, "27.3.1.2", "DPL (bits 6:5) of conforming code must not be above that of SS, {other}") \
	X(cs_long, GUEST, GUEST_CS_AR_BYTES, 0, L0_NEVER(VMX_AR_DB_MASK), "27.3.1.2", "{bits:D} where bit 13 (L) is 1 in IA-32e mode") \
	X(ss_requested, GUEST, GUEST_SS_SELECTOR, GUEST_CS_SELECTOR, LIMIT_NONE, "27.3.1.2", "RPL (bits 1:0) must be that of CS, {other}") \
	X(ss_privilege, GUEST, GUEST_SS_AR_BYTES, GUEST_SS_SELECTOR, LIMIT_NONE, "27.3.1.2", "DPL (bits 6:5) must be the RPL, {other}") \
	X(ss_real, GUEST, GUEST_SS_AR_BYTES, GUEST_CS_AR_BYTES, L0_NEVER(0x60), "27.3.1.2", "DPL (bits 6:5) must be 0 in real mode, and where the type of CS is 3, {other}") \
	X(ss_type, GUEST, GUEST_SS_AR_BYTES, 0, LIMIT_NONE, "27.3.1.2", "type (bits 3:0) must be 3 or 7, writable data") \
	X(ss_system, GUEST, GUEST_SS_AR_BYTES, 0, L0_BITS(VMX_AR_S_MASK, ~0ull), "27.3.1.2", "{bits:S}") \
	X(ss_base, GUEST, GUEST_SS_BASE, 0, L0_BITS(0, 0xffffffff), "27.3.1.2", "{bits}") \
	L0_DATA_CHECKS(X, es, ES) L0_DATA_CHECKS(X, ds, DS)		\
	L0_DATA_CHECKS(X, fs, FS) L0_DATA_CHECKS(X, gs, GS)		\
	X(ds_base, GUEST, GUEST_DS_BASE, 0, L0_BITS(0, 0xffffffff), "27.3.1.2", "{bits}") \
	X(es_base, GUEST, GUEST_ES_BASE, 0, L0_BITS(0, 0xffffffff), "27.3.1.2", "{bits}")

#define L0_PDPTE_CHECK(X, n)						\
	X(pdpte##n, PDPTE, GUEST_PDPTR##n, 0, LIMIT_PDPTE, "27.3.1.6", "{bits} of a page-directory-pointer entry that is present")

#define L0_GUEST_CHECKS(X)						\
	X(guest_cr0, GUEST, GUEST_CR0, SECONDARY_VM_EXEC_CONTROL, LIMIT_GUEST_CR0, "27.3.1.1", "{bits}") \
	X(guest_paging, GUEST, GUEST_CR0, 0, L0_BITS(1, ~0ull), "27.3.1.1", "{bits:PE} where bit 31 (PG) is 1") \
	X(guest_cr4, GUEST, GUEST_CR4, 0, LIMIT_CR4, "27.3.1.1", "{bits}") \
	X(guest_long_paging, GUEST, GUEST_CR0, VM_ENTRY_CONTROLS, L0_BITS(1u << 31, ~0ull), "27.3.1.1", "{bits:PG} in IA-32e mode, {other}") \
	X(guest_long_pae, GUEST, GUEST_CR4, VM_ENTRY_CONTROLS, L0_BITS(1 << 5, ~0ull), "27.3.1.1", "{bits:PAE} in IA-32e mode, {other}") \
	X(guest_pcide, GUEST, GUEST_CR4, VM_ENTRY_CONTROLS, L0_NEVER(1 << 17), "27.3.1.1", "{bits:PCIDE} outside IA-32e mode, {other}") \
	X(guest_cr3, GUEST, GUEST_CR3, 0, LIMIT_ADDRESS, "27.3.1.1", "{bits}") \
	X(guest_debugctl, GUEST, GUEST_IA32_DEBUGCTL, 0, L0_BITS(0, 0xdfc3), "27.3.1.1", "{bits}") \
	X(guest_dr7, GUEST, GUEST_DR7, 0, L0_BITS(0, 0xffffffff), "27.3.1.1", "{bits}") \
	L0_CANONICAL_CHECK(X, guest_sysenter_esp, GUEST, GUEST_SYSENTER_ESP, "27.3.1.1") \
	L0_CANONICAL_CHECK(X, guest_sysenter_eip, GUEST, GUEST_SYSENTER_EIP, "27.3.1.1") \
	X(guest_perf_global, GUEST, GUEST_IA32_PERF_GLOBAL_CTRL, 0, LIMIT_PERF_GLOBAL, "27.3.1.1", "{bits}") \
	L0_PAT_CHECK(X, guest_pat, GUEST, GUEST_IA32_PAT, "27.3.1.1")	\
	L0_EFER_CHECK(X, guest_efer, GUEST, GUEST_IA32_EFER, "27.3.1.1")	\
	X(guest_efer_lma, GUEST, GUEST_IA32_EFER, VM_ENTRY_CONTROLS, LIMIT_NONE, "27.3.1.1", "bit 10 (LMA) must be as bit 9 (IA-32e mode) of {other}") \
	X(guest_efer_lme, GUEST, GUEST_IA32_EFER, VM_ENTRY_CONTROLS, LIMIT_NONE, "27.3.1.1", "bit 8 (LME) must be, with paging, as bit 9 (IA-32e mode) of {other}") \
	L0_CANONICAL_CHECK(X, guest_bndcfgs_base, GUEST, GUEST_BNDCFGS, "27.3.1.1") \
	X(guest_bndcfgs, GUEST, GUEST_BNDCFGS, 0, L0_NEVER(0xffc), "27.3.1.1", "{bits}") \
	L0_SEGMENT_CHECKS(X)						\
	L0_CANONICAL_CHECK(X, guest_gdtr_base, GUEST, GUEST_GDTR_BASE, "27.3.1.3") \
	L0_CANONICAL_CHECK(X, guest_idtr_base, GUEST, GUEST_IDTR_BASE, "27.3.1.3") \
	X(guest_gdtr_limit, GUEST, GUEST_GDTR_LIMIT, 0, L0_BITS(0, 0xffff), "27.3.1.3", "{bits}") \
	X(guest_idtr_limit, GUEST, GUEST_IDTR_LIMIT, 0, L0_BITS(0, 0xffff), "27.3.1.3", "{bits}") \
	X(guest_rip, GUEST, GUEST_RIP, GUEST_CS_AR_BYTES, LIMIT_NONE, "27.3.1.4", "bits 63:48 must be alike in 64-bit code, {other}") \
	X(guest_rip_high, GUEST, GUEST_RIP, GUEST_CS_AR_BYTES, L0_BITS(0, 0xffffffff), "27.3.1.4", "{bits} outside 64-bit code, {other}") \
	X(guest_rflags, GUEST, GUEST_RFLAGS, 0, L0_BITS(2, 0x3f7fd7), "27.3.1.4", "{bits}") \
	X(guest_rflags_vm, GUEST, GUEST_RFLAGS, VM_ENTRY_CONTROLS, L0_NEVER(1 << 17), "27.3.1.4", "{bits:VM} in IA-32e mode, and with GUEST_CR0 bit 0 (PE) 0, {other}") \
	X(guest_rflags_if, GUEST, GUEST_RFLAGS, VM_ENTRY_INTR_INFO_FIELD, L0_BITS(1 << 9, ~0ull), "27.3.1.4", "{bits:IF} to inject an external interrupt, {other}") \
	X(activity_state, GUEST, GUEST_ACTIVITY_STATE, 0, LIMIT_NONE, "27.3.1.5", "no activity state that MSR 0x485 bits 8:6 offer") \
	X(activity_hlt, GUEST, GUEST_ACTIVITY_STATE, GUEST_SS_AR_BYTES, LIMIT_NONE, "27.3.1.5", "HLT with a DPL of SS other than 0, {other}") \
	X(activity_blocked, GUEST, GUEST_ACTIVITY_STATE, GUEST_INTERRUPTIBILITY_INFO, LIMIT_NONE, "27.3.1.5", "must be 0, active, with blocking by STI or MOV SS, {other}") \
	X(activity_event, GUEST, GUEST_ACTIVITY_STATE, VM_ENTRY_INTR_INFO_FIELD, LIMIT_NONE, "27.3.1.5", "the event does not wake a processor in this state, {other}") \
	X(blocking_reserved, GUEST, GUEST_INTERRUPTIBILITY_INFO, 0, L0_BITS(0, 0xb), "27.3.1.5", "{bits}") \
	X(blocking_both, GUEST, GUEST_INTERRUPTIBILITY_INFO, 0, LIMIT_NONE, "27.3.1.5", "bits 0 (STI) and 1 (MOV SS) may not both be 1") \
	X(blocking_sti, GUEST, GUEST_INTERRUPTIBILITY_INFO, GUEST_RFLAGS, L0_NEVER(1), "27.3.1.5", "{bits:STI} where bit 9 (IF) of RFLAGS is 0, {other}") \
	X(blocking_interrupt, GUEST, GUEST_INTERRUPTIBILITY_INFO, VM_ENTRY_INTR_INFO_FIELD, L0_NEVER(3), "27.3.1.5", "{bits} to inject an external interrupt, {other}") \
	X(blocking_nmi_mov_ss, GUEST, GUEST_INTERRUPTIBILITY_INFO, VM_ENTRY_INTR_INFO_FIELD, L0_NEVER(2), "27.3.1.5", "{bits:MOV SS} to inject an NMI, {other}") \
	X(blocking_nmi, GUEST, GUEST_INTERRUPTIBILITY_INFO, PIN_BASED_VM_EXEC_CONTROL, L0_NEVER(8), "27.3.1.5", "{bits:NMI} to inject an NMI with virtual NMIs, {other}") \
	X(pending_reserved, GUEST, GUEST_PENDING_DBG_EXCEPTIONS, 0, L0_BITS(0, 0x500f), "27.3.1.5", "{bits}") \
	X(pending_step, GUEST, GUEST_PENDING_DBG_EXCEPTIONS, GUEST_RFLAGS, LIMIT_NONE, "27.3.1.5", "bit 14 (BS) must be 1 exactly where TF is 1 and BTF 0, while events are blocked or the guest halts, {other}") \
	X(link_address, LINK, VMCS_LINK_POINTER, 0, LIMIT_PAGE, "27.3.1.5", "{bits} in the address of a page") \
	X(link_current, LINK, VMCS_LINK_POINTER, 0, LIMIT_NONE, "27.3.1.5", "must not be the current VMCS") \
	X(link_missing, LINK, VMCS_LINK_POINTER, 0, LIMIT_NONE, "27.3.1.5", "outside memory") \
	X(link_revision, LINK, VMCS_LINK_POINTER, 0, LIMIT_NONE, "27.3.1.5", "the page has revision {a:#x}: must be {b:#x}") \
	L0_PDPTE_CHECK(X, 0) L0_PDPTE_CHECK(X, 1) L0_PDPTE_CHECK(X, 2) L0_PDPTE_CHECK(X, 3) \
	X(pdptes_missing, PDPTE, GUEST_CR3, 0, LIMIT_NONE, "27.3.1.6", "the page-directory-pointer table is outside memory") \
	X(pdptes, PDPTE, GUEST_CR3, 0, LIMIT_NONE, "27.3.1.6", "entry {a:d} of the page-directory-pointer table is {b:#x}, with a reserved bit")

/* The list of MSRs that an entry loads: a is the item's number from 1, b what is wrong in it. */
#define L0_ITEM_CHECKS(X)						\
	X(item_too_many, LIST, VM_ENTRY_MSR_LOAD_COUNT, 0, LIMIT_NONE, "27.4", "more MSRs than MSR 0x485 bits 27:25 recommend") \
	X(item_missing, LIST, VM_ENTRY_MSR_LOAD_ADDR, 0, LIMIT_NONE, "27.4", "item {a:d} is outside memory") \
	X(item_reserved, LIST, VM_ENTRY_MSR_LOAD_ADDR, 0, LIMIT_NONE, "27.4", "item {a:d}: bits 63:32 must be 0, not {b:#x}") \
	X(item_segment_base, LIST, VM_ENTRY_MSR_LOAD_ADDR, 0, LIMIT_NONE, "27.4", "item {a:d}: MSR {b:#x} is a segment base, which the guest state has") \
	X(item_forbidden, LIST, VM_ENTRY_MSR_LOAD_ADDR, 0, LIMIT_NONE, "27.4", "item {a:d}: MSR {b:#x} may be in no list") \
	X(item_value, LIST, VM_ENTRY_MSR_LOAD_ADDR, 0, LIMIT_NONE, "27.4", "item {a:d}: WRMSR of MSR {b:#x} with its value is a #GP")

#define L0_CHECKS(X)							\
	L0_POINTER_CHECKS(X) L0_CONTROL_CHECKS(X) L0_HOST_CHECKS(X) L0_GUEST_CHECKS(X) L0_ITEM_CHECKS(X)

/* All but those of VM entry, and in this order behind them. */
#define L0_OTHER_CHECKS(X)						\
	L0_INSN_CHECKS(X) L0_MSR_CHECKS(X) L0_CALL_CHECKS(X)

/* 0 is no check: what a check gives where it refuses nothing. */
enum l0_check {
	CHECK_none,
#define L0_CHECK_MEMBER(id, ...) CHECK_##id,
	L0_CHECKS(L0_CHECK_MEMBER)
	L0_OTHER_CHECKS(L0_CHECK_MEMBER)
#undef L0_CHECK_MEMBER
	L0_NR_CHECKS
};

/* Where a limit comes from that is no constant. */
enum l0_limit {
	LIMIT_NONE, LIMIT_BITS, LIMIT_PIN, LIMIT_PROC, LIMIT_SECONDARY, LIMIT_EXIT, LIMIT_ENTRY,
	LIMIT_CR0, LIMIT_GUEST_CR0, LIMIT_CR4, LIMIT_ADDRESS, LIMIT_PAGE, LIMIT_16_BYTES,
	LIMIT_64_BYTES, LIMIT_EPTP, LIMIT_PDPTE, LIMIT_EPT, LIMIT_TARGETS, LIMIT_PERF_GLOBAL,
	LIMIT_VMFUNC, LIMIT_CR4_MAY, LIMIT_APIC_BASE
};

/* How what was refused ends. An entry: a fault, one of the VM failures, or an exit. Another
 * instruction: #UD, #GP, VMfail with the row's error, the row's status. */
enum l0_end {
	END_FAULT, END_INVALID, END_ERROR, END_CONTROL, END_HOST, END_GUEST, END_LINK, END_PDPTE,
	END_LIST, END_UD, END_GP, END_FAIL, END_STATUS
};

/* What refused the last entry, or the last other instruction, that was: the check, what it saw,
 * and what is allowed. */
struct l0_refusal {
	u64 entry;		/* the number of the entry on its processor, or of the one before; 0: none */
	u64 value, other;	/* of the row's two fields */
	u64 a, b;
	u64 must, may;		/* bits that must be and may be 1, or the most */
	u32 check;
	u32 msr;		/* where the limit is said; 0: in the manual */
	u32 from_l2;		/* L2's: of an MSR, or a hypercall answered in L1's place */
};

#endif
