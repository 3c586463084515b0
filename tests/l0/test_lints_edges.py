# SPDX-License-Identifier: GPL-2.0-only
"""No lint for an L1 that keeps to the rules, at the lowest and the highest values that they allow.

A row for every lint there is; each runs watched, and strict, where a lint would stop it.
"""

import json

import pytest
from world import (
    ALL_CLEAN, ASSIST, EVMCS, FIELDS, GROUP_BITS, LAYOUT, REVISION, ROOT, TABLE, VMCS_A, World,
)  # fmt: skip

from kvm_vmx.machine.lints import MEANINGS

LAST_PAGE = (16 << 20) - 4096
# What leaf 0x4000000A can offer: versions, direct flush, MSR bitmap, debug controls.
EVERYTHING = (0x2A0101, 1, 0, 0)
FIRST_GROUPS = {member: group for _, member, group in TABLE}


class Entered:
    """An L1 with an eVMCS, which has entered once."""

    def __init__(self, strict, page=EVMCS, assist=ASSIST, **options):
        options = {"cpuid": {0x4000000A: EVERYTHING}, **options}
        changes = options.pop("changes", {})
        self.page, self.assist = page, assist
        self.world = World(lints=True, strict=strict, **options)
        self.world.enlighten(page, assist=assist, **changes)
        assert self.world.cpu.vmlaunch().ok

    def change(self, **members):
        """Write members and clear what stands for them, all of it where nothing does."""
        clean = ALL_CLEAN
        for member, value in members.items():
            self.world.put(self.page, member, value)
            group = FIRST_GROUPS.get(member, "ENLIGHTENMENTSCONTROL")
            clean &= ~(1 << GROUP_BITS[group]) if group in GROUP_BITS else 0 if group == "ALL" \
                else ALL_CLEAN
        self.world.set_clean(clean, self.page)
        return self.enter()

    def enter(self):
        outcome = self.world.cpu.vmresume()
        assert outcome.ok, outcome
        return self


def direct_flush(strict):
    """VP id 0 is the first processor's; ids, and the page, up to the highest."""
    for profile in ("kvm-6.12", "tlfs-strict"):
        for vm, vp, page in ((1, 0, 0x1000), (1, 1, LAST_PAGE),
                             ((1 << 64) - 1, (1 << 32) - 1, LAST_PAGE)):
            l1 = Entered(strict, profile=profile).change(
                hv_enlightenments_control=3, hv_vm_id=vm, hv_vp_id=vp, partition_assist_page=page)
            l1.world.memory.write(ASSIST + 0x20, b"\1")
            l1.enter()
            yield l1
    # with the feature off the ids mean nothing
    yield Entered(strict).change(hv_enlightenments_control=2, hv_vm_id=0, hv_vp_id=0,
                                 partition_assist_page=0)


def pages(strict):
    """The lowest and the highest page of memory, for eVMCS and assist page."""
    for page, assist in ((0, ASSIST), (EVMCS, 0), (LAST_PAGE, ASSIST), (EVMCS, LAST_PAGE)):
        l1 = Entered(strict, page=page, assist=assist)
        l1.enter()
        assert l1.world.cpu.vmclear(page).ok and l1.world.cpu.vmresume().ok
        yield l1


def switches(strict):
    """0 and 1; an eVMCS pointer of -1 or -2 stands for none."""
    l1 = Entered(strict)
    for value in (0, 1):
        l1.world.memory.write(ASSIST + 40, bytes([value]))
        l1.world.cpu.vmresume()
    for pointer in ((1 << 64) - 1, (1 << 64) - 2, EVMCS):
        l1.world.memory.write_u64(ASSIST + 48, pointer)
        l1.world.cpu.vmresume()
    # the inter-partition control, which L1 may use or not
    l1.world.memory.write(ASSIST + 0x24, b"\1")
    l1.enter()
    yield l1


def versions(strict):
    for revision in (1, REVISION):
        yield Entered(strict, changes={"revision_id": revision}).enter()


def clean_fields(strict):
    for bits in (0, 1, 0x8000, ALL_CLEAN):
        l1 = Entered(strict)
        l1.world.set_clean(bits)
        yield l1.enter()


def named_members(strict):
    """Every member that 6.12 names is L1's to write before the first entry: none is reserved."""
    layout = json.loads((ROOT / "tests/data/evmcs_layout_6.12.json").read_text())
    names = [(row["offset"], row["size"]) for row in layout
             if not row["name"].startswith(("padding", "reserved"))]
    world = World(lints=True, strict=strict, cpuid={0x4000000A: EVERYTHING})
    world.enlighten()
    known = {offset for offset, _ in LAYOUT.values()}
    for offset, size in names:
        if offset not in known:
            world.memory.write(EVMCS + offset, b"\1" + bytes(size - 1))
    world.cpu.vmlaunch()
    yield world


def every_field(strict):
    """All ones in every field that L1 may write, its group's bit cleared; the entry may fail."""
    for value in (0, ~0):
        for encoding, member, group in TABLE:
            if FIELDS[encoding] >> 10 & 3 == 1 or "msr" in member or "page_fault" in member \
                    or member == "cr3_target_count":
                continue
            l1 = Entered(strict, profile="tlfs-strict")
            size = LAYOUT[member][1]
            l1.world.put(EVMCS, member, value & ((1 << 8 * size) - 1))
            l1.world.set_clean({"NONE": ALL_CLEAN, "ALL": 0}.get(
                group, ALL_CLEAN & ~(1 << GROUP_BITS.get(group, 0))))
            l1.world.cpu.vmresume()
            yield l1


