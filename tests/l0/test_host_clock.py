# SPDX-License-Identifier: GPL-2.0-only
"""A processor whose time is the host's: when it has to look again, what is restored, what is let
pass at once."""

import time

from root import *
from test_root_apic import COUNT, DIVIDE, TIMER, Memory
from test_root_guests import HLT_L2, Nested
from test_saved_whole import changed

CONFIG, DUE = 0x400000B0, 0x400000B1
DIRECT = 1 | 1 << 12 | 0x50 << 4
FAR = 1 << 40


def on_host():
    return Root(clock="host", profile="kvm-6.12")


def test_in_how_long_it_looks_again():
    root = on_host()
    assert root.cpu.wakes_in is None
    apic = Memory(root)
    apic[DIVIDE] = 0xB
    apic[TIMER] = 0x40
    apic[COUNT] = 0xFFFFFFFF
    longest = root.cpu.wakes_in
    assert 0 < longest < 60
    # a synthetic timer beside it: whichever is first
    for left, first in ((FAR, False), (1000, True)):
        assert root.wrmsr(CONFIG, 0) is None
        assert root.wrmsr(DUE, root.cpu.reference_time + left) is None
        assert root.wrmsr(CONFIG, DIRECT) is None
        if first:
            time.sleep(0.001)
            assert root.cpu.wakes_in == 0
        else:
            assert 0 < root.cpu.wakes_in <= longest
    # alone, and past
    assert root.wrmsr(CONFIG, 0) is None
    apic[COUNT] = 1
    assert root.cpu.wakes_in in (None, 0)
    apic[COUNT] = 0
    assert root.wrmsr(DUE, root.cpu.reference_time + FAR) is None
    assert root.wrmsr(CONFIG, DIRECT) is None
    assert root.cpu.wakes_in > longest


def test_an_apic_timer_that_is_past():
    root = on_host()
    apic = Memory(root)
    apic[DIVIDE] = 0xB
    apic[TIMER] = 0x40
    for _ in range(200):
        # by a host that others keep busy it may have rung within the step
        assert root.store(0xFEE00380, 20_000) is None
        time.sleep(0.0005)
        if root.cpu.wakes_in == 0:
            break
    assert root.cpu.wakes_in == 0


def test_the_preemption_timer_wakes_a_halted_l2():
    root = Nested(HLT_L2, dict(
        PIN_BASED_VM_EXEC_CONTROL=0x56, VMX_PREEMPTION_TIMER_VALUE=0xFFFFFFFF),
        profile="bare", clock="host")
    root.enter(count=10)
    longest = root.cpu.wakes_in
    assert root.end == "waits" and 0 < longest < 600


def test_the_apic_s_timer_comes_before_the_preemption_timer():
    root = Nested(HLT_L2, dict(
        PIN_BASED_VM_EXEC_CONTROL=0x56, VMX_PREEMPTION_TIMER_VALUE=0xFFFFFFFF),
        profile="bare", clock="host")
    apic = Memory(root)
    apic[DIVIDE] = 0xB
    apic[TIMER] = 1 << 16 | 0x40
    apic[COUNT] = 1000
    root.enter(count=10)
    time.sleep(0.001)
    assert root.end == "waits" and root.cpu.wakes_in in (0, None)


def test_a_restored_clock_never_goes_back():
    """To the time that was saved or the host's own, whichever is later."""
    root = on_host()
    blob = root.cpu.save()
    before = root.rdmsr(0x10), root.cpu.reference_time
    root.cpu.restore(blob)
    after = root.rdmsr(0x10), root.cpu.reference_time
    assert all(now >= was for now, was in zip(after, before))
    root.cpu.restore(changed(root, blob, {"times.0": FAR << 8, "times.1": FAR}))
    assert root.rdmsr(0x10) >= FAR << 8 and root.cpu.reference_time >= FAR


def test_time_that_is_let_pass():
    """Twice as much is twice as long."""
    root = on_host()
    times = [root.cpu.reference_time]
    for count in (1 << 40, 2 << 40):
        root.cpu.let_pass(count)
        times.append(root.cpu.reference_time)
    first, second = times[1] - times[0], times[2] - times[1]
    assert first > 10_000_000 and abs(second - 2 * first) < first / 100
