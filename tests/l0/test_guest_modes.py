# SPDX-License-Identifier: GPL-2.0-only
"""Code of L2 in its other modes: real-address, 16- and 32-bit protected, compatibility."""

import pytest
from guest import *

NO_LONG_MODE = dict(VM_ENTRY_CONTROLS=0x11FB, GUEST_IA32_EFER=0)
UNRESTRICTED = dict(SECONDARY_VM_EXEC_CONTROL=S_EPT | S_UNRESTRICTED)


def real(guest, code, at=0x7000, **fields):
    """A guest as KVM resets it: 16-bit code at segment 0, paging off."""
    segments = {f"GUEST_{name}_{what}": value for name in ("CS", "SS", "DS", "ES", "FS", "GS")
                for what, value in (("SELECTOR", 0), ("BASE", 0), ("LIMIT", 0xFFFF),
                                    ("AR_BYTES", 0x9B if name == "CS" else 0x93))}
    g = guest("", **{**segments, **NO_LONG_MODE, **UNRESTRICTED, **dict(
        GUEST_CR0=0x30, GUEST_CR4=0x2000, GUEST_RIP=at, GUEST_RSP=0x6000, GUEST_IDTR_BASE=0,
        GUEST_IDTR_LIMIT=0x3FF, GUEST_LDTR_AR_BYTES=0x10000, GUEST_CR3=0,
        EPT_POINTER=EPT | 0x1E), **fields})
    g.map_ept()
    g.code(code, at)
    return g


def flat_32(guest, code, **fields):
    """32-bit protected mode without paging, flat segments."""
    g = guest("", **{**NO_LONG_MODE, **UNRESTRICTED, **dict(
        GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B, GUEST_CR0=0x31, GUEST_CR4=0x2000,
        GUEST_TR_AR_BYTES=0x8B, EPT_POINTER=EPT | 0x1E), **fields})
    g.map_ept()
    g.code(code)
    return g


def test_real_mode_runs(guest):
    # mov ax,0x1234; mov [0x500],ax; add bx,[0x500]; vmcall
    g = real(guest, "b83412" "a30005" "031e0005" + VMCALL)
    g.regs(rax=0, rbx=1)
    assert g.run()[:4] == (18, 0, 3, 0x700A)
    assert (g.regs()[RBX], g.read(0x500, 2)) == (0x1235, 0x1234)


def test_real_mode_segments(guest):
    # mov ax,0x100; mov ds,ax; mov bx,[0x10]; vmcall
    g = real(guest, "b80001" "8ed8" "8b1e1000" + VMCALL)
    g.write(0x1010, 0x77, 2)
    assert g.run().reason == 18
    assert (g.regs()[RBX] & 0xFFFF, g.get("GUEST_DS_BASE"), g.get("GUEST_DS_SELECTOR")) == (
        0x77, 0x1000, 0x100)


@pytest.mark.parametrize("code, offset", [
    ("8b00", 0x110), ("8b01", 0x111), ("8b04", 0x10), ("8b05", 0x11), ("8b07", 0x100),
    ("8b4005", 0x115), ("8b4601", 0x1001), ("8b800010", 0x1110)])
def test_16_bit_addresses(guest, code, offset):
    """BX and BP, SI and DI, and a displacement."""
    g = real(guest, code + VMCALL)
    g.write(offset, 0xBEEF, 2)
    g.regs(rbx=0x100, rsi=0x10, rdi=0x11, rbp=0x1000, rax=0, rcx=0)
    assert g.run().reason == 18
    assert 0xBEEF in (g.regs()[RAX] & 0xFFFF, g.regs()[RCX] & 0xFFFF)


def test_an_interrupt_of_real_mode_and_back(guest):
    g = real(guest, "cd21" + VMCALL, GUEST_RFLAGS=2 | IF)
    g.write(0x21 * 4, 0x0050_0010, 4)
    g.code("43" "cf", 0x510)
    g.regs(rbx=0)
    assert (g.run().reason, g.regs()[RBX], g.get("GUEST_RSP")) == (18, 1, 0x6000)
    assert [g.read(0x6000 - 6 + 2 * n, 2) for n in range(3)] == [0x7002, 0, 2 | IF]
    assert g.get("GUEST_RFLAGS") & IF and g.get("GUEST_CS_BASE") == 0


