# SPDX-License-Identifier: GPL-2.0-only
"""What a bit of CPUID or of a capability MSR offers, and which test shows that L0 does it.

A row is (name, test): the test stands in tests/l0, and a row without one is what L0 does not do.
A profile may not offer that, and no bit of a capability MSR that has no row.
"""

from collections.abc import Mapping

from kvm_vmx.abi import constants
from kvm_vmx.l0.cpuid_dump import Four, Leaves

_I, _E, _R = "test_guest_intercepts.py::", "test_guest_events.py::", "test_guest_registers.py::"
_INT, _IO = "test_guest_interrupts.py::", "test_guest_io_and_msr.py::"
_V, _EPT, _H = "test_vmx_instructions.py::", "test_guest_ept.py::", "test_hypercalls.py::"
_S, _O, _M = "test_synthetic_msrs.py::", "test_offers.py::", "test_guest_modes.py::"
_T, _A = "test_stimers.py::", "test_virtual_apic.py::"
_VI = "test_virtual_interrupts.py::"
_LEAVES, _STAYS = _I + "test_leaves_by_its_control", _V + "test_capability_msrs_are_consistent"
_ENTRY = "test_entry_vectors.py::test_vectors_of"
_TIMER = _INT + "test_preemption_timer"
# {bit: (name, test or None)}
Rows = dict[int, tuple[str, str | None]]


def _must(*bits: int) -> Rows:
    """Bits that are reserved and must be 1."""
    return {bit: (f"reserved bit {bit}, 1", _STAYS) for bit in bits}


