# SPDX-License-Identifier: GPL-2.0-only
"""Hyper-V's MSRs: time, re-enlightenment, interrupt controllers, what announces them."""

import pytest
from world import ASSIST, EVMCS, World

from kvm_vmx.l0.offers import undone_leaves
from kvm_vmx.machine.outcome import Fault

OS_ID, HYPERCALL, VP_INDEX, RUNTIME, TIME, REFERENCE = (0x40000000 + n for n in
                                                        (0, 1, 2, 0x10, 0x20, 0x21))
TSC_HZ, APIC_HZ, EOI, ICR, TPR, ASSIST_MSR = (0x40000000 + n for n in
                                              (0x22, 0x23, 0x70, 0x71, 0x72, 0x73))
CONTROL, VERSION, EVENTS, MESSAGES, END, SINT0 = (0x40000000 + n for n in
                                                  (0x80, 0x81, 0x82, 0x83, 0x84, 0x90))
REENLIGHTEN, EMULATE, EMULATING = 0x40000106, 0x40000107, 0x40000108
TSC = 0x10

# Each MSR, and the bit of leaf 0x40000003 EAX that announces it.
ANNOUNCED = {
    RUNTIME: 0, TIME: 1, CONTROL: 2, VERSION: 2, EVENTS: 2, MESSAGES: 2, END: 2, SINT0: 2,
    SINT0 + 15: 2, ICR: 4, TPR: 4, ASSIST_MSR: 4, OS_ID: 5, HYPERCALL: 5, VP_INDEX: 6,
    REFERENCE: 9, TSC_HZ: 11, APIC_HZ: 11, REENLIGHTEN: 13, EMULATE: 13, EMULATING: 13,
}


@pytest.fixture
def world():
    return World(cpus=3)


@pytest.fixture
def cpu(world):
    return world.cpu


@pytest.mark.parametrize("msr", ANNOUNCED, ids=hex)
def test_what_cpuid_does_not_announce_is_not_there(msr):
    for bit in range(32):
        if undone_leaves({0x40000000: (0x40000003,), 0x40000003: (1 << bit, 0, 0, 0)}):
            continue
        cpu = World(vmx=False, cpuid={0x40000003: (1 << bit, 0, 0, 0)}, enforce_cpuid=True).cpu
        assert cpu.rdmsr(msr).ok == (bit == ANNOUNCED[msr])
    cpu = World(vmx=False, cpuid={0x40000003: (0, 0, 0, 0)}).cpu
    # the re-enlightenment trio has a privilege of its own
    assert cpu.rdmsr(msr).ok == (msr < REENLIGHTEN)


@pytest.mark.case("MSR-07")
def test_read_only_and_write_only_msrs(cpu):
    for msr in (VP_INDEX, RUNTIME, TIME, TSC_HZ, APIC_HZ, VERSION):
        assert cpu.rdmsr(msr).ok and isinstance(cpu.wrmsr(msr, 0), Fault)
    assert cpu.wrmsr(EOI, 0).ok and isinstance(cpu.rdmsr(EOI), Fault)
    assert isinstance(cpu.wrmsr(EOI, 1 << 32), Fault)


@pytest.mark.rule("R101")
@pytest.mark.parametrize("msr", [0x40001002, *range(0x40001080, 0x40001085), 0x40001090,
                                 0x4000109F], ids=hex)
def test_the_msrs_of_a_nested_root_are_not_there(cpu, msr):
    assert cpu.rdmsr(msr) == cpu.wrmsr(msr, 0) == Fault(13, 0, cpu.rflags)


@pytest.mark.rule("R93")
def test_the_locked_hypercall_page(cpu):
    assert cpu.wrmsr(OS_ID, 1).ok and cpu.wrmsr(HYPERCALL, 0x80003).ok
    assert isinstance(cpu.wrmsr(HYPERCALL, 0x80001), Fault)
    assert cpu.rdmsr(HYPERCALL).value == 0x80003


@pytest.mark.rule("R20")
def test_each_processor_has_its_own_assist_page(world):
    for n in range(3):
        cpu, page = world.partition.processor(n), 0x90000 + (n << 12)
        world.memory.write(page, b"\xff\xff\xff\xff\x77")
        assert cpu.rdmsr(ASSIST_MSR).value == 0
        assert cpu.wrmsr(ASSIST_MSR, page | 1).ok
        assert world.memory.read(page, 5) == b"\0\0\0\0\x77"
    values = [world.partition.processor(n).rdmsr(ASSIST_MSR).value for n in range(3)]
    assert values == [0x90001, 0x91001, 0x92001]


