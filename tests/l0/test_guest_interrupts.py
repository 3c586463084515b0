# SPDX-License-Identifier: GPL-2.0-only
"""What comes between L2's instructions: interrupts, NMIs, windows, traps, time (SDM 26.2, 27.7)."""

import pathlib
import subprocess
import sys

import pytest
from guest import *

from kvm_vmx.machine.outcome import Stopped

NOPS = "90" * 32
ACK = 0x36FFB | 1 << 15
STI_SHADOW, MOV_SS_SHADOW, NMI_BLOCKED = 1, 2, 8
ACTIVE, HALTED, SHUTDOWN, WAIT_SIPI = range(4)
INTERRUPTED = VALID | EXT


@pytest.mark.parametrize("after", [0, 1, 5, 20])
@pytest.mark.parametrize("code", [NOPS, "ebfe"], ids=["nop", "jmp"])
def test_an_interrupt_after_so_many_instructions(guest, after, code):
    """With exits on it leaves whatever RFLAGS.IF says, at the boundary."""
    g = guest(code, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, VM_EXIT_CONTROLS=ACK)
    g.cpu.interrupt(0x31, after=after)
    found = g.run()
    assert found[:8] == (1, 0, 0, CODE + (after if code == NOPS else 0), INTERRUPTED | 0x31,
                         0, 0, 0)
    assert g.cpu.counters()["l2_instructions"] == after
    # acknowledged: it is gone
    assert g.cpu.pending_interrupt is None


def test_the_count_goes_on_over_exits(guest):
    g = guest("0fa2" * 10, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, VM_EXIT_CONTROLS=ACK)
    g.cpu.interrupt(0x31, after=3)
    for n in range(3):
        assert g.run().reason == 10
        g.set(GUEST_RIP=CODE + 2 * n + 2)
    assert g.run()[:4] == (1, 0, 0, CODE + 6)


def test_without_acknowledgement_it_stays_pending(guest):
    g = guest(NOPS, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    g.cpu.interrupt(0x31)
    assert (g.run()[:5], g.cpu.pending_interrupt) == ((1, 0, 0, CODE, 0), 0x31)
    # and so it leaves again
    assert (g.run().reason, g.cpu.counters()["l2_instructions"]) == (1, 0)


def test_interrupts_that_l1_leaves_to_the_guest(guest):
    g = guest("90" "fb" "90" "90" + VMCALL)
    handler = g.vector(0x31, code="48ffc3" "48cf")
    g.regs(rbx=0)
    g.cpu.interrupt(0x31)
    # held back by IF, and one instruction more by STI
    assert (g.run().reason, g.regs()[RBX]) == (18, 1)
    assert g.read(STACK - 40) == CODE + 3
    assert g.cpu.pending_interrupt is None and handler


def test_two_events_in_order(guest):
    g = guest(NOPS, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR | NMI_EXITING, VM_EXIT_CONTROLS=ACK)
    g.cpu.interrupt(0x31, after=4)
    g.cpu.interrupt(0x32, after=2)
    g.cpu.nmi(after=3)
    found = [g.run() for _ in range(3)]
    assert [(e.reason, e.intr_info & 0xFF, e.rip - CODE) for e in found] == [
        (1, 0x32, 2), (0, 2, 3), (1, 0x31, 4)]


def test_bad_events(guest):
    cpu = guest().cpu
    for call in (lambda: cpu.interrupt(256), lambda: cpu.interrupt(-1), lambda: cpu.nmi(-1),
                 lambda: cpu.interrupt(1, after=-1), lambda: cpu.nmi(after=1 << 63)):
        with pytest.raises(ValueError, match="give"):
            call()
    for _ in range(16):
        cpu.nmi(after=1000)
    with pytest.raises(ValueError, match="let L2 run first"):
        cpu.nmi()


def test_nmi_exits(guest):
    g = guest(NOPS, PIN_BASED_VM_EXEC_CONTROL=PIN | NMI_EXITING,
              GUEST_INTERRUPTIBILITY_INFO=MOV_SS_SHADOW)
    g.cpu.nmi()
    assert g.run()[:8] == (0, 0, 0, CODE, VALID | NMI | 2, 0, 0, 0)
    assert not g.cpu.pending_nmi
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == MOV_SS_SHADOW


def test_an_nmi_that_the_guest_handles_blocks_the_next(guest):
    g = guest(NOPS)
    handler = g.vector(2, code="48ffc3" "90" "48cf")
    g.regs(rbx=0)
    g.cpu.nmi(after=2)
    g.cpu.nmi(after=3)
    # the second one waits for the first one's IRET
    g.code("9090909090" + VMCALL)
    assert (g.run().reason, g.regs()[RBX]) == (18, 2)
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0 and handler


@pytest.mark.parametrize("shadow", [STI_SHADOW, MOV_SS_SHADOW])
def test_an_nmi_waits_for_the_instruction_behind_sti(guest, shadow):
    """SDM 2B STI leaves it to the processor; KVM's own tests want it so."""
    g = guest("90" + VMCALL, GUEST_INTERRUPTIBILITY_INFO=shadow, GUEST_RFLAGS=0x202)
    g.vector(2)
    g.cpu.nmi()
    assert g.run().reason == 18 and g.read(STACK - 40) == CODE + 1


def test_virtual_nmis(guest):
    """Injection blocks, IRET unblocks, the window opens; a real NMI is never held back."""
    pin = PIN | NMI_EXITING | VIRTUAL_NMIS
    g = guest(NOPS, PIN_BASED_VM_EXEC_CONTROL=pin, VM_ENTRY_INTR_INFO_FIELD=VALID | NMI | 2,
              CPU_BASED_VM_EXEC_CONTROL=PROC | NMI_WINDOW)
    handler = g.vector(2, code="9090" "48cf")
    found = g.run()
    # the first instruction behind the IRET is not executed any more
    assert (found.reason, found.rip, found.length) == (8, CODE, 0)
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0
    g.cpu.nmi(after=1)
    found = g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | NMI | 2, CPU_BASED_VM_EXEC_CONTROL=PROC)
    assert (found.reason, found.rip) == (0, handler + 1)
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == NMI_BLOCKED


