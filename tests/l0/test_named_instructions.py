# SPDX-License-Identifier: GPL-2.0-only
"""Every check of an instruction but VM entry has a name: a state in which it refuses, found by its
row's id, with the end that the SDM and the TLFS give it."""

import pytest
from world import EVMCS, VMCS_A, VMCS_B, VMXON, World, config_a_msrs

from kvm_vmx.machine.checks import instruction_checks
from kvm_vmx.machine.outcome import Fault, VMfailInvalid, VMfailValid

ROWS = {row["id"]: row for row in instruction_checks()}
UD, GP, INVALID = "#UD", "#GP", "VMfailInvalid"
FAR = 1 << 40
HYPERCALL_PAGE, OS_ID = 0x40000001, 0x40000000


def off(w):
    """Before VMXON, with what it needs."""
    assert w.cpu.vmxoff().ok
    return w


def with_(w, **registers):
    for name, value in registers.items():
        setattr(w.cpu, name, value)
    return w


def current(w):
    w.plain()
    return w


def active(w):
    """In the middle of an enlightened run."""
    w.enlighten()
    assert w.cpu.vmlaunch().ok
    return w


def enabled(w):
    """With an identity, so that there are hypercalls."""
    assert w.cpu.wrmsr(OS_ID, 1).ok
    return w


def announced(w, msr, value):
    assert w.cpu.wrmsr(msr, value).ok
    return w


def longer(w, page, revision):
    w.memory.write(page, revision.to_bytes(4, "little"))
    return w


STRICT = {"profile": "tlfs-strict"}
NO_VMX = {"cpuid": {1: (0x606A6, 0x800, 0xC2DA2203, 0x178BFBFF)}}
NO_EPT = {"msrs": {**config_a_msrs(), 0x48B: 0}, "unfinished": True}
PLAIN_EPT = {"msrs": {**config_a_msrs(), 0x48C: 0x00000F0106134141}, "unfinished": True}
NO_SINGLE = {"msrs": {**config_a_msrs(), 0x48C: 0x00000E0106334141}, "unfinished": True}
ENFORCED = {"enforce_cpuid": True, "cpuid": {0x40000003: (0x20, 0, 0, 0), 0x40000004: (0, 0, 0, 0)}}
COUNTERS = {"cpuid": {0xA: (0x08300805, 0, 0, 0x603)}}
NOT_OFFERED = {"cpuid": {0x4000000A: (0x0101, 0, 0, 0)}}
FLUSH = {"cpuid": {0x4000000A: (0xE0101, 0, 0, 0)}}
EXTENDED = {"cpuid": {0x40000003: (0xAE7F, 0x100000, 0, 0xBED7B2)}}
XMM = {"cpuid": {0x40000003: (0xAE7F, 0x388030, 0, 0xBED7B2 & ~0x10)}}


def fast(code, *words):
    return lambda w: enabled(w).cpu.hypercall(code | 1 << 16, *words)


def call(control, *operands):
    return lambda w: enabled(w).cpu.hypercall(control, *operands)


def memory_call(control, *words):
    def act(w):
        w.memory.write(0x6000, b"".join(word.to_bytes(8, "little") for word in words))
        return enabled(w).cpu.hypercall(control, 0x6000)
    return act