@pytest.mark.rule("R21")
def test_fields_written_before_the_overlay_lie_under_it():
    """A driver that fills the page first and enables it then finds nothing of it."""
    for profile, seen in (("kvm-6.12", True), ("tlfs-strict", False)):
        world = World(profile=profile)
        world.enlighten()
        assert world.cpu.wrmsr(ASSIST_MSR, 0).ok
        world.memory.write(ASSIST + 40, b"\1\0\0\0")
        world.memory.write_u64(ASSIST + 48, EVMCS)
        assert world.cpu.wrmsr(ASSIST_MSR, ASSIST | 1).ok
        assert world.cpu.vmlaunch().ok == seen


@pytest.mark.rule("R22")
def test_the_assist_page_has_its_fields_in_place(world):
    world.enlighten()
    world.memory.write(ASSIST + 40, b"\0\1\0\0")
    assert not world.cpu.vmlaunch().ok, "the switch is one byte"
    world.memory.write(ASSIST + 40, b"\1")
    world.memory.write_u64(ASSIST + 48, 0)
    world.memory.write_u64(ASSIST + 52, EVMCS)
    assert not world.cpu.vmlaunch().ok
    world.memory.write_u64(ASSIST + 48, EVMCS)
    assert world.cpu.vmlaunch().ok


@pytest.mark.rule("R25")
def test_the_pointer_is_sampled_at_the_entry(world):
    world.enlighten(0x70000, exception_bitmap=7)
    world.enlighten(0x71000, exception_bitmap=9)
    before = world.cpu.counters()
    for page in (0x70000, 0x71000, 0x70000):
        world.memory.write_u64(ASSIST + 48, page)
        assert world.cpu.vmresume().ok and world.cpu.active_evmcs == page
    after = world.cpu.counters()
    assert {name for name in after if after[name] != before[name]} <= {
        "vmresume", "exits", "groups_reread", "bytes_reread", "bytes_ungrouped",
        "bytes_written_back", "l2_instructions"}


def reference_page(world, tsc):
    sequence = int.from_bytes(world.memory.read(0x80000, 4), "little")
    scale, offset = world.memory.read_u64(0x80008), world.memory.read_u64(0x80010)
    assert sequence not in (0, 0xFFFFFFFF)
    return (tsc * scale >> 64) + offset & (1 << 64) - 1


@pytest.mark.case("MSR-08")
def test_the_reference_tsc_page(world):
    cpu = world.cpu
    assert cpu.wrmsr(REFERENCE, 0x80001).ok and cpu.rdmsr(REFERENCE).value == 0x80001
    last = 0
    for _ in range(200):
        before = cpu.rdmsr(TIME).value
        now = reference_page(world, cpu.rdmsr(TSC).value)
        after = cpu.rdmsr(TIME).value
        assert before - 1 <= now <= after + 1 and now >= last
        last = now
    assert isinstance(cpu.wrmsr(REFERENCE, 1 << 40 | 1), Fault)
    assert cpu.wrmsr(REFERENCE, 0).ok and cpu.rdmsr(REFERENCE).value == 0


@pytest.mark.rule("R70")
@pytest.mark.parametrize("bit", range(64))
def test_bits_of_the_reenlightenment_msr(cpu, bit):
    good = bit < 8 or bit == 16 or bit >= 32
    assert cpu.wrmsr(REENLIGHTEN, 1 << bit).ok == (good and bit != 16)


@pytest.mark.rule("R70")
def test_an_enabled_vector_can_be_delivered(cpu):
    for vector in range(256):
        assert cpu.wrmsr(REENLIGHTEN, 1 << 16 | vector).ok == (vector >= 16)
    assert cpu.wrmsr(REENLIGHTEN, 2 << 32 | 1 << 16 | 0xF2).ok
    assert cpu.rdmsr(REENLIGHTEN).value == 2 << 32 | 1 << 16 | 0xF2
    assert isinstance(cpu.wrmsr(REENLIGHTEN, 3 << 32 | 1 << 16 | 0xF2), Fault), "no such processor"


