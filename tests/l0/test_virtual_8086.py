# SPDX-License-Identifier: GPL-2.0-only
"""Virtual-8086 mode (SDM 3B 21): what its IOPL lets it do, and how an interrupt leaves it."""

import pytest
from modes import *

IOPL = 3 << 12


@pytest.mark.parametrize("code", ["fa", "fb", "9c", "669d", "cf", "cd21"])
@pytest.mark.parametrize("iopl", [0, IOPL])
def test_what_iopl_guards(code, iopl):
    """CLI STI PUSHF POPF IRET INT n: #GP below 3."""
    g = virtual(code + VMCALL, iopl)
    g.write(0x6800, 0x7080, 2)
    g.write(0x6802, 0, 2)
    g.write(0x6804, iopl | 2, 2)
    if code == "669d":
        g.write(0x6800, iopl | 0x20002, 4)
    g.code(VMCALL, 0x7080)
    if code == "cd21":
        g.memory.write(IDT + 8 * 0x21, gate_32(HANDLER, selector=0x28, dpl=3))
        g.set(GUEST_TR_BASE=TSS)
        g.write(TSS + 4, 0x9000, 4)
        g.write(TSS + 8, 0x10, 2)
        g.code(VMCALL, HANDLER)
    assert told(g.run()) == (DONE if iopl else (GP, 0))
    assert g.get("GUEST_RIP") == 0x7000 or iopl


def test_segments_are_paragraphs():
    # mov ax,0x100; mov ds,ax; mov bl,[0x10]; jmp 0x100:0x20
    g = virtual("b80001" "8ed8" "8a1e1000" "ea20000001")
    g.write(0x1010, 0x77, 1)
    g.code(VMCALL, 0x1020)
    assert told(g.run()) is DONE and g.regs()[RBX] & 0xFF == 0x77
    assert (g.get("GUEST_CS_BASE"), g.get("GUEST_CS_AR_BYTES")) == (0x1000, 0xF3)


@pytest.mark.parametrize("code", ["0f00d8", "0f00c0", "0f0100", "0fc700", "0f01c2", "0f78c0",
                                  "63c0", "f30fc7b70000"])
def test_what_does_not_exist_there(code):
    """LTR SLDT ARPL and the instructions of VMX; SGDT exists, and CMPXCHG8B needs its form."""
    g = virtual(code + VMCALL)
    found = told(g.run())
    assert found == (DONE if code == "0f0100" else (UD, 0))


@pytest.mark.parametrize("code", ["f4", "0f32", "0f30", "0f20c0", "0f22c0", "0f21c0", "0f06",
                                  "0f08", "0f09", "0f01f0", "0f0138", "0f0110"])
def test_privileged_instructions_are_of_level_0(code):
    """HLT RDMSR WRMSR MOV to and from CR and DR, CLTS INVD WBINVD LMSW INVLPG LGDT."""
    g = virtual(code, IOPL, CPU_BASED_VM_EXEC_CONTROL=PROC & ~HLT)
    assert told(g.run()) == (GP, 0)