def test_injection_in_real_mode(guest):
    g = real(guest, "", GUEST_RFLAGS=2 | IF, VM_ENTRY_INTR_INFO_FIELD=VALID | EXT | 0x20)
    g.write(0x20 * 4, 0x0051_0000, 4)
    g.code(VMCALL, 0x510)
    found = g.run()
    assert (found.reason, found.rip, g.get("GUEST_CS_SELECTOR")) == (18, 0, 0x51)
    assert not g.get("GUEST_RFLAGS") & IF


def test_real_mode_exceptions_have_no_error_code(guest):
    g = real(guest, "8b06ffff", EXCEPTION_BITMAP=1 << 13)
    # a word at the last byte of the segment
    assert g.run().intr_info == VALID | HARD | 13


def test_triple_fault_in_real_mode(guest):
    assert real(guest, "0f0b", GUEST_IDTR_LIMIT=0).run().reason == 2


def test_vmx_instructions_do_not_exist_in_real_mode(guest):
    g = real(guest, "0f01c2", EXCEPTION_BITMAP=1 << 6)
    assert g.run().intr_info == VALID | HARD | 6


@pytest.mark.parametrize("code, qualification", [("e680", 0x800040), ("66e780", 0x800043),
                                                 ("e780", 0x800041)])
def test_operand_sizes_of_16_bit_code(guest, code, qualification):
    assert real(guest, code, CPU_BASED_VM_EXEC_CONTROL=PROC | UNCOND_IO).run()[:2] == (
        30, qualification)


def test_from_real_mode_to_protected_mode(guest):
    """LGDT, CR0.PE, a far jump to 32-bit code, and its data segments."""
    # lgdt [0x6f00]; mov eax,cr0; or al,1; mov cr0,eax; jmp 0x28:0x500000
    g = real(guest, "0f0116006f" "0f20c0" "0c01" "0f22c0" "66ea000050002800", at=0x6E00)
    g.memory.write(0x6F00, (0x2F).to_bytes(2, "little") + GDT.to_bytes(4, "little"))
    # mov ax,0x10; mov ds,ax; mov ss,ax; mov ebx,[0x600000]; vmcall
    g.code("66b81000" "8ed8" "8ed0" "8b1d00006000" + VMCALL)
    g.write(DATA, 0x12345678)
    found = g.run(GUEST_RSP=0x6D00)
    assert (found.reason, found.rip) == (18, CODE + 14)
    assert g.regs()[RBX] == 0x12345678
    assert (g.get("GUEST_CR0") & 1, g.get("GUEST_CS_SELECTOR"), g.get("GUEST_CS_AR_BYTES")) == (
        1, 0x28, 0xC09B)
    assert (g.get("GUEST_DS_LIMIT"), g.get("GUEST_SS_SELECTOR")) == (0xFFFFFFFF, 0x10)
    assert g.get("GUEST_GDTR_BASE") == GDT


def test_from_protected_mode_to_long_mode(guest):
    """EFER.LME, CR4.PAE, CR0.PG, a jump to 64-bit code: the entry control follows."""
    g = flat_32(guest, "0f32" "0d00010000" "0f30" "0f20e0" "83c820" "0f22e0" "b800100000" "0f22d8"
                "0f20c0" "0d00000080" "0f22c0" "ea000051000800",
                MSR_BITMAP=BITMAPS, CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS,
                VM_EXIT_CONTROLS=0x36FFB | 3 << 20, HOST_IA32_EFER=0xD01,
                VM_ENTRY_CONTROLS=0x11FB | 1 << 15)
    g.code("49bc8877665544332211" + VMCALL, HANDLER)
    g.regs(rcx=0xC0000080)
    found = g.run()
    assert (found.reason, found.rip, g.regs()[12]) == (18, HANDLER + 10, 0x1122334455667788)
    assert (g.get("VM_ENTRY_CONTROLS") >> 9 & 1, g.get("GUEST_IA32_EFER")) == (1, 0x500)
    assert g.get("GUEST_CR0") >> 31 == 1
    # and the next entry goes straight there
    assert g.run().rip == HANDLER + 10


