# SPDX-License-Identifier: GPL-2.0-only
"""Lints about what lies between two entries: translations, flushes, events, writes nobody reads.

Each with an L1 that breaks the rule, and with one beside it that keeps it.
"""

import pytest
from guest import *
from test_direct_flush import INPUT, SPACE, call, enlighten
from world import ALL_CLEAN, EVMCS, FIELDS, GROUP_BITS, VMCS_A, VMCS_B, World

from kvm_vmx import ConformanceError

EVERYTHING = {0x4000000A: (0x2E0101, 1, 0, 0)}
# not where code, tables or each other stand in a TLB of 64 entries
PLACE, OTHER = 0x605000, 0x626000
LOAD = "488b03" + VMCALL
VMCALL_EXIT, VIOLATION = 18, 48
FLUSH_SPACE = 0xAF | 1 << 16


# What a plain VMCS shows, too.
by_both = pytest.mark.parametrize("mode", ["evmcs", "plain"])


def watched(code=LOAD, mode="evmcs", **fields):
    """A guest with EPT and VPID, looked at, which reads PLACE."""
    g = Guest(mode, code, {"lints": True, "cpuid": EVERYTHING}, **{
        "SECONDARY_VM_EXEC_CONTROL": S_EPT | S_VPID, "VIRTUAL_PROCESSOR_ID": 1,
        "EPT_POINTER": EPT | 0x1E, **fields})
    g.map_ept()
    g.write(PLACE, 0x1111)
    g.write(OTHER, 0x2222)
    g.regs(rbx=PLACE)
    return g


def told(g):
    return [lint for lint in g.world.partition.lints() if lint != "entry_refused"]


def only(g):
    (lint,) = told(g)
    return lint


def again(g):
    assert g.run(GUEST_RIP=CODE).reason == VMCALL_EXIT
    return g.regs()[RAX]


@pytest.mark.rule("R74")
@by_both
def test_a_translation_whose_ept_entry_has_changed(mode):
    g = watched(mode=mode)
    assert g.run().reason == VMCALL_EXIT and again(g) == 0x1111 and told(g) == []
    g.write(g.ept_entry(PLACE), OTHER | 0x37)
    assert again(g) == 0x1111, "looking changes nothing"
    lint = only(g)
    assert lint == "stale_translation" and lint.rule == "R74"
    assert (lint.found, lint.kept, lint.cpu, lint.entry, lint.count) == (PLACE, PLACE, 0, 3, 1)
    assert f"{PLACE:#x}" in lint.explain() and "between entries 2 and 3" in lint.explain()
    assert again(g) == 0x1111 and only(g).count == 2


def invept(g):
    assert g.cpu.invept(1, EPT | 0x1E).ok


def hypercall(g):
    assert g.cpu.wrmsr(0x40000000, 1).ok
    assert g.cpu.hypercall(FLUSH_SPACE, EPT | 0x1E, 0).value == 0


@pytest.mark.rule("R74", "R87")
@pytest.mark.parametrize("flush", [invept, hypercall])
@by_both
def test_a_flush_ends_it(flush, mode):
    g = watched(mode=mode)
    assert g.run().reason == VMCALL_EXIT
    g.write(g.ept_entry(PLACE), OTHER | 0x37)
    flush(g)
    assert again(g) == 0x2222 and told(g) == []


@pytest.mark.rule("R74")
@pytest.mark.parametrize(("before", "after", "stale"), [
    (0x31, 0x37, False), (0x37, 0x337, False), (0x37, 0x33, False), (0x37, 0x34, True),
    (0x37, 0, True), (0x37, 0x77, False)])
@by_both
def test_what_the_change_of_an_entry_means(before, after, stale, mode):
    """Rights that are added, accessed and dirty flags, rights that L2 does not use."""
    g = watched(mode=mode)
    g.write(g.ept_entry(PLACE), PLACE | before)
    assert g.run().reason == VMCALL_EXIT
    g.write(g.ept_entry(PLACE), PLACE | after if after else 0)
    assert again(g) == 0x1111
    assert told(g) == ["stale_translation"] * stale


@pytest.mark.rule("R74")
def test_the_table_above_the_entry_counts_and_what_l2_does_not_use_does_not():
    g = watched()
    assert g.run().reason == VMCALL_EXIT
    g.write(EPT + 0x2000 + 8 * (PLACE >> 21), 0)
    g.code(VMCALL)
    assert again(g) == 0x1111
    assert told(g) == [], "L2 did not look"
    g.code(LOAD)
    assert again(g) == 0x1111 and only(g) == "stale_translation"


