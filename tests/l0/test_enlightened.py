# SPDX-License-Identifier: GPL-2.0-only
"""The enlightened VMCS seen from L1: assist page, clean groups, write-back, activation."""

import json

import pytest
from world import (
    ALL_CLEAN, ASSIST, BASE, CLEAN_FIELDS, EVMCS, EVMCS_B, FIELDS, GROUP_BITS, LAYOUT, REVISION,
    ROOT, TABLE, VMCS_A, World,
)  # fmt: skip

from kvm_vmx.machine.fields import other_members
from kvm_vmx.machine.outcome import Fault, VMfailInvalid, VMfailValid

# Members of later revisions, which are named as their fields.
LATER = {name: row for name, row in other_members().items() if name.isupper()}

WRITTEN_BACK = set(json.loads((ROOT / "tests/data/write_back.json").read_text())["written_back"])
EXIT_INFORMATION = {member for encoding, member, _ in TABLE if FIELDS[encoding] >> 10 & 3 == 1}
LISTS = {"vm_exit_msr_store_count", "vm_exit_msr_load_count", "vm_entry_msr_load_count"}
LIVE = {"guest_rip", "tpr_threshold"}


def rule_of(group, member=""):
    """The rule that puts a field into its clean group: R41 is bit 0."""
    if group in GROUP_BITS:
        return f"R{41 + GROUP_BITS[group]}"
    return "R58" if group == "ALL" else "R57" if member in LIVE else "R35"


EVERY_FIELD = [
    pytest.param(*row, marks=pytest.mark.rule(rule_of(row[2], row[1])), id=row[1]) for row in TABLE
]
EVERY_GROUP = [
    pytest.param(group, marks=pytest.mark.rule(rule_of(group)), id=group) for group in GROUP_BITS
]


@pytest.fixture
def world():
    """One that has entered once and whose groups are all clean."""
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    return world


def in_copy(world, member):
    offset, size = LAYOUT[member]
    return int.from_bytes(world.cpu.evmcs_copy[offset:][:size], "little")


def grew(world, before, *names):
    after = world.cpu.counters()
    return tuple(after[name] - before[name] for name in names)


def test_the_table_has_126_fields():
    assert len(TABLE) == 126 and len(WRITTEN_BACK) == 72 and len(EXIT_INFORMATION) == 11


@pytest.mark.rule("R38", "R61")
@pytest.mark.parametrize(("encoding", "member", "group"), EVERY_FIELD)
@pytest.mark.case("EVM-39")
def test_a_changed_field_is_used_when_its_group_is_dirty(world, encoding, member, group):
    old = world.get(EVMCS, member)
    world.put(EVMCS, member, old ^ 1)
    bits = {"NONE": 0, "ALL": ALL_CLEAN}.get(group, 1 << GROUP_BITS.get(group, 0))
    world.set_clean(ALL_CLEAN & ~bits)
    world.cpu.vmresume()
    if member in EXIT_INFORMATION - {"vm_exit_reason", "exit_qualification"}:
        assert in_copy(world, member) == old
    elif member in LISTS:
        # this profile ignores the lists, and says so
        assert in_copy(world, member) == 0 and "msr_lists_ignored" in world.partition.lints()
    elif member == "cr3_target_count":
        assert in_copy(world, member) == 0 and "cr3_targets_ignored" in world.partition.lints()
    elif member not in EXIT_INFORMATION:
        assert in_copy(world, member) == old ^ 1


@pytest.mark.rule("R39", "R69")
@pytest.mark.parametrize(("encoding", "member", "group"), EVERY_FIELD)
def test_a_changed_field_is_stale_when_its_group_is_clean(world, encoding, member, group):
    old = world.get(EVMCS, member)
    world.put(EVMCS, member, old ^ 1)
    world.cpu.vmresume()
    if member in LIVE or (group == "ALL" and member not in LISTS | {"cr3_target_count"}):
        assert in_copy(world, member) == old ^ 1
    elif member not in EXIT_INFORMATION:
        assert in_copy(world, member) == old
        # an exit stores what L0 holds; what it does not store stays as L1 left it
        kept = old if member in WRITTEN_BACK else old ^ 1
        assert world.get(EVMCS, member) == kept


@pytest.mark.rule("R58")
@pytest.mark.parametrize("member", [m for _, m, g in TABLE if g == "ALL"])
def test_fields_without_a_group_are_honoured(member):
    world = World(profile="tlfs-strict")
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    world.put(EVMCS, member, world.get(EVMCS, member) ^ 1)
    world.cpu.vmresume()
    assert in_copy(world, member) == world.get(EVMCS, member)