def test_32_bit_interrupt_and_return(guest):
    g = flat_32(guest, "cd40" + VMCALL)
    g.memory.write(IDT + 8 * 0x40, gate_32(HANDLER, selector=0x28))
    g.code("43" "cf", HANDLER)
    g.regs(rbx=0)
    assert (g.run().reason, g.regs()[RBX], g.get("GUEST_RSP")) == (18, 1, STACK)
    assert [g.read(STACK - 12 + 4 * n, 4) for n in range(3)] == [CODE + 2, 0x28, 2]


def test_32_bit_stack_switch(guest):
    """From CPL 3 through a gate: SS and ESP from the 32-bit task, both pushed."""
    g = flat_32(guest, "cd40", GUEST_CS_SELECTOR=0x33, GUEST_CS_AR_BYTES=0xC0FB,
                GUEST_SS_SELECTOR=0x23, GUEST_SS_AR_BYTES=0xC0F3, GUEST_TR_LIMIT=0x67)
    g.memory.write(IDT + 8 * 0x40, gate_32(HANDLER, selector=0x28, dpl=3))
    g.code(VMCALL, HANDLER)
    g.write(TSS + 4, 0x9F00, 4)
    g.write(TSS + 8, 0x10, 4)
    found = g.run()
    assert (found.reason, found.rip, g.get("GUEST_RSP")) == (18, HANDLER, 0x9F00 - 20)
    assert [g.read(0x9F00 - 20 + 4 * n, 4) for n in range(5)] == [CODE + 2, 0x33, 2, STACK, 0x23]
    assert (g.get("GUEST_CS_SELECTOR"), g.get("GUEST_SS_SELECTOR")) == (0x28, 0x10)


def test_a_32_bit_error_code(guest):
    g = flat_32(guest, "8ed8")
    g.regs(rax=0x100)
    g.memory.write(IDT + 8 * 13, gate_32(HANDLER, selector=0x28))
    g.code(VMCALL, HANDLER)
    assert g.run(GUEST_GDTR_LIMIT=0x2F).reason == 18
    assert [g.read(g.get("GUEST_RSP") + 4 * n, 4) for n in range(2)] == [0x100, CODE]


@pytest.mark.parametrize("code, limit, vector", [
    ("8b1d00000100", 0xFFFF, 13), ("8b1dfcff0000", 0xFFFF, None), ("8b1dfdff0000", 0xFFFF, 13)])
def test_segment_limits(guest, code, limit, vector):
    g = flat_32(guest, code + VMCALL, GUEST_DS_LIMIT=limit, GUEST_DS_AR_BYTES=0x4093,
                EXCEPTION_BITMAP=1 << 13)
    assert g.run().intr_info == (0 if vector is None else VALID | HARD | CODE_BIT | vector)


@pytest.mark.parametrize("code, rights, vector", [
    ("891d00006000", 0xC091, 13), ("8b1d00006000", 0xC091, None), ("8b1d00006000", 0x10000, 13),
    ("36891d00006000", 0xC093, None)])
def test_segment_types(guest, code, rights, vector):
    g = flat_32(guest, code + VMCALL, GUEST_DS_AR_BYTES=rights, EXCEPTION_BITMAP=1 << 13)
    assert g.run().intr_info == (0 if vector is None else VALID | HARD | CODE_BIT | vector)


