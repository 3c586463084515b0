# SPDX-License-Identifier: GPL-2.0-only
"""Instructions of L2 where their last condition decides: forms that do not exist, operands and
code that end within a page, levels, sizes (SDM 2)."""

import pytest
from modes import *

COMPATIBLE = dict(GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B)


@pytest.mark.parametrize("code", [
    "660f01c1", "f30f01c1", "0f01ff", "0f0128", "660f3880c0", "f30fc738", "660fc738", "f20fc730",
    "660f38ff", "8fc8", "660f78c8", "f30f78c8", "0f01cf", "0f01d4"])
def test_forms_that_do_not_exist(code):
    assert told(wide(code + VMCALL).run()) == (UD, 0)


@pytest.mark.parametrize("code", ["0f01c2", "0f01c3", "0f01c4", "660f388000", "0fc738", "0f78c8",
                                  "0f01f8"])
def test_compatibility_code_has_none_of_vmx(code):
    assert told(wide(code, **COMPATIBLE).run()) == (UD, 0)


@pytest.mark.parametrize("code", ["0f01f8", "f30faec0", "f30faed8"])
def test_what_64_bit_code_alone_has(code):
    """SWAPGS, RDFSBASE, WRGSBASE."""
    assert told(narrow(code).run()) == (UD, 0)


@pytest.mark.parametrize("code, ends", [("0f01c8", UD), ("0f01c9", UD), ("660f388201", GP)])
def test_waiting_and_invpcid_are_of_level_0(code, ends):
    fields = dict(CPU_BASED_VM_EXEC_CONTROL=PROC | 1 << 31,
                  SECONDARY_VM_EXEC_CONTROL=S_INVPCID) if ends == GP else {}
    g = wide(code, **LEVEL_3, **fields)
    g.regs(rcx=DATA)
    assert told(g.run()) == (ends, 0)


@pytest.mark.parametrize("code", [
    "0fa2", "660f3880042500006000", "8b042500006000", "8b4510", "8b442410", "8b8510000000",
    "48b8112233445566778", "c8100001", "c20800", "ca0800", "e800000000", "0f8400000000", "eb00",
    "6b0010", "81c000000000", "66c7000000", "a00000600000000000"])
def test_code_that_ends_with_its_page(code):
    """Each length but the whole: #PF at the page behind."""
    data = bytes.fromhex(code[:len(code) & ~1])
    for there in range(1, len(data)):
        g = wide("", GUEST_RIP=END - there)
        g.memory.write(END - there, data[:there])
        g.regs(rax=DATA, rbp=DATA)
        found = g.run()
        assert (told(found)[0], found.qualification, found.rip) == (PF, END, END - there)


@pytest.mark.parametrize("code", ["ea000051002800", "9a000051002800", "66ea00002800"])
def test_far_pointers_that_end_with_their_page(code):
    """Without paging it is the EPT that ends: a violation there."""
    data = bytes.fromhex(code)
    for there in range(1, len(data)):
        g = narrow("", GUEST_RIP=END - there)
        g.memory.write(END - there, data[:there])
        assert g.run().reason == 48


@pytest.mark.parametrize("code, ends", [("8f00", DONE), ("8f0424", DONE), ("8fc1", DONE),
                                        ("8f03", PF)])
def test_pop_to_memory(code, ends):
    """What RSP addresses is behind the pop."""
    g = wide(code + VMCALL, GUEST_RSP=DATA)
    g.write(DATA, 0x1234)
    g.regs(rax=DATA + 0x100, rbx=END, rcx=0)
    found = told(g.run())
    assert found is DONE if ends is DONE else found[0] == ends
    if ends is DONE:
        assert 0x1234 in (g.read(DATA + 0x100), g.read(DATA + 8), g.regs()[RCX])
        assert g.get("GUEST_RSP") == DATA + 8
    else:
        assert g.get("GUEST_RSP") == DATA


@pytest.mark.parametrize("code", ["e800000000", "ff10", "50", "ff30", "66ff30", "c8100001", "9c",
                                  "0fa0", "6800000000", "0fb600", "0fbf00", "d7", "860b",
                                  "0fc103", "c9", "c3", "58", "8f00", "9d", "0fa1"])
def test_a_stack_or_an_operand_that_is_not_there(code):
    """Nothing has moved."""
    g = wide(code, GUEST_RSP=END + 0x100)
    g.regs(rax=END + 0x200, rbx=END, rbp=END + 0x300)
    assert told(g.run())[0] == PF
    assert (g.get("GUEST_RSP"), g.get("GUEST_RIP")) == (END + 0x100, CODE)


@pytest.mark.parametrize("code, size", [("50", 8), ("6650", 2), ("ff30", 8), ("66ff30", 2),
                                        ("6a05", 8), ("666a05", 2), ("0fa0", 8), ("660fa0", 2)])
def test_how_much_a_push_takes(code, size):
    g = wide(code + VMCALL)
    g.regs(rax=DATA)
    assert told(g.run()) is DONE and g.get("GUEST_RSP") == STACK - size


@pytest.mark.parametrize("code, rcx, zf, taken", [
    ("e0", 2, 0, True), ("e0", 2, ZF, False), ("e1", 2, 0, False), ("e1", 2, ZF, True),
    ("e0", 1, 0, False), ("e1", 1, ZF, False), ("e2", 2, 0, True), ("e2", 1, 0, False),
    ("e3", 0, 0, True), ("e3", 1, 0, False)])
