# SPDX-License-Identifier: GPL-2.0-only
"""MOV to and from control registers of L2, LMSW, CLTS: what they refuse (SDM 2B MOV, 3A 2.5)."""

import pytest
from modes import *

TO_CR0, TO_CR3, TO_CR4, TO_CR8 = "0f22c0", "0f22d8", "0f22e0", "440f22c0"
PE, MP, TS_BIT, ET, NE, WP, NW, CD, PG = (1 << n for n in (0, 1, 3, 4, 5, 16, 29, 30, 31))
LONG, PAE, VMXE = 0x80000031, 1 << 5, 1 << 13
# else LME is that of L1
NO_LME = dict(VM_ENTRY_CONTROLS=0x11FB | 1 << 15, GUEST_IA32_EFER=0)


def moved(code, value, make=wide, **fields):
    g = make(code + VMCALL, **fields)
    g.regs(rax=value)
    return g, told(g.run())


@pytest.mark.parametrize("value, ends", [
    (LONG, DONE), (LONG | WP, DONE), (LONG | CD | NW, DONE), (LONG | NW, (GP, 0)),
    (LONG & ~NE, (GP, 0)), (LONG & ~PE, (GP, 0)), (LONG & ~PG, (GP, 0)), (LONG | 1 << 32, (GP, 0)),
    (LONG | 1 << 63, (GP, 0)), (LONG & ~ET, DONE)])
def test_cr0_of_64_bit_code(value, ends):
    g, found = moved(TO_CR0, value)
    assert found == ends
    assert g.get("GUEST_CR0") & 0xFFFFFFFF == (value | ET if ends is DONE else g.get("GUEST_CR0"))


@pytest.mark.parametrize("value, ends", [
    (0x31, DONE), (0x30, DONE), (LONG & ~PE, (GP, 0)), (0x80000031, DONE), (0x11, (GP, 0))])
def test_cr0_of_32_bit_code(value, ends):
    """Paging goes on with 32-bit tables; without protection there is none."""
    g = narrow(TO_CR0 + VMCALL, **NO_LME)
    for n in range(4):
        g.write(0x1000 + 4 * n, n << 22 | 0x87, 4)
    g.set(GUEST_CR3=0x1000, GUEST_CR4=0x2010)
    g.regs(rax=value)
    assert told(g.run()) == ends


@pytest.mark.parametrize("entry, ends", [(0x2001, DONE), (0x2000, DONE), (0x2003, (GP, 0)),
                                         (1 << 52 | 0x2001, (GP, 0))])
@pytest.mark.parametrize("how", ["cr0", "cr3", "cr4"])
def test_pdptes_are_loaded(how, entry, ends):
    """By switching PAE paging on, by CR3 and by CR4: reserved bits of one that is present."""
    fields = dict(NO_LME, GUEST_CR4=0x2020, GUEST_CR3=0x1000)
    if how != "cr0":
        fields |= dict(GUEST_CR0=0x80000031, GUEST_PDPTR0=0x2001)
    g = narrow({"cr0": TO_CR0, "cr3": TO_CR3, "cr4": TO_CR4}[how] + VMCALL, **fields)
    for n in range(8):
        g.write(0x2000 + 8 * n, n << 21 | 0xE7)
    g.write(0x1000, 0x2001)
    g.write(0x1008, 0)
    g.write(0x1010, 0)
    g.write(0x1018, entry if entry != 0x2000 else 0)
    g.regs(rax={"cr0": 0x80000031, "cr3": 0x1000, "cr4": 0x20A0}[how])
    assert told(g.run()) == ends


def test_long_mode_goes_on_only_from_32_bit_code_with_pae():
    """SDM 3A 10.8.5: EFER.LME alone is not enough; and off it goes to what it was."""
    for cr4, rights, ends in ((0x2020, 0xC09B, DONE), (0x2000, 0xC09B, (GP, 0)),
                              (0x2020, 0xA09B, (GP, 0))):
        g = narrow(TO_CR0 + VMCALL, GUEST_CR4=cr4, GUEST_CR3=PML4, GUEST_IA32_EFER=0x100,
                   GUEST_CS_AR_BYTES=rights, VM_ENTRY_CONTROLS=0x11FB | 1 << 15)
        if rights & 0x2000:
            # 64-bit code is none before long mode is on
            g.set(GUEST_CS_AR_BYTES=0xA09B)
        g.regs(rax=LONG)
        found = told(g.run())
        assert found == ends, (hex(cr4), hex(rights))


