# SPDX-License-Identifier: GPL-2.0-only
"""L2 stopped between two of its instructions: nobody notices, also when it moves there."""

import pytest
from guest import *
from test_save_restore import forged
from world import ALL_CLEAN, CLEAN_FIELDS, EVMCS, World

from kvm_vmx.machine.outcome import Stopped, VMsucceed

COUNTER = 0x600000
# what a guest does, and the fields that it wants
PROGRAMS = {
    # a loop that stores, then VMCALL
    "a loop": ("b803000000" "ffc8" "4889042500006000" "75f4" + VMCALL, {}),
    # STI and its shadow, then an interrupt of L2's own
    "a shadow": ("fb" "90" "90" "90" + VMCALL, {}),
    # an exception through the IDT, its handler, back by IRET
    "an exception": ("0f0b" "90" + VMCALL, {}),
    # an event that the entry injects
    "an injection": ("90" "90" + VMCALL, dict(VM_ENTRY_INTR_INFO_FIELD=VALID | EXT | 0x41,
                                              GUEST_RFLAGS=2 | IF)),
    # a monitor trap after each instruction
    "a monitor trap": ("90" "90" + VMCALL, dict(CPU_BASED_VM_EXEC_CONTROL=PROC | MTF)),
    # a single step
    "a single step": ("90" "90" + VMCALL, dict(GUEST_RFLAGS=2 | TF)),
    # HLT until an interrupt comes
    "a halt": ("fb" "f4" "90" + VMCALL, {}),
    # debug registers, MSRs and CR3 that L2 has changed
    "registers": ("0f23c0" "0f20d8" "0f22d8" "b874010000" "89c1" "0f30" + VMCALL,
                  dict(CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS, MSR_BITMAP=BITMAPS)),
}


def ready(guest, name):
    """A guest before its first entry, with events on their way."""
    code, fields = PROGRAMS[name]
    g = guest(code, **fields)
    g.vector(6, code="48ff042500006000" "4883042402" "48cf")
    g.vector(1, code="48ff042500006000" "48cf")
    g.vector(0x41, code="48ff042500006000" "48cf")
    if name in ("a shadow", "a halt"):
        g.cpu.interrupt(0x41, after=2)
    return g


def seen(g):
    """All that L1 sees after an exit, and what L2 has stored."""
    fields = ("GUEST_RSP", "GUEST_RFLAGS", "GUEST_INTERRUPTIBILITY_INFO", "GUEST_ACTIVITY_STATE",
              "GUEST_PENDING_DBG_EXCEPTIONS", "GUEST_CR3", "GUEST_SYSENTER_CS",
              "VM_ENTRY_INTR_INFO_FIELD")
    return (g.last(), [g.get(field) for field in fields], g.regs(), g.read(COUNTER),
            g.memory.read(STACK - 64, 64), g.cpu.rip, g.cpu.rsp, g.cpu.debug_registers)


PIECE = 1 << 16


def pieces(memory):
    """Where there is something in it, and where these guests store."""
    return {at for at in range(0, memory.size, PIECE)
            if at == COUNTER or memory.read(at, PIECE) != bytes(PIECE)}


def move(g):
    """Nothing is left of the old machine but its memory and the blob. All of memory is looked
    through once: a store elsewhere would be lost, and seen to be."""
    blob, old = g.cpu.save(), g.memory
    if not hasattr(g, "pieces"):
        g.pieces = pieces(old)
    g.world = World(vmx=False, **(g.options or {}))
    g.memory, g.cpu = g.world.memory, g.world.cpu
    for at in g.pieces:
        g.memory.write(at, old.read(at, PIECE))
    g.cpu.restore(blob)
    assert g.cpu.save() == blob


@pytest.mark.rule("R73")
@pytest.mark.case("P08")
@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", PROGRAMS)
def test_stopped_and_moved_at_every_boundary(guest, name):
    straight, stopped = ready(guest, name), ready(guest, name)
    for _ in range(3):
        straight.run()
        enter = stopped.cpu.vmresume if stopped.launched else stopped.cpu.vmlaunch
        outcome, boundaries, step = enter(stop_after=0), 0, 1
        while isinstance(outcome, Stopped):
            move(stopped)
            boundaries += 1
            outcome = stopped.cpu.go_on(stop_after=step)
            # a processor that waits comes to no other boundary: it stops where it is
            step = 1 if stopped.cpu.counters()["l2_instructions"] else None
        assert isinstance(outcome, VMsucceed) and boundaries
        stopped.launched = True
        assert seen(stopped) == seen(straight)
        for g in (straight, stopped):
            if g.last().reason == 18:
                g.set(GUEST_RIP=CODE)
                if name == "a halt":
                    g.cpu.interrupt(0x41, after=2)


