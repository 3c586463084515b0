# SPDX-License-Identifier: GPL-2.0-only
"""Synthetic timers: one-shot and periodic, by message and direct, in L1's time and in L2's."""

import pytest
from guest import *
from world import World

CONFIG, COUNT, TIME, EOM, SCONTROL, SIMP, SINT = (
    0x400000B0, 0x400000B1, 0x40000020, 0x40000084, 0x40000080, 0x40000083, 0x40000090)
ENABLE, PERIODIC, AUTO, DIRECT = 1, 2, 8, 1 << 12
PAGE, SOURCE, VECTOR = 0x92000, 2, 0x51


@pytest.fixture
def timed():
    """A processor with its message page on and source 2 open."""
    world = World()
    for msr, value in ((SCONTROL, 1), (SIMP, PAGE | 1), (SINT + SOURCE, VECTOR)):
        assert world.cpu.wrmsr(msr, value).ok
    return world


def message(world, source=SOURCE):
    at = PAGE + 256 * source
    return [world.memory.read_u64(at + 8 * n) for n in range(5)]


def wait(cpu, vector, limit=1 << 20):
    for _ in range(limit):
        if cpu.pending_interrupt is not None:
            break
    found, cpu.pending_interrupt = cpu.pending_interrupt, None
    assert found == vector
    return cpu.rdmsr(TIME).value


@pytest.mark.parametrize("timer", range(4))
def test_a_one_shot_by_message(timed, timer):
    cpu = timed.cpu
    assert cpu.wrmsr(CONFIG + 2 * timer, SOURCE << 16 | ENABLE).ok
    due = cpu.rdmsr(TIME).value + 20000
    assert cpu.wrmsr(COUNT + 2 * timer, due).ok and cpu.rdmsr(COUNT + 2 * timer).value == due
    # A host that is busy may have let the time pass already.
    assert cpu.pending_interrupt is None or cpu.rdmsr(TIME).value >= due
    now = wait(cpu, VECTOR)
    assert now >= due
    header, sender, index, expiration, delivery = message(timed)
    assert (header, sender, index, expiration) == (0x80000010 | 24 << 32, 0, timer, due)
    assert due <= delivery <= now
    assert cpu.rdmsr(CONFIG + 2 * timer).value == SOURCE << 16, "a one-shot ends"


def test_a_count_in_the_past_is_due_at_once(timed):
    assert timed.cpu.wrmsr(CONFIG, SOURCE << 16 | ENABLE).ok and timed.cpu.wrmsr(COUNT, 1).ok
    assert timed.cpu.pending_interrupt == VECTOR


def test_writing_the_count_may_enable(timed):
    """stimer_set_count(): 0 disables, another enables with auto-enable alone."""
    cpu, far = timed.cpu, 1 << 60
    for config, count, enabled in (
            (AUTO, far, 1), (0, far, 0), (ENABLE, 0, 0), (AUTO | ENABLE, 0, 0)):
        assert cpu.wrmsr(CONFIG, 0).ok and cpu.wrmsr(COUNT, 0).ok
        assert cpu.wrmsr(CONFIG, SOURCE << 16 | config).ok and cpu.wrmsr(COUNT, count).ok
        assert cpu.rdmsr(CONFIG).value & ENABLE == enabled
    # source 0 is none: a timer that runs stops there, but for a direct one
    for config, enabled in (
            (SOURCE << 16 | ENABLE, 1), (ENABLE, 0), (ENABLE, 1), (DIRECT | ENABLE, 1)):
        assert cpu.wrmsr(CONFIG, config).ok and cpu.rdmsr(CONFIG).value & ENABLE == enabled


def test_a_periodic_timer_keeps_its_beat(timed):
    cpu = timed.cpu
    assert cpu.wrmsr(COUNT, 10000).ok
    start = cpu.rdmsr(TIME).value
    assert cpu.wrmsr(CONFIG, DIRECT | 0x61 << 4 | PERIODIC | ENABLE).ok
    end = cpu.rdmsr(TIME).value
    times = [wait(cpu, 0x61) for _ in range(4)]
    for n, time in enumerate(times, 1):
        assert time >= start + 10000 * n
    assert cpu.rdmsr(CONFIG).value & ENABLE and end >= start
    assert cpu.wrmsr(CONFIG, 0).ok
    cpu.pending_interrupt = None
    later = cpu.rdmsr(TIME).value + 30000
    while cpu.rdmsr(TIME).value < later:
        assert cpu.pending_interrupt is None


def test_a_message_waits_for_its_slot(timed):
    """A one-shot's message is kept until the end of the one before; a periodic one's is lost."""
    cpu = timed.cpu
    timed.memory.write_u64(PAGE + 256 * SOURCE, 7)
    assert cpu.wrmsr(CONFIG, SOURCE << 16 | ENABLE).ok and cpu.wrmsr(COUNT, 1).ok
    assert cpu.pending_interrupt is None
    assert message(timed)[0] == 7 | 1 << 40, "a message is pending"
    timed.memory.write_u64(PAGE + 256 * SOURCE, 0)
    assert cpu.pending_interrupt is None
    assert cpu.wrmsr(EOM, 0).ok
    assert cpu.pending_interrupt == VECTOR and message(timed)[0] == 0x80000010 | 24 << 32
    cpu.pending_interrupt = None
    timed.memory.write_u64(PAGE + 256 * SOURCE, 7)
    assert cpu.wrmsr(COUNT, 1).ok and cpu.wrmsr(CONFIG, SOURCE << 16 | ENABLE | PERIODIC).ok
    later = cpu.rdmsr(TIME).value + 100
    while cpu.rdmsr(TIME).value < later:
        assert cpu.pending_interrupt is None
    assert message(timed)[0] == 7


