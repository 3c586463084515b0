# SPDX-License-Identifier: GPL-2.0-only
"""Accessed and dirty flags are set atomically (SDM 3A 4.8, 3C 28.3.5): another processor that
changes an entry meanwhile loses nothing, and an entry that it has cleared stays clear. An access
of two pages looks at each once."""

import threading

import pytest
from guest import *

from kvm_vmx.machine.outcome import Stopped

FAR, NEAR = 0xE00000, 0xE00000 - 64 * 4096
STEPS, SOAK = 300_000, 10_000_000
ROUNDS = 100        # with fewer nothing has been tried
SMAP = 1 << 21


@pytest.fixture
def steps(soak):
    return SOAK if soak else STEPS


def while_l2_runs(g, change, steps):
    """Run L2 for so many instructions, and call change() again and again meanwhile; longer where a
    busy machine has let nobody change anything yet."""
    outcomes, rounds = [], 0

    def run():
        outcomes.append(g.cpu.vmlaunch(stop_after=steps))
        while rounds < ROUNDS and isinstance(outcomes[-1], Stopped):
            outcomes.append(g.cpu.go_on(stop_after=steps))

    runner = threading.Thread(target=run)
    runner.start()
    while runner.is_alive():
        change()
        rounds += 1
    runner.join()
    assert all(isinstance(outcome, Stopped) for outcome in outcomes), outcomes


@pytest.mark.soak
@pytest.mark.parametrize("operation", ["488b03", "488903"], ids=["read", "write"])
def test_a_page_that_l2_unmaps(guest, operation, steps):
    """An access, INVLPG, again; its fault handler returns. The entry comes and goes."""
    g = guest(operation + "0f013b" "ebf8")
    g.vector(14, code="4883c408" "48cf")
    g.regs(rbx=FAR)
    place, entry = PD + 8 * (FAR >> 21), FAR | 0x87

    def change():
        g.write(place, 0)
        assert all(g.read(place) == 0 for _ in range(8)), "a flag in an entry that is not there"
        g.write(place, entry)

    while_l2_runs(g, change, steps)


@pytest.mark.soak
def test_an_ept_entry_that_l1_changes(guest, steps):
    """Two pages that take each other's place in L0's translations, so that each access walks."""
    g = guest("488b03" "488b01" "ebf8", SECONDARY_VM_EXEC_CONTROL=S_EPT)
    g.set(EPT_POINTER=g.map_ept() | 0x40)
    g.regs(rbx=FAR, rcx=NEAR)
    place, entry = g.ept_entry(FAR), FAR | 0x37
    mark = [0]

    def change():
        mark[0] ^= 1 << 58
        g.write(place, entry | mark[0])
        assert all(g.read(place) & ~0x300 == entry | mark[0] for _ in range(8)), "a lost write"

    while_l2_runs(g, change, steps)
    assert g.read(g.ept_entry(NEAR)) & 0x300 == 0x100


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["hole", "user"])
@pytest.mark.parametrize("operation", ["488b03", "488903"], ids=["read", "write"])
def test_two_pages_of_which_l2_unmaps_one(guest, operation, kind, steps):
    """Where nothing is, and a user's page under SMAP: neither is kept, so every access walks."""
    g = guest(operation + "ebfb", {"msrs": {0x489: 0x3FFFFF}, "unfinished": True})
    g.vector(14, code="4883c408" "48cf")
    for n in range(7):
        g.write(PD + 8 * n, n << 21 | 0x83)
    if kind == "user":
        g.set(GUEST_CR4=g.get("GUEST_CR4") | SMAP, GUEST_RFLAGS=2 | 1 << 18)
    g.regs(rbx=FAR - 4)
    place, entry = PD + 8 * (FAR >> 21), FAR | 0x87 if kind == "user" else 0x1800000 | 0x87

    def change():
        for _ in range(8):
            g.write(place, 0)
            g.write(place, entry)

    # where nothing is, the walk takes so long that few are enough
    while_l2_runs(g, change, steps // 6 if kind == "hole" else steps)