PIN = _must(1, 2, 4) | {
    0: ("external-interrupt exiting", _INT + "test_interrupts_that_l1_leaves_to_the_guest"),
    3: ("NMI exiting", _INT + "test_nmi_exits"),
    5: ("virtual NMIs", _INT + "test_virtual_nmis"),
    6: ("VMX-preemption timer", _TIMER),
    7: ("posted interrupts", _VI + "test_posted_interrupts_come_with_the_notification"),
}
PROC = _must(1, 4, 5, 6, 8, 13, 14, 26) | {
    2: ("interrupt-window exiting", _INT + "test_interrupt_window"),
    3: ("TSC offsetting", _I + "test_what_the_timestamp_counter_shows"),
    7: ("HLT exiting", _LEAVES), 9: ("INVLPG exiting", _LEAVES),
    10: ("MWAIT exiting", _LEAVES), 11: ("RDPMC exiting", _I + "test_rdpmc_without_counters"),
    12: ("RDTSC exiting", _LEAVES), 15: ("CR3-load exiting", _LEAVES),
    16: ("CR3-store exiting", _LEAVES), 17: ("tertiary controls", None),
    19: ("CR8-load exiting", _LEAVES), 20: ("CR8-store exiting", _LEAVES),
    21: ("TPR shadow", _R + "test_cr8_in_the_virtual_apic_page"),
    22: ("NMI-window exiting", _INT + "test_nmi_window"), 23: ("MOV-DR exiting", _LEAVES),
    24: ("unconditional I/O exiting", _LEAVES), 25: ("I/O bitmaps", _IO + "test_io_bitmaps"),
    27: ("monitor trap flag", _INT + "test_monitor_trap"),
    28: ("MSR bitmaps", _IO + "test_msr_bitmap"), 29: ("MONITOR exiting", _LEAVES),
    30: ("PAUSE exiting", _LEAVES), 31: ("secondary controls", _LEAVES),
}
SECONDARY = {
    0: ("virtualize APIC accesses", _A + "test_an_access_to_the_apic_page"),
    1: ("EPT", _EPT + "test_violation_of_an_operand"),
    2: ("descriptor-table exiting", _LEAVES), 3: ("RDTSCP", _LEAVES),
    4: ("virtualize x2APIC mode", _IO + "test_x2apic_priority"),
    5: ("VPID", _EPT + "test_without_a_vpid_an_entry_forgets_linear_addresses"),
    6: ("WBINVD exiting", _LEAVES), 7: ("unrestricted guest", _M + "test_real_mode_runs"),
    8: ("APIC-register virtualization", _A + "test_which_registers_are_read_and_written"),
    9: ("virtual-interrupt delivery", _VI + "test_a_pending_interrupt_is_taken_at_entry"),
    10: ("PAUSE-loop exiting", _O + "test_a_loop_of_pause"), 11: ("RDRAND exiting", _LEAVES),
    12: ("INVPCID", _I + "test_invpcid"), 13: ("VM functions", None),
    14: ("VMCS shadowing", _O + "test_a_shadow_vmcs"), 15: ("ENCLS exiting", _O + "test_encls"),
    16: ("RDSEED exiting", _LEAVES),
    17: ("page-modification logging", _EPT + "test_page_modification_log"),
    18: ("EPT-violation #VE", None), 19: ("PT concealment", None), 20: ("XSAVES", None),
    21: ("PASID translation", None), 22: ("mode-based execute control", None),
    23: ("sub-page permissions", None), 24: ("PT with guest-physical addresses", None),
    25: ("TSC scaling", _O + "test_tsc_scaling"), 26: ("user wait and pause", None),
    27: ("PCONFIG", None), 28: ("ENCLV exiting", None), 30: ("bus-lock detection", None),
    31: ("instruction timeout", None),
}
EXIT = _must(0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 16, 17) | {
    2: ("save debug controls", _R + "test_an_exit_saves_dr7_where_a_control_says_so"),
    9: ("host address-space size", _V + "test_an_exit_loads_the_host_state"),
    12: ("load PERF_GLOBAL_CTRL", _O + "test_perf_global_ctrl"),
    15: ("acknowledge interrupt", _INT + "test_without_acknowledgement_it_stays_pending"),
    18: ("save PAT", _IO + "test_pat_of_the_guest"),
    19: ("load PAT", _IO + "test_pat_of_the_guest"),
    20: ("save EFER", _IO + "test_efer_of_the_guest"),
    21: ("load EFER", _IO + "test_efer_of_the_guest"),
    22: ("save the preemption timer",
         _INT + "test_the_preemption_timer_is_saved_where_a_control_says_so"),
    23: ("clear BNDCFGS", None), 24: ("conceal VMX from PT", None), 25: ("clear RTIT_CTL", None),
    26: ("clear LBR_CTL", None), 27: ("clear UINV", None), 28: ("load CET state", None),
    29: ("load PKRS", None), 30: ("save PERF_GLOBAL_CTRL", None), 31: ("secondary controls", None),
}
ENTRY = _must(0, 1, 3, 4, 5, 6, 7, 8, 12) | {
    2: ("load debug controls", _R + "test_an_entry_loads_dr7_where_a_control_says_so"),
    9: ("IA-32e mode guest", _M + "test_from_protected_mode_to_long_mode"),
    10: ("entry to SMM", None), 11: ("deactivate dual-monitor treatment", None),
    13: ("load PERF_GLOBAL_CTRL", _O + "test_perf_global_ctrl"),
    14: ("load PAT", _IO + "test_pat_of_the_guest"),
    15: ("load EFER", _IO + "test_efer_of_the_guest"), 16: ("load BNDCFGS", None),
    17: ("conceal VMX from PT", None), 18: ("load RTIT_CTL", None), 19: ("load UINV", None),
    20: ("load CET state", None), 21: ("load LBR_CTL", None), 22: ("load PKRS", None),
}
# The revision, sizes, rates and counts are no rows: of them only the CR3 targets offer anything.
BASIC = {48: ("32-bit VMCS addresses", None), 49: ("dual-monitor treatment", None),
         54: ("information on INS and OUTS", _IO + "test_qualification_of_ins_and_outs"),
         55: ("TRUE controls", _STAYS), 56: ("exceptions without an error code", None),
         58: ("exceptions of nested tasks", None)}
MISC = {5: ("EFER.LMA stored at an exit", _M + "test_from_protected_mode_to_long_mode"),
        6: ("HLT state", _INT + "test_hlt_waits_for_the_interrupt"),
        7: ("shutdown state", _INT + "test_a_guest_that_nothing_wakes_stays_where_it_is"),
        8: ("wait-for-SIPI state",
            _INT + "test_a_guest_that_nothing_wakes_stays_where_it_is"),
        14: ("PT in VMX operation", None), 15: ("RDMSR of SMBASE", None),
        28: ("blocking of SMIs", None), 29: ("VMWRITE of any field", _V + "test_read_only_fields"),
        30: ("injection of length 0", _ENTRY)}