def test_a_polled_source_has_no_interrupt(timed):
    assert timed.cpu.wrmsr(SINT + SOURCE, 1 << 18 | VECTOR).ok
    assert timed.cpu.wrmsr(CONFIG, SOURCE << 16 | ENABLE).ok and timed.cpu.wrmsr(COUNT, 1).ok
    assert message(timed)[0] == 0x80000010 | 24 << 32 and timed.cpu.pending_interrupt is None


@pytest.mark.parametrize("close", [
    (SCONTROL, 0), (SIMP, PAGE), (SIMP, 0), (SINT + SOURCE, 1 << 16)])
def test_a_message_without_its_way(timed, close):
    assert timed.cpu.wrmsr(*close).ok
    assert timed.cpu.wrmsr(CONFIG, SOURCE << 16 | ENABLE).ok and timed.cpu.wrmsr(COUNT, 1).ok
    assert timed.cpu.pending_interrupt is None and message(timed) == [0] * 5


def test_direct_timers_come_with_their_bit():
    for edx, ok in ((1 << 19, True), (0, False)):
        cpu = World(vmx=False, enforce_cpuid=True, cpuid={0x40000003: (0xAAFF, 0, 0, edx)}).cpu
        assert cpu.wrmsr(CONFIG, DIRECT | 0x61 << 4).ok == ok
        assert cpu.wrmsr(CONFIG, SOURCE << 16).ok


def test_a_timer_waits_for_the_interrupt_before_it(timed):
    cpu = timed.cpu
    cpu.pending_interrupt = 0x77
    assert cpu.wrmsr(CONFIG, DIRECT | 0x61 << 4 | ENABLE).ok and cpu.wrmsr(COUNT, 1).ok
    assert cpu.pending_interrupt == 0x77 and cpu.rdmsr(CONFIG).value & ENABLE
    cpu.pending_interrupt = None
    assert cpu.pending_interrupt == 0x61 and not cpu.rdmsr(CONFIG).value & ENABLE


def due_in(g, units, **config):
    assert g.cpu.wrmsr(CONFIG, DIRECT | 0x61 << 4 | ENABLE).ok
    due = g.cpu.rdmsr(TIME).value + units
    assert g.cpu.wrmsr(COUNT, due).ok
    return due


def test_a_timer_interrupts_l2(guest):
    g = guest("ebfe", PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 15)
    due = due_in(g, 30000)
    found = g.run()
    assert (found.reason, found.intr_info) == (1, VALID | 0x61)
    assert g.cpu.rdmsr(TIME).value >= due


def test_forgotten_events_leave_the_timers(guest):
    g = guest("ebfe", PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 15)
    due_in(g, 30000)
    g.cpu.interrupt(0x33, after=1 << 30)
    g.cpu.forget_events()
    assert g.run().intr_info == VALID | 0x61


def test_sixteen_events_and_the_timers(guest):
    g = guest("ebfe", PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 15)
    for _ in range(16):
        g.cpu.interrupt(0x33, after=1 << 40)
    due_in(g, 30000)
    with pytest.raises(ValueError, match="16 events"):
        g.cpu.nmi()
    blob = g.cpu.save()
    assert g.run().intr_info == VALID | 0x61
    g.cpu.restore(blob)
    assert g.cpu.pending_interrupt in (None, 0x61)


def test_time_passes_at_once_for_a_guest_that_halts(guest):
    """An hour, on both clocks."""
    g = guest("f4", PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, GUEST_RFLAGS=2 | IF,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 15)
    hour, hz = 36_000_000_000, g.cpu.rdmsr(0x40000022).value
    tsc, due = g.cpu.rdmsr(0x10).value, due_in(g, hour)
    found = g.run()
    assert (found.reason, found.intr_info) == (1, VALID | 0x61)
    assert due <= g.cpu.rdmsr(TIME).value < due + hour // 10
    assert 3595 < (g.cpu.rdmsr(0x10).value - tsc) / hz < 3700


def test_a_timer_moves_with_its_processor(timed):
    cpu = timed.cpu
    assert cpu.wrmsr(CONFIG, DIRECT | 0x61 << 4 | ENABLE).ok
    assert cpu.wrmsr(COUNT, cpu.rdmsr(TIME).value + 20000).ok
    assert cpu.wrmsr(0x40000100, 5).ok and cpu.wrmsr(0x40000118, 1).ok
    blob = cpu.save()
    other = World().cpu
    other.restore(blob)
    assert other.rdmsr(0x40000100).value == 5 and other.rdmsr(0x40000118).value == 1
    start = other.rdmsr(TIME).value
    assert other.pending_interrupt is None
    assert 10000 < wait(other, 0x61) - start
