# SPDX-License-Identifier: GPL-2.0-only
"""The MSR lists of a VMCS: what an entry loads, what an exit stores and loads, in which order."""

import functools

import pytest
from guest import CODE, MSR_BITMAPS, PROC, VMCALL, Guest

FS_BASE, KERNEL_GS, STAR, EFER, PAT = 0xC0000100, 0xC0000102, 0xC0000081, 0xC0000080, 0x277
SYSENTER_CS, SYSENTER_ESP, TSC = 0x174, 0x175, 0x10
ENTRY_LIST, STORE_LIST, LOAD_LIST, BITMAP = 0x900000, 0x940000, 0x980000, 0x700000
RDMSR, WRMSR = "0f32", "0f30"
EXIT_VMCALL, INVALID_STATE, MSR_LOADING = 18, 0x80000021, 0x80000022


@pytest.fixture(params=["plain", "evmcs"])
def guest(request):
    """A guest whose MSRs do not exit, with the lists of an L0 that honours them."""
    return functools.partial(
        Guest, request.param, options={"profile": "tlfs-strict"}, MSR_BITMAP=BITMAP,
        CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS)


def fill(g, at, *entries):
    """A list of (index, value) in memory."""
    for n, (index, value) in enumerate(entries):
        g.write(at + 16 * n, index)
        g.write(at + 16 * n + 8, value)


def listed(entry=0, store=0, load=0):
    """The fields of lists of so many entries."""
    return {"VM_ENTRY_MSR_LOAD_ADDR": ENTRY_LIST, "VM_ENTRY_MSR_LOAD_COUNT": entry,
            "VM_EXIT_MSR_STORE_ADDR": STORE_LIST, "VM_EXIT_MSR_STORE_COUNT": store,
            "VM_EXIT_MSR_LOAD_ADDR": LOAD_LIST, "VM_EXIT_MSR_LOAD_COUNT": load}


@pytest.mark.case("MSL-01")
def test_all_three_lists(guest):
    g = guest(RDMSR + "89c3" "b827593141" + WRMSR + VMCALL, **listed(1, 1, 1))
    fill(g, ENTRY_LIST, (KERNEL_GS, 0x31415926))
    fill(g, STORE_LIST, (KERNEL_GS, 0))
    fill(g, LOAD_LIST, (KERNEL_GS, 0x31415928))
    g.regs(rcx=KERNEL_GS)
    assert g.run().reason == EXIT_VMCALL
    assert g.regs()[3] == 0x31415926
    assert g.read(STORE_LIST + 8) == 0x41315927
    assert g.cpu.rdmsr(KERNEL_GS).value == 0x31415928


@pytest.mark.parametrize(("index", "high", "value"), [
    (FS_BASE, 0, 0), (0xC0000101, 0, 0), (0x800, 0, 0), (0x8FF, 0, 0), (0x9B, 0, 0), (0x79, 0, 0),
    (0x8B, 0, 0), (STAR, 1, 0), (PAT, 0, 2), (EFER, 0, 1 << 13), (0x12345, 0, 0),
])
@pytest.mark.parametrize("place", [1, 3])
@pytest.mark.case("MSL-02")
def test_an_entry_that_may_not_be_loaded(guest, index, high, value, place):
    """Exit 34 names it, counted from 1; no instruction of L2 runs, nothing is stored."""
    g = guest(VMCALL, **listed(3, 1))
    fill(g, ENTRY_LIST, *[(STAR, 7)] * 3)
    fill(g, ENTRY_LIST + 16 * (place - 1), (high << 32 | index, value))
    fill(g, STORE_LIST, (STAR, 0))
    found = g.run(HOST_RIP=0x4444)
    assert (found.reason, found.qualification, found.rip) == (MSR_LOADING, place, CODE)
    assert g.cpu.rip == 0x4444 and g.cpu.counters()["l2_instructions"] == 0
    assert g.read(STORE_LIST + 8) == 0


def test_a_failed_entry_loads_the_exit_list(guest):
    """SDM 27.8: the host's MSRs come as at an exit, and its list with them."""
    for bad in ({"GUEST_RFLAGS": 0}, {"VMCS_LINK_POINTER": 0x999000}, listed(1, 0, 1)):
        g = guest(VMCALL, **{**listed(0, 0, 1), **bad})
        fill(g, ENTRY_LIST, (FS_BASE, 0))
        fill(g, LOAD_LIST, (STAR, 0x7777))
        assert g.run().reason in (INVALID_STATE, MSR_LOADING)
        assert g.cpu.rdmsr(STAR).value == 0x7777


