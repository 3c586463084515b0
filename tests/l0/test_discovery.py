# SPDX-License-Identifier: GPL-2.0-only
"""What L1 makes of what L0 announces: v4.19's decisions, feature by feature."""

import pytest

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

FEATURES, HINTS, NESTED = 0x40000003, 0x40000004, 0x4000000A
HIGHEST = 0x40000000


def loaded(**options):
    """(is eVMCS in use, exits, the lints) of a loaded module that runs a short guest."""
    with Machine(cpus=2, **options) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        assert vcpu.run(exits=50).exits == 50
        counters = machine.counters
        found = kvm.enable_evmcs
        assert (counters["vmwrite"] == 0) == found, "eVMCS executes no VMWRITE"
        return found, counters, machine.lints


def leaf(machine_leaf, **registers):
    """A leaf of the default profile with registers replaced."""
    from kvm_vmx.l0.profile import PROFILES

    names = ("eax", "ebx", "ecx", "edx")
    old = dict(zip(names, PROFILES["kvm-6.12"].cpuid[machine_leaf]))
    return {machine_leaf: tuple({**old, **registers}[name] for name in names)}


@pytest.mark.rule("R1", "R3", "R26", "R33")
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict", "ice-lake"])
@pytest.mark.case("P10")
def test_every_profile_lets_l1_use_it(profile):
    found, counters, _ = loaded(profile=profile)
    assert found
    assert all(counters[name] == 0 for name in ("vmread", "vmwrite", "vmptrld", "vmptrst"))


@pytest.mark.rule("R1")
def test_without_the_hypervisor_bit_l1_looks_at_nothing():
    from kvm_vmx.l0.profile import PROFILES

    ecx = PROFILES["kvm-6.12"].cpuid[1][2]
    found, counters, _ = loaded(cpuid=leaf(1, ecx=ecx & ~(1 << 31)), enforce_cpuid=True)
    assert not found and counters["vmcall"] == 0


@pytest.mark.rule("R2")
@pytest.mark.parametrize(("highest", "found"), [
    (0x40000004, False), (0x40000005, True), (0x4000FFFF, True), (0x40010000, False)])
def test_the_highest_leaf(highest, found):
    """v4.19 reads leaf 0x4000000A also where it stands above the highest."""
    assert loaded(cpuid=leaf(HIGHEST, eax=highest))[0] == found


@pytest.mark.rule("R2")
@pytest.mark.parametrize("vendor", [b"Microsoft Hv", b"Linux KVM Hv", b"XenVMMXenVMM"])
def test_the_vendor_that_v4_19_insists_on(vendor):
    words = {name: int.from_bytes(vendor[n * 4:][:4], "little")
             for n, name in enumerate(("ebx", "ecx", "edx"))}
    assert loaded(cpuid=leaf(HIGHEST, **words))[0] == (vendor == b"Microsoft Hv")


@pytest.mark.rule("R4")
def test_v4_19_reads_a_leaf_above_the_highest():
    found, _, lints = loaded(cpuid=leaf(HIGHEST, eax=0x40000005), lints=True)
    assert found and "leaf_above_highest" in lints


@pytest.mark.rule("R5")
def test_a_version_without_the_recommendation():
    found, _, lints = loaded(cpuid=leaf(HINTS, eax=0x20), lints=True)
    assert not found and "version_unrecommended" in lints


@pytest.mark.rule("R6", "R7")
@pytest.mark.parametrize(("low", "high", "found"), [
    (1, 1, True), (1, 2, True), (2, 2, True), (0, 0, False), (0, 1, False), (2, 1, True)])
def test_the_range_of_versions(low, high, found):
    """v4.19 looks at the low byte alone, and so takes a range of 2 to 2 for version 1."""
    nested = leaf(NESTED, eax=0xA0000 | high << 8 | low)
    with_lints = loaded(cpuid=nested, lints=True)
    assert with_lints[0] == found
    assert ("version_range" in with_lints[2]) == ((low, high) not in ((1, 1), (0, 0)))


@pytest.mark.rule("R15")
def test_reserved_bits_do_not_matter_to_l1():
    junk = (0xFF8A0101, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    assert loaded(cpuid={NESTED: junk})[0]


@pytest.mark.rule("R17")
@pytest.mark.parametrize("version", [(0, 0, 0, 0), (0xFFFFFFFF,) * 4])
def test_version_numbers_decide_nothing(version):
    assert loaded(cpuid={0x40000002: version})[0]


@pytest.mark.rule("R9")
@pytest.mark.parametrize("offered", [False, True])
def test_guest_mapping_flush_is_used_where_it_is_offered(offered):
    _, counters, _ = loaded(cpuid=leaf(NESTED, eax=0xA0101 | offered << 18))
    assert offered or counters["vmcall"] == 0


@pytest.mark.rule("R33", "R39")
def test_v4_19_breaks_one_rule_at_most():
    """Under lints a guest of v4.19 shows nothing but its erratum of HOST_RSP, if that."""
    lints = loaded(lints=True)[2]
    assert {(lint.name, lint.field) for lint in lints} <= {("stale_field", "HOST_RSP")}


@pytest.mark.rule("R84")
def test_l1_survives_an_exit_reason_it_does_not_know():
    """L2 flushes directly while L1 holds its lock: v4.19 knows nothing of either."""
    code = bytes.fromhex("b902000100" "ba00000000" "41b803000000" "0f01c1" "ebeb")
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        vcpu = kvm.create_vm(code=code).create_vcpu(cpu=0)
        page, lock = vcpu.vmcs_gpa, machine.memory.size - 4096
        machine.memory.write(lock, (1).to_bytes(4, "little"))
        for offset, value, size in ((836, 3, 4), (840, 1, 4), (848, 1, 8), (856, lock, 8)):
            machine.memory.write(page + offset, value.to_bytes(size, "little"))
        assist = machine.assist_page_gpa(0)
        machine.memory.write(assist + 0x20, b"\1")
        # v4.19 answers with #UD, for which this guest has no handler
        assert vcpu.run(exits=10).reason == "SHUTDOWN"
        assert any("unexpected exit reason 0x10000031" in line for line in machine.dmesg)
