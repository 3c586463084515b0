# SPDX-License-Identifier: GPL-2.0-only
"""What an entry and its exit seldom meet: MSRs that tell no exact controls, everything wrong at
once, events beside debug exceptions that wait, a host of 32 bits."""

import functools
import re

import pytest
from modes import *
from test_direct_flush import FAST, GOOD, SPACE
from test_guest_modes import real
from world import ASSIST, EVMCS, GROUP_BITS, ROOT, World

from kvm_vmx.machine.outcome import Stopped


@pytest.mark.parametrize("exact", [True, False])
def test_which_msr_tells_what_a_control_may_be(exact):
    """SDM A.2: bit 55 of the basic MSR; the secondary controls have one only."""
    msrs = {0x480: 0x11E57ED0 | 0x1000 << 32 | 6 << 50 | exact << 55}
    for field, plain, other in (("PIN_BASED_VM_EXEC_CONTROL", 0x481, 0x48D),
                                ("SECONDARY_VM_EXEC_CONTROL", 0x48B, 0x48B)):
        g = Guest("plain", VMCALL, {"msrs": msrs}, CPU_BASED_VM_EXEC_CONTROL=PROC | VALID | 3 << 15,
                  **{field: 1 << 30})
        why = g.cpu.vmlaunch().why
        assert why.field == field
        assert f"{other if exact else plain:#x}" in why.sentence


def test_everything_wrong_at_once():
    """As many refusals as there is room for, and the first is the entry's own."""
    g = Guest("plain", VMCALL)
    for name in ("PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "VM_EXIT_CONTROLS",
                 "VM_ENTRY_CONTROLS", "HOST_CR0", "HOST_CR3", "HOST_CR4", "HOST_RIP", "GUEST_CR0",
                 "GUEST_CR4", "GUEST_RFLAGS", "GUEST_CS_AR_BYTES", "GUEST_SS_AR_BYTES",
                 "GUEST_TR_AR_BYTES", "GUEST_LDTR_AR_BYTES", "GUEST_ACTIVITY_STATE",
                 "GUEST_INTERRUPTIBILITY_INFO", "VM_ENTRY_INTR_INFO_FIELD", "HOST_CS_SELECTOR",
                 "HOST_TR_SELECTOR", "HOST_FS_BASE", "GUEST_DS_AR_BYTES", "GUEST_GDTR_LIMIT"):
        g.set(**{name: 0xFFFF8000FFFF8FFF & ((1 << 64) - 1 if "CR" in name or "RIP" in name or
                                            "BASE" in name else 0xFFFFFFFF)})
    first = g.cpu.vmlaunch().why
    found = g.cpu.refusals()
    assert len(found) > 8 and found[0].id == first.id
    assert len({why.id for why in found}) == len(found)


@pytest.mark.parametrize("activity, info, ends", [
    (1, VALID | 7 << 8, 37), (2, VALID | HARD | 1, 0x80000021), (2, VALID | 7 << 8, 0x80000021),
    (1, VALID | HARD | 3, 0x80000021), (1, VALID | SOFT_INT | 0x20, 0x80000021)])
def test_what_wakes_a_halted_l2(activity, info, ends):
    """SDM 3C 26.3.1.5: of the other kinds a pending MTF, of exceptions debug and machine check."""
    g = Guest("plain", VMCALL, {"msrs": {0x485: 0x1E5}}, GUEST_ACTIVITY_STATE=activity,
              VM_ENTRY_INTR_INFO_FIELD=info, VM_ENTRY_INSTRUCTION_LEN=1, GUEST_RFLAGS=2 | IF)
    assert g.cpu.vmlaunch().ok and g.get("VM_EXIT_REASON") == ends


@pytest.mark.parametrize("kind", [EXT | 0x20, NMI | 2, HARD | 6, SOFT_INT | 0x20, SOFT | 3,
                                  PRIVILEGED | 1])
@pytest.mark.parametrize("shadow", [0, 2])
def test_debug_exceptions_that_wait_while_an_event_is_injected(guest, kind, shadow):
    """SDM 26.6.3: they are lost, but for those that MOV SS holds back from a software event."""
    g = guest(VMCALL, VM_ENTRY_INTR_INFO_FIELD=VALID | kind, VM_ENTRY_INSTRUCTION_LEN=1,
              GUEST_RFLAGS=2 | (IF if shadow == 0 else 0), EXCEPTION_BITMAP=0,
              GUEST_INTERRUPTIBILITY_INFO=shadow, GUEST_PENDING_DBG_EXCEPTIONS=1 << 12 | 1)
    for vector in (1, 2, 3, 6, 0x20):
        g.vector(vector)
    kept = shadow and kind in (SOFT_INT | 0x20, SOFT | 3)
    if shadow and kind in (EXT | 0x20, NMI | 2):
        assert g.cpu.vmlaunch().why is not None or g.get("VM_EXIT_REASON") >> 31
        return
    found = g.run()
    assert found.reason == 18
    handler = HANDLER + 0x100 * (1 if kept else kind & 0xFF)
    assert found.rip == handler