@pytest.mark.rule("R87")
@pytest.mark.parametrize(("space", "lints"), [
    (EPT | 0x1E, []), (EPT, []), (0, ["flush_unknown_space"]),
    (0x123000, ["flush_unknown_space"])])
def test_a_flush_of_a_space_that_no_vmcs_has(space, lints):
    g = watched()
    assert g.run().reason == VMCALL_EXIT and g.cpu.wrmsr(0x40000000, 1).ok
    assert g.cpu.vmclear(EVMCS).ok, "of a VMCS that was, too"
    assert g.cpu.hypercall(FLUSH_SPACE, space, 0).value == 0
    assert told(g) == lints
    if lints:
        assert only(g).found == space and hex(space) in only(g).explain()


@pytest.mark.rule("R87")
@by_both
def test_more_spaces_than_a_processor_has_place_for(mode):
    """Then any may have been one; what stands behind the places is left alone."""
    g = watched(VMCALL, mode)
    assert g.cpu.wrmsr(0x40000000, 1).ok
    for n in range(100):
        g.world.memory.write(EPT + 0x100000 + 0x1000 * n, g.world.memory.read(EPT, 4096))
        assert g.run(GUEST_RIP=CODE, EPT_POINTER=EPT + 0x100000 + 0x1000 * n | 0x1E,
                     VIRTUAL_PROCESSOR_ID=n + 1).reason == VMCALL_EXIT
        if mode == "plain":
            g.world.cpu.vmclear(VMCS_A)
            g.world.cpu.vmptrld(VMCS_A)
            g.launched = False
    assert g.cpu.hypercall(FLUSH_SPACE, 0x123000, 0).value == 0
    assert told(g) == []


@pytest.mark.rule("R90")
@pytest.mark.parametrize(("vp", "mask", "lints"), [
    (69, (1 << 64) - 1, ["flush_set_short"]), (64, (1 << 64) - 1, ["flush_set_short"]),
    (63, (1 << 64) - 1, []), (69, 3, [])])
def test_a_set_that_cannot_name_a_processor(vp, mask, lints):
    world = World(cpus=2, lints=True)
    other = world.partition.processor(1)
    enlighten(world)
    world.enlighten(0x60000, cpu=other, assist=0x61000, hv_vm_id=1, hv_vp_id=vp,
                    hv_enlightenments_control=1, partition_assist_page=0x62000)
    world.memory.write(0x61000 + 0x20, b"\1")
    assert other.vmlaunch().ok
    for n, word in enumerate((0, 0, mask)):
        world.memory.write_u64(INPUT + 8 * n, word)
    assert call(world, SPACE, INPUT)[1] == 0
    found = [lint for lint in world.partition.lints() if lint == "flush_set_short"]
    assert found == lints and (not lints or found[0].found == vp)


def interrupted(mode, **fields):
    """An event whose delivery an EPT violation has ended."""
    g = watched(VMCALL, mode, VM_ENTRY_INTR_INFO_FIELD=VALID | 0x20, GUEST_RFLAGS=IF | 2, **fields)
    g.vector(0x20)
    g.write(g.ept_entry(IDT), 0)
    found = g.run()
    assert found.reason == VIOLATION and found.idt_info == VALID | 0x20
    g.write(g.ept_entry(IDT), IDT | 0x37)
    return g


@by_both
def test_an_event_that_is_not_injected_again_is_lost(mode):
    g = interrupted(mode)
    assert g.run(GUEST_RFLAGS=IF | 2).reason == VMCALL_EXIT
    lint = only(g)
    assert lint == "event_lost" and (lint.found, lint.kept, lint.entry) == (
        VALID | 0x20, VIOLATION, 2)
    assert "0x80000020" in lint.explain()


@by_both
def test_an_event_that_is_or_whose_delivery_l1_does_itself_is_not(mode):
    g = interrupted(mode)
    assert g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | 0x20).reason == VMCALL_EXIT
    assert told(g) == []
    g = interrupted(mode)
    assert g.run(code=VMCALL, GUEST_RIP=CODE + 0x100).reason in (VMCALL_EXIT, 0, 2)
    assert told(g) == []


def test_an_event_of_a_plain_vmcs_is_its_own():
    """Another VMCS in between, and the same page after VMCLEAR: what it was is no more."""
    for other in (False, True):
        g = interrupted("plain")
        fields = {name: g.cpu.vmread(FIELDS[name]).value for name in (
            "GUEST_RIP", "EPT_POINTER", "SECONDARY_VM_EXEC_CONTROL", "VIRTUAL_PROCESSOR_ID")}
        g.world.plain(page=VMCS_B if other else VMCS_A, **fields)
        assert g.cpu.vmlaunch().ok and told(g) == []
        assert g.cpu.vmread(FIELDS["VM_EXIT_REASON"]).value == VMCALL_EXIT