@pytest.mark.parametrize("group", EVERY_GROUP)
def test_a_dirty_group_does_not_read_another(world, group):
    others = [m for _, m, g in TABLE if g not in (group, "NONE", "ALL")]
    old = {member: world.get(EVMCS, member) for member in others}
    for member in others:
        world.put(EVMCS, member, old[member] ^ 1)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS[group]))
    world.cpu.vmresume()
    assert {member: in_copy(world, member) for member in others} == old


@pytest.mark.rule("R26", "R33", "R57")
def test_steady_state_reads_rip_and_threshold_only(world):
    before = world.cpu.counters()
    for _ in range(100):
        assert world.cpu.vmresume().ok
    counts = grew(world, before, "vmresume", "exits", "groups_reread", "bytes_reread", "vmread")
    assert counts == (100, 100, 0, 1200, 0)


@pytest.mark.rule("R57")
@pytest.mark.case("EVM-12")
def test_rip_and_threshold_have_no_clean_bit(world):
    world.put(EVMCS, "guest_rip", 0x501234)
    assert world.cpu.vmresume().ok
    assert in_copy(world, "guest_rip") == 0x501234


@pytest.mark.rule("K12", "R35", "R34")
def test_an_exit_stores_the_72_members_and_nothing_else(world):
    page = bytearray(world.memory.read(EVMCS, 4096))
    free = {"hv_clean_fields", "guest_rip", "tpr_threshold", "hv_enlightenments_control"}
    free |= {m for _, m, g in TABLE if g == "ALL"} | {"revision_id"}
    garbled = set(LAYOUT) - free
    for member in garbled:
        offset, size = LAYOUT[member]
        page[offset : offset + size] = bytes(b ^ 0x5A for b in page[offset : offset + size])
    page[1024:] = b"\x5a" * 3072
    world.memory.write(EVMCS, bytes(page))
    assert world.cpu.vmresume().ok
    after = world.memory.read(EVMCS, 4096)
    stored = {
        member
        for member in garbled
        if after[(at := LAYOUT[member])[0] :][: at[1]] != page[at[0] :][: at[1]]
    }
    assert stored | {"guest_rip"} == WRITTEN_BACK
    assert after[1024:] == bytes(page[1024:])


@pytest.mark.rule("K13")
def test_an_exit_clears_the_valid_bit_of_the_event(world):
    world.put(EVMCS, "vm_entry_intr_info_field", 0x80000202)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["CONTROL_EVENT"]))
    assert world.cpu.vmresume().ok
    assert world.get(EVMCS, "vm_entry_intr_info_field") == 0x202
    assert in_copy(world, "vm_entry_intr_info_field") == 0x202


@pytest.mark.rule("K3", "K4", "R25", "R29", "R31")
def test_vmlaunch_and_vmclear_and_another_pointer_drop_the_copy(world):
    def change_and(step):
        world.put(EVMCS, "exception_bitmap", world.get(EVMCS, "exception_bitmap") + 1)
        world.set_clean()
        step()
        return in_copy(world, "exception_bitmap") == world.get(EVMCS, "exception_bitmap")

    def clear():
        assert world.cpu.vmclear(EVMCS).ok and world.cpu.vmresume().ok

    def away_and_back():
        world.memory.write(EVMCS_B, world.memory.read(EVMCS, 4096))
        for page in (EVMCS_B, EVMCS):
            world.memory.write_u64(ASSIST + 48, page)
            assert world.cpu.vmresume().ok

    def off_and_on():
        world.memory.write(ASSIST + 40, b"\0")
        assert isinstance(world.cpu.vmresume(), VMfailInvalid)
        world.memory.write(ASSIST + 40, b"\1")
        assert world.cpu.vmresume().ok

    for step in (world.cpu.vmlaunch, clear, away_and_back, off_and_on):
        assert change_and(step), step
    assert not change_and(world.cpu.vmresume)


@pytest.mark.rule("R60", "K1", "K2")
@pytest.mark.case("EVM-04")
def test_an_unknown_revision(world):
    fresh = World()
    for revision, good in ((0xFFFFFFFF, False), (2, False), (1, True), (REVISION, True)):
        fresh.enlighten(revision_id=revision)
        fresh.cpu.vmclear(EVMCS)
        fresh.memory.write(ASSIST + 40, b"\1")
        outcome = fresh.cpu.vmlaunch()
        assert outcome.ok == good
        assert good or isinstance(outcome, VMfailInvalid)
    world.put(EVMCS, "revision_id", 7)
    assert world.cpu.vmresume().ok, "it was checked when it became active"


