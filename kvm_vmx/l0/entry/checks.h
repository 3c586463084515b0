// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of VM entry, one a row: what it looks at, what is allowed, where that is said.
 *
 * X(id, end, field, other, limit, section, sentence): end is how an entry that it refuses ends;
 * field and other are VMCS fields, 0 where there is none; limit is an l0_limit, or the bits that
 * must be and may be 1; section is the SDM's (volume 3C) or a rule. In the sentence {bits} is the
 * first wrong bit, {bits:NAME} the same with a name, {other} the other field and its value; {a}
 * and {b} are what the check has noted besides.
 */
#ifndef KVM_VMX_L0_CHECKS_H
#define KVM_VMX_L0_CHECKS_H

#define L0_BITS(must, may) LIMIT_BITS, must, may
#define L0_NEVER(mask) L0_BITS(0, ~(u64)(mask))

/* No VMCS to enter with: VMfailInvalid, or as the profile has it; then its state. */
#define L0_POINTER_CHECKS(X)						\
	X(not_in_vmx, FAULT, 0, 0, LIMIT_NONE, "VMLAUNCH", "the processor is not in VMX operation") \
	X(not_privileged, FAULT, 0, 0, LIMIT_NONE, "VMLAUNCH", "the privilege level is {a:d}, not 0") \
	X(machine_stopped, INVALID, 0, 0, LIMIT_NONE, "strict", "the machine is strict and has stopped") \
	X(assist_page_off, INVALID, 0, 0, LIMIT_NONE, "R20", "no VMCS is current, and the VP assist page is off: MSR 0x40000073 is {a:#x}") \
	X(assist_page_missing, INVALID, 0, 0, LIMIT_NONE, "R20", "no VMCS is current, and the VP assist page is outside memory: MSR 0x40000073 is {a:#x}") \
	X(switch_off, INVALID, 0, 0, LIMIT_NONE, "R24", "no VMCS is current, and enlighten_vmentry of the VP assist page at {a:#x} is 0") \
	X(pointer_none, INVALID, 0, 0, LIMIT_NONE, "K9", "no VMCS is current, and current_nested_vmcs of the VP assist page is {a:#x}, which means none") \
	X(pointer_misaligned, INVALID, 0, 0, LIMIT_NONE, "R27", "the eVMCS pointer {a:#x} is not page-aligned") \
	X(evmcs_missing, INVALID, 0, 0, LIMIT_NONE, "R27", "the eVMCS at {a:#x} is outside memory") \
	X(evmcs_revision, INVALID, 0, 0, LIMIT_NONE, "R60", "the eVMCS at {a:#x} has revision {b:#x}: must be the version 1, or {may:#x}") \
	X(evmcs_active, INVALID, 0, 0, LIMIT_NONE, "R30", "the eVMCS at {a:#x} is active on VP {b:d}") \
	X(shadow_vmcs, INVALID, 0, 0, LIMIT_NONE, "VMLAUNCH", "the current VMCS at {a:#x} is a shadow VMCS: bit 31 of its revision is 1") \
	X(mov_ss, ERROR, 0, 0, LIMIT_NONE, "VMLAUNCH", "events are blocked by MOV SS") \
	X(launched, ERROR, 0, 0, LIMIT_NONE, "VMLAUNCH", "VMLAUNCH with the VMCS at {a:#x}, which has been launched: VMRESUME, or VMCLEAR first") \
	X(not_launched, ERROR, 0, 0, LIMIT_NONE, "VMRESUME", "VMRESUME with the VMCS at {a:#x}, which has not been launched")

#define L0_PAGE_CHECK(X, id, field, section)				\
	X(id, CONTROL, field, 0, LIMIT_PAGE, section, "{bits} in the address of a page")

#define L0_UNCOVERED_CHECK(X, id, field, bits, rule)			\
	X(id, CONTROL, field, 0, L0_NEVER(bits), rule, "{bits}: an eVMCS of this L0 has no field for it")

