# SPDX-License-Identifier: GPL-2.0-only
"""Timers and events that meet: two of one vector, one behind another's interrupt, one that is due
at no time; saved, and in blobs that say what no processor has."""

import pytest
from modes import *
from test_save_restore import forged
from test_stimers import (
    CONFIG, COUNT, DIRECT, ENABLE, PERIODIC, SOURCE, TIME, VECTOR, message, timed, wait,
)  # fmt: skip
from world import World

FAR = (1 << 64) - 1
PENDING, NMI_COMES, TIMERS = 0x100, 0x200, 0x800
_ = timed


def direct(vector, *more):
    return DIRECT | vector << 4 | ENABLE | sum(more)


def test_two_timers_of_one_vector(timed):
    """The vector waits already: the second has fired all the same (SDM 3A 10.8.4)."""
    cpu = timed.cpu
    for timer in (0, 1):
        assert cpu.wrmsr(CONFIG + 2 * timer, direct(0x61)).ok
        assert cpu.wrmsr(COUNT + 2 * timer, 1).ok
    assert cpu.pending_interrupt == 0x61
    assert [cpu.rdmsr(CONFIG + 2 * timer).value & ENABLE for timer in (0, 1)] == [0, 0]


def test_a_timer_behind_another_s_interrupt(timed):
    """Its message and its vector come when the other one is taken."""
    cpu = timed.cpu
    cpu.pending_interrupt = 0x71
    assert cpu.wrmsr(CONFIG, SOURCE << 16 | ENABLE).ok and cpu.wrmsr(COUNT, 1).ok
    assert cpu.pending_interrupt == 0x71 and message(timed)[0] == 0
    cpu.pending_interrupt = None
    assert wait(cpu, VECTOR) and message(timed)[0] == 0x80000010 | 24 << 32


