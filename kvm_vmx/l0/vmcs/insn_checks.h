// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of the VMX instructions but VM entry, and of MOV to a control register, one a row.
 *
 * X(id, insn, end, error, limit, section, sentence): end is how an instruction that it refuses
 * ends, error the VM-instruction error of a VMfail or the status of a hypercall; the rest is as
 * in checks.h. In the sentence {value} is what the check looked at.
 */
#ifndef KVM_VMX_L0_INSN_CHECKS_H
#define KVM_VMX_L0_INSN_CHECKS_H

#define L0_VMXON_CHECKS(X)						\
	X(vmxon_absent, vmxon, UD, 0, LIMIT_NONE, "R18", "CPUID leaf 1 ECX bit 5 (VMX) is 0") \
	X(vmxon_protection, vmxon, UD, 0, L0_BITS(1, ~0ull), "31.3", "CR0 is {value:#x}: {bits:PE}") \
	X(vmxon_enable, vmxon, UD, 0, L0_BITS(1 << 13, ~0ull), "24.7", "CR4 is {value:#x}: {bits:VMXE}") \
	X(vmxon_privilege, vmxon, GP, 0, LIMIT_NONE, "31.3", "the privilege level is {value:d}, not 0") \
	X(vmxon_twice, vmxon, FAIL, VMXERR_VMXON_IN_VMX_ROOT_OPERATION, LIMIT_NONE, "31.3", "the processor is in VMX operation already") \
	X(vmxon_cr0, vmxon, GP, 0, LIMIT_CR0, "24.8", "CR0 is {value:#x}: {bits}") \
	X(vmxon_cr4, vmxon, GP, 0, LIMIT_CR4, "24.8", "CR4 is {value:#x}: {bits}") \
	X(vmxon_firmware, vmxon, GP, 0, L0_BITS(5, ~0ull), "24.7", "MSR 0x3a is {value:#x}: {bits}; bit 0 locks it, bit 2 allows VMXON") \
	X(vmxon_address, vmxon, INVALID, 0, LIMIT_PAGE, "31.3", "{bits} in the address {value:#x} of the region") \
	X(vmxon_missing, vmxon, INVALID, 0, LIMIT_NONE, "31.3", "the region at {value:#x} is outside memory") \
	X(vmxon_revision, vmxon, INVALID, 0, LIMIT_NONE, "31.3", "the region at {value:#x} has revision {a:#x}: must be {b:#x}")

#define L0_POINTER_INSN_CHECKS(X)					\
	X(insn_not_in_vmx, vmx, UD, 0, LIMIT_NONE, "31.3", "the processor is not in VMX operation") \
	X(insn_privilege, vmx, GP, 0, LIMIT_NONE, "31.3", "the privilege level is {value:d}, not 0") \
	X(vmclear_address, vmclear, FAIL, VMXERR_VMCLEAR_INVALID_ADDRESS, LIMIT_PAGE, "31.3", "{bits} in the address {value:#x}") \
	X(vmclear_vmxon, vmclear, FAIL, VMXERR_VMCLEAR_VMXON_POINTER, LIMIT_NONE, "31.3", "{value:#x} is the VMXON pointer") \
	X(vmptrld_address, vmptrld, FAIL, VMXERR_VMPTRLD_INVALID_ADDRESS, LIMIT_PAGE, "31.3", "{bits} in the address {value:#x}") \
	X(vmptrld_vmxon, vmptrld, FAIL, VMXERR_VMPTRLD_VMXON_POINTER, LIMIT_NONE, "31.3", "{value:#x} is the VMXON pointer") \
	X(vmptrld_missing, vmptrld, FAIL, VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID, LIMIT_NONE, "31.3", "the VMCS at {value:#x} is outside memory") \
	X(vmptrld_revision, vmptrld, FAIL, VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID, LIMIT_NONE, "31.3", "the VMCS at {value:#x} has revision {a:#x}: must be {b:#x}")

#define L0_FIELD_INSN_CHECKS(X)						\
	X(vmread_no_vmcs, vmread, INVALID, 0, LIMIT_NONE, "31.3", "of field {value:#x}: no VMCS is current") \
	X(vmread_enlightened, vmread, INVALID, 0, LIMIT_NONE, "R32", "of field {value:#x}: the eVMCS at {a:#x} is active, whose fields are in memory") \
	X(vmread_page_missing, vmread, INVALID, 0, LIMIT_NONE, "R32", "of field {value:#x}: the page of the active eVMCS, {a:#x}, is outside memory") \
	X(vmread_component, vmread, FAIL, VMXERR_UNSUPPORTED_VMCS_COMPONENT, LIMIT_NONE, "31.3", "{value:#x} is no field of this processor") \
	X(vmread_no_place, vmread, FAIL, VMXERR_UNSUPPORTED_VMCS_COMPONENT, LIMIT_NONE, "K8", "field {value:#x} has no place in the active eVMCS, {a:#x}") \
	X(vmwrite_no_vmcs, vmwrite, INVALID, 0, LIMIT_NONE, "31.3", "of field {value:#x}: no VMCS is current") \
	X(vmwrite_enlightened, vmwrite, INVALID, 0, LIMIT_NONE, "R32", "of field {value:#x}: the eVMCS at {a:#x} is active, whose fields are in memory") \
	X(vmwrite_component, vmwrite, FAIL, VMXERR_UNSUPPORTED_VMCS_COMPONENT, LIMIT_NONE, "31.3", "{value:#x} is no field of this processor") \
	X(vmwrite_read_only, vmwrite, FAIL, VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT, LIMIT_NONE, "31.3", "field {value:#x} is only read: MSR 0x485 bit 29 is 0")