def test_l1_sees_nothing_while_l2_is_stopped(guest):
    g = guest("90" "90" + VMCALL)
    before = g.memory.read(EVMCS, 4096)
    outcome = g.cpu.vmlaunch(stop_after=1)
    assert isinstance(outcome, Stopped) and not outcome.ok and g.cpu.stopped
    assert g.cpu.counters()["exits"] == 0 and g.cpu.counters()["l2_instructions"] == 1
    # the entry has marked what it has read, as KVM does
    after = bytearray(g.memory.read(EVMCS, 4096))
    after[CLEAN_FIELDS:CLEAN_FIELDS + 4] = before[CLEAN_FIELDS:CLEAN_FIELDS + 4]
    assert after == before
    for instruction in (g.cpu.vmresume, g.cpu.vmptrst, lambda: g.cpu.rdmsr(0x10)):
        with pytest.raises(RuntimeError, match="go_on"):
            instruction()
    assert g.cpu.go_on().ok and not g.cpu.stopped and g.last().reason == 18
    with pytest.raises(RuntimeError, match="stop_after"):
        g.cpu.go_on()


def test_l2_that_leaves_before_does_not_stop(guest):
    g = guest("90" + VMCALL)
    assert g.cpu.vmlaunch(stop_after=100).ok and g.last().reason == 18
    g.launched = True
    assert g.run(code="90" * 200 + VMCALL).rip == CODE + 200, "and not at the next entry"


@pytest.mark.parametrize("policy", ["always", "never", "random(4)", "commit_on_success"])
def test_a_stop_is_no_failed_entry_and_no_lint(policy):
    g = Guest("evmcs", "90" + VMCALL, options={"cache_policy": policy, "lints": True})
    for n in range(3):
        g.set(GUEST_RIP=CODE, GUEST_RSP=0x9000 + n)
        enter = g.cpu.vmresume if n else g.cpu.vmlaunch
        assert isinstance(enter(stop_after=1), Stopped)
        assert g.cpu.go_on().ok and g.last().reason == 18
        g.world.set_clean()
    assert g.get("GUEST_RSP") == 0x9002 and g.world.partition.lints() == []
    assert g.cpu.counters()["failed_entries"] == 0


@pytest.mark.rule("R73")
def test_after_a_move_everything_is_read_again():
    """What L1 stored into its page while L2 stood still counts at the next entry, as ever."""
    g = Guest("evmcs", "90" + VMCALL)
    assert isinstance(g.cpu.vmlaunch(stop_after=1), Stopped)
    move(g)
    g.world.set_clean(ALL_CLEAN)
    assert g.cpu.go_on().ok
    g.world.put(EVMCS, "host_rsp", 0x4444)
    g.world.set_clean(ALL_CLEAN)
    assert g.cpu.vmresume().ok and g.cpu.rsp == 0x4444
    assert g.cpu.counters()["groups_reread"] == 16


# where these numbers stand, from the blob's end
STOPPED_AT, ENLIGHTENED_AT, TRAP_AT, MONITORING_AT = 0, 4, 8, 12


def test_a_blob_that_stops_nowhere(guest):
    g = guest("90" + VMCALL)
    running = g.cpu.save()
    assert isinstance(g.cpu.vmlaunch(stop_after=1), Stopped)
    blob = g.cpu.save()
    (first,) = [at for at in range(len(blob) - 2000, len(blob) - 8, 4)
                if blob[at:at + 4] == b"\1\0\0\0" and running[at:at + 4] == bytes(4)][:1]
    for at in (STOPPED_AT, ENLIGHTENED_AT, TRAP_AT, MONITORING_AT):
        with pytest.raises(ValueError, match="no such value"):
            g.cpu.restore(forged(blob, first + at, 2, 4))
    other = World(vmx=False)
    with pytest.raises(ValueError, match="without a VMCS"):
        other.cpu.restore(forged(other.cpu.save(), first, 1, 4))
    world = World()
    world.plain(GUEST_RFLAGS=0)
    with pytest.raises(ValueError, match="no state of a processor"):
        world.cpu.restore(forged(world.cpu.save(), first, 1, 4))
    assert g.cpu.stopped and g.cpu.go_on().ok
    g.cpu.restore(blob)
    assert g.cpu.stopped
    g.cpu.restore(running)
    assert not g.cpu.stopped
