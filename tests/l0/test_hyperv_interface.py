# SPDX-License-Identifier: GPL-2.0-only
"""CPUID, the synthetic MSRs, hypercalls, profiles, and bad input to the Python face."""

import time

import pytest
from world import World

from kvm_vmx.l0.profile import POLICIES, PROFILES, build
from kvm_vmx.machine.outcome import Fault
from kvm_vmx.machine.partition import Partition, PhysicalMemory, Processor

OS_ID, HYPERCALL, VP_INDEX = 0x40000000, 0x40000001, 0x40000002
LINUX = 0x8100 << 48


@pytest.fixture
def cpu():
    return World().cpu


@pytest.mark.rule("R1", "R2", "R3", "R5", "R6")
@pytest.mark.case("CPU-03", "CPU-05", "CPU-08")
def test_detection_leaves(cpu):
    text = b"".join(r.to_bytes(4, "little") for r in cpu.cpuid(0x40000000)[1:])
    assert text == b"Microsoft Hv" and cpu.cpuid(0x40000000)[0] >= 0x4000000A
    assert cpu.cpuid(0x40000001)[0] == 0x31237648
    assert cpu.cpuid(1)[2] >> 31 & 1 and cpu.cpuid(1)[2] >> 5 & 1
    assert cpu.cpuid(0x40000003)[0] & 0x60 == 0x60
    assert cpu.cpuid(0x40000004)[0] >> 14 & 1
    nested = cpu.cpuid(0x4000000A)[0]
    assert nested & 0xFFFF == 0x0101 and nested >> 19 & 1 and not nested >> 18 & 1


def test_cpuid_of_other_leaves_and_processors():
    partition = World(cpus=3, maxphyaddr=39).partition
    for n in range(3):
        assert partition.processor(n).cpuid(1)[1] >> 24 == n
    assert partition.processor(0).cpuid(0x80000008)[0] & 0xFF == 39
    assert partition.processor(0).cpuid(0x12345678) == (0, 0, 0, 0)
    assert partition.processor(0).cpuid(7, 1) == (0, 0, 0, 0)


def test_overrides_are_taken_as_they_are():
    cpu = World(cpuid={0x40000001: (1, 2, 3, 4)}, msrs={0x489: 0x7FFFFF}).cpu
    assert cpu.cpuid(0x40000001) == (1, 2, 3, 4)
    assert cpu.rdmsr(0x489).value == 0x7FFFFF


@pytest.mark.rule("R101")
@pytest.mark.case("MSR-07")
def test_read_only_synthetic_msrs():
    world = World(cpus=2)
    for n in range(2):
        assert world.partition.processor(n).rdmsr(VP_INDEX).value == n
    for msr in (VP_INDEX, 0x40000010, 0x40000020, 0x40000022, 0x40000023):
        assert world.cpu.rdmsr(msr).ok
        assert isinstance(world.cpu.wrmsr(msr, 0), Fault)
    for msr in (0x40000004, 0x4FFFFFFF, 0x12345, 0xC0000200):
        assert world.cpu.rdmsr(msr) == Fault(13, 0, world.cpu.rflags)
        assert world.cpu.wrmsr(msr, 0) == Fault(13, 0, world.cpu.rflags)


def test_reference_time_and_tsc_agree(cpu):
    hz = cpu.rdmsr(0x40000022).value
    assert 10**8 < hz < 10**10

    def both():
        """Reference time and TSC at one moment: read again where much passes in between."""
        while True:
            before, tsc = cpu.rdmsr(0x40000020).value, cpu.rdmsr(0x10).value
            if cpu.rdmsr(0x40000020).value - before < 10_000:
                return before, tsc

    t0, c0 = both()
    time.sleep(0.05)
    t1, c1 = both()
    assert (c1 - c0) / hz == pytest.approx((t1 - t0) / 1e7, rel=0.1)


def test_an_msr_that_cpuid_does_not_announce():
    cpu = World(cpuid={0x40000003: (0, 0, 0, 0)}, enforce_cpuid=True).cpu
    assert not any(cpu.rdmsr(msr).ok for msr in (OS_ID, VP_INDEX, 0x40000073, 0x40000020))
    cpu = World(cpuid={0x40000003: (0x40, 0, 0, 0)}, enforce_cpuid=True).cpu
    assert cpu.rdmsr(VP_INDEX).ok and not cpu.rdmsr(OS_ID).ok


def test_architectural_msrs(cpu):
    for msr in (0x174, 0x175, 0x176, 0xC0000081, 0xC0000082, 0xC0000102, 0xC0000103, 0x48):
        assert cpu.wrmsr(msr, 5).ok and cpu.rdmsr(msr).value == 5
    assert not cpu.wrmsr(0xC0000082, 1 << 62).ok, "not canonical"
    assert cpu.rdmsr(0x277).value == 0x0007040600070406
    assert not cpu.wrmsr(0x277, 2).ok and not cpu.wrmsr(0x277, 0x0300000000000000).ok
    assert cpu.wrmsr(0x277, 0x0705040100070406).ok
    assert cpu.rdmsr(0xC0000080).value == 0xD01
    assert not cpu.wrmsr(0xC0000080, 0x1D01).ok and not cpu.wrmsr(0xC0000080, 0xC01).ok
    assert cpu.wrmsr(0xC0000080, 0x501).ok and cpu.efer == 0x501
    cpu.cpl = 3
    assert not cpu.rdmsr(0x10).ok and not cpu.wrmsr(0x277, 0).ok


