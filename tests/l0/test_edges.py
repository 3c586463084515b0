# SPDX-License-Identifier: GPL-2.0-only
"""L0 where its last condition decides: pages of L1's memory that are gone when L0 comes back to
them, profiles that announce nothing, controls at their limits."""

import pytest
from guest import *
from world import ASSIST, EVMCS, VMCS_A, World

OS_ID, CALL_PAGE, ASSIST_MSR = 0x40000000, 0x40000001, 0x40000073
SYNIC, SIMP, SINT = 0x40000080, 0x40000083, 0x40000090
CONFIG, COUNT = 0x400000B0, 0x400000B1
PAT, STAR, GS_BASE, SYSENTER_EIP = 0x277, 0xC0000081, 0xC0000101, 0x176


def test_a_vmcs_whose_page_is_gone():
    """L1 loses what it has given back to nobody; L0 says so."""
    world = World(lints=True)
    world.plain()
    world.memory.unback(VMCS_A)
    assert world.cpu.vmclear(VMCS_A).ok
    assert "vmcs_vanished" in [str(lint) for lint in world.partition.lints()]


def test_an_evmcs_whose_page_is_gone():
    world = World(lints=True)
    world.enlighten()
    world.guest_code(bytes.fromhex(VMCALL))
    assert world.cpu.vmlaunch().ok
    world.memory.unback(EVMCS)
    assert not world.cpu.vmresume().ok
    assert "evmcs_vanished" in [str(lint) for lint in world.partition.lints()]


def test_an_assist_page_that_is_gone():
    """Nobody says that the next entry is enlightened: VMfailInvalid without a VMCS."""
    world = World(lints=True)
    world.enlighten()
    world.memory.unback(ASSIST)
    found = world.cpu.vmlaunch()
    assert not found.ok


@pytest.mark.parametrize("activity, info, ends", [
    (0, 0, 18), (1, VALID | EXT | 0x20, 18), (1, VALID | NMI | 2, 18), (1, VALID | HARD | 1, 18),
    (1, VALID | HARD | 18, 18), (1, VALID | HARD | 6, 0x80000021),
    (1, VALID | SOFT | 3, 0x80000021),
    (2, VALID | NMI | 2, 18), (2, VALID | HARD | 18, 18), (2, VALID | EXT | 0x20, 0x80000021),
    (3, VALID | NMI | 2, 0x80000021)])
def test_what_may_be_injected_into_one_that_sleeps(guest, activity, info, ends):
    """SDM 3C 26.3.1.5: HLT is woken by more than SHUTDOWN, wait-for-SIPI by nothing."""
    g = guest(VMCALL, {"msrs": {0x485: 0x1E5}}, GUEST_ACTIVITY_STATE=activity,
              VM_ENTRY_INTR_INFO_FIELD=info, VM_ENTRY_INSTRUCTION_LEN=1, GUEST_RFLAGS=2 | IF)
    for vector in (1, 2, 6, 18, 0x20):
        g.vector(vector)
    outcome = g.cpu.vmlaunch()
    assert outcome.ok and g.get("VM_EXIT_REASON") == ends


@pytest.mark.parametrize("values", [
    {0: (0, 0, 0, 0)}, {0x40000000: (0x40000002, 0, 0, 0)}, {0x40000000: (0x40000009, 0, 0, 0)}])
def test_leaves_above_the_highest_mean_nothing(values):
    world = World(vmx=False, cpuid=values)
    assert world.cpu.rdmsr(0x10).ok


def test_values_of_a_list_that_l2_keeps():
    """The MSRs of the guest-state area, whichever of them a list stores."""
    at = 0x940000
    g = Guest("plain", VMCALL, {"profile": "tlfs-strict"}, VM_EXIT_MSR_STORE_ADDR=at,
              VM_EXIT_MSR_STORE_COUNT=3, GUEST_GS_BASE=0x4321, GUEST_SYSENTER_EIP=0x8765,
              GUEST_FS_BASE=0x1111)
    for n, msr in enumerate((GS_BASE, SYSENTER_EIP, 0xC0000100)):
        g.write(at + 16 * n, msr)
    assert g.run().reason == 18
    assert [g.read(at + 16 * n + 8) for n in range(3)] == [0x4321, 0x8765, 0x1111]


@pytest.mark.parametrize("index, reserved", [(STAR, 1), (0x802, 0), (0x79, 0), (0x9B, 0), (0x8B, 0),
                                             (0x12345, 0)])