@pytest.mark.parametrize("others", [0, 1, 3])
def test_one_alarm_for_all_timers(guest, others):
    """Beside events that are on their way: L2 is interrupted by the first that is due."""
    g = guest("ebfe", PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    for n in range(others):
        g.cpu.interrupt(0x41 + n, after=1 << 40)
    for timer in range(3):
        assert g.cpu.wrmsr(CONFIG + 2 * timer, direct(0x61 + timer)).ok
        assert g.cpu.wrmsr(COUNT + 2 * timer, g.cpu.rdmsr(TIME).value + 100 + 1_000_000 * timer).ok
    assert g.run().reason == 1 and g.cpu.pending_interrupt == 0x61


@pytest.mark.parametrize("distance, waits", [(10_000, False), (1 << 52, True)])
def test_a_halted_l2_lets_time_pass_until_a_timer(guest, distance, waits):
    """More than three years are none that pass at once: nothing else comes, and L1 is told."""
    g = guest("f4", CPU_BASED_VM_EXEC_CONTROL=PROC & ~HLT,
              PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    assert g.cpu.wrmsr(CONFIG, direct(0x61)).ok
    assert g.cpu.wrmsr(COUNT, g.cpu.rdmsr(TIME).value + distance).ok
    outcome = g.cpu.vmlaunch(stop_after=100_000)
    if waits:
        assert g.cpu.pending_interrupt is None and "Stopped" in repr(outcome)
        return
    assert outcome.ok and g.last().reason == 1 and g.cpu.pending_interrupt == 0x61


@pytest.mark.parametrize("distance", [1, 5_000])
def test_a_timer_that_is_due_behind_an_interrupt_that_l2_does_not_take(guest, distance):
    """RFLAGS.IF is off and L2 halts: time does not pass for what is due already."""
    g = guest("f4", CPU_BASED_VM_EXEC_CONTROL=PROC & ~HLT)
    g.cpu.pending_interrupt = 0x71
    assert g.cpu.wrmsr(CONFIG, direct(0x61)).ok
    assert g.cpu.wrmsr(COUNT, g.cpu.rdmsr(TIME).value + distance).ok
    assert "Stopped" in repr(g.cpu.vmlaunch(stop_after=50_000))
    assert g.cpu.pending_interrupt == 0x71


@pytest.mark.parametrize("count", [1 << 40, FAR])
def test_a_timer_comes_along_with_its_processor(timed, count):
    """One that runs, one that is over and waits for its slot, one that is due at no time."""
    cpu = timed.cpu
    assert cpu.wrmsr(COUNT, count).ok and cpu.wrmsr(CONFIG, direct(0x61, PERIODIC)).ok
    timed.memory.write_u64(0x92000 + 256 * SOURCE, 7)
    assert cpu.wrmsr(CONFIG + 2, SOURCE << 16 | ENABLE).ok and cpu.wrmsr(COUNT + 2, 1).ok
    cpu.restore(cpu.save())
    assert cpu.pending_interrupt is None
    assert cpu.rdmsr(CONFIG).value & ENABLE and cpu.rdmsr(CONFIG + 2).value & ENABLE
    assert cpu.rdmsr(COUNT).value == count
    timed.memory.write_u64(0x92000 + 256 * SOURCE, 0)
    assert cpu.wrmsr(0x40000084, 0).ok and cpu.pending_interrupt == VECTOR


def test_two_interrupts_of_which_a_halted_l2_takes_none(guest):
    """RFLAGS.IF is off: the second is due before the halt and cannot come."""
    g = guest("90" "90" "f4", CPU_BASED_VM_EXEC_CONTROL=PROC & ~HLT)
    for vector in (0x41, 0x42):
        g.cpu.interrupt(vector, after=0)
    assert "Stopped" in repr(g.cpu.vmlaunch(stop_after=1000))
    assert g.cpu.pending_interrupt == 0x41


def test_an_injection_that_a_blob_says_is_still_to_come():
    """Of a stopped L2 it has been: the exit takes the bit back (SDM 27.2)."""
    g = Guest("plain", "ebfe", VM_ENTRY_INTR_INFO_FIELD=0x0ABCD123)
    assert "Stopped" in repr(g.cpu.vmlaunch(stop_after=5))
    blob = g.cpu.save()
    at = blob.index((0x0ABCD123).to_bytes(4, "little"))
    g.cpu.restore(forged(blob, at, 0x8ABCD123, 4))
    g.code(VMCALL)
    assert g.cpu.go_on().ok and g.last().reason == 18
    assert g.get("VM_ENTRY_INTR_INFO_FIELD") == 0x0ABCD123


def alarm_places(cpu):
    """Where a blob has the number of events on their way, and the first of them."""
    nothing = cpu.save()
    cpu.interrupt(0x41, after=0x123456)
    blob = cpu.save()
    what = blob.index((0x123456).to_bytes(8, "little"))
    number = next(at for at in range(what - 24, what, 8)
                  if nothing[at:at + 8] == bytes(8) and blob[at:at + 8] == b"\1" + bytes(7))
    kind = next(at for at in (what - 8, what + 8) if blob[at:at + 4] == b"\x41\1\0\0")
    return blob, number, kind


@pytest.mark.parametrize("number, kinds, words", [
    (17, [PENDING | n for n in range(17)], "on their way are none"), (18, [], "on their way"),
    (1 << 40, [], "on their way"), (1, [0x41], "on their way"), (1, [PENDING << 8], "on their way"),
    (1, [0x400], "on their way"), (2, [TIMERS, TIMERS], "on their way"),
    (2, [TIMERS, NMI_COMES], None), (17, [TIMERS] + [PENDING | 0x20] * 16, None), (0, [], None)])
def test_events_on_their_way_that_a_blob_may_have(number, kinds, words):
    """Sixteen, and one for the timers; each a vector's or an NMI."""
    cpu = World().cpu
    blob, at, kind = alarm_places(cpu)
    blob = forged(blob, at, number)
    for n, what in enumerate(kinds):
        blob = forged(blob, kind + 16 * n, what, 4)
    if words is None:
        cpu.restore(blob)
        return
    with pytest.raises(ValueError, match=words):
        cpu.restore(blob)


@pytest.mark.parametrize("long", [True, False])
def test_a_stopped_l2_comes_along_in_the_mode_that_it_is_in(long):
    """Its state is one that an entry would load, in long mode or not."""
    g = (wide if long else narrow)("ebfe")
    assert "Stopped" in repr(g.cpu.vmlaunch(stop_after=50))
    g.cpu.restore(g.cpu.save())
    g.code(VMCALL)
    assert g.cpu.go_on().ok and g.last().reason == 18


def test_what_fails_is_traced_without_a_result():
    """And the error number of a VMfail is that of the VMCS which it went to."""
    world = World()
    cpu = world.cpu
    world.partition.start_trace()
    assert not cpu.rdmsr(0x12345).ok
    assert not cpu.vmread(0x681E).ok and cpu.vmptrst().ok
    world.enlighten(hv_vm_id=1)
    assert cpu.vmlaunch().ok and not cpu.invept(9).ok
    world.put(0x44000, "guest_rflags", 0)
    world.set_clean(0)
    assert cpu.vmresume().why is not None
    assert cpu.vmxoff().ok and not cpu.vmptrst().ok
    found = [(record.instruction, record.outcome.ok, record.results)
             for record in world.partition.trace]
    for name in ("rdmsr", "vmread", "vmptrst"):
        assert (name, False, ()) in found
    assert [record.outcome.error for record in world.partition.trace
            if record.instruction == "invept"] == [28]
    world = World()
    world.plain()
    world.partition.start_trace()
    assert not world.cpu.invept(9).ok and world.partition.trace[0].outcome.error == 28


def test_what_is_denied_within_an_entry_is_not_the_entry_s():
    """A list's item at the exit, and a hypercall of level 3."""
    g = Guest("plain", VMCALL, {"profile": "tlfs-strict"}, VM_EXIT_MSR_STORE_ADDR=0x940000,
              VM_EXIT_MSR_STORE_COUNT=1)
    g.write(0x940000, 0x12345)
    g.world.partition.start_trace()
    assert g.cpu.vmlaunch().ok
    g.cpu.cpl = 3
    assert not g.cpu.hypercall(2).ok
    entry, call = g.world.partition.trace
    assert entry.outcome.why is None and not call.outcome.ok


def test_a_trace_that_has_no_room():
    """calloc() gives none: an exception, and the trace before goes on."""
    world = World()
    world.partition.start_trace(4)
    world.cpu.rdmsr(0x10)
    with pytest.raises((MemoryError, ValueError)):
        world.partition.start_trace(1 << 50)
    world.cpu.rdmsr(0x10)
    assert len(world.partition.trace) == 2


@pytest.mark.parametrize("msr", [0xC0000100, 0xC0000101, 0xC0000102, 0xC0000082, 0xC0000083, 0x175,
                                 0x176])
@pytest.mark.parametrize("value, ok", [(1 << 47, False), ((1 << 64) - (1 << 47), True), (5, True)])
def test_msrs_that_hold_addresses(msr, value, ok):
    """SDM 2B WRMSR: canonical, each of them."""
    assert World().cpu.wrmsr(msr, value).ok == ok


def test_counters_and_microcode():
    """SDM 3B 18.2.2: MSR 0x38f has the bits that leaf 0xA gives counters for; 0x8b takes 0."""
    cpu = World(cpuid={0xA: (4 << 8 | 2, 0, 0, 3)}).cpu
    assert cpu.wrmsr(0x38F, 0xF | 7 << 32).ok or cpu.wrmsr(0x38F, 3).ok
    assert not cpu.wrmsr(0x38F, 1 << 20).ok and not cpu.wrmsr(0x38F, 1 << 40).ok
    assert cpu.wrmsr(0x8B, 0).ok
