# SPDX-License-Identifier: GPL-2.0-only
"""Control and debug registers of L2: masks, shadows, targets (SDM volume 3, 26.1.3 and 26.3)."""

import pytest
from guest import *

GP, UD = VALID | HARD | CODE_BIT | 13, VALID | HARD | 6
CR0, CR4 = 0x80010033, 0x2020
ENTRY, EXIT, DEBUG_CONTROLS = 0x13FB, 0x36FFB, 1 << 2
MOV_CR0_RAX, MOV_RAX_CR0, MOV_CR4_RAX, MOV_RAX_CR4 = "0f22c0", "0f20c0", "0f22e0", "0f20e0"
TS, PG, WP, MP = 1 << 3, 1 << 31, 1 << 16, 1 << 1


@pytest.mark.parametrize("mask, shadow, value, leaves", [
    (0, 0, CR0 | TS, False),
    (TS, 0, CR0 | TS, True),
    (TS, TS, CR0 | TS, False),
    (~TS & (1 << 64) - 1, CR0, CR0 | TS, False),
    (~TS & (1 << 64) - 1, CR0, CR0 & ~WP, True),
])
def test_mov_to_cr0_leaves_where_an_owned_bit_differs_from_its_shadow(
        guest, mask, shadow, value, leaves):
    g = guest(MOV_CR0_RAX + VMCALL, CR0_GUEST_HOST_MASK=mask, CR0_READ_SHADOW=shadow)
    g.regs(rax=value)
    found = g.run()
    assert (found.reason, found.qualification) == ((28, 0) if leaves else (18, 0))
    if not leaves:
        # owned bits keep what they are
        assert g.get("GUEST_CR0") == CR0 & mask | value & ~mask


def test_a_read_mixes_register_and_shadow(guest):
    g = guest(MOV_RAX_CR0 + "4889c3" + MOV_RAX_CR4 + VMCALL, CR0_GUEST_HOST_MASK=0xFF,
              CR0_READ_SHADOW=0xA5, CR4_GUEST_HOST_MASK=0x2000, CR4_READ_SHADOW=0)
    assert g.run().reason == 18
    assert g.regs()[RBX] == CR0 & ~0xFF | 0xA5
    assert g.regs()[RAX] == 0x20