# id: (how it ends, what is done, the machine's options)
STATES = {
    "vmxon_absent": (UD, lambda w: w.cpu.vmxon(VMXON), {**NO_VMX, "vmx": False}),
    "vmxon_protection": (UD, lambda w: with_(w, cr0=0).cpu.vmxon(VMXON), {}),
    "vmxon_enable": (UD, lambda w: with_(w, cr4=0x20).cpu.vmxon(VMXON), {}),
    "vmxon_privilege": (GP, lambda w: with_(w, cpl=3).cpu.vmxon(VMXON), {}),
    "vmxon_twice": (15, lambda w: current(w).cpu.vmxon(VMXON), {}),
    "vmxon_cr0": (GP, lambda w: with_(off(w), cr0=1).cpu.vmxon(VMXON), {}),
    "vmxon_cr4": (GP, lambda w: with_(off(w), cr4=0x2020 | 1 << 31).cpu.vmxon(VMXON), {}),
    "vmxon_firmware": (GP, lambda w: with_(w, cr4=w.cpu.cr4 | 0x2000).cpu.vmxon(VMXON),
                       {"vmx": False}),
    "vmxon_address": (INVALID, lambda w: off(w).cpu.vmxon(VMXON | 8), {}),
    "vmxon_missing": (INVALID, lambda w: off(w).cpu.vmxon(FAR), {}),
    "vmxon_revision": (INVALID, lambda w: off(w).cpu.vmxon(0x9000), {}),
    "insn_not_in_vmx": (UD, lambda w: off(w).cpu.vmptrst(), {}),
    "insn_privilege": (GP, lambda w: with_(w, cpl=1).cpu.vmclear(VMCS_A), {}),
    "vmclear_address": (2, lambda w: current(w).cpu.vmclear(1), {}),
    "vmclear_vmxon": (3, lambda w: current(w).cpu.vmclear(VMXON), {}),
    "vmptrld_address": (9, lambda w: current(w).cpu.vmptrld(1 << 60), {}),
    "vmptrld_vmxon": (10, lambda w: current(w).cpu.vmptrld(VMXON), {}),
    "vmptrld_missing": (11, lambda w: current(w).cpu.vmptrld(FAR), {}),
    "vmptrld_revision": (11, lambda w: longer(current(w), VMCS_B, 5).cpu.vmptrld(VMCS_B), {}),
    "vmread_no_vmcs": (INVALID, lambda w: w.cpu.vmread(0x681E), {}),
    "vmread_enlightened": (INVALID, lambda w: active(w).cpu.vmread(0x681E), STRICT),
    "vmread_component": (12, lambda w: current(w).cpu.vmread(0x6FFE), {}),
    "vmread_no_place": (12, lambda w: active(w).cpu.vmread(0x482E), {}),
    "vmwrite_no_vmcs": (INVALID, lambda w: w.cpu.vmwrite(0x681E, 0), {}),
    "vmwrite_enlightened": (INVALID, lambda w: active(w).cpu.vmwrite(0x681E, 0), STRICT),
    "vmwrite_component": (12, lambda w: current(w).cpu.vmwrite(0x6FFE, 0), {}),
    "vmwrite_read_only": (13, lambda w: current(w).cpu.vmwrite(0x4402, 0),
                          {"msrs": config_a_msrs(), "unfinished": True}),
    "invept_absent": (UD, lambda w: w.cpu.invept(2), NO_EPT),
    "invept_type": (28, lambda w: current(w).cpu.invept(3), {}),
    "invept_memory_type": (28, lambda w: current(w).cpu.invept(1, 0x1A), {}),
    "invept_walk": (28, lambda w: current(w).cpu.invept(1, 6), {}),
    "invept_flags": (28, lambda w: current(w).cpu.invept(1, 0x5E), PLAIN_EPT),
    "invept_reserved": (28, lambda w: current(w).cpu.invept(1, 0x9E), {}),
    "invvpid_absent": (UD, lambda w: w.cpu.invvpid(2), NO_EPT),
    "invvpid_type": (28, lambda w: current(w).cpu.invvpid(4, 1), {}),
    "invvpid_reserved": (28, lambda w: current(w).cpu.invvpid(1, 1 << 16), {}),
    "invvpid_zero": (28, lambda w: current(w).cpu.invvpid(1, 0), {}),
    "invvpid_address": (28, lambda w: current(w).cpu.invvpid(0, 1, 1 << 47), {}),
    "cr_number": (UD, lambda w: w.cpu.mov_to_cr(1, 0), {}),
    "cr_privilege": (GP, lambda w: with_(w, cpl=3).cpu.mov_to_cr(2, 0), {}),
    "cr0_reserved": (GP, lambda w: w.cpu.mov_to_cr(0, w.cpu.cr0 | 1 << 32), {}),
    "cr0_paging": (GP, lambda w: w.cpu.mov_to_cr(0, w.cpu.cr0 & ~1), {}),
    "cr0_cache": (GP, lambda w: w.cpu.mov_to_cr(0, w.cpu.cr0 | 1 << 29), {}),
    "cr0_long_mode": (GP, lambda w: w.cpu.mov_to_cr(0, 0x33), {}),
    "cr0_in_vmx": (GP, lambda w: w.cpu.mov_to_cr(0, w.cpu.cr0 & ~0x20), {}),
    "cr3_reserved": (GP, lambda w: w.cpu.mov_to_cr(3, 1 << 60), {}),
    "cr4_reserved": (GP, lambda w: w.cpu.mov_to_cr(4, w.cpu.cr4 | 1 << 40), {}),
    "cr4_no_vmx": (GP, lambda w: w.cpu.mov_to_cr(4, w.cpu.cr4 | 0x2000), {**NO_VMX, "vmx": False}),
    "cr4_long_mode": (GP, lambda w: w.cpu.mov_to_cr(4, w.cpu.cr4 & ~0x20), {}),
    "cr4_in_vmx": (GP, lambda w: w.cpu.mov_to_cr(4, w.cpu.cr4 & ~0x2000), {}),
    "cr8_reserved": (GP, lambda w: w.cpu.mov_to_cr(8, 16), {}),
    "rdmsr_privilege": (GP, lambda w: with_(w, cpl=3).cpu.rdmsr(0x10), {}),
    "rdmsr_missing": (GP, lambda w: w.cpu.rdmsr(0x12345), {}),
    "rdmsr_unannounced": (GP, lambda w: w.cpu.rdmsr(0x40000106), ENFORCED),
    "rdmsr_command": (GP, lambda w: w.cpu.rdmsr(0x40000070), {}),
    "wrmsr_privilege": (GP, lambda w: with_(w, cpl=3).cpu.wrmsr(0x10, 0), {}),
    "wrmsr_missing": (GP, lambda w: w.cpu.wrmsr(0x12345, 0), {}),
    "wrmsr_read_only": (GP, lambda w: w.cpu.wrmsr(0x480, 0), {}),
    "wrmsr_unannounced": (GP, lambda w: w.cpu.wrmsr(0x40000106, 0), ENFORCED),
    "msr_canonical": (GP, lambda w: w.cpu.wrmsr(0xC0000102, 1 << 47), {}),
    "feature_control_locked": (GP, lambda w: w.cpu.wrmsr(0x3A, 7), {}),
    "feature_control_bits": (GP, lambda w: w.cpu.wrmsr(0x3A, 8), {"vmx": False}),
    "msr_pat": (GP, lambda w: w.cpu.wrmsr(0x277, 2), {}),
    "msr_perf_global": (GP, lambda w: w.cpu.wrmsr(0x38F, 1 << 8), COUNTERS),
    "msr_no_counters": (GP, lambda w: w.cpu.wrmsr(0x38F, 0), {"cpuid": {0xA: (0, 0, 0, 0)}}),
    "msr_debugctl": (GP, lambda w: w.cpu.wrmsr(0x1D9, 4), {}),
    "msr_spec_ctrl": (GP, lambda w: w.cpu.wrmsr(0x48, 8), {}),
    "msr_command": (GP, lambda w: w.cpu.wrmsr(0x49, 2), {}),
    "msr_32_bits": (GP, lambda w: w.cpu.wrmsr(0xC0000084, 1 << 32), {}),
    "msr_apic_base": (GP, lambda w: w.cpu.wrmsr(0x1B, 0xFEE00C00), {}),
    "msr_mcg_status": (GP, lambda w: w.cpu.wrmsr(0x17A, 0x10), {}),
    "msr_mtrr_default": (GP, lambda w: w.cpu.wrmsr(0x2FF, 0x8), {}),
    "msr_mtrr_type": (GP, lambda w: w.cpu.wrmsr(0x2FF, 7), {}),
    "msr_efer": (GP, lambda w: w.cpu.wrmsr(0xC0000080, 2), {}),
    "msr_efer_paging": (GP, lambda w: w.cpu.wrmsr(0xC0000080, 0x801), {}),
    "assist_frame": (GP, lambda w: w.cpu.wrmsr(0x40000073, FAR | 1), {}),
    "hypercall_locked": (
        GP, lambda w: announced(enabled(w), HYPERCALL_PAGE, 0x5003).cpu.wrmsr(HYPERCALL_PAGE, 0),
        {}),
    "hypercall_frame": (GP, lambda w: enabled(w).cpu.wrmsr(HYPERCALL_PAGE, FAR | 1), {}),
    "reference_frame": (GP, lambda w: w.cpu.wrmsr(0x40000021, FAR | 1), {}),
    "reenlightenment_bits": (GP, lambda w: w.cpu.wrmsr(0x40000106, 1 << 8), {}),
    "reenlightenment_vector": (GP, lambda w: w.cpu.wrmsr(0x40000106, 1 << 16 | 15), {}),
    "reenlightenment_target": (GP, lambda w: w.cpu.wrmsr(0x40000106, 1 << 32 | 1 << 16 | 32), {}),
    "emulation_control": (GP, lambda w: w.cpu.wrmsr(0x40000107, 2), {}),
    "emulation_status": (GP, lambda w: w.cpu.wrmsr(0x40000108, 1), {}),
    "invariant_bits": (GP, lambda w: w.cpu.wrmsr(0x40000118, 2), {}),
    "invariant_stays": (GP, lambda w: announced(w, 0x40000118, 1).cpu.wrmsr(0x40000118, 0), {}),
    "synic_eoi": (GP, lambda w: w.cpu.wrmsr(0x40000070, 1 << 32), {}),
    "synic_tpr": (GP, lambda w: w.cpu.wrmsr(0x40000072, 1 << 8), {}),
    "synic_frame": (GP, lambda w: w.cpu.wrmsr(0x40000083, FAR | 1), {}),
    "synic_vector": (GP, lambda w: w.cpu.wrmsr(0x40000090, 15), {}),
    "stimer_direct": (GP, lambda w: w.cpu.wrmsr(0x400000B0, 1 << 12),
                      {"enforce_cpuid": True, "cpuid": {0x40000003: (0xAE7F, 0, 0, 0)}}),
    "call_privilege": (UD, lambda w: with_(enabled(w), cpl=3).cpu.hypercall(8), {}),
    "call_real_mode": (UD, lambda w: with_(enabled(w), cr0=0).cpu.hypercall(8), {}),
    "call_no_identity": (UD, lambda w: w.cpu.hypercall(8), {}),
    "call_no_xmm": (UD, fast(2, 0, 0), XMM),
    "call_code": (2, call(0x1234), {}),
    "call_unoffered": (2, call(0xAF), NOT_OFFERED),
    "call_vmx_off": (7, lambda w: enabled(off(w)).cpu.hypercall(0xAF), FLUSH),
    "call_extended_code": (2, call(0x8002), {}),
    "call_denied": (6, call(0x5C), ENFORCED),
    "call_reserved": (3, call(2 | 1 << 27), {}),
    "call_variable": (3, call(2 | 1 << 17), {}),
    "call_count": (3, call(3), {}),
    "call_start": (3, call(3 | 1 << 32 | 1 << 48), {}),
    "call_continued": (3, call(3 | 2 << 32 | 1 << 48), {}),
    "call_simple": (3, call(2 | 1 << 32), {}),
    "call_fast_length": (3, fast(3 | 12 << 32), {}),
    "call_alignment": (4, call(2, 4), {}),
    "call_page": (4, call(2, 0xFF8), {}),
    "call_memory": (4, call(2, FAR), {}),
    "call_output_alignment": (4, call(0x8001, 0, 4), EXTENDED),
    "call_output_memory": (4, call(0x8001, 0, FAR), EXTENDED),
    "call_extended_fast": (5, fast(0x8001), EXTENDED),
    "call_port": (3, call(0x5C), {}),
    "flush_flags": (5, memory_call(2, 0, 8, 0), {}),
    "flush_set_format": (5, memory_call(0x13, 0, 0, 2, 0), {}),
    "flush_set_banks": (3, memory_call(0x13 | 1 << 17, 0, 0, 0, 3, 0), {}),
    "flush_space_flags": (5, memory_call(0xAF, 0, 1), FLUSH),
    "send_vector": (3, memory_call(0xB, 15, 1), {}),
    "send_reserved": (3, fast(0xB, 1 << 32 | 32, 1), {}),
    "send_set_banks": (3, memory_call(0x15 | 1 << 17, 32, 0, 3, 0), {}),
}
# An active eVMCS whose page is gone, and a call of L2: test_elsewhere below.
ELSEWHERE = {"vmread_page_missing", "flush_partition_page"}