def test_control_registers(cpu):
    assert not cpu.mov_to_cr(4, cpu.cr4 & ~0x2000).ok, "VMXE stays on in VMX operation"
    assert not cpu.mov_to_cr(4, cpu.cr4 & ~0x20).ok, "long mode needs PAE"
    assert not cpu.mov_to_cr(0, cpu.cr0 & ~(1 << 31)).ok and not cpu.mov_to_cr(0, 1 << 32).ok
    assert not cpu.mov_to_cr(3, 1 << 50).ok and cpu.mov_to_cr(3, 0x5000).ok
    assert cpu.cr3 == 0x5000
    assert cpu.mov_to_cr(1, 0).vector == 6
    assert cpu.vmxoff().ok and cpu.mov_to_cr(4, cpu.cr4 & ~0x2000).ok


@pytest.mark.rule("R93")
def test_the_hypercall_page_needs_an_identity():
    world = World()
    cpu = world.cpu
    assert cpu.wrmsr(HYPERCALL, 0x80001).ok and cpu.rdmsr(HYPERCALL).value == 0
    assert cpu.hypercall(2).vector == 6
    assert cpu.wrmsr(OS_ID, LINUX).ok
    assert not cpu.wrmsr(HYPERCALL, 1 << 40 | 1).ok
    assert cpu.wrmsr(HYPERCALL, 0x80001).ok and cpu.rdmsr(HYPERCALL).value == 0x80001
    assert world.memory.read(0x80000, 4) == bytes.fromhex("0f01c1c3")
    assert cpu.wrmsr(OS_ID, 0).ok and cpu.rdmsr(HYPERCALL).value == 0x80000


@pytest.mark.rule("R9", "R87", "R92", "R94", "R96", "R104")
@pytest.mark.parametrize(("profile", "flush"), [("kvm-6.12", 2), ("tlfs-strict", 0)])
def test_hypercalls(profile, flush):
    world = World(profile=profile)
    cpu = world.cpu
    assert cpu.wrmsr(OS_ID, LINUX).ok
    assert cpu.hypercall(0x1234).value == 2
    for bit in (27, 30, 44, 47, 60, 63):
        assert cpu.hypercall(0xAF | 1 << bit).value == 3
    assert cpu.hypercall(0xAF, 0x90000).value == flush
    assert cpu.hypercall(0xAF | 1 << 16, 0x10001E).value == flush
    if profile == "tlfs-strict":
        assert cpu.hypercall(0xAF | 1 << 16, 0x10001E, 1).value == 5
        assert cpu.hypercall(0xAF | 1 << 32, 0x90000).value == 3
        assert [cpu.hypercall(0xAF, at).value for at in (0x90001, 0x90FF8, 1 << 40)] == [4, 4, 4]
    cpu.cpl = 3
    assert cpu.hypercall(0xAF).vector == 6


def test_profiles_are_complete():
    for profile in PROFILES.values():
        assert set(profile.policies) == set(POLICIES)
        assert profile.vmcs_revision == 0x11E57ED0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "xen"}, "kvm-6.12, tlfs-strict"),
        ({"maxphyaddr": 60}, "32 to 52"),
        ({"cpuid": {1: (1, 2)}}, "eax, ebx, ecx, edx"),
        ({"cpuid": {1: (1, 2, 3, 1 << 32)}}, "0xffffffff"),
        ({"msrs": {0x480: -1}}, "MSR 0x480"),
        ({"msrs": {1 << 32: 0}}, "MSR index"),
        ({"cpuid": {(4, -1): (0, 0, 0, 0)}}, "CPUID subleaf"),
        ({"cpuid": {(4, 1, 2): (0, 0, 0, 0)}}, "CPUID leaf"),
        ({"cpuid": [1]}, "leaf, subleaf"),
        ({"cpuid": "nowhere.txt"}, "nowhere.txt: No such file"),
    ],
)
def test_bad_profiles_are_one_line(options, words):
    with pytest.raises(ValueError, match=words) as error:
        build(**options)
    assert "\n" not in str(error.value)


def test_bad_arguments_of_the_partition():
    memory = PhysicalMemory(1 << 20)
    for options, words in (
        ({"cpus": 0}, "1 to 4096"),
        ({"cpus": 5000}, "1 to 4096"),
        ({"profile": "hyper"}, "kvm-6.12"),
        ({"cache_policy": "often"}, "always, commit_on_success, never, random"),
        ({"cache_policy": "random(x)"}, "random\\(7\\)"),
    ):
        with pytest.raises(ValueError, match=words):
            Partition(memory, **options)
    with pytest.raises(IndexError):
        Partition(memory).processor(1)
    with pytest.raises(TypeError):
        Processor()


def test_physical_memory():
    memory = PhysicalMemory(1 << 16)
    memory.write(0xFFF, b"abc")
    assert memory.read(0xFFF, 3) == b"abc" and memory.size == 1 << 16
    for gpa, length in ((1 << 16, 1), (-1, 1), (0xFFFF, 2), (1 << 70, 1)):
        with pytest.raises(IndexError):
            memory.read(gpa, length)
    memory.unback(0x1234)
    with pytest.raises(IndexError, match="not backed"):
        memory.read(0xFFF, 2)
    memory.back(0x1000)
    assert memory.read(0xFFF, 3) == b"abc"
    for size in (0, 4097, 1 << 50):
        with pytest.raises(ValueError, match="4096"):
            PhysicalMemory(size)


def test_a_partition_keeps_its_memory():
    processor = Partition(PhysicalMemory(1 << 20), cpus=2).processor(1)
    assert processor.rdmsr(VP_INDEX).value == 1
    assert processor.partition.counters()["rdmsr"] == 1
    assert processor.partition.counters(0)["rdmsr"] == 0