def test_long_mode_goes_off_from_compatibility_code():
    g = wide(TO_CR0 + VMCALL, GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B,
             SECONDARY_VM_EXEC_CONTROL=S_EPT | S_UNRESTRICTED, EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    g.regs(rax=0x31)
    assert told(g.run()) is DONE
    assert g.get("GUEST_CR0") & PG == 0 and g.get("VM_ENTRY_CONTROLS") & 0x200 == 0


@pytest.mark.parametrize("value, ends", [
    (PAE | VMXE, DONE), (VMXE, (GP, 0)), (PAE, (GP, 0)), (PAE | VMXE | 1 << 30, (GP, 0)),
    (PAE | VMXE | 1 << 4, DONE)])
def test_cr4_of_64_bit_code(value, ends):
    assert moved(TO_CR4, value)[1] == ends


@pytest.mark.parametrize("value, ends", [
    (0, DONE), (0xFFF, DONE), (1 << 45, DONE), (1 << 46, (GP, 0)), (1 << 63, (GP, 0))])
def test_cr3(value, ends):
    g, found = moved(TO_CR3, PML4 | value if value < 0x1000 else value)
    if value == 1 << 45:
        # a table that is nowhere: L2 cannot go on
        assert found != (GP, 0)
        return
    assert found == ends


@pytest.mark.parametrize("value, ends", [(0, DONE), (15, DONE), (16, (GP, 0)), (1 << 63, (GP, 0))])
def test_cr8(value, ends):
    assert moved(TO_CR8, value)[1] == ends


@pytest.mark.parametrize("code", ["0f22c8", "0f22e8", "0f20f0", "440f20c8", "450f22f8", "440f23c0",
                                  "440f21f8"])
def test_numbers_that_no_register_has(code):
    assert told(wide(code).run()) == (UD, 0)


@pytest.mark.parametrize("code", [TO_CR0, "0f20d8", "0f06", "0f01f0", "0f21c0", "0f23f8", "f4",
                                  "0f01f8", "0f0138", "0f0111", "0f00d0", "0f08", "0f09", "0f33",
                                  "0f01d1"])
def test_level_3_is_refused(code):
    """Each with its own check: MOV, CLTS LMSW, MOV DR, HLT SWAPGS INVLPG LGDT LLDT INVD WBINVD."""
    found = told(wide(code, **LEVEL_3).run())
    assert found == ((UD, 0) if code == "0f01d1" else (GP, 0))


@pytest.mark.parametrize("code, value, ends", [
    ("0f23f8", 0x400, DONE), ("0f23f8", 1 << 32, (GP, 0)), ("0f23f0", 1 << 32, (GP, 0)),
    ("0f23f0", 0xF, DONE), ("0f23c0", 1 << 32, DONE)])
def test_debug_registers(code, value, ends):
    assert moved(code, value)[1] == ends


def test_lmsw_sets_protection_and_never_clears_it():
    for value, low in ((0xE, 0xF), (0x0, 1), (0xFFFF, 0xF)):
        g, found = moved("0f01f0", value)
        assert found is DONE and g.get("GUEST_CR0") & 0xF == low


@pytest.mark.parametrize("targets, count, exits", [
    ((PML4, 0, 0, 0), 1, False), ((0x9000, PML4, 0, 0), 2, False), ((0x9000, PML4, 0, 0), 1, True),
    ((0, 0, 0, PML4), 4, False), ((0, 0, 0, 0), 4, True), ((PML4, 0, 0, 0), 0, True)])
def test_targets_of_cr3(targets, count, exits):
    g = plain(TO_CR3 + VMCALL, {"msrs": {0x485: 0x1E5 | 4 << 16}}, CR3_TARGET_COUNT=count,
              CPU_BASED_VM_EXEC_CONTROL=PROC | CR3_LOAD,
              **{f"CR3_TARGET_VALUE{n}": value for n, value in enumerate(targets)})
    g.regs(rax=PML4)
    assert g.run().reason == (28 if exits else 18)
