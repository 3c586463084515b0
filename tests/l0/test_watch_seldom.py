# SPDX-License-Identifier: GPL-2.0-only
"""What a watched processor seldom sees: more lints than it keeps, more stale translations than a
TLB has, large pages that change, events that end in other ways."""

import pytest
from guest import *
from modes import narrow
from test_direct_flush import INPUT, SPACE, SPACE_EX, call, enlighten
from test_lints_between import (
    FLUSH_SPACE, LOAD, OTHER, PLACE, VIOLATION, VMCALL_EXIT, again, by_both, only, told, watched,
)  # fmt: skip
from world import EVMCS, GROUP_BITS, LAYOUT, TABLE, World

from kvm_vmx import ConformanceError

LARGE = 7 << 21 | 0x5000


def test_more_lints_than_are_kept():
    """Each member that L1 changes behind a set clean bit is one; all are counted."""
    world = World(lints=True)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    members = [name for _, name, group in TABLE if group in GROUP_BITS]
    for turn in range(4):
        for name in members:
            at, size = LAYOUT[name]
            world.memory.write(EVMCS + at, bytes([turn + 1] * size))
        world.set_clean()
        world.cpu.vmresume()
    # and once more as what VMCLEAR leaves unread
    assert world.cpu.vmclear(EVMCS).ok
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    assert world.cpu.vmresume().ok
    for name in members:
        at, size = LAYOUT[name]
        world.memory.write(EVMCS + at, bytes([9] * size))
    world.set_clean()
    assert world.cpu.vmclear(EVMCS).ok
    lints = world.partition.lints()
    assert 200 < len(lints) <= 256
    assert world.cpu.counters()["lints"] >= sum(lint.count for lint in lints)


@pytest.mark.parametrize("entries", [1, 2])
def test_a_strict_partition_stops_once(entries):
    """At the first of many, whatever else the same entry has."""
    world = World(lints=True, strict=True)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    for name in ("host_rsp", "guest_cr3", "exception_bitmap", "tsc_offset"):
        world.put(EVMCS, name, world.get(EVMCS, name) ^ 1)
    world.set_clean()
    with pytest.raises(ConformanceError, match="host_rsp|HOST_RSP|GUEST_CR3|EXCEPTION|TSC_OFFSET"):
        world.cpu.vmresume()
    for _ in range(entries):
        with pytest.raises(ConformanceError):
            world.cpu.vmresume()


@pytest.mark.parametrize("kind, lost", [
    (EXT | 0x20, True), (NMI | 2, True), (HARD | 6, True), (SOFT_INT | 0x20, False)])
@by_both
def test_which_events_are_lost(mode, kind, lost):
    """SDM 3C 28.2.4: a software interrupt comes again by its instruction."""
    g = watched(VMCALL, mode, VM_ENTRY_INTR_INFO_FIELD=VALID | kind, GUEST_RFLAGS=IF | 2,
                VM_ENTRY_INSTRUCTION_LEN=2)
    g.vector(kind & 0xFF)
    g.write(g.ept_entry(IDT), 0)
    found = g.run()
    assert found.reason == VIOLATION and found.idt_info == VALID | kind
    g.write(g.ept_entry(IDT), IDT | 0x37)
    assert g.run(GUEST_RFLAGS=2).reason == VMCALL_EXIT
    assert told(g) == ["event_lost"] * lost


@pytest.mark.parametrize("limit, bitmap, ends", [
    (0xFFF, 1 << 11, 0),        # its gate is not present, and L1 has that exception
    (0, 0, 2)])                 # no gate for it, nor for what follows: SDM 27.2.4 has it no more
@by_both
def test_an_event_whose_delivery_ends_otherwise_is_l1_s_to_merge(mode, limit, bitmap, ends):
    g = watched(VMCALL, mode, VM_ENTRY_INTR_INFO_FIELD=VALID | 0x20, GUEST_RFLAGS=IF | 2,
                GUEST_IDTR_LIMIT=limit, EXCEPTION_BITMAP=bitmap)
    g.vector(0x20, present=0)
    found = g.run()
    assert (found.reason, found.idt_info >> 31) == (ends, ends != 2)
    assert g.run(GUEST_RFLAGS=2, GUEST_ACTIVITY_STATE=0).reason == VMCALL_EXIT and told(g) == []