def delivered(mode):
    """An exception that was delivered, before a violation at its handler."""
    g = watched(VMCALL, mode, VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6)
    g.vector(6, PLACE)
    g.write(g.ept_entry(PLACE), 0)
    found = g.run()
    assert found.reason == VIOLATION and found.rip == PLACE and found.idt_info == 0
    g.code(VMCALL, PLACE)
    g.write(g.ept_entry(PLACE), PLACE | 0x37)
    return g


@by_both
def test_an_event_that_was_delivered_is_not_injected_again(mode):
    g = delivered(mode)
    assert g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | 6).reason == VMCALL_EXIT
    assert only(g) == "event_doubled" and only(g).found == VALID | HARD | 6
    g = delivered(mode)
    assert g.run(GUEST_RFLAGS=2).reason == VMCALL_EXIT and told(g) == []
    # another one, or after an instruction, is L1's right
    g = delivered(mode)
    g.vector(13)
    g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | CODE_BIT | 13, VM_ENTRY_EXCEPTION_ERROR_CODE=0)
    g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | CODE_BIT | 13, VM_ENTRY_EXCEPTION_ERROR_CODE=0)
    assert told(g) == []


def entered(**options):
    world = World(lints=True, cpuid=EVERYTHING, **options)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    assert world.cpu.vmresume().ok
    return world


@pytest.mark.rule("R39")
@pytest.mark.parametrize("clean", [True, False])
def test_a_write_that_vmclear_leaves_unread(clean):
    """Behind a set clean bit it is; else L1 has said that L0 is to read it."""
    world = entered()
    old = world.get(EVMCS, "host_rsp")
    world.put(EVMCS, "host_rsp", old + 8)
    world.set_clean(ALL_CLEAN if clean else ALL_CLEAN & ~(1 << GROUP_BITS["HOST_POINTER"]))
    assert world.cpu.vmclear(EVMCS).ok
    lints = world.partition.lints()
    assert lints == ["write_unread"] * clean
    for lint in lints:
        assert (lint.field, lint.group, lint.cpu, lint.entry) == ("HOST_RSP", "HOST_POINTER", 0, 2)
        assert (lint.found, lint.kept) == (old + 8, old) and "after entry 2" in lint.explain()


@pytest.mark.rule("K7")
@pytest.mark.parametrize("policy", ["always", "commit_on_success"])
@pytest.mark.parametrize("clean", [True, False])
def test_clean_bits_after_an_entry_that_failed(policy, clean):
    world = entered(cache_policy=policy)
    group = 1 << GROUP_BITS["GUEST_BASIC"]
    world.put(EVMCS, "guest_rflags", 0)
    world.set_clean(ALL_CLEAN & ~group)
    assert world.cpu.vmresume().why.id == "guest_rflags"
    world.put(EVMCS, "guest_rflags", 2)
    world.set_clean(ALL_CLEAN if clean else ALL_CLEAN & ~group)
    world.cpu.vmresume()
    lints = [lint for lint in world.partition.lints() if lint == "clean_unread"]
    assert lints == ["clean_unread"] * clean
    assert all(lint.kept == group and lint.rule == "K7" for lint in lints)


@pytest.mark.rule("R20")
@pytest.mark.parametrize("strict", [False, True])
def test_an_entry_without_an_assist_page(strict):
    world = World(lints=True, strict=strict)
    if strict:
        with pytest.raises(ConformanceError, match="R20.*MSR 0x40000073 is 0x0"):
            world.cpu.vmlaunch()
        return
    assert world.cpu.vmlaunch().why.id == "assist_page_off"
    (lint,) = world.partition.lints()
    assert lint == "assist_page_unset" and (lint.rule, lint.cpu, lint.entry) == ("R20", 0, 1)
    assert "assist page is off: MSR 0x40000073 is 0x0" in lint.explain()


@pytest.mark.parametrize("strict", [False, True])
def test_a_refused_entry_is_told_and_strictness_goes_on(strict):
    world = entered(strict=strict)
    for value in (0, 2):
        world.put(EVMCS, "guest_rflags", value)
        world.set_clean(0)
        outcome = world.cpu.vmresume()
        assert (outcome.why is None) == (value == 2)
    (lint,) = world.partition.lints()
    assert lint == "entry_refused" and (lint.field, lint.entry) == ("GUEST_RFLAGS", 3)
    assert lint.rule == "SDM 3C 27.3.1.4" and "bit 1 must be 1" in lint.explain()