def test_nmi_exiting_without_virtual_nmis_leaves_blocking_alone(guest):
    g = guest("48cf", PIN_BASED_VM_EXEC_CONTROL=PIN | NMI_EXITING, GUEST_RSP=DATA,
              GUEST_INTERRUPTIBILITY_INFO=NMI_BLOCKED)
    for n, value in enumerate((CODE + 2, 8, 2, STACK, 0x10)):
        g.write(DATA + 8 * n, value)
    g.code("48cf" + VMCALL)
    assert (g.run().reason, g.get("GUEST_INTERRUPTIBILITY_INFO")) == (18, NMI_BLOCKED)


@pytest.mark.parametrize("pin, bit", [(0, 1), (NMI_EXITING | VIRTUAL_NMIS, 1), (NMI_EXITING, 0)])
def test_a_fault_of_iret_says_that_it_unblocked_nmis(guest, pin, bit):
    """SDM 28.2.2: bit 12 of the interruption information."""
    g = guest("48cf", PIN_BASED_VM_EXEC_CONTROL=PIN | pin, GUEST_RSP=0xABC0000000,
              GUEST_INTERRUPTIBILITY_INFO=NMI_BLOCKED, EXCEPTION_BITMAP=1 << 14)
    found = g.run()
    assert found.intr_info == VALID | HARD | CODE_BIT | 14 | bit << 12
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == (0 if bit else NMI_BLOCKED)
    # without blocking before there is nothing to say
    assert g.run(GUEST_INTERRUPTIBILITY_INFO=0).intr_info == VALID | HARD | CODE_BIT | 14


def test_an_ept_violation_of_iret_says_so_in_the_qualification(guest):
    g = guest("48cf", PIN_BASED_VM_EXEC_CONTROL=PIN | NMI_EXITING | VIRTUAL_NMIS,
              SECONDARY_VM_EXEC_CONTROL=S_EPT, GUEST_INTERRUPTIBILITY_INFO=NMI_BLOCKED,
              GUEST_RSP=DATA)
    eptp = g.map_ept()
    g.write(g.ept_entry(DATA), 0)
    found = g.run(EPT_POINTER=eptp)
    assert (found.reason, found.qualification) == (48, 1 << 12 | 1 << 8 | 1 << 7 | 1)


# Windows

@pytest.mark.parametrize("flags, shadow, rip", [
    (IF, 0, 0), (IF, STI_SHADOW, 1), (IF, MOV_SS_SHADOW, 1), (0, 0, None)])
def test_interrupt_window(guest, flags, shadow, rip):
    g = guest("90909090" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | INTR_WINDOW,
              GUEST_RFLAGS=2 | flags, GUEST_INTERRUPTIBILITY_INFO=shadow)
    found = g.run()
    assert found[:4] == ((18, 0, 3, CODE + 4) if rip is None else (7, 0, 0, CODE + rip))
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0


