# SPDX-License-Identifier: GPL-2.0-only
"""What CPUID announces to L1 is there: a row for every bit of leaves 1, 7 and 0x80000001.

An announced bit without a row fails. Where the bits come from: SDM volume 2A, CPUID. What an
instruction alone is made of, L1's own processor has; L0 answers for MSRs, control registers,
page tables and address sizes.
"""

import pytest
from guest import *
from world import World

from kvm_vmx.l0.profile import PROFILES

PROFILE_NAMES = sorted(PROFILES)
ECX, EDX, EBX = "ecx", "edx", "ebx"


def msrs(*numbers):
    """Each can be read, and takes what it holds."""
    def shown(world):
        for number in numbers:
            found = world.cpu.rdmsr(number)
            assert found.ok, hex(number)
            if number not in READ_ONLY:
                assert world.cpu.wrmsr(number, found.value).ok, hex(number)
    return shown


def cr4(bit):
    """CR4 takes the bit, and gives it up again."""
    def shown(world):
        old = world.cpu.cr4
        assert world.cpu.mov_to_cr(4, old | bit).ok and world.cpu.cr4 & bit
        assert world.cpu.mov_to_cr(4, old & ~bit).ok
        assert world.cpu.mov_to_cr(4, old).ok
    return shown


def efer(bit):
    """EFER takes the bit."""
    def shown(world):
        assert world.cpu.wrmsr(0xC0000080, world.cpu.rdmsr(0xC0000080).value | bit).ok
        assert world.cpu.rdmsr(0xC0000080).value & bit
    return shown


def both(*rows):
    """All of them."""
    def shown(world):
        for row in rows:
            row(world)
    return shown


def vmx(world):
    """VMXON works, once the firmware's MSR lets it."""
    world.turn_on(world.cpu)


def machine_check(world):
    """The capability says how many banks there are; each has its four registers."""
    msrs(0x179, 0x17A)(world)
    banks = world.cpu.rdmsr(0x179).value & 0xFF
    msrs(*range(0x400, 0x400 + 4 * banks))(world)


def memory_types(world):
    """The registers that the capability counts, and the default type."""
    msrs(0xFE, 0x2FF)(world)
    capability = world.cpu.rdmsr(0xFE).value
    msrs(*range(0x200, 0x200 + 2 * (capability & 0xFF)))(world)
    if capability >> 8 & 1:
        msrs(0x250, 0x258, 0x259, *range(0x268, 0x270))(world)
    assert not world.cpu.wrmsr(0x2FF, 2).ok and not world.cpu.wrmsr(0x2FF, 7).ok


def apic(world):
    """Its base register, and the three registers that Hyper-V gives a place of their own."""
    msrs(0x1B, 0x40000072)(world)
    assert world.cpu.rdmsr(0x40000071).ok and world.cpu.wrmsr(0x40000070, 0).ok


def x2apic(world):
    """The mode, and its ID, version, task priority and spurious-interrupt registers."""
    base = world.cpu.rdmsr(0x1B).value
    assert world.cpu.wrmsr(0x1B, base | 0xC00).ok
    for number in (0x802, 0x803, 0x808, 0x80F):
        assert world.cpu.rdmsr(number).ok, hex(number)


def speculation(world):
    """IBRS is a bit of its register, the barrier a command."""
    assert world.cpu.wrmsr(0x48, 1).ok and world.cpu.rdmsr(0x48).value == 1
    assert world.cpu.wrmsr(0x49, 1).ok and world.cpu.wrmsr(0x48, 0).ok


def of_spec_ctrl(bit):
    """A bit of IA32_SPEC_CTRL."""
    def shown(world):
        assert world.cpu.wrmsr(0x48, bit).ok and world.cpu.rdmsr(0x48).value == bit
        assert world.cpu.wrmsr(0x48, 0).ok
    return shown


def l1s_own(world):
    """Instructions and registers of L1's processor, which L0 has no part in."""


