# SPDX-License-Identifier: GPL-2.0-only
"""L0s with a named fault: each shows what its report told of; the same L0 without it does not."""

import pytest

from kvm_vmx import FAULTS, fields
from kvm_vmx.l0.profile import POLICIES, PROFILES
from kvm_vmx.machine.guests import CPUID_LOOP

OFFSETS = {row["vmcs_field"]: row["offset"] for row in fields()}
CLEAN_FIELDS, ALL_DIRTY = 824, bytes(4)
ASSIST_MSR = 0x40000073


def run(machine, code=CPUID_LOOP, cpu=0, exits=3):
    vcpu = machine.insmod(enlightened_vmcs=True).create_vm(code=code).create_vcpu(cpu=cpu)
    vcpu.run(exits=exits)
    return vcpu


def error_of_a_refused_entry(l1, faults):
    with l1(cpus=1, faults=faults) as m:
        vcpu = run(m)
        at = vcpu.vmcs_gpa + OFFSETS["CPU_BASED_VM_EXEC_CONTROL"]
        controls = int.from_bytes(m.memory.read(at, 4), "little") | 1 << 18
        m.memory.write(at, controls.to_bytes(4, "little"))
        m.memory.write(vcpu.vmcs_gpa + CLEAN_FIELDS, ALL_DIRTY)
        summary = vcpu.run(exits=1)
        assert summary.reason == "FAIL_ENTRY" and summary.refusal.id == "primary_controls"
        return summary.data["hardware_entry_failure_reason"]


def seen_after_vmclear(l1, faults):
    """Does L0 see what L1 has changed around VMCLEAR, its clean bit left set?"""
    with l1(cpus=1, faults=faults) as m:
        vcpu = run(m)
        cpu, at = m.cpu(0), vcpu.vmcs_gpa + OFFSETS["EXCEPTION_BITMAP"]
        assert cpu.vmclear(vcpu.vmcs_gpa).ok
        wanted = m.memory.read(at, 4)[0] ^ 8
        m.memory.write(at, bytes([wanted]))
        assert vcpu.run(exits=1).reason == "INTR"
        return cpu.evmcs_copy[OFFSETS["EXCEPTION_BITMAP"]] == wanted


def bytes_an_exit(l1, faults):
    with l1(cpus=1, faults=faults) as m:
        vcpu = run(m)
        before = m.counters["bytes_reread"]
        vcpu.run(exits=10)
        return (m.counters["bytes_reread"] - before) / 10


def after_the_cpu_came_back(l1, faults):
    with l1(cpus=2, faults=faults) as m:
        vcpu = run(m, cpu=1)
        m.offline(1)
        m.online(1)
        on = m.cpu(1).rdmsr(ASSIST_MSR).value & 1
        vcpu.cpu = 1
        summary = vcpu.run(exits=1)
        refusal = summary.refusal and summary.refusal.id
        return on, summary.data.get("hardware_entry_failure_reason"), refusal


def intercept_switched_on_later(l1, faults):
    with l1(cpus=1, faults=faults) as m:
        vcpu = run(m)
        cpu = m.cpu(0)
        bitmap = vcpu.evmcs["MSR_BITMAP"]
        was = cpu.msr_exits(0xC0000102)
        m.memory.write(bitmap + 0x400 + 0x102 // 8, b"\xff")
        clean = vcpu.vmcs_gpa + CLEAN_FIELDS
        m.memory.write(clean, (m.memory.read(clean, 2)[0] & ~2).to_bytes(1, "little"))
        assert vcpu.run(exits=2).reason == "INTR"
        return was, cpu.msr_exits(0xC0000102)


SYMPTOMS = {
    "leaves_error_unwritten": (error_of_a_refused_entry, 7, 0),
    "launch_trusts_clean": (seen_after_vmclear, True, False),
    "loses_assist_page": (after_the_cpu_came_back, (1, None, None), (0, 0, "assist_page_off")),
    "serves_stale_bitmaps": (intercept_switched_on_later, (False, True), (False, False)),
}


@pytest.mark.parametrize("name", SYMPTOMS)
def test_the_symptom_of_the_report(kernel, name):
    show, good, bad = SYMPTOMS[name]
    assert show(kernel, []) == good
    assert show(kernel, [name]) == bad


def test_an_l0_that_reads_clean_groups_again_costs_what_the_clean_bits_save(kernel):
    good, bad = bytes_an_exit(kernel, []), bytes_an_exit(kernel, ["rereads_clean_groups"])
    assert good < 100 < 500 < bad


def test_every_fault_is_a_policy_with_its_source_and_off_in_the_shipped_profiles():
    assert SYMPTOMS.keys() | {"rereads_clean_groups"} == FAULTS.keys() <= set(POLICIES)
    for fault in FAULTS.values():
        assert fault.name in POLICIES and fault.does and fault.symptom and fault.source
    for profile in PROFILES.values():
        assert not any(profile.policies[name] for name in FAULTS)


@pytest.mark.parametrize(("faults", "said"), [
    (["launch_trusts"], "no fault 'launch_trusts': there are leaves_error_unwritten"),
    ("launch_trusts_clean", "give a list")])
def test_a_fault_that_is_none(face, faults, said):
    with pytest.raises(ValueError, match=said):
        face(cpus=1, faults=faults)