def test_the_window_opens_behind_sti(guest):
    g = guest("90" "fb" "90" "90", CPU_BASED_VM_EXEC_CONTROL=PROC | INTR_WINDOW)
    assert g.run()[:4] == (7, 0, 0, CODE + 3)


@pytest.mark.parametrize("blocking, rip", [(0, 0), (MOV_SS_SHADOW, 1), (NMI_BLOCKED, None)])
def test_nmi_window(guest, blocking, rip):
    g = guest("90909090" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | NMI_WINDOW,
              PIN_BASED_VM_EXEC_CONTROL=PIN | NMI_EXITING | VIRTUAL_NMIS,
              GUEST_INTERRUPTIBILITY_INFO=blocking)
    found = g.run()
    assert found[:4] == ((18, 0, 3, CODE + 4) if rip is None else (8, 0, 0, CODE + rip))


def test_the_order_of_events_at_one_boundary(guest):
    """SDM 27.7: trap, debug trap, NMI window, NMI, interrupt window, interrupt."""
    g = guest(NOPS, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR | NMI_EXITING | VIRTUAL_NMIS,
              CPU_BASED_VM_EXEC_CONTROL=PROC | NMI_WINDOW | INTR_WINDOW,
              VM_ENTRY_INTR_INFO_FIELD=VALID | 7 << 8, GUEST_RFLAGS=2 | IF, EXCEPTION_BITMAP=2,
              GUEST_PENDING_DBG_EXCEPTIONS=1 << 14, VM_EXIT_CONTROLS=ACK)
    g.cpu.interrupt(0x31)
    g.cpu.nmi()
    assert g.run().reason == 37
    assert g.run()[:2] == (0, 1 << 14)
    assert g.run(CPU_BASED_VM_EXEC_CONTROL=PROC | NMI_WINDOW | INTR_WINDOW).reason == 8
    found = g.run(CPU_BASED_VM_EXEC_CONTROL=PROC | INTR_WINDOW)
    assert (found.reason, found.intr_info & 0x7FF) == (0, NMI | 2)
    assert g.run().reason == 7
    assert g.run(CPU_BASED_VM_EXEC_CONTROL=PROC).reason == 1
    assert g.cpu.counters()["l2_instructions"] == 0


# Interrupt shadows

def test_sti_blocks_for_one_instruction(guest):
    """The exit between shows the shadow; STI with IF already set makes none."""
    g = guest("fb" "0fa2" "0fa2")
    assert (g.run().rip, g.get("GUEST_INTERRUPTIBILITY_INFO")) == (CODE + 1, STI_SHADOW)
    assert g.get("GUEST_RFLAGS") & IF
    g.run(GUEST_RIP=CODE + 3, GUEST_INTERRUPTIBILITY_INFO=0)
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0
    g.run(GUEST_RIP=CODE)
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0


def test_mov_ss_blocks_for_one_instruction(guest):
    g = guest("8ed0" "0fa2")
    g.regs(rax=0x10)
    assert (g.run().rip, g.get("GUEST_INTERRUPTIBILITY_INFO")) == (CODE + 2, MOV_SS_SHADOW)
    g.code("8ed0" "90" "0fa2")
    g.run(GUEST_RIP=CODE, GUEST_INTERRUPTIBILITY_INFO=0)
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0


def test_an_injected_event_ends_the_shadow(guest):
    g = guest("", GUEST_INTERRUPTIBILITY_INFO=STI_SHADOW, GUEST_RFLAGS=2 | IF,
              VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6)
    g.vector(6)
    assert (g.run().reason, g.get("GUEST_INTERRUPTIBILITY_INFO")) == (18, 0)


# HLT, time, traps

def test_hlt_waits_for_the_interrupt(guest):
    g = guest("f4" + VMCALL, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, VM_EXIT_CONTROLS=ACK,
              CPU_BASED_VM_EXEC_CONTROL=PROC)
    g.cpu.interrupt(0x31, after=1_000_000_000)
    found = g.run()
    assert (found.reason, found.rip, found.intr_info) == (1, CODE + 1, INTERRUPTED | 0x31)
    # it went to sleep, and still does when L1 enters again
    assert g.get("GUEST_ACTIVITY_STATE") == HALTED
    g.cpu.interrupt(0x32)
    assert g.run().intr_info == INTERRUPTED | 0x32