#define L0_INVEPT_CHECK(X, id, sentence)				\
	X(id, invept, FAIL, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID, LIMIT_NONE, "31.3", "the EPT pointer is {value:#x}: " sentence)

#define L0_INVVPID_CHECK(X, id, sentence)				\
	X(id, invvpid, FAIL, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID, LIMIT_NONE, "31.3", sentence)

/* Those of an EPT pointer stand in the order of ept_memory_type to ept_reserved. */
#define L0_INVALIDATION_CHECKS(X)					\
	X(invept_absent, invept, UD, 0, LIMIT_NONE, "31.3", "not on offer: MSR 0x48b bit 33 (EPT) or MSR 0x48c bit 20 (INVEPT) is 0") \
	X(invept_type, invept, FAIL, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID, LIMIT_NONE, "31.3", "type {value:d} is none that MSR 0x48c bits 26:25 offer: 1, of one EPT pointer, and 2, of all") \
	L0_INVEPT_CHECK(X, invept_memory_type, "its memory type (bits 2:0) is none that MSR 0x48c offers") \
	L0_INVEPT_CHECK(X, invept_walk, "its page-walk length (bits 5:3) is none that MSR 0x48c offers") \
	L0_INVEPT_CHECK(X, invept_flags, "MSR 0x48c does not offer accessed and dirty flags (bit 6)") \
	L0_INVEPT_CHECK(X, invept_reserved, "a reserved bit is 1")	\
	X(invvpid_absent, invvpid, UD, 0, LIMIT_NONE, "31.3", "not on offer: MSR 0x48b bit 37 (VPID) or MSR 0x48c bit 32 (INVVPID) is 0") \
	L0_INVVPID_CHECK(X, invvpid_type, "type {value:d} is none that MSR 0x48c bits 43:40 offer") \
	X(invvpid_reserved, invvpid, FAIL, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID, L0_BITS(0, 0xffff), "31.3", "{bits} beside the VPID, {value:#x}") \
	L0_INVVPID_CHECK(X, invvpid_zero, "the VPID must not be 0 with type {a:d}") \
	L0_INVVPID_CHECK(X, invvpid_address, "the linear address {value:#x} must be canonical: bits 63:47 alike")

#define L0_CR_CHECKS(X)							\
	X(cr_number, mov_to_cr, UD, 0, LIMIT_NONE, "SDM 2B MOV", "there is no such register") \
	X(cr_privilege, mov_to_cr, GP, 0, LIMIT_NONE, "SDM 2B MOV", "the privilege level is {b:d}, not 0") \
	X(cr0_reserved, mov_to_cr, GP, 0, L0_BITS(0, 0xffffffff), "SDM 3A 2.5", "{bits}") \
	X(cr0_paging, mov_to_cr, GP, 0, L0_BITS(1, ~0ull), "SDM 3A 2.5", "{bits:PE} where bit 31 (PG) is 1") \
	X(cr0_cache, mov_to_cr, GP, 0, L0_BITS(1 << 30, ~0ull), "SDM 3A 2.5", "{bits:CD} where bit 29 (NW) is 1") \
	X(cr0_long_mode, mov_to_cr, GP, 0, L0_BITS(1u << 31, ~0ull), "SDM 3A 2.5", "{bits:PG} in 64-bit mode") \
	X(cr0_in_vmx, mov_to_cr, GP, 0, LIMIT_CR0, "24.8", "{bits} in VMX operation") \
	X(cr3_reserved, mov_to_cr, GP, 0, LIMIT_ADDRESS, "SDM 3A 4.5", "{bits}") \
	X(cr4_reserved, mov_to_cr, GP, 0, LIMIT_CR4_MAY, "SDM 3A 2.5", "{bits}") \
	X(cr4_no_vmx, mov_to_cr, GP, 0, L0_NEVER(1 << 13), "R18", "{bits:VMXE} where CPUID leaf 1 ECX bit 5 (VMX) is 0") \
	X(cr4_long_mode, mov_to_cr, GP, 0, L0_BITS(1 << 5, ~0ull), "SDM 3A 2.5", "{bits:PAE} in IA-32e mode") \
	X(cr4_in_vmx, mov_to_cr, GP, 0, LIMIT_CR4, "24.8", "{bits} in VMX operation") \
	X(cr8_reserved, mov_to_cr, GP, 0, L0_BITS(0, 0xf), "SDM 3A 2.5", "{bits}")

#define L0_INSN_CHECKS(X)						\
	L0_VMXON_CHECKS(X) L0_POINTER_INSN_CHECKS(X) L0_FIELD_INSN_CHECKS(X) \
	L0_INVALIDATION_CHECKS(X) L0_CR_CHECKS(X)

#endif