@pytest.mark.rule("R27", "K9")
@pytest.mark.parametrize(
    ("profile", "result"), [("kvm-6.12", Fault), ("tlfs-strict", VMfailInvalid)]
)
@pytest.mark.parametrize("pointer", [0xDEADBEEF000, 1 << 62, (1 << 64) - 3])
@pytest.mark.case("EVM-07")
def test_a_pointer_outside_memory(profile, result, pointer):
    world = World(profile=profile)
    world.enlighten()
    world.memory.write_u64(ASSIST + 48, pointer)
    world.cpu.rip = 0x777
    outcome = world.cpu.vmlaunch()
    assert isinstance(outcome, result) and world.cpu.rip == 0x777
    assert not isinstance(outcome, Fault) or outcome.vector == 6


@pytest.mark.rule("K9")
@pytest.mark.parametrize("pointer", [(1 << 64) - 1, (1 << 64) - 2])
def test_the_two_pointers_that_mean_none(world, pointer):
    world.memory.write_u64(ASSIST + 48, pointer)
    assert isinstance(world.cpu.vmresume(), VMfailInvalid)
    assert world.cpu.active_evmcs is None


@pytest.mark.rule("R27")
def test_a_misaligned_pointer():
    world = World()
    world.enlighten()
    world.memory.write_u64(ASSIST + 48, EVMCS | 0x10)
    assert world.cpu.vmlaunch().ok
    world = World(profile="tlfs-strict")
    world.enlighten()
    world.memory.write_u64(ASSIST + 48, EVMCS | 0x10)
    assert isinstance(world.cpu.vmlaunch(), VMfailInvalid)


def test_a_page_that_vanishes(world):
    world.memory.unback(EVMCS)
    assert isinstance(world.cpu.vmresume(), Fault)
    world.memory.back(EVMCS)
    assert world.cpu.vmresume().ok
    world.memory.unback(ASSIST)
    assert isinstance(world.cpu.vmresume(), VMfailInvalid)


@pytest.mark.rule("R26")
def test_the_plain_vmcs_waits_in_its_page():
    world = World()
    world.plain(GUEST_RSP=0x1234)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    assert world.cpu.vmptrst().value == (1 << 64) - 1
    world.memory.write(ASSIST + 40, b"\0")
    assert world.cpu.vmptrld(VMCS_A).ok
    world.cpu.vmlaunch()
    assert world.cpu.vmread(FIELDS["GUEST_RSP"]).value == 0x1234


@pytest.mark.rule("R32", "K8")
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
def test_vmread_and_vmwrite_while_an_evmcs_is_active(profile):
    world = World(profile=profile)
    world.enlighten(guest_rsp=0xABCD)
    assert world.cpu.vmlaunch().ok
    read = world.cpu.vmread(FIELDS["GUEST_RSP"])
    if profile == "kvm-6.12":
        assert read.value == 0xABCD
        outcome = world.cpu.vmread(FIELDS["PML_ADDRESS"])
        assert isinstance(outcome, VMfailValid) and outcome.error == 12
        assert world.get(EVMCS, "vm_instruction_error") == 12
        # v4.19 calls their places padding; an upper half has none of its own
        for field, row in LATER.items():
            offset = row["offset"]
            world.memory.write_u64(EVMCS + offset, offset << 32 | 7)
            assert world.cpu.vmread(FIELDS[field]).value == offset << 32 | 7
        assert world.cpu.vmread(FIELDS["TSC_OFFSET_HIGH"]).error == 12
    else:
        assert isinstance(read, VMfailInvalid)
    assert isinstance(world.cpu.vmwrite(FIELDS["GUEST_RSP"], 1), VMfailInvalid)
    assert world.get(EVMCS, "guest_rsp") == 0xABCD


@pytest.mark.rule("R31", "K3")
def test_vmclear_while_the_switch_is_off():
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.memory.write(EVMCS + 1024, b"\x5a" * 3072)
    before = world.memory.read(EVMCS, 4096)
    world.memory.write(ASSIST + 40, b"\0")
    assert world.cpu.vmclear(EVMCS).ok and world.cpu.active_evmcs is None
    assert world.memory.read(EVMCS, 4096) == before, "it is no plain VMCS"


def test_an_error_stays_with_its_evmcs():
    world = World()
    world.enlighten(pin_based_vm_exec_control=0)
    assert world.cpu.vmlaunch().error == 7
    world.enlighten(EVMCS_B)
    assert world.cpu.vmlaunch().ok
    assert world.get(EVMCS_B, "vm_instruction_error") == 0
    assert world.get(EVMCS, "vm_instruction_error") == 7