def test_the_exit_list_comes_last(guest):
    """SDM 28.6: what it loads stands, whatever the host-state area says of the same MSR."""
    g = guest(VMCALL, VM_EXIT_CONTROLS=0x36FFB | 1 << 19 | 1 << 21,
              HOST_IA32_SYSENTER_ESP=0x1000, **listed(0, 0, 4))
    fill(g, LOAD_LIST, (SYSENTER_ESP, 0xABC0), (PAT, 0x0606060606060606), (EFER, 0x501),
         (SYSENTER_CS, 0x33))
    for _ in range(2):
        assert g.run(code=VMCALL).reason == EXIT_VMCALL
        values = [g.cpu.rdmsr(msr).value for msr in (SYSENTER_ESP, PAT, SYSENTER_CS)]
        assert values == [0xABC0, 0x0606060606060606, 0x33] and g.cpu.efer == 0x501


def test_the_store_list_shows_l2(guest):
    """Also the MSRs that live in the guest-state area."""
    g = guest(VMCALL, GUEST_FS_BASE=0x1234, GUEST_SYSENTER_ESP=0x5678, GUEST_SYSENTER_CS=0x77,
              **listed(0, 4))
    fill(g, STORE_LIST, (FS_BASE, 0), (SYSENTER_ESP, 0), (SYSENTER_CS, 0), (EFER, 0))
    assert g.run().reason == EXIT_VMCALL
    assert [g.read(STORE_LIST + 16 * n + 8) for n in range(4)] == [0x1234, 0x5678, 0x77, 0xD01]


@pytest.mark.case("MSL-05")
def test_the_longest_lists(guest):
    """512 entries, as VMX_MISC says; the buffer's rest is never looked at."""
    g = guest(VMCALL, **listed(512, 512, 512))
    for at in (ENTRY_LIST, STORE_LIST, LOAD_LIST):
        g.memory.write(at, b"\xff" * (128 << 10))
        fill(g, at, *[(TSC, 0x1234567890ABCDEF)] * 512)
    assert g.run().reason == EXIT_VMCALL
    for at in (ENTRY_LIST, STORE_LIST, LOAD_LIST):
        assert g.memory.read(at + 512 * 16, 4096) == b"\xff" * 4096
    assert g.read(STORE_LIST + 511 * 16 + 8) >= 0x1234567890ABCDEF
    fill(g, ENTRY_LIST + 512 * 16, (TSC, 0))
    found = g.run(VM_ENTRY_MSR_LOAD_COUNT=513)
    assert (found.reason, found.qualification) == (MSR_LOADING, 513)


@pytest.mark.rule("R58")
def test_kvm_ignores_the_lists_of_an_evmcs():
    for mode in ("plain", "evmcs"):
        g = Guest(mode, VMCALL, **listed(1, 1, 1))
        for at in (ENTRY_LIST, STORE_LIST, LOAD_LIST):
            fill(g, at, (STAR, 0x99))
        g.write(STORE_LIST + 8, 0)
        assert g.run().reason == EXIT_VMCALL
        honoured = mode == "plain"
        assert (g.cpu.rdmsr(STAR).value == 0x99) == honoured
        assert (g.read(STORE_LIST + 8) == 0x99) == honoured


@pytest.mark.parametrize("entry, store, load, names", [
    (0, 0, 0, []), (1, 1, 1, []),
    (2, 0, 0, ["entry_list_failed"]), (2, 0, 1, ["entry_list_failed"]),
    (2, 0, 2, ["entry_list_failed", "msr_list_aborted"]), (0, 2, 0, ["msr_list_aborted"]),
    (0, 0, 2, ["msr_list_aborted"])])
def test_a_list_that_fails_is_called_by_its_name(guest, entry, store, load, names):
    """The second item of each list is no MSR. What an entry could not load comes first."""
    g = guest(VMCALL, **listed(entry, store, load))
    for at in (ENTRY_LIST, STORE_LIST, LOAD_LIST):
        fill(g, at, (KERNEL_GS, 1), (0x12345, 0))
    found = g.run()
    assert (found.reason, found.qualification) == ((MSR_LOADING, 2) if entry == 2 else (18, 0))
    assert g.world.partition.lints() == names
    for lint in g.world.partition.lints():
        assert ("an entry's" in lint.meaning) == (lint == "entry_list_failed")
