// SPDX-License-Identifier: GPL-2.0-only
/* The checks of RDMSR and WRMSR, rows as in insn_checks.h; {a} is the MSR. */
#ifndef KVM_VMX_L0_MSR_CHECKS_H
#define KVM_VMX_L0_MSR_CHECKS_H

#define L0_FRAME_CHECK(X, id, section, page)				\
	X(id, wrmsr, GP, 0, LIMIT_NONE, section, "the frame of the " page " is outside memory")

#define L0_MSR_CHECKS(X)						\
	X(rdmsr_privilege, rdmsr, GP, 0, LIMIT_NONE, "RDMSR", "the privilege level is {value:d}, not 0") \
	X(rdmsr_missing, rdmsr, GP, 0, LIMIT_NONE, "RDMSR", "there is no such MSR") \
	X(rdmsr_unannounced, rdmsr, GP, 0, LIMIT_NONE, "TLFS, Feature Discovery", "CPUID leaf 0x40000003 does not announce it, by bits {b:#x} of EDX:EAX") \
	X(rdmsr_command, rdmsr, GP, 0, LIMIT_NONE, "TLFS, Inter-Partition Communication", "it is only written") \
	X(wrmsr_privilege, wrmsr, GP, 0, LIMIT_NONE, "WRMSR", "the privilege level is {b:d}, not 0") \
	X(wrmsr_missing, wrmsr, GP, 0, LIMIT_NONE, "WRMSR", "there is no such MSR") \
	X(wrmsr_read_only, wrmsr, GP, 0, LIMIT_NONE, "WRMSR", "it is only read") \
	X(wrmsr_unannounced, wrmsr, GP, 0, LIMIT_NONE, "TLFS, Feature Discovery", "CPUID leaf 0x40000003 does not announce it, by bits {b:#x} of EDX:EAX") \
	X(msr_canonical, wrmsr, GP, 0, LIMIT_NONE, "WRMSR", "must be canonical: bits 63:47 alike") \
	X(feature_control_locked, wrmsr, GP, 0, LIMIT_NONE, "24.7", "it is locked: bit 0 of its value {b:#x} is 1") \
	X(feature_control_bits, wrmsr, GP, 0, L0_BITS(0, 7), "24.7", "{bits}") \
	X(msr_pat, wrmsr, GP, 0, LIMIT_NONE, "SDM 3A 12.12.2", "each byte must be a memory type: 0, 1, 4, 5, 6 or 7") \
	X(msr_perf_global, wrmsr, GP, 0, LIMIT_PERF_GLOBAL, "CPUID leaf 0xA", "{bits}") \
	X(msr_no_counters, wrmsr, GP, 0, LIMIT_NONE, "CPUID leaf 0xA", "the processor has no counters") \
	X(msr_debugctl, wrmsr, GP, 0, L0_BITS(0, 0xdfc3), "SDM 3B 18.4.1", "{bits}") \
	X(msr_spec_ctrl, wrmsr, GP, 0, L0_BITS(0, 7), "SDM 4 2.1", "{bits}") \
	X(msr_command, wrmsr, GP, 0, L0_BITS(0, 1), "SDM 4 2.1", "{bits}") \
	X(msr_32_bits, wrmsr, GP, 0, L0_BITS(0, 0xffffffff), "SDM 4 2.1", "{bits}") \
	X(msr_apic_base, wrmsr, GP, 0, LIMIT_APIC_BASE, "SDM 3A 11.4.4", "{bits}; without x2APIC bit 10 is reserved") \
	X(msr_mcg_status, wrmsr, GP, 0, L0_BITS(0, 0xf), "SDM 3B 16.3.1.2", "{bits}") \
	X(msr_mtrr_default, wrmsr, GP, 0, L0_BITS(0, 0xc07), "SDM 3A 12.11.2.1", "{bits}") \
	X(msr_mtrr_type, wrmsr, GP, 0, LIMIT_NONE, "SDM 3A 12.11.2.1", "memory type (bits 2:0) must be 0, 1, 4, 5 or 6") \
	X(msr_efer, wrmsr, GP, 0, L0_BITS(0, 0xd01), "SDM 3A 2.2.1", "{bits}") \
	X(msr_efer_paging, wrmsr, GP, 0, LIMIT_NONE, "SDM 3A 2.2.1", "bit 8 (LME) may not change while CR0 bit 31 (PG) is 1: it is {b:#x}") \
	L0_FRAME_CHECK(X, assist_frame, "R19", "VP assist page")		\
	X(hypercall_locked, wrmsr, GP, 0, LIMIT_NONE, "R93", "it is locked: bit 1 of its value {b:#x} is 1") \
	L0_FRAME_CHECK(X, hypercall_frame, "R93", "hypercall page")	\
	L0_FRAME_CHECK(X, reference_frame, "TLFS, Timers", "reference TSC page") \
	X(reenlightenment_bits, wrmsr, GP, 0, L0_NEVER(0xfffeff00), "R70", "{bits}") \
	X(reenlightenment_vector, wrmsr, GP, 0, LIMIT_NONE, "R70", "vector (bits 7:0) must be at least 16 where bit 16 is 1") \
	X(reenlightenment_target, wrmsr, GP, 0, LIMIT_NONE, "R70", "target (bits 63:32) must be one of {b:d} VPs where bit 16 is 1") \
	X(emulation_control, wrmsr, GP, 0, L0_BITS(0, 1), "R70", "{bits}") \
	X(emulation_status, wrmsr, GP, 0, LIMIT_NONE, "R70", "must be 0: L1 ends an emulation, and begins none") \
	X(invariant_bits, wrmsr, GP, 0, L0_BITS(0, 1), "TLFS, Partition Properties", "{bits}") \
	X(invariant_stays, wrmsr, GP, 0, LIMIT_NONE, "TLFS, Partition Properties", "bit 0 is 1, and stays so") \
	X(synic_eoi, wrmsr, GP, 0, L0_BITS(0, 0xffffffff), "TLFS, Virtual Interrupt Control", "{bits}") \
	X(synic_tpr, wrmsr, GP, 0, L0_BITS(0, 0xff), "TLFS, Virtual Interrupt Control", "{bits}") \
	L0_FRAME_CHECK(X, synic_frame, "TLFS, Inter-Partition Communication", "event or message page") \
	X(synic_vector, wrmsr, GP, 0, LIMIT_NONE, "TLFS, Inter-Partition Communication", "vector (bits 7:0) must be at least 16 where bit 16 (masked) is 0") \
	X(stimer_direct, wrmsr, GP, 0, L0_NEVER(1 << 12), "TLFS, Timers", "{bits} where CPUID leaf 0x40000003 EDX bit 19 is 0")

#endif
