# SPDX-License-Identifier: GPL-2.0-only
"""What L0 notices: each lint by the rule it breaks, its circumstances, and strict machines."""

import json

import pytest
from world import (
    ALL_CLEAN, ASSIST, EVMCS, EVMCS_B, FIELDS, GROUP_BITS, ROOT, TABLE, World,
)  # fmt: skip

from kvm_vmx import ConformanceError
from kvm_vmx.machine.lints import MEANINGS
from kvm_vmx.machine.outcome import VMfailInvalid

LIVE = {"guest_rip", "tpr_threshold"}
EXIT_INFORMATION = {member for encoding, member, _ in TABLE if FIELDS[encoding] >> 10 & 3 == 1}
GROUPED = [row for row in TABLE if row[2] not in ("NONE", "ALL")]
UNGROUPED = [row for row in TABLE if row[2] == "ALL"]


@pytest.fixture
def world():
    """One that looks, has entered twice, and whose groups are all clean."""
    return entered()


def entered(**options):
    # with EAX[21]: a debug control is nothing to report
    options = {"cpuid": {0x4000000A: (0x2A0101, 1, 0, 0)}, **options}
    world = World(lints=True, **options)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    assert world.cpu.vmresume().ok
    assert world.partition.lints() == []
    return world


def told(world):
    """What the machine tells besides the entries that it has refused."""
    return [lint for lint in world.partition.lints() if lint != "entry_refused"]


def only(world):
    (lint,) = told(world)
    return lint


@pytest.mark.rule("R39")
@pytest.mark.parametrize(("encoding", "member", "group"), GROUPED, ids=lambda v: v)
@pytest.mark.case("P04")
def test_each_forgotten_clean_bit_is_named(encoding, member, group):
    """The 100 mutants of an L1 that forgets to clear the bit of one grouped field."""
    world = entered()
    old = world.get(EVMCS, member)
    world.put(EVMCS, member, old ^ 1)
    world.cpu.vmresume()
    lint = only(world)
    assert lint == "stale_field" and lint.rule == "R39"
    assert (lint.field, lint.group, lint.cpu, lint.entry) == (encoding, group, 0, 3)
    assert (lint.found, lint.kept, lint.count) == (old ^ 1, old, 1)
    assert encoding in lint.explain() and group in lint.explain()
    assert lint.writer == "Python, between entries 2 and 3" and lint.writer in lint.explain()


@pytest.mark.rule("R58")
@pytest.mark.parametrize(("encoding", "member", "group"), UNGROUPED, ids=lambda v: v)
@pytest.mark.case("P04")
def test_each_ungrouped_field_behind_clean_bits_is_named(encoding, member, group):
    """The other 13 mutants, of the fields that the specification gives no group."""
    world = entered(profile="tlfs-strict")
    world.put(EVMCS, member, world.get(EVMCS, member) ^ 1)
    world.cpu.vmresume()
    assert ("ungrouped_field", encoding) in [
        (lint, lint.field) for lint in world.partition.lints()]


@pytest.mark.case("P04")
def test_there_are_113_such_mutants():
    assert (len(GROUPED), len(UNGROUPED)) == (100, 13)


@pytest.mark.rule("R39")
@pytest.mark.parametrize("group", GROUP_BITS)
def test_a_cleared_bit_is_no_lint(world, group):
    for _, member, its in TABLE:
        if its == group:
            world.put(EVMCS, member, world.get(EVMCS, member) ^ 1)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS[group]))
    world.cpu.vmresume()
    assert told(world) == []


@pytest.mark.rule("R57")
def test_live_fields_and_equal_values_are_no_lint(world):
    for member in LIVE:
        world.put(EVMCS, member, world.get(EVMCS, member) ^ 1)
    world.put(EVMCS, "host_rsp", world.get(EVMCS, "host_rsp"))
    world.cpu.vmresume()
    assert world.partition.lints() == []


@pytest.mark.rule("R40", "K3")
def test_after_vmlaunch_and_vmclear_nothing_is_stale(world):
    for step in (world.cpu.vmlaunch, lambda: (world.cpu.vmclear(EVMCS), world.cpu.vmresume())):
        world.put(EVMCS, "exception_bitmap", world.get(EVMCS, "exception_bitmap") + 1)
        world.set_clean()
        step()
    assert told(world) == ["write_unread"], "and that VMCLEAR came before"