def test_an_interrupt_of_its_own_wakes_a_halted_guest(guest):
    g = guest("f4" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC, GUEST_RFLAGS=2 | IF)
    g.vector(0x31, code="48cf")
    g.cpu.interrupt(0x31, after=10)
    found = g.run()
    assert (found.reason, found.rip, g.get("GUEST_ACTIVITY_STATE")) == (18, CODE + 1, ACTIVE)


def test_injection_wakes_a_halted_guest(guest):
    g = guest("", GUEST_ACTIVITY_STATE=HALTED, GUEST_RFLAGS=2 | IF,
              VM_ENTRY_INTR_INFO_FIELD=VALID | EXT | 0x31)
    handler = g.vector(0x31)
    found = g.run()
    assert (found.rip, g.get("GUEST_ACTIVITY_STATE")) == (handler, ACTIVE)


@pytest.mark.parametrize("activity", [HALTED, SHUTDOWN, WAIT_SIPI])
@pytest.mark.parametrize("pin", [PIN, PIN | EXT_INTR])
def test_a_guest_that_nothing_wakes_stays_where_it_is(guest, activity, pin):
    """Nobody has programmed a timer: it is stopped, and L1 sees no exit."""
    g = guest("", GUEST_ACTIVITY_STATE=activity, VM_EXIT_CONTROLS=ACK,
              options=dict(msrs={0x485: 0x1E5}), PIN_BASED_VM_EXEC_CONTROL=pin)
    assert isinstance(g.cpu.vmlaunch(), Stopped)
    assert g.cpu.pending_interrupt is None and g.cpu.counters()["exits"] == 0
    # what wakes it may still come
    g.cpu.pending_nmi = True
    assert isinstance(g.cpu.go_on(), Stopped) == (activity == WAIT_SIPI)