EPT_VPID = {0: ("execute-only pages", _EPT + "test_execute_only_is_a_capability"),
            6: ("4-level EPT", _EPT + "test_rights_are_the_conjunction_of_all_levels"),
            7: ("5-level EPT", None), 8: ("uncached EPT", _V + "test_invept_operands"),
            14: ("write-back EPT", _V + "test_invept_operands"),
            16: ("2-MByte pages", _EPT + "test_large_pages"),
            17: ("1-GByte pages", _EPT + "test_large_pages"),
            20: ("INVEPT", _V + "test_invept_operands"),
            21: ("EPT accessed and dirty flags", _EPT + "test_accessed_and_dirty_flags_of_ept"),
            22: ("advanced information on EPT violations", None),
            23: ("supervisor shadow stacks", None),
            25: ("single-context INVEPT", _V + "test_invept_operands"),
            26: ("all-context INVEPT", _V + "test_invept_operands"),
            32: ("INVVPID", _V + "test_invvpid_operands"),
            **{40 + n: (f"INVVPID type {n}", _V + "test_invvpid_operands") for n in range(4)}}
VMFUNC: Rows = {0: ("EPTP switching", None)}

# index: (rows, how far the bits of the rows are shifted in the MSR, which bits are no rows)
CAPABILITIES: dict[int, tuple[Rows, int, int]] = {
    constants.MSR_IA32_VMX_BASIC: (BASIC, 0, 0x3C1FFF7FFFFFFF),
    constants.MSR_IA32_VMX_PINBASED_CTLS: (PIN, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_PROCBASED_CTLS: (PROC, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_EXIT_CTLS: (EXIT, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_ENTRY_CTLS: (ENTRY, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_MISC: (MISC, 0, 0xFFFFFFFF0FFF001F),
    constants.MSR_IA32_VMX_PROCBASED_CTLS2: (SECONDARY, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_EPT_VPID_CAP: (EPT_VPID, 0, 0),
    constants.MSR_IA32_VMX_TRUE_PINBASED_CTLS: (PIN, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_TRUE_PROCBASED_CTLS: (PROC, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_TRUE_EXIT_CTLS: (EXIT, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_TRUE_ENTRY_CTLS: (ENTRY, 32, 0xFFFFFFFF),
    constants.MSR_IA32_VMX_VMFUNC: (VMFUNC, 0, 0),
}

_MSRS, _BY_CALL = _O + "test_an_msr_comes_with_its_bit", _O + "test_a_call_comes_with_its_bit"
_NESTED = "test_direct_flush.py::test_both_switches_and_the_offer"

_ANNOUNCED = "test_announced.py::test_what_is_announced_is_there"
_AGREE = "test_second_opinion.py::test_both_processors_agree"
_COMES = "test_guest_compiled.py::test_what_cpuid_does_not_offer"
_SSE, _STATE = "test_second_opinion_sse.py::test_both_processors_agree_on_rows_of_", \
    "test_extended_state.py::"

# (leaf, register): rows. What has none is reserved, or only advice that brings nothing. Of the
# processor's own leaves, L1's kernel hands on to L2 what stands there: so it is L2's processor,
# this one, that has to have it.
LEAVES: dict[tuple[int, str], Rows] = {
    (0x1, "ecx"): {
        0: ("SSE3", None), 1: ("PCLMULQDQ", None), 3: ("MONITOR", _LEAVES),
        5: ("VMX", _ANNOUNCED), 9: ("SSSE3", None), 12: ("FMA", None),
        13: ("CMPXCHG16B", _COMES), 17: ("PCID", _ANNOUNCED), 19: ("SSE4.1", None),
        20: ("SSE4.2", None),
        21: ("x2APIC", "test_root_apic.py::test_in_msr_mode_the_page_is_gone"),
        22: ("MOVBE", None), 23: ("POPCNT", _COMES),
        24: ("TSC-deadline timer", "test_root_apic.py::test_the_deadline_of_the_tsc"),
        25: ("AES", None),
        26: ("XSAVE, of x87 and SSE", _STATE + "test_xsave_and_xrstor"), 28: ("AVX", None),
        29: ("F16C", None),
        30: ("RDRAND", _LEAVES)},
    (0x1, "edx"): {
        0: ("x87: control, status and state, no arithmetic", _STATE + "test_words_of_the_x87"),
        1: ("VME", _ANNOUNCED), 2: ("DE", _ANNOUNCED), 3: ("PSE", _EPT + "test_large_pages"),
        4: ("TSC", _I + "test_what_the_timestamp_counter_shows"), 5: ("MSR", _ANNOUNCED),
        6: ("PAE", _M + "test_from_protected_mode_to_long_mode"), 7: ("MCE", _ANNOUNCED),
        8: ("CMPXCHG8B", _AGREE), 9: ("APIC", _ANNOUNCED), 11: ("SYSENTER", _ANNOUNCED),
        12: ("MTRR", _ANNOUNCED), 13: ("PGE", _ANNOUNCED), 14: ("MCA", _ANNOUNCED),
        15: ("CMOV", _AGREE), 16: ("PAT", _ANNOUNCED), 17: ("PSE-36", _ANNOUNCED),
        19: ("CLFLUSH", _COMES), 23: ("MMX", None),
        24: ("FXSR", _STATE + "test_fxsave_is_what_fxrstor_takes"),
        25: ("SSE", _SSE + "numbers"),
        26: ("SSE2 but MASKMOVDQU and moves to MMX registers", _SSE + "sse")},
    (0x7, "ebx"): {
        0: ("FSGSBASE", _ANNOUNCED), 3: ("BMI1", None), 4: ("HLE", None), 5: ("AVX2", None),
        7: ("SMEP", _ANNOUNCED), 8: ("BMI2", None), 9: ("REP MOVSB and STOSB", _AGREE),
        10: ("INVPCID", _I + "test_invpcid"), 11: ("RTM", None), 14: ("MPX", None),
        16: ("AVX512F", None), 18: ("RDSEED", _LEAVES), 19: ("ADX", None),
        20: ("SMAP", _ANNOUNCED), 23: ("CLFLUSHOPT", None), 24: ("CLWB", None),
        25: ("Intel PT", None), 29: ("SHA", None)},
    (0x7, "ecx"): {
        2: ("UMIP", None), 3: ("PKU", None), 7: ("CET shadow stacks", None), 8: ("GFNI", None),
        9: ("VAES", None), 10: ("VPCLMULQDQ", None), 16: ("5-level paging", None),
        22: ("RDPID", None)},
    (0x7, "edx"): {
        26: ("SPEC_CTRL and the barrier", _ANNOUNCED), 27: ("STIBP", _ANNOUNCED),
        28: ("L1D flush", "test_announced.py::test_the_l1d_flush_comes_with_its_bit"),
        29: ("ARCH_CAPABILITIES", _ANNOUNCED), 31: ("SSBD", _ANNOUNCED)},
    (0x80000001, "ecx"): {0: ("LAHF and SAHF", _COMES), 5: ("LZCNT", _COMES)},
    (0x80000001, "edx"): {
        11: ("SYSCALL", _ANNOUNCED), 20: ("NX", _ANNOUNCED),
        26: ("pages of 1 GByte", "test_announced.py::test_pages_of_a_gigabyte"),
        27: ("RDTSCP", _LEAVES), 29: ("long mode", _M + "test_from_protected_mode_to_long_mode")},
    (0x40000003, "eax"): {
        0: ("VP_RUNTIME", _MSRS), 1: ("TIME_REF_COUNT", _MSRS), 2: ("SynIC MSRs", _MSRS),
        3: ("synthetic timers", _MSRS), 4: ("APIC MSRs and assist page", _MSRS),
        5: ("hypercall MSRs", _MSRS), 6: ("VP_INDEX", _MSRS), 7: ("RESET", _MSRS),
        8: ("statistics pages", None), 9: ("reference TSC page", _MSRS),
        10: ("GUEST_IDLE", _MSRS), 11: ("frequency MSRs", _MSRS), 12: ("debug MSRs", None),
        13: ("re-enlightenment MSRs", _MSRS), 15: ("TSC_INVARIANT_CONTROL", _MSRS)},
    (0x40000003, "ebx"): {
        0: ("creation of partitions", None), 1: ("partition id", None),
        2: ("memory pool", None), 4: ("POST_MESSAGE", _BY_CALL), 5: ("SIGNAL_EVENT", _BY_CALL),
        6: ("creation of ports", None), 7: ("connection of ports", None), 8: ("statistics", None),
        11: ("debugging", None), 12: ("CPU management", None), 16: ("VSM", None),
        17: ("VP registers", None), 20: ("extended hypercalls", _BY_CALL),
        21: ("start of virtual processors", None), 22: ("isolation", None)},
    (0x40000003, "edx"): {
        0: ("MWAIT", None), 1: ("guest debugging", None), 2: ("performance monitor", None),
        3: ("CPU partitioning", None), 4: ("hypercall input in XMM registers",
                                           _H + "test_xmm_registers_need_their_announcement"),
        5: ("guest idle state", _MSRS), 6: ("hypervisor sleep state", None),
        7: ("NUMA distances", None), 8: ("timer frequencies", _MSRS),
        9: ("injected machine checks", None), 10: ("crash MSRs", _MSRS),
        11: ("debug MSRs", None), 12: ("NPIEP", None), 13: ("hypervisor off", None),
        14: ("ranges of addresses to flush", _H + "test_bad_addresses_are_ignored"),
        15: ("hypercall output in XMM registers", None),
        17: ("polling of SINTs", _T + "test_a_polled_source_has_no_interrupt"),
        18: ("lock of the hypercall MSR", _S + "test_the_locked_hypercall_page"),
        19: ("direct synthetic timers", _T + "test_direct_timers_come_with_their_bit")},
    (0x40000004, "eax"): {
        0: ("switch of address spaces by hypercall", None), 1: ("local flush", _BY_CALL),
        2: ("remote flush", _BY_CALL), 3: ("APIC by MSR", _S + "test_the_apic_by_msr"),
        4: ("reset by MSR", _MSRS), 6: ("DMA remapping", None), 7: ("interrupt remapping", None),
        8: ("x2APIC MSRs", None), 10: ("SEND_IPI", _BY_CALL), 11: ("processor sets", _BY_CALL),
        14: ("enlightened VMCS", "test_enlightened.py::test_the_table_has_126_fields")},
    (0x4000000A, "eax"): {
        17: ("direct virtual flush", _NESTED),
        18: ("guest mapping flush", _H + "test_guest_mapping_flush_without_the_offer"),
        19: ("enlightened MSR bitmap",
             "test_msr_bitmap.py::test_without_the_offer_the_flag_is_ignored")},
    (0x4000000A, "ebx"): {0: ("PERF_GLOBAL_CTRL of an eVMCS",
                              _S + "test_perf_global_ctrl_needs_its_announcement")},
    (0x40000082, "eax"): {1: ("synthetic debugger", None)},
}
REGISTERS = ("eax", "ebx", "ecx", "edx")
CLASS = 0xF0000000      # of a leaf: the first of its class says which is the last


def uncovered_by_evmcs(msrs: Mapping[int, int]) -> int:
    """Controls on offer whose fields an eVMCS has no place for, as bits that are not 0."""
    return (msrs[constants.MSR_IA32_VMX_PROCBASED_CTLS2] >> 32 & 0x26701
            | msrs[constants.MSR_IA32_VMX_PINBASED_CTLS] >> 32 & 0xC0
            | msrs[constants.MSR_IA32_VMX_EXIT_CTLS] >> 32 & 1 << 22)


def undone_leaves(cpuid: Leaves) -> list[str]:
    """What CPUID offers and L0 does not do, each named with its bit."""
    return [f"CPUID leaf {leaf:#x} {register.upper()}[{bit}] ({name})"
            for (leaf, register), rows in LEAVES.items()
            if leaf in cpuid and leaf <= cpuid.get(leaf & CLASS, (0,))[0]
            for bit, (name, test) in rows.items()
            if test is None and cpuid[leaf][REGISTERS.index(register)] >> bit & 1]


def done_of(leaf: int | tuple[int, int], registers: Four) -> Four:
    """The registers of a leaf without the bits that offer what L0 does not do."""
    if isinstance(leaf, tuple):     # what a subleaf offers is not looked at
        return registers
    eax, ebx, ecx, edx = (
        value & ~sum(1 << bit for bit, (_, test) in LEAVES.get((leaf, name), {}).items()
                     if test is None)
        for name, value in zip(REGISTERS, registers))
    return eax, ebx, ecx, edx


def undone_msrs(msrs: Mapping[int, int]) -> list[str]:
    """What capability MSRs offer and L0 does not do, each named with its bit."""
    found = []
    for index, (rows, shift, others) in CAPABILITIES.items():
        value = msrs.get(index, 0) & ~others
        for bit in range(64):
            name, test = rows.get(bit - shift, ("no name", None))
            if value >> bit & 1 and test is None:
                found.append(f"MSR {index:#x} bit {bit} ({name})")
    if (targets := msrs.get(constants.MSR_IA32_VMX_MISC, 0) >> 16 & 0x1FF) > 4:
        found.append(f"MSR 0x485 bits 24:16 ({targets} CR3 targets, of which there are 4)")
    return found