@pytest.mark.rule("R56", "K10")
@pytest.mark.parametrize("member", ["hv_vp_id", "hv_vm_id", "partition_assist_page"])
def test_the_synthetic_fields_stand_behind_bit_15(world, member):
    world.put(EVMCS, member, 0x5000)
    world.set_clean(ALL_CLEAN & ~(1 << 15))
    world.cpu.vmresume()
    assert world.partition.lints() == []
    world.put(EVMCS, member, 0x6000)
    world.set_clean()
    world.cpu.vmresume()
    lint = only(world)
    assert (lint, lint.field, lint.group) == ("stale_field", member, "ENLIGHTENMENTSCONTROL")


@pytest.mark.rule("R35")
@pytest.mark.parametrize("member", sorted(EXIT_INFORMATION))
def test_a_store_into_exit_information_is_named_and_overwritten(world, member):
    old = world.get(EVMCS, member)
    world.put(EVMCS, member, old ^ 1)
    world.cpu.vmresume()
    lint = only(world)
    assert lint == "exit_info_written" and lint.rule == "R35"
    assert world.get(EVMCS, member) == old


@pytest.mark.rule("R28")
@pytest.mark.parametrize("offset", [0x128, 0x13F, 0x280, 0x33C, 0x360, 0x3B0, 0x400, 0xFFF])
def test_a_page_that_was_not_zeroed(offset):
    world = World(lints=True)
    world.enlighten()
    world.memory.write(EVMCS + offset, b"\1")
    assert world.cpu.vmlaunch().ok
    lint = only(world)
    assert (lint, lint.rule, lint.field) == ("page_not_zeroed", "R28", f"offset {offset:#x}")
    assert lint.writer == "L1, before entry 1"
    world.cpu.vmresume()
    assert only(world).count == 1, "at its first entry alone"


@pytest.mark.rule("R59")
@pytest.mark.parametrize("bit", range(16, 32))
def test_reserved_clean_fields_are_kept_and_reported(world, bit):
    world.set_clean(ALL_CLEAN | 1 << bit)
    before = world.cpu.counters()["groups_reread"]
    assert world.cpu.vmresume().ok
    assert only(world) == "clean_fields_reserved"
    assert world.get(EVMCS, "hv_clean_fields") == ALL_CLEAN | 1 << bit
    assert world.cpu.counters()["groups_reread"] == before


@pytest.mark.rule("R60")
def test_a_version_that_changes_while_active(world):
    world.put(EVMCS, "revision_id", 7)
    assert world.cpu.vmresume().ok
    lint = only(world)
    assert (lint, lint.rule, lint.found, lint.kept) == ("version_changed", "R60", 7, 1)


@pytest.mark.rule("R27")
def test_a_misaligned_pointer_is_reported():
    world = World(lints=True)
    world.enlighten()
    world.memory.write_u64(ASSIST + 48, EVMCS | 8)
    assert world.cpu.vmlaunch().ok
    assert only(world) == "pointer_misaligned"


@pytest.mark.rule("R24")
@pytest.mark.parametrize(("value", "enlightened"), [(0, False), (1, True), (2, True), (255, True)])
def test_the_entry_switch(value, enlightened):
    world = World(lints=True)
    world.enlighten()
    world.memory.write(ASSIST + 40, bytes([value]))
    assert world.cpu.vmlaunch().ok == enlightened
    assert told(world) == (["switch_value"] if value > 1 else [])


@pytest.mark.rule("R23")
@pytest.mark.parametrize("offset", [4, 0x29, 0x2F])
def test_reserved_bytes_of_the_assist_page(world, offset):
    world.memory.write(ASSIST + offset, b"\1")
    assert world.cpu.vmresume().ok
    assert only(world) == "assist_page_reserved" and only(world).rule == "R23"
    assert only(world).writer == "", "no field of an eVMCS"


@pytest.mark.rule("R100")
@pytest.mark.parametrize(("offset", "value"), [(0x20, 4), (0x20, 1 << 31), (0x24, 2)])
def test_reserved_nested_enlightenments(world, offset, value):
    world.memory.write(ASSIST + offset, value.to_bytes(4, "little"))
    assert world.cpu.vmresume().ok
    assert only(world) == "enlightenments_reserved"


