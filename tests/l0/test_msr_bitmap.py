# SPDX-License-Identifier: GPL-2.0-only
"""The MSR bitmap in force: where a bit stands, and what of the page L0 keeps."""

import pytest
from world import ALL_CLEAN, BASE, EVMCS, FIELDS, GROUP_BITS, World

BITMAP = BASE[FIELDS["MSR_BITMAP"]]
FS_BASE, GS_BASE = 0xC0000100, 0xC0000101
USE_BITMAPS = BASE[FIELDS["CPU_BASED_VM_EXEC_CONTROL"]] | 1 << 28
GROUPS_OF_THE_BITMAP = ("MSR_BITMAP", "CONTROL_GRP1", "CONTROL_GRP2", "CONTROL_PROC")


def place(msr, write):
    """Byte and bit of an MSR in the bitmap, as the manual has it."""
    base = 0x800 if write else 0
    if msr >= 0xC0000000:
        base += 0x400
    return base + (msr & 0x1FFF) // 8, msr & 7


def set_bit(world, msr, write=False, bitmap=BITMAP, on=True):
    byte, bit = place(msr, write)
    old = world.memory.read(bitmap + byte, 1)[0]
    world.memory.write(bitmap + byte, bytes([old | 1 << bit if on else old & ~(1 << bit)]))


def entered(flag, **options):
    world = World(**options)
    world.enlighten(cpu_based_vm_exec_control=USE_BITMAPS, hv_enlightenments_control=2 * flag)
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    return world


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("msr", [0, 7, 8, 0x174, 0x1FFF, 0xC0000000, FS_BASE, 0xC0001FFF])
def test_every_msr_has_its_bit(msr, write):
    world = entered(False)
    assert not world.cpu.msr_exits(msr, write)
    set_bit(world, msr, write)
    assert world.cpu.msr_exits(msr, write) and not world.cpu.msr_exits(msr, not write)
    assert not world.cpu.msr_exits(msr ^ 1, write)


@pytest.mark.parametrize("msr", [0x2000, 0x40000000, 0xBFFFFFFF, 0xC0002000, 0xFFFFFFFF])
def test_an_msr_outside_both_ranges_exits(msr):
    assert entered(False).cpu.msr_exits(msr)


def test_without_the_control_every_msr_exits():
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok and world.cpu.msr_exits(FS_BASE)


@pytest.mark.rule("R66")
def test_without_the_flag_a_change_counts_at_the_next_entry():
    world = entered(False)
    set_bit(world, FS_BASE)
    assert world.cpu.vmresume().ok and world.cpu.msr_exits(FS_BASE)
    set_bit(world, FS_BASE, on=False)
    assert world.cpu.vmresume().ok and not world.cpu.msr_exits(FS_BASE)


@pytest.mark.rule("R42", "R67")
def test_with_the_flag_a_change_waits_for_the_clean_bit():
    world = entered(True)
    set_bit(world, FS_BASE)
    assert world.cpu.vmresume().ok and not world.cpu.msr_exits(FS_BASE), "the old content"
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["MSR_BITMAP"]))
    assert world.cpu.vmresume().ok and world.cpu.msr_exits(FS_BASE)
    world.set_clean()
    set_bit(world, FS_BASE, on=False)
    set_bit(world, GS_BASE)
    assert world.cpu.vmresume().ok
    assert world.cpu.msr_exits(FS_BASE) and not world.cpu.msr_exits(GS_BASE)


@pytest.mark.rule("K11")
@pytest.mark.parametrize("group", GROUP_BITS)
def test_which_dirty_groups_read_it_again(group):
    world = entered(True)
    set_bit(world, FS_BASE)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS[group]))
    assert world.cpu.vmresume().ok
    assert world.cpu.msr_exits(FS_BASE) == (group in GROUPS_OF_THE_BITMAP)


@pytest.mark.rule("R67", "K10")
@pytest.mark.case("EVM-14")
def test_the_flag_itself_is_live():
    world = entered(False)
    set_bit(world, FS_BASE)
    world.put(EVMCS, "hv_enlightenments_control", 2)
    assert world.cpu.vmresume().ok and world.cpu.msr_exits(FS_BASE), "nothing changes by itself"
    set_bit(world, GS_BASE)
    assert world.cpu.vmresume().ok and not world.cpu.msr_exits(GS_BASE)
    world.put(EVMCS, "hv_enlightenments_control", 0)
    assert world.cpu.vmresume().ok and world.cpu.msr_exits(GS_BASE)


@pytest.mark.rule("R10", "R68")
def test_without_the_offer_the_flag_is_ignored():
    world = entered(True, cpuid={0x4000000A: (0x20101, 1, 0, 0)})
    set_bit(world, FS_BASE)
    assert world.cpu.vmresume().ok and world.cpu.msr_exits(FS_BASE)


@pytest.mark.rule("K3")
def test_vmlaunch_and_vmclear_drop_the_content():
    for step in ("vmlaunch", "vmclear"):
        world = entered(True)
        set_bit(world, FS_BASE)
        if step == "vmclear":
            assert world.cpu.vmclear(EVMCS).ok and world.cpu.vmresume().ok
        else:
            assert world.cpu.vmlaunch().ok
        assert world.cpu.msr_exits(FS_BASE)


@pytest.mark.rule("R69")
@pytest.mark.parametrize("flag", [False, True])
def test_a_changed_address_behind_a_clean_bit(flag):
    world = entered(flag)
    set_bit(world, FS_BASE, bitmap=0x60000)
    world.put(EVMCS, "msr_bitmap", 0x60000)
    assert world.cpu.vmresume().ok and not world.cpu.msr_exits(FS_BASE)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["MSR_BITMAP"]))
    assert world.cpu.vmresume().ok and world.cpu.msr_exits(FS_BASE)


@pytest.mark.parametrize("flag", [False, True])
def test_a_bitmap_that_is_not_there_lets_nothing_through(flag):
    world = World()
    world.enlighten(cpu_based_vm_exec_control=USE_BITMAPS, msr_bitmap=0x3000000,
                    hv_enlightenments_control=2 * flag)
    assert world.cpu.vmlaunch().ok and world.cpu.msr_exits(FS_BASE)


def test_a_plain_vmcs_keeps_nothing():
    world = World()
    world.plain(CPU_BASED_VM_EXEC_CONTROL=USE_BITMAPS)
    assert world.cpu.vmlaunch().ok and not world.cpu.msr_exits(FS_BASE)
    set_bit(world, FS_BASE)
    assert world.cpu.msr_exits(FS_BASE)