def test_an_event_through_a_task_gate_is_l1_s_to_do():
    g = narrow(VMCALL, options={"lints": True}, GUEST_RFLAGS=IF | 2,
               VM_ENTRY_INTR_INFO_FIELD=VALID | 0x20, GUEST_IDTR_LIMIT=0xFFF)
    g.write(IDT + 8 * 0x20, 0x0000850000300000)
    g.set(GUEST_GDTR_LIMIT=0x4F)
    g.write(GDT + 0x30, descriptor(0x89))
    assert g.run().reason == 9
    assert g.run(GUEST_RFLAGS=2).reason == VMCALL_EXIT and told(g) == []


@pytest.mark.parametrize("code, fields, ends, doubled", [
    # exits that no instruction makes, behind at most one
    ("90" * 4, dict(PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6, VMX_PREEMPTION_TIMER_VALUE=1), 52, 1),
    ("fb90", dict(CPU_BASED_VM_EXEC_CONTROL=PROC | VALID | INTR_WINDOW), 7, 0),
    ("90" * 4, dict(PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR), 1, 1),
    # an instruction's own, and behind several
    ("0fa2", {}, 10, 0),
    ("90" * 8, dict(PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6, VMX_PREEMPTION_TIMER_VALUE=6), 52, 0)])
def test_exits_behind_which_an_event_is_doubled(code, fields, ends, doubled):
    g = Guest("plain", VMCALL, {"lints": True, "profile": "bare"}, GUEST_RFLAGS=2,
              VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6)
    g.vector(6, code=code + VMCALL)
    g.set(**fields)
    if ends == 1:
        g.cpu.interrupt(0x41, after=0)
    found = g.run()
    assert found.reason == ends
    g.cpu.forget_events()
    g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6, PIN_BASED_VM_EXEC_CONTROL=PIN,
          CPU_BASED_VM_EXEC_CONTROL=PROC | VALID)
    assert [lint for lint in told(g) if lint != "highest_leaf"] == ["event_doubled"] * doubled


@pytest.mark.parametrize("level", [1, 2])
@by_both
def test_a_large_page_that_changes(mode, level):
    """The walk ends above the last table; what is below is that entry."""
    g = watched(mode=mode)
    at, page = (EPT + 0x2038, 7 << 21) if level == 1 else (EPT + 0x1000, 0)
    g.write(at, page | 0xB7)
    g.regs(rbx=LARGE)
    g.write(LARGE, 0x3333)
    assert g.run().reason == VMCALL_EXIT and again(g) == 0x3333 and told(g) == []
    if level == 1:
        # L2 does without what is taken away
        g.write(at, page | 0xB1)
        assert again(g) == 0x3333 and told(g) == []
    g.write(at, 0)
    assert again(g) == 0x3333 and only(g) == "stale_translation"


def test_more_stale_translations_than_a_tlb_has():
    """The TLB has 64 places: what L2 walks to anew takes the place of what was stale there."""
    # mov rax,[rbx]; add rbx,0x1000; loop; vmcall
    g = watched("488b03" "4881c300100000" "e2f4" + VMCALL)
    first = 0x600000
    pages = range(first, first + 100 * 0x1000, 0x1000)
    g.regs(rbx=first, rcx=100)
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT
    for page in pages:
        g.write(g.ept_entry(page), OTHER | 0x37)
    g.regs(rbx=first, rcx=100)
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT
    # those of the last 64 that the first 36 have not put out; one of them is where it was
    kept = set(pages[36:64]) - {OTHER}
    assert (only(g), only(g).count) == ("stale_translation", len(kept))
    assert g.cpu.invept(2).ok
    g.regs(rbx=first, rcx=1)
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT and g.regs()[RAX] == 0x2222


@pytest.mark.parametrize("right, store, stale", [(0x31, False, True), (0x31, True, False)])
def test_a_stale_translation_has_the_rights_that_it_had(right, store, stale):
    """L2 writes where it could only read: the walk says what happens, and nothing was stale."""
    g = watched()
    g.write(g.ept_entry(PLACE), PLACE | right)
    assert g.run().reason == VMCALL_EXIT
    g.write(g.ept_entry(PLACE), OTHER | 0x37)
    g.code("488903" + VMCALL if store else LOAD)
    g.regs(rax=0x4444)
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT
    assert told(g) == ["stale_translation"] * stale
    assert g.read(OTHER) == (0x4444 if store else 0x2222)