@pytest.mark.rule("R11", "R99")
def test_virtualization_exceptions_are_not_offered(world):
    before = world.memory.read(EVMCS, 4096)
    world.memory.write(ASSIST + 0x20, b"\2")
    assert world.cpu.vmresume().ok
    assert only(world) == "exception_unannounced" and only(world).rule == "R11"
    assert world.memory.read(EVMCS, 4096) == before, "the flag changes nothing"


@pytest.mark.rule("R8")
@pytest.mark.parametrize("where", ["assist page", "eVMCS"])
def test_direct_flush_that_is_not_offered(where):
    world = entered(cpuid={0x4000000A: (0x80101, 1, 0, 0)})
    if where == "eVMCS":
        world.put(EVMCS, "hv_enlightenments_control", 1)
        for member in ("hv_vm_id", "hv_vp_id"):
            world.put(EVMCS, member, 1)
        world.put(EVMCS, "partition_assist_page", 0x50000)
        world.set_clean(ALL_CLEAN & ~(1 << 15))
    else:
        world.memory.write(ASSIST + 0x20, b"\1")
    assert world.cpu.vmresume().ok
    assert only(world) == "direct_flush_unannounced" and only(world).rule == "R8"


@pytest.mark.rule("R10")
def test_an_msr_bitmap_flag_that_is_not_offered():
    world = entered(cpuid={0x4000000A: (0x20101, 1, 0, 0)})
    world.put(EVMCS, "hv_enlightenments_control", 2)
    assert world.cpu.vmresume().ok
    assert only(world) == "msr_bitmap_unannounced" and only(world).rule == "R10"


@pytest.mark.rule("R12", "R62")
@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
def test_a_debug_control_needs_its_announcement(profile, announced):
    nested = 0xA0101 | announced << 21
    world = entered(profile=profile, cpuid={0x4000000A: (nested, 1, 0, 0)})
    world.put(EVMCS, "guest_ia32_debugctl", 1)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["GUEST_GRP1"]))
    outcome = world.cpu.vmresume()
    refused = profile == "tlfs-strict" and not announced
    assert outcome.ok != refused and (not refused or outcome.error == 7)
    assert told(world) == ([] if announced else ["debugctl_unannounced"])


@pytest.mark.rule("R78", "R81")
@pytest.mark.parametrize(("member", "value", "name"), [
    ("hv_vm_id", 0, "direct_flush_incomplete"),
    ("partition_assist_page", 0, "direct_flush_incomplete"),
    ("partition_assist_page", 0x50008, "partition_page_misaligned"),
])
def test_direct_flush_wants_its_ids(world, member, value, name):
    good = {"hv_vm_id": 1, "hv_vp_id": 1, "partition_assist_page": 0x50000}
    for key, number in {**good, member: value, "hv_enlightenments_control": 1}.items():
        world.put(EVMCS, key, number)
    world.set_clean(ALL_CLEAN & ~(1 << 15))
    assert world.cpu.vmresume().ok
    assert only(world) == name


@pytest.mark.rule("R31")
def test_vmclear_from_another_processor():
    world = World(cpus=2, lints=True)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    assert world.partition.processor(1).vmclear(EVMCS_B).ok
    assert world.partition.lints() == []
    assert world.partition.processor(1).vmclear(EVMCS).ok
    assert only(world) == "vmclear_elsewhere" and only(world).cpu == 1
    assert world.cpu.active_evmcs == EVMCS


@pytest.mark.rule("R36")
def test_a_vmx_abort_leaves_its_indicator():
    world = World(profile="tlfs-strict")
    world.enlighten(vm_exit_msr_store_count=1, vm_exit_msr_store_addr=0x70000)
    world.memory.write(0x70000, (0x12345).to_bytes(4, "little"))
    assert world.cpu.vmlaunch().ok
    assert world.get(EVMCS, "revision_id") == 1 and world.get(EVMCS, "abort") == 1
    assert "msr_list_aborted" in world.partition.lints()


def test_lints_repeat_with_a_count(world):
    for n in range(5):
        world.put(EVMCS, "host_rsp", 0x1000 + n)
        world.cpu.vmresume()
    lint = only(world)
    assert (lint.count, lint.entry, lint.last_entry) == (5, 3, 7)
    assert lint.writer == "Python, between entries 6 and 7"
    assert lint.explain().endswith("5 times")
    assert world.cpu.counters()["lints"] == 5