READ_ONLY = {0xFE, 0x10A, 0x179, 0x0, 0x1}
PCIDE, FSGSBASE, SMEP, SMAP = 1 << 17, 1 << 16, 1 << 20, 1 << 21
ROWS = {
    (1, ECX): {
        5: vmx, 17: cr4(PCIDE), 21: x2apic, 31: l1s_own,
        # CX16, POPCNT, RDRAND
        **dict.fromkeys((13, 23, 30), l1s_own)},
    (1, EDX): {
        1: cr4(1), 2: cr4(8), 3: cr4(0x10), 4: both(msrs(0x10), cr4(4)), 5: msrs(0x10, 0x1A0),
        6: l1s_own, 7: both(msrs(0x0, 0x1), cr4(0x40)), 9: apic, 11: msrs(0x174, 0x175, 0x176),
        12: memory_types, 13: cr4(0x80), 14: machine_check, 16: msrs(0x277),
        24: cr4(0x200), 25: cr4(0x400),
        # FPU, CX8, CMOV, PSE-36, CLFLUSH, SSE2
        **dict.fromkeys((0, 8, 15, 17, 19, 26), l1s_own)},
    (7, EBX): {
        0: cr4(FSGSBASE), 7: cr4(SMEP), 20: cr4(SMAP),
        # ERMS, INVPCID, RDSEED
        **dict.fromkeys((9, 10, 18), l1s_own)},
    (7, ECX): {},
    (7, EDX): {26: speculation, 27: of_spec_ctrl(2), 29: msrs(0x10A), 31: of_spec_ctrl(4)},
    (0x80000001, ECX): {0: l1s_own, 5: l1s_own},
    (0x80000001, EDX): {
        11: both(msrs(0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084), efer(1)), 20: efer(0x800),
        26: l1s_own, 27: msrs(0xC0000103), 29: efer(0x100)},
}


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize("leaf, register", ROWS)
def test_what_is_announced_is_there(profile, leaf, register):
    world = World(vmx=False, profile=profile)
    registers = dict(zip(("eax", "ebx", "ecx", "edx"), world.cpu.cpuid(leaf), strict=True))
    bits = [bit for bit in range(32) if registers[register] >> bit & 1]
    assert set(bits) <= set(ROWS[leaf, register]), "an announced bit that nothing shows"
    for bit in bits:
        ROWS[leaf, register][bit](World(vmx=False, profile=profile))


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_without_the_announcement_it_is_not_there(profile):
    """x2APIC, XSAVE: neither the bits that turn them on nor what they bring."""
    cpu = World(vmx=False, profile=profile).cpu
    assert cpu.cpuid(1)[2] >> 21 & 1 == 0 and cpu.cpuid(1)[2] >> 26 & 3 == 0
    assert not cpu.wrmsr(0x1B, cpu.rdmsr(0x1B).value | 0x400).ok
    assert not any(cpu.rdmsr(number).ok for number in range(0x800, 0x900))
    assert not cpu.mov_to_cr(4, cpu.cr4 | 1 << 18).ok


def test_pages_of_a_gigabyte(guest):
    """Leaf 0x80000001 EDX[26]: L2's own tables."""
    g = guest("488b03" + VMCALL)
    g.write(PDPT + 8, 0x83)
    g.write(DATA, 0x1234)
    g.regs(rbx=(1 << 30) + DATA)
    assert (g.run().reason, g.regs()[RAX]) == (18, 0x1234)


@pytest.mark.parametrize("offered", [False, True])
def test_the_l1d_flush_comes_with_its_bit(offered):
    """SDM 4, MSR 0x10b: CPUID.7:EDX[28]."""
    leaf = (0, 0x140681, 0, 0xAC000000 | offered << 28)
    world = World(cpuid={7: leaf})
    assert world.cpu.wrmsr(0x10B, 1).ok == offered and not world.cpu.wrmsr(0x10B, 2).ok