def ended(outcome, row):
    """How the instruction ended, as the table has it."""
    if isinstance(outcome, Fault):
        return {6: UD, 13: GP}[outcome.vector]
    if isinstance(outcome, VMfailValid):
        return outcome.error
    if isinstance(outcome, VMfailInvalid):
        return INVALID
    assert row["ends"].startswith("status") and outcome.ok
    return outcome.value & 0xFFFF


@pytest.mark.parametrize("id", STATES)
def test_a_state_in_which_one_check_of_an_instruction_refuses(id):
    expected, act, options = STATES[id]
    world = World(**options)
    outcome = act(world)
    why, row = outcome.why, ROWS[id]
    assert why is not None and why.id == id, outcome
    assert ended(outcome, row) == expected
    said = {UD: UD, GP: GP, INVALID: INVALID}.get(expected)
    assert row["ends"] == said if said else row["ends"].endswith(f" {expected}")
    assert why.section == row["section"] and str(why).endswith(f"{why.section})")
    assert "{" not in str(why) and "bit -1" not in str(why)
    assert world.cpu.why_not == why


def test_every_row_has_its_state():
    assert STATES.keys() | ELSEWHERE == ROWS.keys()


def test_the_bits_of_a_row_are_those_of_the_check():
    """Of each MSR whose row says which bits may be 1: each of its 64 bits, alone."""
    msrs = {"msr_debugctl": 0x1D9, "msr_spec_ctrl": 0x48, "msr_32_bits": 0xC0000084,
            "msr_mcg_status": 0x17A, "emulation_control": 0x40000107, "synic_tpr": 0x40000072,
            "reenlightenment_bits": 0x40000106, "msr_command": 0x49, "msr_apic_base": 0x1B}
    for id, msr in msrs.items():
        world = World()
        may = STATES[id][1](World()).why.may
        for bit in range(64):
            why = world.cpu.wrmsr(msr, 1 << bit).why
            assert (why is not None and why.id == id) == (not may >> bit & 1), (id, bit)


def test_what_succeeds_says_nothing_and_forgets_nothing():
    world = World()
    assert world.cpu.why_not is None
    refused = world.cpu.vmread(0x681E)
    assert world.cpu.wrmsr(0x277, 0x0007040600070406).why is None
    assert world.cpu.vmclear(VMCS_A).why is None
    assert world.cpu.why_not == refused.why
    world.plain()
    entered = world.cpu.vmresume()
    assert world.cpu.why_not == entered.why and entered.why.id == "not_launched"
    assert world.cpu.wrmsr(0x277, 2).why == world.cpu.why_not


def test_elsewhere():
    world = active(World())
    world.memory.unback(EVMCS)
    assert world.cpu.vmread(0x681E).why.id == "vmread_page_missing"


def test_the_trace_has_it():
    world = World()
    world.partition.start_trace()
    world.cpu.wrmsr(0x1D9, 4)
    world.cpu.wrmsr(0x1D9, 1)
    refused, done = world.partition.trace
    assert refused.outcome.why.id == "msr_debugctl" and "bit 2 may not be 1" in str(refused)
    assert refused.outcome.why.field == "MSR 0x1d9" and refused.outcome.why.value == 4
    assert done.outcome.why is None