#define L0_LIST_CHECKS(X, id, NAME, section)				\
	X(id##_address, CONTROL, NAME##_ADDR, NAME##_COUNT, LIMIT_16_BYTES, section, "{bits} with {other}") \
	X(id##_end, CONTROL, NAME##_ADDR, NAME##_COUNT, LIMIT_NONE, section, "the list ends outside physical memory, {other}")

#define L0_CONTROL_CHECKS(X)						\
	X(pin_controls, CONTROL, PIN_BASED_VM_EXEC_CONTROL, 0, LIMIT_PIN, "27.2.1.1", "{bits}") \
	X(primary_controls, CONTROL, CPU_BASED_VM_EXEC_CONTROL, 0, LIMIT_PROC, "27.2.1.1", "{bits}") \
	X(secondary_controls, CONTROL, SECONDARY_VM_EXEC_CONTROL, 0, LIMIT_SECONDARY, "27.2.1.1", "{bits}") \
	X(exit_controls, CONTROL, VM_EXIT_CONTROLS, 0, LIMIT_EXIT, "27.2.1.2", "{bits}") \
	X(entry_controls, CONTROL, VM_ENTRY_CONTROLS, 0, LIMIT_ENTRY, "27.2.1.3", "{bits}") \
	L0_UNCOVERED_CHECK(X, unannounced_exit_perf_global, VM_EXIT_CONTROLS, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL, "R14") \
	L0_UNCOVERED_CHECK(X, unannounced_entry_perf_global, VM_ENTRY_CONTROLS, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL, "R14") \
	L0_UNCOVERED_CHECK(X, uncovered_pin, PIN_BASED_VM_EXEC_CONTROL, PIN_BASED_POSTED_INTR | PIN_BASED_VMX_PREEMPTION_TIMER, "R63") \
	L0_UNCOVERED_CHECK(X, uncovered_secondary, SECONDARY_VM_EXEC_CONTROL, L0_UNCOVERED_SECONDARY, "R63") \
	L0_UNCOVERED_CHECK(X, uncovered_exit, VM_EXIT_CONTROLS, VM_EXIT_SAVE_VMX_PREEMPTION_TIMER, "R63") \
	X(cr3_targets, CONTROL, CR3_TARGET_COUNT, 0, LIMIT_TARGETS, "27.2.1.1", "at most {may:d}") \
	L0_PAGE_CHECK(X, io_bitmap_a, IO_BITMAP_A, "27.2.1.1")		\
	L0_PAGE_CHECK(X, io_bitmap_b, IO_BITMAP_B, "27.2.1.1")		\
	L0_PAGE_CHECK(X, msr_bitmap, MSR_BITMAP, "27.2.1.1")		\
	L0_PAGE_CHECK(X, vmread_bitmap, VMREAD_BITMAP, "27.2.1.1")	\
	L0_PAGE_CHECK(X, vmwrite_bitmap, VMWRITE_BITMAP, "27.2.1.1")	\
	L0_PAGE_CHECK(X, virtual_apic_page, VIRTUAL_APIC_PAGE_ADDR, "27.2.1.1") \
	X(tpr_threshold, CONTROL, TPR_THRESHOLD, 0, L0_BITS(0, 0xf), "27.2.1.1", "{bits}") \
	X(tpr_above_priority, CONTROL, TPR_THRESHOLD, VIRTUAL_APIC_PAGE_ADDR, LIMIT_NONE, "27.2.1.1", "above bits 7:4 of VTPR in the virtual-APIC page, {other}") \
	X(tpr_shadow_needed, CONTROL, SECONDARY_VM_EXEC_CONTROL, CPU_BASED_VM_EXEC_CONTROL, L0_NEVER(L0_NEEDS_TPR_SHADOW), "27.2.1.1", "{bits} without the TPR shadow (bit 21), {other}") \
	X(apic_access_and_x2apic, CONTROL, SECONDARY_VM_EXEC_CONTROL, 0, LIMIT_NONE, "27.2.1.1", "bit 0, SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES, and bit 4, SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE, may not both be 1") \
	L0_PAGE_CHECK(X, apic_access_page, APIC_ACCESS_ADDR, "27.2.1.1")	\
	X(virtual_interrupts, CONTROL, PIN_BASED_VM_EXEC_CONTROL, SECONDARY_VM_EXEC_CONTROL, L0_BITS(PIN_BASED_EXT_INTR_MASK, ~0ull), "27.2.1.1", "{bits} for virtual-interrupt delivery, {other}") \
	X(posted_without_virtual, CONTROL, SECONDARY_VM_EXEC_CONTROL, PIN_BASED_VM_EXEC_CONTROL, L0_BITS(SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY, ~0ull), "27.2.1.1", "{bits} for posted interrupts, {other}") \
	X(posted_without_acknowledge, CONTROL, VM_EXIT_CONTROLS, PIN_BASED_VM_EXEC_CONTROL, L0_BITS(VM_EXIT_ACK_INTR_ON_EXIT, ~0ull), "27.2.1.1", "{bits} for posted interrupts, {other}") \
	X(posted_vector, CONTROL, POSTED_INTR_NV, 0, L0_BITS(0, 0xff), "27.2.1.1", "{bits}") \
	X(posted_descriptor, CONTROL, POSTED_INTR_DESC_ADDR, 0, LIMIT_64_BYTES, "27.2.1.1", "{bits}") \
	X(virtual_nmis, CONTROL, PIN_BASED_VM_EXEC_CONTROL, 0, L0_BITS(PIN_BASED_NMI_EXITING, ~0ull), "27.2.1.1", "{bits} where bit 5, PIN_BASED_VIRTUAL_NMIS, is 1") \
	X(nmi_window, CONTROL, CPU_BASED_VM_EXEC_CONTROL, PIN_BASED_VM_EXEC_CONTROL, L0_NEVER(CPU_BASED_VIRTUAL_NMI_PENDING), "27.2.1.1", "{bits} without virtual NMIs (bit 5), {other}") \
	X(vpid_zero, CONTROL, VIRTUAL_PROCESSOR_ID, SECONDARY_VM_EXEC_CONTROL, LIMIT_NONE, "27.2.1.1", "must not be 0 with {other}") \
	X(ept_memory_type, CONTROL, EPT_POINTER, 0, LIMIT_EPT, "27.2.1.1", "memory type (bits 2:0) {a:d} is not offered") \
	X(ept_walk, CONTROL, EPT_POINTER, 0, LIMIT_EPT, "27.2.1.1", "page-walk length (bits 5:3, less 1) {a:d} is not offered") \
	X(ept_flags, CONTROL, EPT_POINTER, 0, LIMIT_EPT, "27.2.1.1", "bit 6: accessed and dirty flags are not offered") \
	X(ept_reserved, CONTROL, EPT_POINTER, 0, LIMIT_EPTP, "27.2.1.1", "{bits}") \
	X(ept_needed, CONTROL, SECONDARY_VM_EXEC_CONTROL, 0, L0_NEVER(L0_NEEDS_EPT), "27.2.1.1", "{bits} without EPT (bit 1)") \
	L0_PAGE_CHECK(X, pml_page, PML_ADDRESS, "27.2.1.1")		\
	X(tsc_multiplier, CONTROL, TSC_MULTIPLIER, SECONDARY_VM_EXEC_CONTROL, LIMIT_NONE, "27.2.1.1", "must not be 0 with {other}") \
	X(vm_functions, CONTROL, VM_FUNCTION_CONTROL, 0, LIMIT_VMFUNC, "27.2.1.1", "{bits}") \
	X(eptp_switching, CONTROL, VM_FUNCTION_CONTROL, SECONDARY_VM_EXEC_CONTROL, L0_NEVER(1), "27.2.1.1", "{bits} without EPT (bit 1), {other}") \
	L0_PAGE_CHECK(X, eptp_list, EPTP_LIST_ADDRESS, "27.2.1.1")	\
	X(timer_saved, CONTROL, VM_EXIT_CONTROLS, PIN_BASED_VM_EXEC_CONTROL, L0_NEVER(VM_EXIT_SAVE_VMX_PREEMPTION_TIMER), "27.2.1.2", "{bits} without the preemption timer (bit 6), {other}") \
	X(entry_smm, CONTROL, VM_ENTRY_CONTROLS, 0, L0_NEVER(VM_ENTRY_SMM | VM_ENTRY_DEACT_DUAL_MONITOR), "27.2.1.3", "{bits} outside system-management mode") \
	L0_LIST_CHECKS(X, exit_store_list, VM_EXIT_MSR_STORE, "27.2.1.2") \
	L0_LIST_CHECKS(X, exit_load_list, VM_EXIT_MSR_LOAD, "27.2.1.2")	\
	L0_LIST_CHECKS(X, entry_load_list, VM_ENTRY_MSR_LOAD, "27.2.1.3") \
	X(event_reserved, CONTROL, VM_ENTRY_INTR_INFO_FIELD, 0, L0_NEVER(INTR_INFO_RESVD_BITS_MASK), "27.2.1.3", "{bits} of an event") \
	X(event_type, CONTROL, VM_ENTRY_INTR_INFO_FIELD, 0, LIMIT_NONE, "27.2.1.3", "type (bits 10:8) 1 is reserved") \
	X(event_error_code, CONTROL, VM_ENTRY_INTR_INFO_FIELD, GUEST_CR0, LIMIT_NONE, "27.2.1.3", "bit 11 (deliver an error code) must be 1 for the exceptions of protected mode that push one, and for no other event, {other}") \
	X(event_nmi_vector, CONTROL, VM_ENTRY_INTR_INFO_FIELD, 0, LIMIT_NONE, "27.2.1.3", "the vector of an NMI must be 2, not {a:d}") \
	X(event_exception_vector, CONTROL, VM_ENTRY_INTR_INFO_FIELD, 0, LIMIT_NONE, "27.2.1.3", "the vector of a hardware exception must be at most 31, not {a:d}") \
	X(event_other_vector, CONTROL, VM_ENTRY_INTR_INFO_FIELD, 0, LIMIT_NONE, "27.2.1.3", "the vector of an other event must be 0, not {a:d}") \
	X(event_monitor_trap, CONTROL, VM_ENTRY_INTR_INFO_FIELD, 0, LIMIT_NONE, "27.2.1.3", "an other event needs the monitor trap flag, which is not offered") \
	X(event_error_code_high, CONTROL, VM_ENTRY_EXCEPTION_ERROR_CODE, 0, L0_BITS(0, 0xffff), "27.2.1.3", "{bits}") \
	X(event_length, CONTROL, VM_ENTRY_INSTRUCTION_LEN, VM_ENTRY_INTR_INFO_FIELD, LIMIT_NONE, "27.2.1.3", "the length of an instruction must be 1 to 15, or 0 where MSR 0x485 bit 30 is 1, for a software event, {other}") \
	X(debugctl_unannounced, CONTROL, GUEST_IA32_DEBUGCTL, 0, LIMIT_NONE, "R62", "must be 0 in an eVMCS: leaf 0x4000000A does not offer debug controls")

#endif