@pytest.mark.parametrize("activity", [HALTED, SHUTDOWN, WAIT_SIPI])
def test_the_timer_of_l1_wakes_whom_an_interrupt_can(guest, activity):
    g = guest("", GUEST_ACTIVITY_STATE=activity, VM_EXIT_CONTROLS=ACK,
              options=dict(tick=0xEC, msrs={0x485: 0x1E5}),
              PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    if activity != HALTED:
        assert isinstance(g.cpu.vmlaunch(), Stopped)
        return
    found = g.run()
    assert (found.reason, found.rip, found.intr_info) == (1, CODE, INTERRUPTED | 0xEC)
    assert g.get("GUEST_ACTIVITY_STATE") == activity
    assert g.cpu.counters()["l2_instructions"] == 0


def test_the_window_wakes_a_halted_guest(guest):
    g = guest("", GUEST_ACTIVITY_STATE=HALTED, GUEST_RFLAGS=2 | IF,
              CPU_BASED_VM_EXEC_CONTROL=PROC | INTR_WINDOW)
    assert g.run()[:4] == (7, 0, 0, CODE)


@pytest.mark.parametrize("code", ["ebfe", "f3ebfd", "e9fbffffff", "7ffe" "ebfc"])
def test_an_endless_loop_meets_the_timer(guest, code):
    g = guest(code, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, VM_EXIT_CONTROLS=ACK)
    g.cpu.interrupt(0x20, after=100_000)
    assert g.run()[:5] == (1, 0, 0, g.get("GUEST_RIP"), INTERRUPTED | 0x20)
    assert g.cpu.counters()["l2_instructions"] == 100_000


SLICE = 1 << 18      # instructions of L2 until L1's timer fires


@pytest.mark.parametrize("vector", [0x20, 0xEC])
def test_the_timer_that_l1_has_set_up(guest, vector):
    g = guest("ebfe", options=dict(tick=vector), PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR,
              VM_EXIT_CONTROLS=ACK)
    assert g.run().intr_info == INTERRUPTED | vector
    assert g.cpu.counters()["l2_instructions"] == SLICE


INTERRUPTIBLE = 2 | IF


@pytest.mark.parametrize("code, flags, tick, pin", [
    *(("ebfe", flags, tick, pin) for flags in (2, INTERRUPTIBLE)
      for tick, pin in ((None, PIN), (None, PIN | EXT_INTR), (0xEC, PIN))),
    # an instruction with a prefix takes four times as long
    ("f3ebfd", 2, None, PIN | EXT_INTR), ("f3ebfd", INTERRUPTIBLE, 0xEC, PIN)])
def test_no_exit_that_nobody_asked_for(guest, code, flags, tick, pin):
    """More than two slices of time: no exit, no interrupt; a stop and an interrupt still end it."""
    g = guest(code, options=dict(tick=tick), GUEST_RFLAGS=flags, PIN_BASED_VM_EXEC_CONTROL=pin,
              VM_EXIT_CONTROLS=ACK)
    assert isinstance(g.cpu.vmlaunch(stop_after=2 * SLICE + 5), Stopped)
    assert g.cpu.counters()["l2_instructions"] == 2 * SLICE + 5
    assert g.cpu.counters()["exits"] == 0 and g.cpu.pending_interrupt is None
    if pin & EXT_INTR:
        g.cpu.interrupt(0x20, after=3)
        assert g.cpu.go_on().ok and g.last().intr_info == INTERRUPTED | 0x20


@pytest.mark.parametrize("vector", [-1, 15, 256])
def test_bad_timer_vectors(vector):
    with pytest.raises(ValueError, match="timer vector"):
        Guest("plain", "", dict(tick=vector))


def test_a_signal_stops_a_guest_that_computes():
    """Ctrl-C: the exception comes soon, L2 stands, and goes on when it is let."""
    program = (
        "import signal, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from guest import Guest\n"
        "g = Guest('plain', 'ebfe')\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "try:\n"
        "    g.cpu.vmlaunch()\n"
        "except KeyboardInterrupt:\n"
        "    assert g.cpu.stopped and g.cpu.counters()['exits'] == 0\n"
        "    g.cpu.go_on(stop_after=3)\n"
        "    print('stopped')\n")
    done = subprocess.run([sys.executable, "-c", program, str(pathlib.Path(__file__).parent)],
                          capture_output=True, text=True, timeout=60)
    assert done.stdout == "stopped\n", done.stderr


@pytest.mark.parametrize("activity, exits", [
    (ACTIVE, True), (HALTED, True), (SHUTDOWN, True), (WAIT_SIPI, False)])
@pytest.mark.parametrize("value", [0, 1, 1000, 0xFFFFFFFF])
def test_the_preemption_timer_in_each_activity_state(activity, exits, value):
    """SDM 26.5.1: it counts while the processor waits; in wait-for-SIPI it does not expire."""
    from world import config_a_msrs
    g = Guest("plain", "f4" + VMCALL, options=dict(msrs=config_a_msrs(), unfinished=True),
              PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6, VMX_PREEMPTION_TIMER_VALUE=value,
              CPU_BASED_VM_EXEC_CONTROL=PROC & ~HLT, GUEST_ACTIVITY_STATE=activity,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 22)
    outcome = g.cpu.vmlaunch()
    assert isinstance(outcome, Stopped) != exits
    if exits:
        halted = activity == ACTIVE and value
        found = g.last()
        assert (found.reason, found.rip) == (52, CODE + bool(halted))
        assert g.get("GUEST_ACTIVITY_STATE") == (HALTED if halted else activity)
        assert g.get("VMX_PREEMPTION_TIMER_VALUE") == 0


@pytest.mark.parametrize("at, left", [(4, 6), (10, 0), (11, 0)])
def test_the_preemption_timer_counts_until_an_interrupt_wakes(at, left):
    from world import config_a_msrs
    g = Guest("plain", "f4" + VMCALL, options=dict(msrs=config_a_msrs(), unfinished=True),
              PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6 | EXT_INTR, VMX_PREEMPTION_TIMER_VALUE=10,
              CPU_BASED_VM_EXEC_CONTROL=PROC & ~HLT, VM_EXIT_CONTROLS=0x36FFB | 1 << 22)
    g.cpu.interrupt(0x40, after=at)
    assert g.run().reason == (1 if left else 52)
    assert g.get("VMX_PREEMPTION_TIMER_VALUE") == left


def test_monitor_trap(guest):
    """After each instruction, and behind the delivery of an injected event."""
    g = guest("90" "4889c3" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | MTF)
    assert [g.run()[:4] for _ in range(3)] == [
        (37, 0, 0, CODE + 1), (37, 0, 0, CODE + 4), (18, 0, 3, CODE + 4)]
    handler = g.vector(6)
    assert g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6)[:4] == (37, 0, 0, handler)


def test_monitor_trap_behind_a_fault(guest):
    g = guest("0f0b", CPU_BASED_VM_EXEC_CONTROL=PROC | MTF)
    handler = g.vector(6)
    assert g.run()[:4] == (37, 0, 0, handler)