@pytest.mark.parametrize("register, code", [(RBX, "0f22c3"), (9, "410f22c1")])
def test_the_qualification_names_the_register(guest, register, code):
    g = guest(code, CR0_GUEST_HOST_MASK=1 << 30, CR0_READ_SHADOW=0)
    g.regs(**{"rbx" if register == RBX else "r9": CR0 | 1 << 30})
    assert g.run()[:3] == (28, register << 8, len(code) // 2)


@pytest.mark.parametrize("value, why", [
    (CR0 & ~1, "PG without PE"), (CR0 | 1 << 29, "NW without CD"), (CR0 | 1 << 40, "high bits"),
    (CR0 & ~0x20, "NE is fixed"), (CR0 & ~PG, "leaving long mode from 64-bit code")])
def test_values_that_cr0_does_not_take(guest, value, why):
    g = guest(MOV_CR0_RAX, EXCEPTION_BITMAP=1 << 13)
    g.regs(rax=value)
    assert (g.run().intr_info, g.get("GUEST_CR0")) == (GP, CR0)


@pytest.mark.parametrize("value", [CR4 & ~0x2000, CR4 & ~0x20, CR4 | 1 << 50, CR4 | 1 << 15])
def test_values_that_cr4_does_not_take(guest, value):
    g = guest(MOV_CR4_RAX, EXCEPTION_BITMAP=1 << 13)
    g.regs(rax=value)
    assert (g.run().intr_info, g.get("GUEST_CR4")) == (GP, CR4)


def test_an_exit_comes_before_the_value_is_looked_at(guest):
    g = guest(MOV_CR4_RAX, EXCEPTION_BITMAP=1 << 13, CR4_GUEST_HOST_MASK=1 << 50)
    g.regs(rax=1 << 50)
    assert g.run()[:2] == (28, 4)


def test_mov_to_cr4(guest):
    g = guest(MOV_CR4_RAX + VMCALL, CR4_GUEST_HOST_MASK=0x2000, CR4_READ_SHADOW=0)
    g.regs(rax=CR4 & ~0x2000 | 0x80)
    assert (g.run().reason, g.get("GUEST_CR4")) == (18, CR4 | 0x80)
    g.regs(rax=CR4)
    assert g.run(GUEST_RIP=CODE)[:2] == (28, 4)


@pytest.mark.parametrize("profile", ["ice-lake", "tlfs-strict"])
def test_cr3_targets(guest, profile):
    """KVM 6.12 does not copy their count out of an eVMCS (copy_enlightened_to_vmcs12())."""
    g = guest("0f22d8" + VMCALL, options=dict(profile=profile, msrs={0x485: 0x401E5}),
              CR3_TARGET_COUNT=2, CR3_TARGET_VALUE0=0x5000,
              CR3_TARGET_VALUE1=PML4, CR3_TARGET_VALUE2=0x9000,
              CPU_BASED_VM_EXEC_CONTROL=PROC | CR3_LOAD)
    g.regs(rax=PML4)
    honoured = g.mode == "plain" or profile == "tlfs-strict"
    assert g.run().reason == (18 if honoured else 28)
    assert ("cr3_targets_ignored" in g.world.partition.lints()) == (not honoured)
    g.regs(rax=0x9000)
    # the third value is beyond the count
    assert g.run(GUEST_RIP=CODE)[:2] == (28, 3)


def test_mov_to_cr3_without_exits_changes_the_translation(guest):
    """A second set of tables maps CODE's page elsewhere."""
    g = guest("0f22d8" + VMCALL)
    g.write(0x11000, 0x12000 | 7)
    g.write(0x12000, 0x13000 | 7)
    g.write(0x13000, 0x87)
    # 4 MByte on lies what the second tables show at CODE
    g.write(0x13000 + 8 * 2, 6 << 21 | 0x87)
    g.code("9090900fa2", CODE + (4 << 21))
    g.regs(rax=0x11000)
    found = g.run()
    assert (found.reason, found.rip, g.get("GUEST_CR3")) == (10, CODE + 3, 0x11000)


def test_cr3_reserved_bits(guest):
    g = guest("0f22d8", EXCEPTION_BITMAP=1 << 13)
    g.regs(rax=1 << 60)
    assert g.run().intr_info == GP


def test_clts(guest):
    g = guest("0f06" + VMCALL, GUEST_CR0=CR0 | TS)
    assert (g.run().reason, g.get("GUEST_CR0")) == (18, CR0)
    # owned and shown as set: it leaves; owned and shown as clear: nothing happens
    owned = dict(GUEST_RIP=CODE, GUEST_CR0=CR0 | TS, CR0_GUEST_HOST_MASK=TS)
    assert g.run(CR0_READ_SHADOW=TS, **owned)[:3] == (28, 2 << 4, 2)
    assert (g.run(CR0_READ_SHADOW=0, **owned).reason, g.get("GUEST_CR0")) == (18, CR0 | TS)


@pytest.mark.parametrize("mask, shadow, source, leaves", [
    (0, 0, 0xF, False), (0xF, 0, 0xF, True), (0xF, 0xF, 0xF, False), (0xE, 0x2, 0x3, False),
    # PE: only setting it can leave, since LMSW cannot clear it
    (1, 0, 1, True), (1, 1, 0, False), (1, 1, 1, False), (TS, TS, 0, True),
])
def test_lmsw(guest, mask, shadow, source, leaves):
    g = guest("0f01f0" + VMCALL, CR0_GUEST_HOST_MASK=mask, CR0_READ_SHADOW=shadow)
    g.regs(rax=source)
    found = g.run()
    assert found[:2] == ((28, source << 16 | 3 << 4) if leaves else (18, 0))
    if not leaves:
        wanted = source & 0xF | 1
        assert g.get("GUEST_CR0") == CR0 & ~0xF | CR0 & mask & 0xF | wanted & ~mask


def test_lmsw_from_memory(guest):
    g = guest("0f0133", CR0_GUEST_HOST_MASK=TS, CR0_READ_SHADOW=0)
    g.write(DATA, 0x123F, 2)
    g.regs(rbx=DATA)
    found = g.run()
    assert (found.reason, found.qualification, found.linear) == (
        28, 0x123F << 16 | 1 << 6 | 3 << 4, DATA)
    # a fault on the operand comes first
    g.regs(rbx=1 << 40)
    assert g.run(EXCEPTION_BITMAP=1 << 14).intr_info & 0xFF == 14


def test_smsw_shows_the_shadow(guest):
    g = guest("0f01e3" + VMCALL, CR0_GUEST_HOST_MASK=0xF, CR0_READ_SHADOW=5)
    g.regs(rbx=~0)
    g.run()
    assert g.regs()[RBX] == (CR0 & ~0xF | 5) & 0xFFFFFFFF


def test_cr8_in_the_virtual_apic_page(guest):
    g = guest("440f22c0" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | TPR_SHADOW,
              VIRTUAL_APIC_PAGE_ADDR=BITMAPS, TPR_THRESHOLD=0)
    g.regs(rax=9)
    assert (g.run().reason, g.read(BITMAPS + 0x80, 1)) == (18, 0x90)
    # below the threshold it leaves behind the instruction
    g.regs(rax=3)
    found = g.run(GUEST_RIP=CODE, TPR_THRESHOLD=4)
    assert (found.reason, found.rip, g.read(BITMAPS + 0x80, 1)) == (43, CODE + 4, 0x30)
    g.run("440f20c3" + VMCALL, TPR_THRESHOLD=0)
    assert g.regs()[RBX] == 3
    g.regs(rax=16)
    assert g.run("440f22c0", EXCEPTION_BITMAP=1 << 13).intr_info == GP


def test_cr2(guest):
    g = guest("0f22d0" "0f20d3" + VMCALL)
    g.regs(rax=0x1234567890)
    assert g.run().reason == 18 and g.regs()[RBX] == 0x1234567890


@pytest.mark.parametrize("n", range(8))
@pytest.mark.parametrize("is_read", [True, False])
def test_debug_register_exits(guest, n, is_read):
    """SDM 26.1.3: they come before the privilege check, and before #UD of DR4 and DR5."""
    g = guest(f"410f{0x21 if is_read else 0x23:02x}{0xC2 | n << 3:02x}", GUEST_CR4=CR4 | 8,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MOV_DR)
    assert g.run()[:3] == (29, n | is_read << 4 | 10 << 8, 4)


def test_debug_registers_without_exits(guest):
    g = guest("0f23c0" "0f23f3" "0f21c1" "0f21f2" "0f21fe" + VMCALL)
    g.regs(rax=0x1122334455667788, rbx=0x400F)
    assert g.run().reason == 18
    # DR6 and DR7 have fixed bits
    assert (g.regs()[RCX], g.regs()[RDX], g.regs()[RSI]) == (
        0x1122334455667788, 0xFFFF4FFF, 0x400)


def test_dr4_is_dr6_unless_debugging_extensions_are_on(guest):
    g = guest("0f21e2" + VMCALL, EXCEPTION_BITMAP=1 << 6)
    assert g.run().reason == 18 and g.regs()[RDX] == 0xFFFF0FF0
    assert g.run(GUEST_RIP=CODE, GUEST_CR4=CR4 | 8).intr_info == UD


@pytest.mark.parametrize(("controls", "seen"), [(0, 0x400), (DEBUG_CONTROLS, 0x455)])
def test_an_entry_loads_dr7_where_a_control_says_so(guest, controls, seen):
    """SDM 27.3.2.1; without the control L2 has what L1 had."""
    g = guest("0f21f8" + VMCALL, GUEST_DR7=0x455, VM_ENTRY_CONTROLS=ENTRY | controls)
    assert g.run().reason == 18 and g.regs()[RAX] == seen


@pytest.mark.parametrize(("controls", "kept"), [(0, 0x400), (DEBUG_CONTROLS, 0x401)])
def test_an_exit_saves_dr7_where_a_control_says_so(guest, controls, kept):
    """SDM 28.3.1; L1 has 0x400 again either way."""
    g = guest("0f23f8" + VMCALL, VM_EXIT_CONTROLS=EXIT | controls)
    g.regs(rax=0x401)
    assert g.run().reason == 18 and g.get("GUEST_DR7") == kept
    assert g.run(code="0f21f8" + VMCALL).reason == 18 and g.regs()[RAX] == 0x400


def test_general_detect(guest):
    g = guest("0f21c0", GUEST_DR7=0x2400, EXCEPTION_BITMAP=1 << 1,
              VM_ENTRY_CONTROLS=ENTRY | DEBUG_CONTROLS, VM_EXIT_CONTROLS=EXIT | DEBUG_CONTROLS)
    found = g.run()
    assert (found.intr_info, found.qualification, g.get("GUEST_DR7")) == (
        VALID | HARD | 1, 1 << 13, 0x2400)


@pytest.mark.parametrize("code", ["0f23f0", "0f23f8"])
def test_debug_registers_take_32_bits(guest, code):
    g = guest(code, EXCEPTION_BITMAP=1 << 13)
    g.regs(rax=1 << 32)
    assert g.run().intr_info == GP