@pytest.mark.rule("K7")
def test_a_failed_entry_has_consumed_the_dirty_groups(world):
    world.put(EVMCS, "pin_based_vm_exec_control", 0)
    world.put(EVMCS, "exception_bitmap", 0x123)
    world.set_clean(0)
    outcome = world.cpu.vmresume()
    assert isinstance(outcome, VMfailValid) and outcome.error == 7
    assert world.get(EVMCS, "vm_instruction_error") == 7
    assert in_copy(world, "exception_bitmap") == 0x123
    world.put(EVMCS, "pin_based_vm_exec_control", BASE[FIELDS["PIN_BASED_VM_EXEC_CONTROL"]])
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["CONTROL_GRP1"]))
    assert world.cpu.vmresume().ok
    assert in_copy(world, "exception_bitmap") == 0x123


def test_guest_state_is_refused_by_an_exit_that_stores_two_fields(world):
    world.put(EVMCS, "guest_rflags", 0)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["GUEST_BASIC"]))
    world.put(EVMCS, "vm_exit_reason", 0)
    before = world.memory.read(EVMCS, 4096)
    assert world.cpu.vmresume().ok
    assert world.get(EVMCS, "vm_exit_reason") == 0x80000021
    world.put(EVMCS, "vm_exit_reason", 0)
    assert world.memory.read(EVMCS, 4096) == before


@pytest.mark.rule("R63", "K15")
def test_a_control_without_fields_is_refused():
    world = World(msrs={0x48B: 0x000218FE << 32}, unfinished=True)
    world.enlighten(secondary_vm_exec_control=0x20002, ept_pointer=0x10001E)
    outcome = world.cpu.vmlaunch()
    assert isinstance(outcome, VMfailValid) and outcome.error == 7


@pytest.mark.rule("R30", "R31")
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
def test_one_evmcs_on_two_processors(profile):
    world = World(cpus=2, profile=profile)
    other = world.partition.processor(1)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    page = world.memory.read(EVMCS, 4096)
    world.enlighten(cpu=other, assist=0x60000)
    world.memory.write(EVMCS, page)
    assert other.vmlaunch().ok == (profile == "kvm-6.12")
    assert "evmcs_on_two_cpus" in world.partition.lints()
    assert world.cpu.vmclear(EVMCS).ok
    assert other.vmlaunch().ok


def test_vmclear_while_enlightened_writes_nothing(world):
    pages = {page: world.memory.read(page, 4096) for page in (EVMCS, VMCS_A, 0x70000)}
    for page in pages:
        assert world.cpu.vmclear(page).ok
    assert {page: world.memory.read(page, 4096) for page in pages} == pages


@pytest.mark.rule("R19", "R20")
@pytest.mark.case("EVM-01")
def test_the_assist_page(world):
    cpu = World().cpu
    memory = cpu.partition.memory
    memory.write(ASSIST, b"\xff" * 4096)
    assert cpu.wrmsr(0x40000073, ASSIST | 0xABF).ok
    assert cpu.rdmsr(0x40000073).value == ASSIST | 0xABF
    assert memory.read(ASSIST, 4096) == bytes(4) + b"\xff" * 4092
    before = cpu.rdmsr(0x40000073).value
    for bad in (1 << 40 | 1, (1 << 64) - 1, 0x1000001):
        assert isinstance(cpu.wrmsr(0x40000073, bad), Fault)
        assert cpu.rdmsr(0x40000073).value == before
    assert cpu.wrmsr(0x40000073, 1 << 40).ok, "disabled, any value is kept"


@pytest.mark.rule("R21")
def test_the_assist_page_as_an_overlay():
    world = World(profile="tlfs-strict")
    memory, cpu = world.memory, world.cpu
    memory.write(ASSIST, b"\x11" * 4096)
    assert cpu.wrmsr(0x40000073, ASSIST | 1).ok
    assert memory.read(ASSIST, 4096) == bytes(4096)
    memory.write(ASSIST, b"\x22" * 8)
    assert cpu.wrmsr(0x40000073, 0).ok
    assert memory.read(ASSIST, 4096) == b"\x11" * 4096


def test_any_page_and_any_clean_fields_are_survived():
    import random

    rng = random.Random(11)
    world = World(profile="tlfs-strict", cache_policy="random(3)")
    world.enlighten()
    good = world.memory.read(EVMCS, 4096)
    for _ in range(3000):
        page = bytearray(good)
        for _ in range(rng.randrange(1, 12)):
            offset, size = LAYOUT[rng.choice(list(LAYOUT))]
            page[offset : offset + size] = rng.randbytes(size)
        page[CLEAN_FIELDS : CLEAN_FIELDS + 4] = rng.randbytes(4)
        world.memory.write(EVMCS, bytes(page))
        outcome = rng.choice([world.cpu.vmlaunch, world.cpu.vmresume])()
        assert outcome.ok or isinstance(outcome, VMfailInvalid | VMfailValid)