@pytest.mark.parametrize("value", [0, 1, 7])
def test_preemption_timer(value):
    """A field that an eVMCS lacks, and a control that only this configuration has."""
    from world import config_a_msrs
    g = Guest("plain", NOPS, options=dict(msrs=config_a_msrs(), unfinished=True),
              PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6, VMX_PREEMPTION_TIMER_VALUE=value)
    assert g.run()[:4] == (52, 0, 0, CODE + value)
    assert g.get("VMX_PREEMPTION_TIMER_VALUE") == value


def test_the_preemption_timer_is_saved_where_a_control_says_so():
    from world import config_a_msrs
    g = Guest("plain", "909090" + VMCALL, options=dict(msrs=config_a_msrs(), unfinished=True),
              PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6, VMX_PREEMPTION_TIMER_VALUE=10,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 22)
    assert g.run().reason == 18
    assert g.get("VMX_PREEMPTION_TIMER_VALUE") == 10 - 4


# A tight loop, where an entry does not look at what cannot have changed

def looping(guest, **fields):
    """MOV, CPUID, JMP with a VPID, after some exits; L1 has set up a timer."""
    g = guest("b805000000" "0fa2" "ebf7", options=dict(tick=0xEC), SECONDARY_VM_EXEC_CONTROL=S_VPID,
              VIRTUAL_PROCESSOR_ID=1, VM_EXIT_CONTROLS=ACK,
              PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR | NMI_EXITING, **fields)
    for _ in range(4):
        again(g)
    return g


def again(g):
    """One exit more, behind the CPUID; the page says nothing but RIP."""
    if g.launched:
        if g.mode == "plain":
            g.set(GUEST_RIP=CODE + 7)
        else:
            g.world.set_clean()
            g.world.put(0x44000, "guest_rip", CODE + 7)
    return g.run()


def test_a_tight_loop_counts_its_instructions(guest):
    g = looping(guest)
    before = g.cpu.counters()["l2_instructions"]
    assert again(g)[:4] == (10, 0, 2, CODE + 5)
    assert g.cpu.counters()["l2_instructions"] == before + 3
    assert g.regs()[RAX] == 5


@pytest.mark.parametrize("after, rip", [(0, 7), (1, 0), (2, 5), (3, 7), (4, 0)])
def test_an_interrupt_in_a_tight_loop(guest, after, rip):
    g = looping(guest)
    g.cpu.interrupt(0x31, after=after)
    found = again(g)
    if after > 2:
        assert found.reason == 10
        found = again(g)
    assert found[:4] == (1, 0, 0, CODE + rip)
    assert again(g).reason == 10


def test_an_event_that_waits_at_the_entry(guest):
    g = looping(guest)
    g.cpu.pending_nmi = True
    assert again(g)[:2] == (0, 0) and again(g).reason == 10


@pytest.mark.parametrize("change, reason", [
    (dict(GUEST_RFLAGS=2 | TF, EXCEPTION_BITMAP=2), 0),
    (dict(CPU_BASED_VM_EXEC_CONTROL=PROC | MTF), 37),
    (dict(CPU_BASED_VM_EXEC_CONTROL=PROC | INTR_WINDOW, GUEST_RFLAGS=2 | IF), 7),
    (dict(GUEST_CR3=0x20000), 2), (dict(GUEST_CS_AR_BYTES=0xC09B), 10),
    (dict(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6), 2),
    (dict(GUEST_ACTIVITY_STATE=HALTED), 1),
], ids=str)
def test_what_l1_changes_counts_at_once(guest, change, reason):
    g = looping(guest)
    assert g.run(GUEST_RIP=CODE + 7, **change).reason == reason


def test_a_flush_counts_at_once(guest):
    g = looping(guest)
    g.write(PD + 8 * 2, 0)
    assert again(g).reason == 10
    assert g.cpu.invvpid(2).ok
    assert again(g).reason == 2


def test_new_code_counts_at_once(guest):
    g = looping(guest)
    g.code("b806000000" "f390" "ebf7")
    g.cpu.interrupt(0x31, after=100)
    assert again(g).reason == 1 and g.regs()[RAX] == 6


@pytest.mark.parametrize("place", range(0xFE8, 0x1000))
def test_a_tight_loop_at_the_end_of_a_page(guest, place):
    at = CODE + place
    g = guest("", GUEST_RIP=at, SECONDARY_VM_EXEC_CONTROL=S_VPID, VIRTUAL_PROCESSOR_ID=1)
    g.code("eb03" "909090" "b805000000" "0fa2", at)
    for _ in range(2):
        assert g.run()[:4] == (10, 0, 2, at + 10)
        g.set(GUEST_RIP=at)