def test_an_item_that_cannot_be_stored(index, reserved):
    at = 0x940000
    g = Guest("plain", VMCALL, {"profile": "tlfs-strict", "lints": True},
              VM_EXIT_MSR_STORE_ADDR=at, VM_EXIT_MSR_STORE_COUNT=1)
    g.write(at, reserved << 32 | index)
    g.write(at + 8, 0x77)
    assert g.run().reason == 18
    assert g.read(at + 8) == 0x77
    assert [str(lint) for lint in g.world.partition.lints()] == ["msr_list_aborted"]
    # the abort indicator stands in the page
    assert g.read(VMCS_A + 4, 4) == 1


def test_controls_that_an_entry_repeats_under():
    """The second CPUID is entered in full where a control would load or save more."""
    row = "b801000000" "0fa2"
    for fields in ({}, dict(VM_ENTRY_CONTROLS=0x93FF), dict(VM_EXIT_CONTROLS=0x36FFB)):
        g = Guest("plain", row * 8, **fields)
        assert g.run().reason == 10
        for n in range(1, 6):
            assert g.run(GUEST_RIP=CODE + 7 * n).reason == 10
            assert g.get("GUEST_RIP") == CODE + 7 * n + 5


@pytest.mark.parametrize("code, at", [
    ("b801000000" "0fa2" "ebf7", CODE), ("eb00" "b801000000" "0fa2" "ebf5", CODE),
    ("b801000000" "eb00" "0fa2" "ebf5", CODE), ("b801000000" "b902000000" "0fa2" "ebf2", CODE),
    ("bc01000000" "0fa2" "ebf7", CODE), ("0fa2" "ebfc", CODE), ("90" "0fa2" "ebfb", CODE),
    ("b801000000" "0fa2" "ebf7", CODE + 0xFF0), ("b801000000" "0fa2" "ebf7", CODE + 0xFFA)])
def test_rows_that_come_again(guest, code, at):
    """Whatever stands between two CPUIDs: each exits at its own place."""
    g = guest("", GUEST_RIP=at, GUEST_RSP=STACK)
    g.code(code, at)
    place = at + code.index("0fa2") // 2
    assert g.run().reason == 10 and g.get("GUEST_RIP") == place
    for _ in range(6):
        assert g.run(GUEST_RIP=place + 2).reason == 10
        assert g.get("GUEST_RIP") == place
    # and as it stands, another instruction in its place
    g.code("0f32", place)
    assert g.run(GUEST_RIP=place + 2).reason == 31


def test_a_count_that_never_ends():
    """Periodic timers whose next beat no clock reaches, and one that has been missed."""
    world = World()
    for msr, value in ((SYNIC, 1), (SIMP, 0x92001), (SINT + 2, 0x51)):
        assert world.cpu.wrmsr(msr, value).ok
    assert world.cpu.wrmsr(CONFIG, 2 << 16 | 2 | 1).ok
    assert world.cpu.wrmsr(COUNT, 2**64 - 1).ok and world.cpu.pending_interrupt is None
    assert world.cpu.wrmsr(CONFIG, 2 << 16 | 1 << 12 | 3 << 4 | 1).ok
    # a direct one whose vector is none of the APIC's
    assert world.cpu.wrmsr(COUNT, 1).ok and world.cpu.pending_interrupt is None


@pytest.mark.parametrize("cr, value, efer, ok", [
    (0, 0x60000011, 0, False), (0, 0x80000031, 0, True), (0, 0x80000031, 0x500, True),
    (0, 0x31, 0x500, False), (0, 0x80000011, 0x500, False), (4, 0x2000, 0, True),
    (4, 0x2000, 0x500, False), (4, 0x2020, 0x500, True), (2, 5, 0x500, True), (8, 16, 0x500, False),
    (8, 5, 0x500, True), (3, 0x1000, 0x500, True), (1, 0, 0x500, False)])
def test_control_registers_of_l1(cr, value, efer, ok):
    world = World()
    world.cpu.efer = efer
    assert world.cpu.mov_to_cr(cr, value).ok == ok


def test_of_an_l1_in_level_3_nothing_is_answered(guest):
    """A call of L2 from level 3, or without protection, is L1's to see."""
    g = guest(VMCALL, GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB, GUEST_SS_SELECTOR=0x23,
              GUEST_SS_AR_BYTES=0xC0F3)
    assert g.run().reason == 18