def debug_controls(strict):
    for value in (0, 1, 0xDFC3 & ~0x2):
        yield Entered(strict).change(guest_ia32_debugctl=value)
    yield Entered(strict, cpuid={}).change(guest_ia32_debugctl=0)


def filters(strict):
    """A filter of zero everywhere; any, where the profile honours it."""
    yield Entered(strict).change(page_fault_error_code_mask=0, page_fault_error_code_match=0)
    for mask, match in ((0, 0xFFFFFFFF), (0xFFFFFFFF, 0), (0xFFFFFFFF, 0xFFFFFFFF)):
        yield Entered(strict, profile="tlfs-strict").change(
            page_fault_error_code_mask=mask, page_fault_error_code_match=match)


def lists(strict):
    """No list, the shortest and the longest, where the profile honours them."""
    yield Entered(strict)
    for count in (0, 1, 512):
        l1 = Entered(strict, profile="tlfs-strict")
        l1.world.memory.write(0x70000, (0x174).to_bytes(16, "little") * count)
        yield l1.change(**{f"vm_{kind}_msr_{what}_{part}": value
                           for kind, what in (
                               ("exit", "store"), ("exit", "load"), ("entry", "load"))
                           for part, value in (("addr", 0x70000), ("count", count))})


def cr3_targets(strict):
    yield Entered(strict).change(cr3_target_count=0)
    for count in (0, 4):
        yield Entered(strict, profile="tlfs-strict", msrs={0x485: 0x401E5}).change(
            cr3_target_count=count)


def processors(strict):
    """Each processor has its own eVMCS, and clears only that."""
    world = World(cpus=3, lints=True, strict=strict)
    for n in (0, 1, 2):
        cpu = world.partition.processor(n)
        page = (0, LAST_PAGE, EVMCS)[n]
        world.enlighten(page, cpu=cpu, assist=0x50000 + 0x1000 * n)
        assert cpu.vmlaunch().ok and cpu.vmclear(page).ok and cpu.vmlaunch().ok
    yield world


def plain(strict):
    """A plain VMCS is read, written, loaded and cleared without an eVMCS in sight."""
    for page in (0, VMCS_A, LAST_PAGE):
        world = World(lints=True, strict=strict)
        world.memory.write(page, REVISION.to_bytes(4, "little"))
        world.plain(page)
        assert world.cpu.vmlaunch().ok and world.cpu.vmread(0).ok
        assert world.cpu.vmptrst().value == page and world.cpu.vmclear(page).ok
        yield world


ROWS = {
    "msr_lists_ignored": lists, "evmcs_on_two_cpus": processors, "vmcs_pointer_while_evmcs": plain,
    "vmcs_access_while_evmcs": plain, "evmcs_vanished": pages, "vmcs_vanished": plain,
    "msr_list_aborted": lists, "stale_field": every_field, "ungrouped_field": every_field,
    "exit_info_written": every_field, "page_not_zeroed": named_members,
    "clean_fields_reserved": clean_fields, "version_changed": versions,
    "pointer_misaligned": pages, "switch_value": switches, "assist_page_reserved": switches,
    "enlightenments_reserved": direct_flush, "msr_bitmap_unannounced": direct_flush,
    "direct_flush_unannounced": direct_flush, "exception_unannounced": switches,
    "debugctl_unannounced": debug_controls, "direct_flush_incomplete": direct_flush,
    "partition_page_misaligned": direct_flush, "vmclear_elsewhere": processors,
    "entry_list_failed": lists, "page_fault_filter_ignored": filters,
    "cr3_targets_ignored": cr3_targets, "entry_refused": pages, "assist_page_unset": switches,
    "write_unread": processors, "clean_unread": clean_fields,
    # in test_lints_between
    "stale_translation": pages, "flush_unknown_space": pages, "flush_set_short": direct_flush,
    "event_lost": pages, "event_doubled": pages,
}


def test_every_lint_has_its_row():
    assert set(ROWS) == set(MEANINGS)


@pytest.mark.rule("R78")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("row", sorted(set(ROWS.values()), key=lambda row: row.__name__),
                         ids=lambda row: row.__name__)
def test_a_conforming_l1_is_told_nothing(row, strict):
    for l1 in row(strict):
        world = getattr(l1, "world", l1)
        # an entry may be refused, as every_field says
        assert [lint for lint in world.partition.lints() if lint != "entry_refused"] == []


@pytest.mark.parametrize("highest", [0x4000000A, 0x4000000C, 0x40000082, 0x400000FF])
@pytest.mark.parametrize("nested",
                         [(0x0101, 0, 0, 0), EVERYTHING, (0x6E0101 & ~(1 << 22), 1, 0, 0)])
def test_profiles_at_the_edges_offer_nothing_odd(highest, nested):
    world = World(vmx=False, lints=True, cpuid={
        0x40000000: (highest, 0x7263694D, 0x666F736F, 0x76482074), 0x4000000A: nested},
        msrs={} if nested[1] else {n: v for n, v in WITHOUT_PERF.items()})
    assert world.partition.lints() == []


# the exit and entry controls without PERF_GLOBAL_CTRL
WITHOUT_PERF = {0x483: 0x3FEFFF00036DFF, 0x484: 0xD3FF000011FF,
                0x48F: 0x3FEFFF00036DFB, 0x490: 0xD3FF000011FB}
