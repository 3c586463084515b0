# SPDX-License-Identifier: GPL-2.0-only
"""What is told of an entry that could have repeated the last one, had nobody looked.

L2 leaves by one CPUID after the other, so often that the short way is open. Then L1 does one
thing that the short way alone would not see.
"""

import pytest
from guest import *
from world import ASSIST, BASE, EVMCS, EVMCS_B, FIELDS, LAYOUT, TABLE, VMCS_B

from kvm_vmx import ConformanceError
from kvm_vmx.machine.guests import CPUID_LOOP

EVERYTHING = {0x4000000A: (0x2E0101, 1, 0, 0)}
BESIDE = CODE + 0x40
# not where code, tables or each other stand in a TLB of 64 entries
PLACE, OTHER = 0x605000, 0x626000
LOAD = "488b03" + VMCALL
FLUSH_SPACE = 0xAF | 1 << 16
CPUID_EXIT, VMCALL_EXIT = 10, 18
COPIES = 0xC00000
# the loads and stores of MSRs by which an entry may repeat the last one
LOADS = {"VM_ENTRY_CONTROLS": BASE[FIELDS["VM_ENTRY_CONTROLS"]] | 0xC004,
         "VM_EXIT_CONTROLS": BASE[FIELDS["VM_EXIT_CONTROLS"]] & ~0x1000 | 0x3C0004}
# what a lint of a field does not look at, or what ends an entry
LIVE = {"GUEST_RIP", "TPR_THRESHOLD", "CR3_TARGET_COUNT", "VM_EXIT_MSR_STORE_COUNT",
        "VM_EXIT_MSR_LOAD_COUNT", "VM_ENTRY_MSR_LOAD_COUNT"}

by_both = pytest.mark.parametrize("mode", ["evmcs", "plain"])


class Steady(Guest):
    """A guest whose entries repeat each other, looked at."""

    def __init__(self, mode="evmcs", **options):
        super().__init__(
            mode, CPUID_LOOP.hex(), {"lints": True, "cpuid": EVERYTHING, **options},
            SECONDARY_VM_EXEC_CONTROL=S_EPT | S_VPID, VIRTUAL_PROCESSOR_ID=1,
            EPT_POINTER=EPT | 0x1E, **LOADS)
        self.map_ept()
        self.code(LOAD, BESIDE)
        self.write(PLACE, 0x1111)
        self.write(OTHER, 0x2222)
        self.steps()
        assert self.told() == []

    def step(self):
        """An entry that ends at the next CPUID, and L1 steps over it."""
        outcome = self.cpu.vmresume() if self.launched else self.cpu.vmlaunch()
        self.launched = True
        if outcome.ok and self.get("VM_EXIT_REASON") == CPUID_EXIT:
            self.jump(self.get("GUEST_RIP") + 2)
        return outcome

    def steps(self, count=5):
        for _ in range(count):
            assert self.step().ok and self.get("VM_EXIT_REASON") == CPUID_EXIT

    def jump(self, rip):
        """RIP has no clean bit, so that all others stay set."""
        if self.mode == "plain":
            assert self.cpu.vmwrite(FIELDS["GUEST_RIP"], rip).ok
        else:
            self.world.put(EVMCS, "guest_rip", rip)
            self.world.set_clean()

    def load(self, place):
        """L2 reads a quadword once, and goes back to its loop."""
        rip = self.get("GUEST_RIP")
        self.regs(rbx=place)
        self.jump(BESIDE)
        assert self.cpu.vmresume().ok and self.get("VM_EXIT_REASON") == VMCALL_EXIT
        self.jump(rip)
        return self.regs()[RAX]

    def told(self):
        return [lint for lint in self.world.partition.lints() if lint != "entry_refused"]

    def only(self):
        (lint,) = self.told()
        return lint


@pytest.mark.rule("R39", "R41", "R58")
def test_each_field_that_l1_has_changed():
    """Behind clean bits, without a group, or the exit's information: once each."""
    g = Steady()
    for encoding, member, group in TABLE:
        if encoding in LIVE:
            continue
        offset, size = LAYOUT[member]
        g.memory.write(EVMCS + offset + size - 1, bytes([
            g.memory.read(EVMCS + offset + size - 1, 1)[0] ^ 1]))
        entry = g.cpu.counters()["vmlaunch"] + g.cpu.counters()["vmresume"] + 1
        g.steps(4)
        found = [lint for lint in g.told() if lint.field == encoding]
        assert [(lint.count, lint.entry) for lint in found] == [(1, entry)], encoding
        if group not in ("NONE", "ALL"):
            assert found == ["stale_field"]


@pytest.mark.rule("R29")
def test_what_an_entry_tells_each_of_the_next_ones_tells():
    g = Steady()
    g.world.put(EVMCS, "revision_id", 2)
    g.steps(4)
    lint = g.only()
    assert (lint, lint.count, lint.last_entry) == ("version_changed", 4, 9)


@pytest.mark.rule("R26")
@pytest.mark.parametrize("offset, value, name", [
    (4, 1, "assist_page_reserved"), (0x20, 4, "enlightenments_reserved"),
    (0x24, 2, "enlightenments_reserved"), (0x28, 2, "switch_value"),
    (0x2f, 1, "assist_page_reserved")])