@pytest.mark.rule("R71")
def test_a_migration_is_told_once(world):
    def pending():
        found = [world.partition.processor(n).pending_interrupt for n in range(3)]
        for n in range(3):
            world.partition.processor(n).pending_interrupt = None
        return found

    world.partition.migrate()
    assert pending() == [None] * 3
    assert world.cpu.wrmsr(REENLIGHTEN, 2 << 32 | 1 << 16 | 0xF2).ok
    assert pending() == [None] * 3
    world.partition.migrate()
    assert pending() == [None, None, 0xF2] and pending() == [None] * 3
    assert world.cpu.wrmsr(REENLIGHTEN, 2 << 32 | 0xF2).ok
    world.partition.migrate()
    assert pending() == [None] * 3


def ticks(cpu):
    """How many TSC ticks, as L1 reads them, go by in a unit of reference time."""
    t0, c0 = cpu.rdmsr(TIME).value, cpu.rdmsr(TSC).value
    while cpu.rdmsr(TIME).value < t0 + 20000:
        pass
    return (cpu.rdmsr(TSC).value - c0) / (cpu.rdmsr(TIME).value - t0)


@pytest.mark.rule("R72")
def test_tsc_emulation(world):
    cpu = world.cpu
    hz = cpu.rdmsr(TSC_HZ).value
    for bad in (2, 1 << 32, 3):
        assert isinstance(cpu.wrmsr(EMULATE, bad), Fault)
    assert cpu.wrmsr(EMULATE, 1).ok and cpu.rdmsr(EMULATING).value == 0
    normal = ticks(cpu)
    world.partition.migrate()
    assert cpu.rdmsr(EMULATING).value == 0, "the same frequency needs no emulation"
    world.partition.migrate(3.0)
    assert cpu.rdmsr(EMULATING).value == 1
    assert ticks(cpu) == pytest.approx(normal, rel=0.2), "as on the first host"
    assert isinstance(cpu.wrmsr(EMULATING, 1), Fault)
    before = cpu.rdmsr(TSC).value
    assert cpu.wrmsr(EMULATING, 0).ok and cpu.rdmsr(EMULATING).value == 0
    assert cpu.rdmsr(TSC).value > before
    assert ticks(cpu) == pytest.approx(3 * normal, rel=0.2)
    assert cpu.rdmsr(TSC_HZ).value == pytest.approx(3 * hz, rel=0.01)


@pytest.mark.rule("R72")
def test_without_the_wish_the_tsc_changes_at_once(world):
    normal = ticks(world.cpu)
    world.partition.migrate(0.5)
    assert world.cpu.rdmsr(EMULATING).value == 0
    assert ticks(world.cpu) == pytest.approx(normal / 2, rel=0.2)


def test_the_reference_page_follows_a_migration(world):
    assert world.cpu.wrmsr(REFERENCE, 0x80001).ok
    sequence = world.memory.read(0x80000, 4)
    world.partition.migrate(2.0)
    assert world.memory.read(0x80000, 4) != sequence
    before = world.cpu.rdmsr(TIME).value
    now = reference_page(world, world.cpu.rdmsr(TSC).value)
    assert before - 2 <= now <= world.cpu.rdmsr(TIME).value + 2


def test_a_bad_ratio(world):
    for ratio in (0, -1, 1e9, float("nan")):
        with pytest.raises(ValueError, match="0.001 to 1000"):
            world.partition.migrate(ratio)


@pytest.mark.case("MSR-09")
def test_the_synthetic_interrupt_controller(cpu):
    assert [cpu.rdmsr(msr).value for msr in (CONTROL, VERSION, EVENTS, MESSAGES, END)] == [
        0, 1, 0, 0, 0]
    assert all(cpu.rdmsr(SINT0 + n).value == 1 << 16 for n in range(16)), "masked"
    assert cpu.wrmsr(END, 0).ok and cpu.rdmsr(END).value == 0
    for msr in (EVENTS, MESSAGES):
        assert cpu.wrmsr(msr, 0x80001).ok and cpu.rdmsr(msr).value == 0x80001
        assert isinstance(cpu.wrmsr(msr, 1 << 40 | 1), Fault)
    assert isinstance(cpu.wrmsr(SINT0, 15), Fault) and cpu.wrmsr(SINT0, 1 << 16 | 15).ok
    for n in range(16):
        assert cpu.wrmsr(SINT0 + n, 0x40 + n).ok
        assert not cpu.signal_sint(n), "the controller is off"
    assert cpu.wrmsr(CONTROL, 1).ok
    for n in range(16):
        assert cpu.signal_sint(n) and cpu.pending_interrupt == 0x40 + n
        cpu.pending_interrupt = None
        assert cpu.wrmsr(SINT0 + n, 1 << 16 | 0x40 + n).ok and not cpu.signal_sint(n)
        assert cpu.pending_interrupt is None
    with pytest.raises(ValueError, match="0 to 15"):
        cpu.signal_sint(16)


