# SPDX-License-Identifier: GPL-2.0-only
"""I/O instructions and MSRs of L2 against bitmaps (SDM volume 3, 25.6.4, 25.6.9, 28.2.1)."""

import pytest
from guest import *

GP = VALID | HARD | CODE_BIT | 13


@pytest.mark.parametrize("code, qualification", [
    ("e480", 0x80 << 16 | 1 << 6 | 1 << 3), ("66e580", 0x80 << 16 | 1 << 6 | 1 << 3 | 1),
    ("e580", 0x80 << 16 | 1 << 6 | 1 << 3 | 3), ("48e580", 0x80 << 16 | 1 << 6 | 1 << 3 | 3),
    ("e680", 0x80 << 16 | 1 << 6), ("66e780", 0x80 << 16 | 1 << 6 | 1),
    ("e780", 0x80 << 16 | 1 << 6 | 3),
    ("ec", 0x3F8 << 16 | 1 << 3), ("66ed", 0x3F8 << 16 | 1 << 3 | 1),
    ("ed", 0x3F8 << 16 | 1 << 3 | 3), ("ee", 0x3F8 << 16), ("66ef", 0x3F8 << 16 | 1),
    ("ef", 0x3F8 << 16 | 3),
])
def test_qualification_of_in_and_out(guest, code, qualification):
    g = guest(code, CPU_BASED_VM_EXEC_CONTROL=PROC | UNCOND_IO)
    g.regs(rdx=0xABC003F8)
    assert g.run()[:4] == (30, qualification, len(code) // 2, CODE)


@pytest.mark.parametrize("code, qualification, linear, info", [
    ("6c", 0x3F8 << 16 | 1 << 4 | 1 << 3, DATA + 0x100, 2 << 7),
    ("66f36d", 0x3F8 << 16 | 1 << 5 | 1 << 4 | 1 << 3 | 1, DATA + 0x100, 2 << 7),
    ("6e", 0x3F8 << 16 | 1 << 4, DATA, 2 << 7 | 3 << 15),
    ("f36f", 0x3F8 << 16 | 1 << 5 | 1 << 4 | 3, DATA, 2 << 7 | 3 << 15),
    ("67646e", 0x3F8 << 16 | 1 << 4, DATA + 0x10, 1 << 7 | 4 << 15),
])
def test_qualification_of_ins_and_outs(guest, code, qualification, linear, info):
    g = guest(code, CPU_BASED_VM_EXEC_CONTROL=PROC | UNCOND_IO, GUEST_FS_BASE=0x10)
    g.regs(rdx=0x3F8, rsi=DATA, rdi=DATA + 0x100, rcx=5)
    found = g.run()
    assert found[:4] == (30, qualification, len(code) // 2, CODE)
    assert (found.linear, found.insn_info & ~(0 if code[-1] in "ef" else 7 << 15)) == (linear, info)


def test_a_repeat_of_nothing_is_no_access(guest):
    g = guest("f36c" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | UNCOND_IO)
    g.regs(rcx=0)
    assert g.run().reason == 18


@pytest.mark.parametrize("bits, port, size, leaves", [
    ([], 0x80, 1, False), ([0x80], 0x80, 1, True), ([0x81], 0x80, 1, False),
    ([0x83], 0x80, 4, True), ([0x84], 0x80, 4, False), ([0x8000], 0x7FFF, 2, True),
    ([0x8000], 0x8000, 1, True), ([0xFFFF], 0xFFFF, 1, True), ([], 0xFFFF, 1, False),
    # an access that wraps round always leaves
    ([], 0xFFFF, 2, True), ([], 0xFFFD, 4, True), ([], 0xFFFC, 4, False),
])
def test_io_bitmaps(guest, bits, port, size, leaves):
    # unconditional exiting is ignored where the bitmaps are used
    g = guest({1: "ee", 2: "66ef", 4: "ef"}[size] + VMCALL, IO_BITMAP_A=BITMAPS,
              IO_BITMAP_B=BITMAPS + 0x1000,
              CPU_BASED_VM_EXEC_CONTROL=PROC | IO_BITMAPS | UNCOND_IO)
    for bit in bits:
        place = BITMAPS + bit // 8
        g.write(place, g.read(place, 1) | 1 << bit % 8, 1)
    g.regs(rdx=port)
    assert g.run().reason == (30 if leaves else 18)


def test_a_bus_without_devices(guest):
    g = guest("e480" "4889c3" "66e580" "4889c1" "e580" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC)
    g.regs(rax=0)
    assert g.run().reason == 18
    assert (g.regs()[RBX], g.regs()[RCX], g.regs()[RAX]) == (0xFF, 0xFFFF, 0xFFFFFFFF)


def test_string_io_without_exits(guest):
    g = guest("f36c" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC)
    g.regs(rdx=0x80, rdi=DATA, rcx=3)
    assert g.run().reason == 18
    assert g.memory.read(DATA, 4) == b"\xff\xff\xff\0"
    assert (g.regs()[RDI], g.regs()[RCX]) == (DATA + 3, 0)


@pytest.mark.parametrize("iopl, bit, faults", [(3, 1, False), (0, 1, True), (0, 0, False)])
def test_the_permission_bitmap_comes_before_the_exit(guest, iopl, bit, faults):
    g = guest("ee", EXCEPTION_BITMAP=1 << 13, GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB,
              GUEST_SS_SELECTOR=0x23, GUEST_SS_AR_BYTES=0xC0F3, GUEST_TR_LIMIT=0x200,
              GUEST_RFLAGS=2 | iopl << 12, CPU_BASED_VM_EXEC_CONTROL=PROC | UNCOND_IO)
    g.write(TSS + 0x68 + 0x10, bit)
    g.regs(rdx=0x80)
    found = g.run()
    assert (found.reason, found.intr_info) == ((0, GP) if faults else (30, 0))


@pytest.mark.parametrize("msr", [0, 0x10, 0x1FFF, 0x2000, 0x40000000, 0xBFFFFFFF, 0xC0000000,
                                 0xC0000080, 0xC0000100, 0xC0001FFF, 0xC0002000, 0xFFFFFFFF])
@pytest.mark.parametrize("is_write", [False, True])
def test_msr_bitmap(guest, msr, is_write):
    """The bit of the right quarter, and nothing else, makes the access leave; what is in no
    quarter always does."""
    g = guest("0f30" if is_write else "0f32", MSR_BITMAP=BITMAPS, EXCEPTION_BITMAP=1 << 13,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS)
    inside = msr < 0x2000 or 0xC0000000 <= msr < 0xC0002000
    place = BITMAPS + (0x800 if is_write else 0) + (0x400 if msr >> 31 else 0) + (msr & 0x1FFF) // 8
    exits = (32 if is_write else 31, 0, 2, CODE)
    g.regs(rcx=msr | 1 << 40, rax=0, rdx=0)
    if inside:
        g.write(place, 1 << (msr & 7), 1)
        assert g.run()[:4] == exits
        # every other bit set: this one does not leave
        g.memory.write(BITMAPS, b"\xff" * 4096)
        g.write(place, 0xFF & ~(1 << (msr & 7)), 1)
        g.code("0f30f4" if is_write else "0f32f4")
        assert g.run(CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS | HLT).reason in (0, 12)
    else:
        assert g.run()[:4] == exits


def test_without_a_bitmap_every_msr_leaves(guest):
    for code, reason in (("0f32", 31), ("0f30", 32)):
        g = guest(code, CPU_BASED_VM_EXEC_CONTROL=PROC)
        g.regs(rcx=0xC0000080)
        assert g.run().reason == reason


def test_an_msr_that_is_not_there(guest):
    g = guest("0f32", MSR_BITMAP=BITMAPS, EXCEPTION_BITMAP=1 << 13,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS)
    g.regs(rcx=0x1234)
    assert (g.run().intr_info, g.last().error) == (GP, 0)


@pytest.mark.case("L2X-02")
def test_pat_of_the_guest(guest):
    """L2 reads and writes its own PAT; entry and exit load and save it."""
    g = guest("0f32" "4889c3" "b806000000" "31d2" "0f30" + VMCALL, MSR_BITMAP=BITMAPS,
              GUEST_IA32_PAT=0, CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS,
              VM_EXIT_CONTROLS=0x36FFB | 3 << 18, VM_ENTRY_CONTROLS=0x13FB | 1 << 14)
    g.regs(rcx=0x277)
    assert g.run().reason == 18
    assert (g.regs()[RBX], g.get("GUEST_IA32_PAT")) == (0, 6)
    assert g.cpu.rdmsr(0x277).value == 0x7040600070406


@pytest.mark.case("L2X-03")
def test_efer_of_the_guest(guest):
    g = guest("0f32" "4889c3" "350008000031d2" "0f30" + VMCALL, MSR_BITMAP=BITMAPS,
              GUEST_IA32_EFER=0x501, HOST_IA32_EFER=0x501,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS,
              VM_EXIT_CONTROLS=0x36FFB | 3 << 20, VM_ENTRY_CONTROLS=0x13FB | 1 << 15)
    g.regs(rcx=0xC0000080)
    assert g.run().reason == 18
    assert (g.regs()[RBX], g.get("GUEST_IA32_EFER"), g.cpu.efer) == (0x501, 0xD01, 0x501)


def test_segment_bases_live_in_the_vmcs(guest):
    g = guest("0f30" "0f32" + VMCALL, MSR_BITMAP=BITMAPS,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS)
    g.regs(rcx=0xC0000100, rax=0x1000, rdx=0x7F)
    assert (g.run().reason, g.get("GUEST_FS_BASE")) == (18, 0x7F00001000)
    g.regs(rdx=0x8000)
    assert g.run(GUEST_RIP=CODE, EXCEPTION_BITMAP=1 << 13).intr_info == GP


def test_x2apic_priority(guest):
    g = guest("0f30" "0f32" + VMCALL, MSR_BITMAP=BITMAPS, VIRTUAL_APIC_PAGE_ADDR=BITMAPS + 0x1000,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS | TPR_SHADOW,
              SECONDARY_VM_EXEC_CONTROL=S_X2APIC)
    g.regs(rcx=0x808, rax=0x35, rdx=0)
    assert g.run().reason == 18
    assert (g.regs()[RAX], g.read(BITMAPS + 0x1080, 4)) == (0x35, 0x35)