def test_without_lints_nothing_is_looked_for():
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.put(EVMCS, "host_rsp", 0x1234)
    world.set_clean()
    assert world.cpu.vmresume().ok and world.partition.lints() == []


def test_every_lint_names_a_rule_that_is_there():
    from kvm_vmx.conform import rules

    header = (ROOT / "kvm_vmx/l0/watch/observed.h").read_text()
    listed = header.split("#define L0_LINTS(X)")[1].split("\n\n")[0]
    assert all(f"X({name})" in listed for name in MEANINGS)
    assert listed.count("X(") == len(MEANINGS)
    assert {rule for rule, _ in MEANINGS.values()} - {""} <= set(rules())


def test_a_strict_machine_stops_at_the_first():
    world = World(strict=True)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    assert world.cpu.vmresume().ok
    exits = world.cpu.counters()["exits"]
    world.put(EVMCS, "host_rsp", 0x1234)
    with pytest.raises(ConformanceError, match="R39.*HOST_RSP.*HOST_POINTER.*stopped") as error:
        world.cpu.vmresume()
    assert error.value.lint == "stale_field" and "\n" not in str(error.value)
    with pytest.raises(ConformanceError):
        world.cpu.vmresume()
    assert world.cpu.counters()["exits"] == exits, "a stopped machine enters no guest"


@pytest.mark.rule("R4", "R7", "R13", "R15", "R64")
@pytest.mark.parametrize(("cpuid", "profile", "name", "rule"), [
    ({0x40000000: (0x40000004, 0, 0, 0)}, "kvm-6.12", "highest_leaf", "R2"),
    ({0x40000000: (0x40000005, 0, 0, 0)}, "kvm-6.12", "leaf_above_highest", "R4"),
    ({0x40000004: (0, 0, 0, 0)}, "kvm-6.12", "version_unrecommended", "R5"),
    ({0x4000000A: (0x0202, 1, 0, 0)}, "kvm-6.12", "version_range", "R7"),
    ({0x4000000A: (0x400101, 1, 0, 0)}, "kvm-6.12", "amd_feature", "R13"),
    ({0x4000000A: (0x80000101, 1, 0, 0)}, "kvm-6.12", "leaf_reserved", "R15"),
    ({0x4000000A: (0x101, 1, 0, 1)}, "kvm-6.12", "leaf_reserved", "R15"),
    ({0x4000000A: (0x101, 0, 0, 0)}, "ice-lake", "perf_global_unannounced", "R14"),
    ({}, "ice-lake", "uncovered_controls", "R64"),
])
@pytest.mark.case("CPU-05")
def test_profiles_that_offer_what_no_hyper_v_does(cpuid, profile, name, rule):
    lints = World(vmx=False, lints=True, profile=profile, cpuid=cpuid).partition.lints()
    assert (name, rule, None) in [(lint, lint.rule, lint.cpu) for lint in lints]


@pytest.mark.rule("R7", "R13", "R15", "R16", "R64", "K15")
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
def test_the_hyper_v_profiles_offer_nothing_odd(profile):
    world = World(vmx=False, lints=True, profile=profile)
    assert world.partition.lints() == []
    assert world.cpu.cpuid(0x40000009) == (0, 0, 0, 0)


def test_lints_are_text_and_serialise(world):
    world.put(EVMCS, "guest_cr3", 0x5000)
    world.cpu.vmresume()
    assert "stale_field" in world.partition.lints()
    assert json.dumps(world.partition.lints()) == '["stale_field"]'
    assert isinstance(only(world).name, str) and "R39" in repr(only(world))


@pytest.mark.rule("R30")
def test_a_refused_second_processor_is_reported():
    world = World(cpus=2, profile="tlfs-strict", lints=True)
    other = world.partition.processor(1)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    page = world.memory.read(EVMCS, 4096)
    world.enlighten(cpu=other, assist=0x60000)
    world.memory.write(EVMCS, page)
    assert isinstance(other.vmlaunch(), VMfailInvalid)
    assert only(world) == "evmcs_on_two_cpus" and only(world).cpu == 1