def test_the_apic_by_msr(world):
    cpu = world.cpu
    assert cpu.wrmsr(TPR, 0xE0).ok and cpu.rdmsr(TPR).value == 0xE0
    assert isinstance(cpu.wrmsr(TPR, 0x100), Fault)
    for command, reached in (
        (2 << 56 | 0x41, {2}), (1 << 18 | 0x41, {0}), (2 << 18 | 0x41, {0, 1, 2}),
        (3 << 18 | 0x41, {1, 2}), (9 << 56 | 0x41, set()), (2 << 56 | 0x441, set()),
        (2 << 56 | 0xF, set()),
    ):
        assert cpu.wrmsr(ICR, command).ok and cpu.rdmsr(ICR).value == command
        cpus = [world.partition.processor(n) for n in range(3)]
        assert {n for n in range(3) if cpus[n].pending_interrupt == 0x41} == reached
        for other in cpus:
            other.pending_interrupt = None


@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
@pytest.mark.case("CPU-01", "CPU-02")
def test_every_leaf_up_to_the_highest(profile):
    cpu = World(vmx=False, profile=profile).cpu
    highest = cpu.cpuid(0x40000000)[0]
    assert highest == 0x4000000A
    present = cpu.partition.profile.cpuid
    assert all(0x40000000 + n in present for n in range(11))
    assert cpu.cpuid(highest + 1) == (0, 0, 0, 0)


@pytest.mark.rule("R2", "R3", "R17")
@pytest.mark.parametrize(("leaf", "value"), [
    (0x40000002, (0, 0, 0, 0)), (0x40000002, (0xFFFFFFFF,) * 4),
    (0x40000000, (0x4000000A, 0x566E6558, 0x65584D4D, 0x4D4D566E)),
])
def test_versions_and_vendors_decide_nothing(leaf, value):
    world = World(cpuid={leaf: value})
    world.enlighten()
    assert world.cpu.vmlaunch().ok and world.cpu.active_evmcs == EVMCS


@pytest.mark.rule("R4")
def test_a_leaf_above_the_highest_offers_nothing():
    world = World(cpuid={0x40000000: (0x40000005, 0, 0, 0)}, profile="tlfs-strict")
    assert world.cpu.wrmsr(OS_ID, 1).ok
    assert world.cpu.hypercall(0xAF | 1 << 16).value == 2


@pytest.mark.rule("R18")
def test_a_machine_without_nested_virtualization():
    ecx = World(vmx=False).cpu.cpuid(1)[2]
    leaf = (0x606A6, 0x10800, ecx & ~(1 << 5), 0x078BFBFF)
    cpu = World(vmx=False, cpuid={1: leaf}).cpu
    assert cpu.cpuid(0x4000000A)[0] & 0xFF == 1
    assert isinstance(cpu.mov_to_cr(4, cpu.cr4 | 0x2000), Fault)
    assert cpu.wrmsr(0x3A, 5).ok
    cpu.cr4 |= 0x2000
    assert cpu.vmxon(0x40000).vector == 6


@pytest.mark.rule("R14", "R62")
@pytest.mark.parametrize("announced", [0, 1])
@pytest.mark.parametrize(("member", "index", "bit"), [
    ("vm_entry_controls", 0x484, 13), ("vm_exit_controls", 0x483, 12)])
def test_perf_global_ctrl_needs_its_announcement(member, index, bit, announced):
    cpu = World(vmx=False).cpu
    msrs = {n: cpu.rdmsr(n).value | 1 << bit + 32 for n in (index, index + 0xC)}
    leaves = {0x4000000A: (0xA0101, announced, 0, 0), 0xA: (4 << 8, 0, 0, 3)}
    world = World(msrs=msrs, cpuid=leaves)
    world.enlighten()
    world.put(EVMCS, member, world.get(EVMCS, member) | 1 << bit)
    outcome = world.cpu.vmlaunch()
    assert outcome.ok == announced and (outcome.ok or outcome.error == 7)