def test_loops_by_count_and_flag(code, rcx, zf, taken):
    g = wide(code + "10" + VMCALL, GUEST_RFLAGS=2 | zf)
    g.code(VMCALL, CODE + 0x12)
    g.regs(rcx=rcx)
    assert told(g.run()) is DONE
    assert g.get("GUEST_RIP") == CODE + (0x12 if taken else 2)
    assert g.regs()[RCX] == rcx - (code != "e3")


def test_a_loop_to_no_address():
    # beyond the limit of 32-bit code
    g = narrow("e27f", GUEST_CS_LIMIT=0x7FFF, GUEST_CS_AR_BYTES=0x409B, GUEST_RIP=0x7F90)
    g.code("e27f", 0x7F90)
    g.regs(rcx=2)
    assert told(g.run()) == (GP, 0) and g.regs()[RCX] == 2


@pytest.mark.parametrize("level, tsd, ends", [(0, 1, DONE), (3, 1, (GP, 0)), (3, 0, DONE)])
def test_the_counter_may_be_hidden_from_level_3(level, tsd, ends):
    g = wide("0f31" + VMCALL, **LEVEL_3 if level else {}, GUEST_CR4=0x2020 | 4 * tsd)
    assert told(g.run()) == ends


@pytest.mark.parametrize("fields, ends", [
    (dict(GUEST_TR_LIMIT=0x50), (GP, 0)), (dict(GUEST_TR_LIMIT=0x2FFF), DONE),
    (dict(GUEST_TR_LIMIT=0x2FFF, GUEST_TR_BASE=END), PF),
    (dict(GUEST_TR_LIMIT=0x2FFF, GUEST_TR_BASE=END - 0x68), PF)])
def test_the_bitmap_of_a_task(fields, ends):
    g = wide("e680" + VMCALL, **{**LEVEL_3, "GUEST_TR_BASE": TSS, **fields})
    for base in (TSS, END - 0x68):
        g.write(base + 102, 0x68, 2)
    g.write(TSS + 0x68 + 0x10, 0, 2)
    found = told(g.run())
    assert found == ends or found[0] == ends


def test_no_task_of_16_bits_has_a_bitmap():
    g = narrow("e680", **FLAT_3, GUEST_TR_AR_BYTES=0x83, GUEST_TR_LIMIT=0x2FFF, GUEST_TR_BASE=TSS)
    assert told(g.run()) == (GP, 0)


def test_bitmaps_beyond_memory_let_nothing_pass():
    g = wide("e680", CPU_BASED_VM_EXEC_CONTROL=PROC | IO_BITMAPS, IO_BITMAP_A=1 << 40,
             IO_BITMAP_B=1 << 40)
    assert g.run().reason == 30


@pytest.mark.parametrize("page, code", [(0, "cd21"), (0x5, "cd21")])
def test_real_mode_whose_table_or_stack_is_gone(page, code):
    g = real(plain, code)
    g.write(g.ept_entry(page << 12), 0)
    found = g.run()
    assert (found.reason, found.physical >> 12) == (48, page)


@pytest.mark.parametrize("kind", [4, 5, 6, 7, 0xC])
def test_gates_that_64_bit_code_has_not(kind):
    g = wide("cd40")
    g.vector(0x40, kind=kind)
    assert told(g.run()) == (GP, 0x202)


def test_a_handler_at_no_address():
    g = wide("cd40")
    g.memory.write(IDT + 16 * 0x40, gate(1 << 63))
    assert told(g.run()) == (GP, 0)


def test_a_task_s_stack_behind_an_ept_that_ends():
    """Pointer and selector each."""
    for at in (0x9FF8, 0x9FFA):
        g = narrow("cd40", **FLAT_3)
        g.memory.write(IDT + 8 * 0x40, gate_32(HANDLER, selector=0x28, dpl=3))
        g.set(GUEST_TR_BASE=at)
        g.write(g.ept_entry(0xA000), 0)
        found = g.run()
        assert (found.reason, found.physical >> 12) == (48, 0xA)


def test_paging_of_32_bits():
    """CR3 and CR4 where no PDPTEs are; CLI in real mode."""
    for code in ("0f22d8", "0f22e0"):
        g = narrow(code + VMCALL, GUEST_CR0=0x80000031, GUEST_CR4=0x2010, GUEST_CR3=0x1000)
        for n in range(4):
            g.write(0x1000 + 4 * n, n << 22 | 0x87, 4)
        g.regs(rax=0x1000 if code == "0f22d8" else 0x2090)
        assert told(g.run()) is DONE
    assert told(real(plain, "fa" + VMCALL, EXCEPTION_BITMAP=0xFFFFFFFF).run()) is DONE


def test_paging_does_not_go_off_in_64_bit_code():
    g = wide("0f22c0", SECONDARY_VM_EXEC_CONTROL=S_EPT | S_UNRESTRICTED, EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    g.regs(rax=0x31)
    assert told(g.run()) == (GP, 0)


def test_mov_from_a_segment_by_size():
    for code, kept in (("8cd8", 0), ("668cd8", 2**64 - 1 - 0xFFFF), ("488cd8", 0)):
        g = wide(code + VMCALL)
        g.regs(rax=2**64 - 1)
        assert told(g.run()) is DONE
        assert g.regs()[RAX] == g.get("GUEST_DS_SELECTOR") | kept
