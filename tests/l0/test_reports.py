# SPDX-License-Identifier: GPL-2.0-only
"""What people have reported of hypervisors that did not start, made again: each is told its cause.

The reports are public issues of the projects named; the values are theirs where they are given.
"""

import pytest
from world import ASSIST, BASE, EVMCS, FIELDS, World

from kvm_vmx import decode
from kvm_vmx.abi import constants


def refused(**fields):
    """Why a plain VMCS with these fields is refused."""
    world = World()
    world.plain(**fields)
    return world.cpu.vmlaunch().why


def base(name):
    return BASE[FIELDS[name]]


def test_error_8_without_a_task_register():
    """jonomango/hv 62, and a chapter of writing-hypervisor-in-zig (13): no TSS was loaded."""
    why = refused(HOST_TR_SELECTOR=0)
    assert why.id == "host_tr_null" and "HOST_TR_SELECTOR is 0x0" in why.sentence


def test_error_7_for_a_cr3_target_too_many():
    """jonomango/hv 42: how many there may be is a processor's own."""
    why = refused(CR3_TARGET_COUNT=1)
    assert why.id == "cr3_targets" and "at most 0" in why.sentence and "0x485" in why.sentence


def test_a_perf_msr_that_a_virtual_machine_has_not():
    """jonomango/hv 6: MSR 0x38f under a hypervisor without counters."""
    world = World(cpuid={0xA: (0, 0, 0, 0)})
    why = world.cpu.wrmsr(constants.MSR_CORE_PERF_GLOBAL_CTRL, 1).why
    assert why.id == "msr_no_counters" and "0x38f" in why.sentence


def test_vmxon_with_cr0_as_a_small_system_leaves_it():
    """intel/haxm 29: #GP, as CR0.NE is 0."""
    world = World()
    assert world.cpu.vmxoff().ok
    world.cpu.cr0 &= ~0x20
    why = world.cpu.vmxon(0x1000).why
    assert why.id == "vmxon_cr0" and why.field == "" and "0x486" in why.sentence


@pytest.mark.parametrize(("bit", "name"), [(1 << 24, "CET"), (1 << 13, "VMXE")])
def test_guest_cr4_on_a_newer_system(bit, name):
    """DarthTon/HyperBone 32, tandasat/HyperPlatform 41: a newer Windows, and exit 33."""
    why = refused(GUEST_CR4=base("GUEST_CR4") ^ bit)
    assert why.id == "guest_cr4" and f"bit {bit.bit_length() - 1} " in why.sentence


def test_controls_that_an_auditor_of_its_own_did_not_explain():
    """SinaKarvandi/VMCS-Auditor 1: 0x94006172 on a processor that has not bit 28 or 31."""
    report = decode({"CPU_BASED_VM_EXEC_CONTROL": 0x94006172},
                    msrs={constants.MSR_IA32_VMX_TRUE_PROCBASED_CTLS: 0x401E172 << 32 | 0x4006172})
    assert report.why.id == "primary_controls" and "0x401e172" in report.why.sentence
    assert "bit 28" in report.why.sentence


def test_a_dump_of_xen_with_a_bit_of_pcid_in_cr3():
    """tklengyel/drakvuf 388: bit 63 means something to MOV to CR3, and is no address."""
    report = decode("""(XEN) d12v0 vmentry failure (reason 0x80000021): Invalid guest state (0)
(XEN) *** Guest State ***
(XEN) CR0: actual=0x000000008005003b, shadow=0x0000000080050033, gh_mask=ffffffffffffffff
(XEN) CR4: actual=0x0000000000362670, shadow=0x0000000000360670, gh_mask=ffffffffffffffff
(XEN) CR3 = 0x800000001a02f080
(XEN) RFLAGS=0x00000082 (0x00000082)  DR7 = 0x0000000000000400
""")
    assert report.why.id == "guest_cr3" and "bit 63" in report.why.sentence


def test_real_mode_without_an_unrestricted_guest():
    """jclulow/illumos-kvm 7: unhandled exit 80000021, on a processor that has not the control."""
    why = refused(GUEST_CR0=0x30, SECONDARY_VM_EXEC_CONTROL=0, VM_ENTRY_CONTROLS=0x11FF,
                  GUEST_CS_AR_BYTES=0x9B, GUEST_IA32_EFER=0)
    assert why.id == "guest_cr0" and "bit 0 must be 1" in why.sentence


def test_a_dump_reads_a_field_that_the_processor_has_not():
    """Bareflank/hypervisor 267: VMREAD fails while it prints the cause of another failure."""
    world = World()
    world.plain()
    why = world.cpu.vmread(0x2FF0).why
    assert why.id == "vmread_component" and "0x2ff0" in why.sentence


def test_invvpid_of_a_type_that_is_not_offered():
    """cappsule/cappsule-hypervisor 1."""
    world = World()
    world.plain()
    outcome = world.cpu.invvpid(9, 1, 0)
    assert outcome.why is not None and "INVVPID" in outcome.why.sentence


@pytest.mark.parametrize(("pointer", "check"), [
    (0xFFFFFFFFFFFFFFFF, "pointer_none"), (1 << 40, "evmcs_missing")])
def test_hardware_error_0_of_a_nested_cluster(pointer, check):
    """kubevirt 2318, coconut-svsm/svsm 1081: entry failed, hardware error 0x0."""
    world = World(lints=True)
    world.enlighten()
    world.memory.write_u64(ASSIST + 0x30, pointer)
    world.cpu.vmlaunch()
    assert world.cpu.why_not.id == check
    assert any("an entry was refused" in lint.explain() for lint in world.partition.lints())
    assert EVMCS != pointer