@pytest.mark.parametrize("space, lints", [(EPT, []), (0x123000, ["flush_unknown_space"])])
def test_the_space_of_a_vmcs_that_has_not_entered(space, lints):
    """R87: the current one's EPT pointer is a space that may be flushed."""
    g = watched(mode="plain")
    assert g.cpu.wrmsr(0x40000000, 1).ok
    assert g.cpu.hypercall(FLUSH_SPACE, space, 0).value == 0
    assert told(g) == lints


@pytest.mark.rule("R90")
@pytest.mark.parametrize("vm, active, lints", [(1, True, ["flush_set_short"]), (2, True, []),
                                               (1, False, [])])
def test_a_set_names_the_processors_of_its_own_vm(vm, active, lints):
    world = World(cpus=2, lints=True)
    other = world.partition.processor(1)
    enlighten(world)
    if active:
        world.enlighten(0x60000, cpu=other, assist=0x61000, hv_vm_id=vm, hv_vp_id=69,
                        hv_enlightenments_control=1, partition_assist_page=0x62000)
        world.memory.write(0x61000 + 0x20, b"\1")
        assert other.vmlaunch().ok
    for n, word in enumerate((0, 0, (1 << 64) - 1)):
        world.memory.write_u64(INPUT + 8 * n, word)
    assert call(world, SPACE, INPUT)[1] == 0
    assert [lint for lint in world.partition.lints() if lint == "flush_set_short"] == lints


@pytest.mark.rule("R90")
@pytest.mark.parametrize("mask, lints", [(1, ["flush_set_short"]), (3, []), (2, [])])
def test_a_sparse_set_of_one_bank_is_short_too(mask, lints):
    world = World(cpus=2, lints=True)
    other = world.partition.processor(1)
    enlighten(world)
    world.enlighten(0x60000, cpu=other, assist=0x61000, hv_vm_id=1, hv_vp_id=69,
                    hv_enlightenments_control=1, partition_assist_page=0x62000)
    world.memory.write(0x61000 + 0x20, b"\1")
    assert other.vmlaunch().ok
    banks = [(1 << 64) - 1] * mask.bit_count()
    for n, word in enumerate((0, 0, 0, mask, *banks)):
        world.memory.write_u64(INPUT + 8 * n, word)
    assert call(world, SPACE_EX | len(banks) << 17, INPUT)[1] == 0
    assert [lint for lint in world.partition.lints() if lint == "flush_set_short"] == lints


def test_a_strict_partition_stops_a_plain_vmcs_too():
    """At the entry that breaks the rule, which has not entered, and at those behind it."""
    g = Guest("plain", VMCALL, {"strict": True}, VM_ENTRY_INTR_INFO_FIELD=VALID | 0x20,
              GUEST_RFLAGS=IF | 2, SECONDARY_VM_EXEC_CONTROL=S_EPT, EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    g.write(g.ept_entry(IDT), 0)
    assert g.run().reason == VIOLATION
    g.write(g.ept_entry(IDT), IDT | 0x37)
    for _ in range(2):
        with pytest.raises(ConformanceError, match="event"):
            g.cpu.vmresume()
    assert g.cpu.counters()["exits"] == 1


@by_both
def test_what_is_watched_over_a_stop_of_l2(mode):
    """L2 stands still between an entry and its exit, to L1 nothing has happened."""
    g = interrupted_entry(mode)
    assert "Stopped" in repr(g.cpu.vmresume(stop_after=2))
    g.cpu.go_on()
    assert g.last().reason == VMCALL_EXIT and told(g) == ["event_lost"]
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT and told(g) == ["event_lost"]


def interrupted_entry(mode):
    g = watched("90" * 4 + VMCALL, mode, VM_ENTRY_INTR_INFO_FIELD=VALID | 0x20,
                GUEST_RFLAGS=IF | 2)
    g.write(g.ept_entry(IDT), 0)
    assert g.run().reason == VIOLATION
    g.set(GUEST_RFLAGS=2)
    return g


@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
def test_a_partition_that_begins_anew(profile):
    """TLFS 7.8.2: what lies under an overlay is seen again; processors are out of VMX operation."""
    world = World(cpus=2, profile=profile)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.partition.reset()
    assert world.cpu.rdmsr(0x40000073).value == 0 and not world.cpu.vmptrst().ok
    world.turn_on(world.cpu)