@pytest.mark.parametrize("bit, ends", [(0, DONE), (1, (GP, 0))])
def test_ports_are_looked_up_whatever_iopl_says(bit, ends):
    g = virtual("e480" + VMCALL, IOPL, GUEST_TR_BASE=TSS, GUEST_TR_LIMIT=0x2FFF)
    g.write(TSS + 102, 0x68, 2)
    g.write(TSS + 0x68 + 0x80 // 8, bit, 1)
    assert told(g.run()) == ends


def leaving(make, number=0x40, code_selector=0x28, stack=0x10, code="cd40", **options):
    """A guest whose INT n has a gate, and its task a stack for level 0."""
    g = make(code + VMCALL)
    g.memory.write(IDT + 8 * number, gate_32(HANDLER, selector=code_selector, dpl=3, **options))
    g.set(GUEST_TR_BASE=TSS, GUEST_GDTR_LIMIT=0x7F)
    g.write(TSS + 4, 0x9000, 4)
    g.write(TSS + 8, stack, 2)
    g.code(VMCALL, HANDLER)
    return g


def test_an_interrupt_leaves_it():
    """To level 0, with all segments on the stack and none of data in the registers."""
    g = leaving(lambda code: virtual(
        code, IOPL | IF, GUEST_DS_SELECTOR=0x11, GUEST_DS_BASE=0x110, GUEST_ES_SELECTOR=0x22,
        GUEST_ES_BASE=0x220, GUEST_FS_SELECTOR=0x33, GUEST_FS_BASE=0x330, GUEST_GS_SELECTOR=0x44,
        GUEST_GS_BASE=0x440))
    assert told(g.run()) is DONE
    assert [g.read(0x9000 - 4 * n, 4) for n in range(1, 10)] == [
        0x44, 0x33, 0x11, 0x22, 0, 0x6800, 0x20002 | IOPL | IF, 0, 0x7002]
    assert g.get("GUEST_RSP") == 0x9000 - 36 and not g.get("GUEST_RFLAGS") >> 17 & 1
    assert [g.get(f"GUEST_{name}_AR_BYTES") >> 16 for name in ("DS", "ES", "FS", "GS")] == [1] * 4
    assert (g.get("GUEST_CS_SELECTOR"), g.get("GUEST_SS_SELECTOR")) == (0x28, 0x10)


@pytest.mark.parametrize("rights", [0xC09F, 0xC0FB])
def test_no_handler_but_of_level_0(rights):
    """Conforming code would stay at level 3."""
    g = leaving(lambda code: virtual(code, IOPL), code_selector=0x30)
    g.write(FREE, descriptor(rights))
    assert told(g.run()) == (GP, 0x30)


@pytest.mark.parametrize("options, ends", [
    (dict(present=0), (NP, 0x202)), (dict(kind=6), DONE), (dict(kind=7), DONE),
    (dict(kind=0xC), (GP, 0x202)), (dict(kind=0xF), DONE), (dict(code_selector=0), (GP, 0)),
    (dict(code_selector=0x10), (GP, 0x10)), (dict(code_selector=0x30), (NP, 0x30)),
    (dict(stack=0), (TS, 0)), (dict(stack=0x23), (TS, 0x20)), (dict(stack=0x28), (TS, 0x28)),
    (dict(stack=0x38), (SS, 0x38)), (dict(stack=0x40), (TS, 0x40)), (dict(stack=0xF0), (TS, 0xF0))])
def test_gates_of_32_bit_code(options, ends):
    """From level 3: the gate, the handler's code and its stack."""
    g = leaving(lambda code: narrow(code, **FLAT_3), **options)
    g.write(FREE, descriptor(0xC01B))
    g.write(GDT + 0x38, descriptor(0xC013))
    g.write(GDT + 0x40, descriptor(0x0082))
    g.write(GDT + 0x48, descriptor(0xC0FB))
    g.set(GUEST_CS_SELECTOR=0x4B)
    g.code(VMCALL, HANDLER & 0xFFFF)
    assert told(g.run()) == ends
    if ends is DONE:
        size = 2 if options.get("kind", 8) & 8 == 0 else 4
        assert g.get("GUEST_RSP") == 0x9000 - 5 * size
        assert g.get("GUEST_RIP") == (HANDLER if size == 4 else HANDLER & 0xFFFF)
    else:
        assert g.get("GUEST_CS_SELECTOR") == 0x4B


def test_a_gate_of_a_lower_level_and_a_task_gate():
    g = leaving(lambda code: narrow(code, **FLAT_3))
    g.memory.write(IDT + 8 * 0x40, gate_32(HANDLER, selector=0x28))
    assert told(g.run()) == (GP, 0x202)
    g = leaving(lambda code: narrow(code, **FLAT_3), kind=5, code_selector=0x50)
    found = g.run()
    assert (found.reason, found.qualification) == (9, 3 << 30 | 0x50)


@pytest.mark.parametrize("limit, ends", [(9, DONE), (8, (TS, 0x40)), (0, (TS, 0x40))])
def test_the_stack_of_a_task_must_lie_within_it(limit, ends):
    g = leaving(lambda code: narrow(code, **FLAT_3, GUEST_TR_SELECTOR=0x40))
    g.set(GUEST_TR_LIMIT=limit)
    assert told(g.run()) == ends


def test_a_task_of_16_bits():
    g = leaving(lambda code: narrow(code, **FLAT_3))
    g.set(GUEST_TR_AR_BYTES=0x83)
    g.write(TSS + 2, 0x8800, 2)
    g.write(TSS + 4, 0x10, 2)
    assert told(g.run()) is DONE and g.get("GUEST_RSP") == 0x8800 - 20


@pytest.mark.parametrize("rights, limit, sp, ends", [
    (0xC093, 0xFFFFF, 0x9000, DONE), (0x4093, 0x8FFF, 0x9000, DONE),
    (0x4093, 0x8FFE, 0x9000, (SS, 0)), (0x4097, 0x8000, 0x9000, DONE),
    (0x4097, 0x8FF0, 0x9000, (SS, 0)), (0x0097, 0x8000, 0x9000, DONE),
    (0x0097, 0x8000, 0x8004, (SS, 0)), (0x0093, 0xFFFF, 0x9000, DONE)])
def test_the_handler_s_stack_has_a_limit(rights, limit, sp, ends):
    """Also where it grows down to it."""
    g = leaving(lambda code: narrow(code, **FLAT_3), stack=0x30)
    g.write(FREE, descriptor(rights, limit=limit))
    g.write(TSS + 4, sp, 4)
    assert told(g.run()) == ends


def test_a_handler_beyond_its_code():
    g = leaving(lambda code: narrow(code, **FLAT_3), code_selector=0x30)
    g.write(FREE, descriptor(0x409B, limit=0xFFF))
    assert told(g.run()) == (GP, 0)


def test_conforming_handlers_keep_the_level():
    g = leaving(lambda code: narrow(code, **FLAT_3), code_selector=0x30)
    g.write(FREE, descriptor(0xC09F))
    assert told(g.run()) is DONE
    assert (g.get("GUEST_CS_SELECTOR"), g.get("GUEST_RSP")) == (0x33, STACK - 12)