def test_the_assist_page(offset, value, name):
    g = Steady()
    g.memory.write(ASSIST + offset, bytes([value]))
    g.steps(3)
    assert (g.only(), g.only().count) == (name, 3)


def tables_of(gpa):
    """Where the four entries are that lead to a page, the root's first."""
    return [EPT + 8 * (gpa >> 39), EPT + 0x1000 + 8 * (gpa >> 30 & 511),
            EPT + 0x2000 + 8 * (gpa >> 21 & 511), EPT + 0x3000 + 0x1000 * (gpa >> 21)
            + 8 * (gpa >> 12 & 511)]


@by_both
@pytest.mark.rule("R74")
@pytest.mark.parametrize("level", range(4))
def test_a_table_on_the_way_to_the_loop(level, mode):
    """L1 puts a copy in the place of a table, or of the page, and changes what that leads to."""
    g = Steady(mode)
    slot = tables_of(CODE)[level]
    at = COPIES
    for lower in range(level, 4):
        here = slot if lower == level else at - 0x1000 + (tables_of(CODE)[lower] & 0xFFF)
        table = g.read(here) & ~0xFFF
        g.memory.write(at, g.memory.read(table, 4096))
        g.write(here, at | g.read(here) & 0xFFF)
        at += 0x1000
    g.steps(3)
    lint = g.only()
    assert (lint, lint.entry, lint.found) == ("stale_translation", 6, CODE)


@by_both
@pytest.mark.rule("R74")
@pytest.mark.parametrize("entries", [1, 3])
def test_a_table_that_was_changed_and_changed_back(entries, mode):
    """Each entry looks: what was stale at one of them is told where L2 uses it."""
    g = Steady(mode)
    assert g.load(PLACE) == 0x1111
    g.steps()
    slot = g.ept_entry(PLACE)
    was = g.read(slot)
    g.write(slot, OTHER | was & 0xFFF)
    g.steps(entries)
    g.write(slot, was)
    g.steps(entries)
    assert g.told() == [] and g.load(PLACE) == 0x1111
    assert (g.only(), g.only().found) == ("stale_translation", PLACE)


@by_both
@pytest.mark.rule("R74")
def test_a_translation_that_came_after_the_loop_had_begun(mode):
    g = Steady(mode)
    assert g.load(PLACE) == 0x1111 and g.load(OTHER) == 0x2222
    g.steps()
    g.write(g.ept_entry(PLACE), 0)
    g.steps(2)
    assert g.load(OTHER) == 0x2222 and g.told() == []
    for count in range(1, 4):
        assert g.load(PLACE) == 0x1111
        assert (g.only(), g.only().count) == ("stale_translation", count)


@by_both
def test_a_strict_partition_stops_a_loop_where_another_processor_errs(mode):
    g = Steady(mode, cpus=2, lints=False, strict=True)
    other = g.world.partition.processor(1)
    g.world.enlighten(page=EVMCS_B, cpu=other, assist=COPIES)
    assert other.vmlaunch().ok
    assert g.step().ok
    exits = g.cpu.counters()["exits"]
    for act in (lambda: other.vmptrld(VMCS_B), g.step, g.step):
        with pytest.raises(ConformanceError, match="processor 1"):
            act()
    assert g.cpu.counters()["exits"] == exits and g.only() == "vmcs_pointer_while_evmcs"


@pytest.mark.parametrize("lints", [False, True])
@pytest.mark.parametrize("options, groups", [
    ({}, 0), ({"cache_policy": "commit_on_success"}, 0), ({"cache_policy": "never"}, 16 * 20),
    ({"faults": ["rereads_clean_groups"]}, 16 * 20), ({"cache_policy": "random(1)"}, None)],
    ids=["always", "commit", "never", "rereads", "random"])
def test_an_l0_that_reads_what_is_clean_goes_on_to(options, groups, lints):
    g = Steady(lints=lints, **options)
    before = g.cpu.counters()["groups_reread"]
    g.steps(20)
    reread = g.cpu.counters()["groups_reread"] - before
    assert reread == groups if groups is not None else 80 < reread < 240


@by_both
@pytest.mark.rule("R87", "R88")
@pytest.mark.parametrize("lints", [False, True])
@pytest.mark.parametrize("other", [0, 1])
def test_a_flush_reaches_a_loop_on_whatever_processor(other, lints, mode):
    """L2's loop is another one now: the entry behind the flush is the first to execute it."""
    g = Steady(mode, cpus=2, lints=lints)
    g.memory.write(OTHER, CPUID_LOOP[:1] + b"\x07" + CPUID_LOOP[2:])
    g.regs(rax=0)
    g.write(g.ept_entry(CODE), OTHER | 0x37)
    cpu = g.world.partition.processor(other)
    assert cpu.wrmsr(0x40000000, 1).ok
    assert cpu.hypercall(FLUSH_SPACE, EPT | 0x1E, 0).value == 0
    g.steps(1)
    assert g.regs()[RAX] == 7 and g.told() == []
