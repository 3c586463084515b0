// SPDX-License-Identifier: GPL-2.0-only
/* The checks of a hypercall, rows as in insn_checks.h; {a} is the call's code, {value} RCX. */
#ifndef KVM_VMX_L0_CALL_CHECKS_H
#define KVM_VMX_L0_CALL_CHECKS_H

#define L0_CALL_CHECK(X, id, status, section, sentence)			\
	X(id, vmcall, STATUS, status, LIMIT_NONE, section, sentence)

/* Statuses that the headers of v4.19 have no name for. */
#define L0_STATUS_ACCESS_DENIED 6
#define L0_STATUS_INVALID_PARTITION_STATE 7

#define L0_CALL_CHECKS(X)						\
	X(call_privilege, vmcall, UD, 0, LIMIT_NONE, "R92", "the privilege level is {b:d}, not 0") \
	X(call_real_mode, vmcall, UD, 0, LIMIT_NONE, "R92", "CR0 bit 0 (PE) is 0") \
	X(call_no_identity, vmcall, UD, 0, LIMIT_NONE, "R93", "MSR 0x40000000, the identity of L1, is 0") \
	X(call_no_xmm, vmcall, UD, 0, LIMIT_NONE, "R97", "{b:d} bytes of fast input, where CPUID leaf 0x40000003 EDX bit 4 allows 16") \
	L0_CALL_CHECK(X, call_code, HV_STATUS_INVALID_HYPERCALL_CODE, "R96", "there is no such call") \
	L0_CALL_CHECK(X, call_unoffered, HV_STATUS_INVALID_HYPERCALL_CODE, "R9", "CPUID leaf 0x4000000A EAX bit 18 does not offer it") \
	L0_CALL_CHECK(X, call_vmx_off, L0_STATUS_INVALID_PARTITION_STATE, "R87", "the processor is not in VMX operation") \
	L0_CALL_CHECK(X, call_extended_code, HV_STATUS_INVALID_HYPERCALL_CODE, "R96", "CPUID leaf 0x40000003 EBX bit 20 offers no extended calls, or there is no such") \
	L0_CALL_CHECK(X, call_denied, L0_STATUS_ACCESS_DENIED, "TLFS, Feature Discovery", "CPUID does not announce it") \
	L0_CALL_CHECK(X, call_reserved, HV_STATUS_INVALID_HYPERCALL_INPUT, "R94", "reserved bits of the control word {value:#x} are set: {b:#x}") \
	L0_CALL_CHECK(X, call_variable, HV_STATUS_INVALID_HYPERCALL_INPUT, "R95", "a variable header of {b:d} quadwords, where the call has none") \
	L0_CALL_CHECK(X, call_count, HV_STATUS_INVALID_HYPERCALL_INPUT, "R95", "a repeated call with a count of 0") \
	L0_CALL_CHECK(X, call_start, HV_STATUS_INVALID_HYPERCALL_INPUT, "R95", "repetition {b:d} to begin with is not below the count") \
	L0_CALL_CHECK(X, call_continued, HV_STATUS_INVALID_HYPERCALL_INPUT, "R95", "repetition {b:d} to begin with: this Hyper-V begins with 0") \
	L0_CALL_CHECK(X, call_simple, HV_STATUS_INVALID_HYPERCALL_INPUT, "R95", "a count or a start where the call is not repeated") \
	L0_CALL_CHECK(X, call_fast_length, HV_STATUS_INVALID_HYPERCALL_INPUT, "R97", "{b:d} bytes of fast input: at most 112") \
	L0_CALL_CHECK(X, call_alignment, HV_STATUS_INVALID_ALIGNMENT, "R96", "the input at {b:#x} is not aligned to 8 bytes") \
	L0_CALL_CHECK(X, call_page, HV_STATUS_INVALID_ALIGNMENT, "R96", "the input at {b:#x} crosses a page's end") \
	L0_CALL_CHECK(X, call_memory, HV_STATUS_INVALID_ALIGNMENT, "R96", "the input at {b:#x} is outside memory") \
	L0_CALL_CHECK(X, call_output_alignment, HV_STATUS_INVALID_ALIGNMENT, "R96", "the output at {b:#x} is not aligned to 8 bytes") \
	L0_CALL_CHECK(X, call_output_memory, HV_STATUS_INVALID_ALIGNMENT, "R96", "the output at {b:#x} is outside memory") \
	L0_CALL_CHECK(X, call_extended_fast, HV_STATUS_INVALID_PARAMETER, "R97", "an extended call has output, and cannot be fast") \
	L0_CALL_CHECK(X, call_port, HV_STATUS_INVALID_HYPERCALL_INPUT, "TLFS, Inter-Partition Communication", "there is nobody behind the port") \
	L0_CALL_CHECK(X, flush_flags, HV_STATUS_INVALID_PARAMETER, "R90", "reserved bits of the flags are set: {b:#x}") \
	L0_CALL_CHECK(X, flush_set_format, HV_STATUS_INVALID_PARAMETER, "R91", "format {b:d} of the processor set: must be 0, sparse, or 1, all") \
	L0_CALL_CHECK(X, flush_set_banks, HV_STATUS_INVALID_HYPERCALL_INPUT, "R91", "the mask names {b:d} banks, and the variable header has another number") \
	L0_CALL_CHECK(X, flush_space_flags, HV_STATUS_INVALID_PARAMETER, "R87", "the flags must be 0, not {b:#x}") \
	L0_CALL_CHECK(X, flush_partition_page, HV_STATUS_INVALID_HYPERCALL_INPUT, "R78", "the partition assist page at {b:#x} is outside memory") \
	L0_CALL_CHECK(X, send_vector, HV_STATUS_INVALID_HYPERCALL_INPUT, "TLFS, Virtual Interrupt Control", "vector {b:#x}: must be 0x10 to 0xff") \
	L0_CALL_CHECK(X, send_reserved, HV_STATUS_INVALID_HYPERCALL_INPUT, "TLFS, Virtual Interrupt Control", "bits 63:32 beside the vector must be 0: {b:#x}") \
	L0_CALL_CHECK(X, send_set_banks, HV_STATUS_INVALID_HYPERCALL_INPUT, "R91", "the mask names {b:d} banks, and the variable header has another number")

#endif