def test_expand_down_stack(guest):
    g = flat_32(guest, "50" + VMCALL, GUEST_SS_AR_BYTES=0xC097, GUEST_SS_LIMIT=0x8FFF)
    assert g.run().reason == 18
    g = flat_32(guest, "50", GUEST_SS_AR_BYTES=0xC097, GUEST_SS_LIMIT=0xAFFF,
                EXCEPTION_BITMAP=1 << 12)
    assert g.run().intr_info == VALID | HARD | CODE_BIT | 12


def test_32_bit_paging(guest):
    """Two levels, and a page of 4 MByte."""
    g = flat_32(guest, "8b03" "8b0e" + VMCALL, GUEST_CR0=0x80000031, GUEST_CR3=0x20000,
                GUEST_CR4=0x2010)
    g.write(0x20000, 0x21000 | 7, 4)
    g.write(0x20004, 0x400000 | 0x87, 4)
    g.write(0x20008, 0x22000 | 7, 4)
    g.write(0x22000 + 4 * 5, DATA | 7, 4)
    g.write(DATA + 0x10, 0xABCD, 4)
    g.write(DATA + 0x20, 0x5678, 4)
    g.regs(rbx=0x805010, rsi=DATA + 0x20)
    found = g.run()
    assert (found.reason, g.regs()[RAX], g.regs()[RCX]) == (18, 0xABCD, 0x5678)
    # accessed flags were set in the 4-byte entries
    assert g.read(0x20004, 4) & 0x20 and g.read(0x22014, 4) & 0x20


def test_compatibility_code(guest):
    """32-bit code under long mode: 32-bit operands and addresses, 64-bit gates."""
    g = guest("40" "cd40", GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B)
    handler = g.vector(0x40, code="4c8be0" + VMCALL)
    g.regs(rax=0xFFFFFFFF)
    found = g.run()
    assert (found.reason, found.rip, g.regs()[RAX], g.regs()[12]) == (18, handler + 3, 0, 0)
    assert [g.read(STACK - 40 + 8 * n) for n in range(2)] == [CODE + 3, 0x28]


def test_the_limit_of_the_code_segment(guest):
    g = flat_32(guest, "", EXCEPTION_BITMAP=1 << 13, GUEST_CS_LIMIT=0xFFFFF,
                GUEST_CS_AR_BYTES=0x409B, GUEST_RIP=0x100000)
    assert g.run().intr_info == VALID | HARD | CODE_BIT | 13
    # a jump there faults at the jump
    g.code("eb00", 0xFFFFE)
    found = g.run(GUEST_RIP=0xFFFFE)
    assert (found.intr_info, found.rip) == (VALID | HARD | CODE_BIT | 13, 0xFFFFE)
    # and so does an instruction that ends behind the segment
    g.code("b8", 0xFFFFE)
    assert g.run(GUEST_RIP=0xFFFFE).intr_info == VALID | HARD | CODE_BIT | 13


def test_the_registers_of_64_bit_code(guest):
    """4 bytes clear the upper half, 2 and 1 do not; AH without REX, SPL with it."""
    g = guest("b811111111" "66bb2222" "b433" "41b444" "40b455" + VMCALL)
    g.regs(rax=~0, rbx=~0, r12=~0)
    g.run()
    assert (g.regs()[RAX], g.regs()[RBX], g.regs()[12]) == (
        0x11113311, 0xFFFFFFFFFFFF2222, 0xFFFFFFFFFFFFFF44)
    assert g.get("GUEST_RSP") & 0xFF == 0x55


def test_a_call_and_its_return(guest):
    g = guest("e803000000" "0fa2" "90" + "4883c010" "c3")
    g.regs(rax=1)
    found = g.run()
    assert (found.reason, found.rip, g.regs()[RAX], g.get("GUEST_RSP")) == (
        10, CODE + 5, 0x11, STACK)


@pytest.mark.parametrize("code", ["ffe0", "50c3", "48b8000000000000800050c3"])
def test_a_jump_to_no_address(guest, code):
    g = guest(code, EXCEPTION_BITMAP=1 << 13)
    g.regs(rax=1 << 47)
    assert g.run().intr_info == VALID | HARD | CODE_BIT | 13