@pytest.mark.parametrize("flags, shadow", [(0, 0), (1 << 16, 0), (0, 1), (0, 2)])
def test_strings_by_element_where_something_ends_with_the_first(guest, flags, shadow):
    """RF, and the shadows of STI and MOV SS: gone behind the first element, all are stored."""
    g = guest("f3aa" + VMCALL, GUEST_RFLAGS=2 | flags | IF * (shadow == 1),
              GUEST_INTERRUPTIBILITY_INFO=shadow)
    g.regs(rdi=DATA, rcx=64, rax=0x5A)
    assert g.run().reason == 18
    assert g.memory.read(DATA, 65) == b"\x5a" * 64 + b"\0"
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == 0 and g.regs()[RCX] == 0


def test_a_32_bit_l1_and_its_exit():
    """SDM 27.5.1: without the host's long mode, EFER.LMA and LME are off behind the exit."""
    g = narrow(VMCALL)
    g.cpu.efer, g.cpu.cr4 = 0, 0x2010
    g.set(VM_EXIT_CONTROLS=g.get("VM_EXIT_CONTROLS") & ~(1 << 9), HOST_CR4=0x2010)
    assert g.run().reason == 18 and g.cpu.efer & 0x500 == 0


@pytest.mark.parametrize("profile, ends", [("kvm-6.12", (0, UD)), ("tlfs-strict", (18, 0))])
def test_a_flush_of_real_mode_is_no_hypercall(profile, ends):
    """R92: not from real mode, whatever its level; the profile says what it is instead."""
    g = real(functools.partial(Guest, "evmcs", options={"profile": profile}), VMCALL,
             EXCEPTION_BITMAP=1 << UD)
    for name, value in GOOD.items():
        g.world.put(EVMCS, name, value)
    g.world.memory.write(ASSIST + 0x20, b"\1")
    g.regs(rcx=SPACE | FAST, r8=3)
    assert g.cpu.vmlaunch(stop_after=5).ok
    assert (g.last().reason, g.last().intr_info & 0xFF) == ends
    assert g.cpu.counters()["tlb_flushes"] == 0


def test_a_profile_without_what_no_profile_needs(tmp_path):
    """MSR 0x491 is there where VM functions are; without it none is offered (SDM A.11)."""
    text = (ROOT / "kvm_vmx/profiles/kvm-6.12.toml").read_text()
    path = tmp_path / "few.toml"
    path.write_text(re.sub(r"\[msr\.0x491\]\n([^\[]*\n)?(?=\[|$)", "", text))
    g = plain(VMCALL, {"profile": str(path)})
    assert g.run().reason == 18 and not g.cpu.rdmsr(0x491).ok


@pytest.mark.parametrize("bit", range(16))
def test_an_entry_of_which_one_group_alone_is_dirty(bit):
    """Under the rule of Hyper-V that a control without a field is refused: none is here."""
    g = Guest("evmcs", VMCALL)
    assert g.run().reason == 18
    g.world.put(EVMCS, "guest_rip", CODE)
    g.world.set_clean(0xFFFF & ~(1 << bit | 1 << GROUP_BITS["GUEST_BASIC"]))
    assert g.cpu.vmresume().ok and g.get("VM_EXIT_REASON") == 18


def test_upper_halves_of_an_active_evmcs():
    """K8: VMREAD serves what has a place there; the upper half of a field has none of its own."""
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    assert world.cpu.vmread(0x2000).ok and not world.cpu.vmread(0x2001).ok


def test_all_refusals_of_an_evmcs_with_a_debug_control():
    """R62: the one that no leaf announces is among them, behind the others."""
    g = Guest("evmcs", VMCALL, {"profile": "tlfs-strict"})
    assert g.run().reason == 18 and g.cpu.refusals() == []
    g.set(GUEST_IA32_DEBUGCTL=1, HOST_RIP=1 << 63)
    assert not g.cpu.vmresume().ok
    assert {why.id for why in g.cpu.refusals()} == {"debugctl_unannounced", "host_rip"}


def test_an_l2_that_goes_on_without_its_page():
    """Stopped, its eVMCS lost, under lints: it ends, and L1 sees nothing of the exit."""
    g = Guest("evmcs", "90" + VMCALL, {"lints": True})
    assert isinstance(g.cpu.vmlaunch(stop_after=1), Stopped)
    g.memory.unback(EVMCS)
    assert g.cpu.go_on().ok and g.cpu.counters()["exits"] == 1
    g.memory.back(EVMCS)
    assert g.get("VM_EXIT_REASON") == 0
