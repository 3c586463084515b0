# SPDX-License-Identifier: GPL-2.0-only
"""Instructions of compiled code, each against the SDM: NOPs, strings, frames, far transfers."""

import pytest
from guest import *

from kvm_vmx.l0.profile import build

SOFT_UD, GP, PF = VALID | HARD | 6, VALID | HARD | CODE_BIT | 13, VALID | HARD | CODE_BIT | 14
ALL = 0xFFFFFFFF


@pytest.mark.parametrize("code", [
    "f30f1efa", "f30f1efb",                         # ENDBR64, ENDBR32
    "0f1800", "0f1818", "0f18c0", "0f0d08", "0f0dc8",
    *(f"0f{n:x}c1" for n in range(0x18, 0x20)), *(f"660f{n:x}8400000000" + "80"
                                                  for n in range(0x18, 0x20)),
    "f3480f1ec8",                                   # RDSSP without shadow stacks
    "0faee8", "0faef0", "0faef8", "0faeef",         # fences, rm counts for nothing
    "0fae7b10",                                     # CLFLUSH
])
def test_hints_do_nothing(guest, code):
    """Even where what they name is absent or not canonical; CLFLUSH reads what is there."""
    g = guest(code + VMCALL, EXCEPTION_BITMAP=ALL)
    before = g.regs(rax=1 << 63, rcx=7, rdx=8, rbx=DATA, rsi=9, rdi=10)
    flags = g.get("GUEST_RFLAGS")
    found = g.run()
    assert (found.reason, found.rip) == (18, CODE + len(code) // 2)
    assert g.regs()[:4] == before[:4] and g.get("GUEST_RFLAGS") == flags


@pytest.mark.parametrize("code", [
    # LOCK where nothing is written, or in a register
    "f00f1f00", "f00fa303", "f00fba2301", "f00fabc3", "f00fc1c3", "f0f3a4", "f00fafc3", "f0d103",
    "f00f40c3", "f00fc7f0", "f0f723",
    # forms that no processor has
    "0fbac001", "0fbad801", "0fb8c0", "0fc7c8", "0faec0", "660faee8", "f30faee8", "f20faef0",
    "0fae33", "660fae03", "8dc0", "c4e27af7c0",
])
def test_undefined_forms(guest, code):
    g = guest(code, EXCEPTION_BITMAP=ALL)
    g.regs(rbx=DATA, rsi=DATA, rdi=DATA, rcx=1)
    found = g.run()
    assert (found.reason, found.intr_info, found.rip) == (0, SOFT_UD, CODE)


@pytest.mark.parametrize("code, leaf, register, bit", [
    ("f30fbcc3", 7, 1, 3), ("f30fbdc3", 0x80000001, 2, 5), ("f30fb8c3", 1, 2, 23),
    ("480fc70b", 1, 2, 13), ("9f", 0x80000001, 2, 0), ("0fae3b", 1, 3, 19),
])
def test_what_cpuid_does_not_offer(guest, code, leaf, register, bit):
    """TZCNT and LZCNT are then BSF and BSR, the others #UD."""
    # a host's whole CPUID is taken as it is: no profile offers BMI1, whose other instructions are
    # not here
    whole = dict(build().cpuid)
    registers = list(whole[leaf])
    results = []
    for value in (registers[register] | 1 << bit, registers[register] & ~(1 << bit)):
        registers[register] = value
        options = {"cpuid": {**whole, leaf: tuple(registers)}}
        g = guest(code + VMCALL, options=options, EXCEPTION_BITMAP=ALL)
        g.regs(rax=0, rbx=DATA)
        found = g.run()
        results.append((found.reason, g.regs()[RAX]))
    assert results[0][0] == 18
    if "f30fbc" in code or "f30fbd" in code:
        assert results[1] == (18, 21 if code == "f30fbcc3" else 22)
        assert results[0] == (18, 21 if code == "f30fbcc3" else 9)
    else:
        assert results[1][0] == 0


def strings(g, **registers):
    g.memory.write(DATA, bytes(range(1, 256)) * 17)
    g.regs(**registers)


def absent_page(g, at):
    """Small pages under the 2 MBytes of DATA, one of them absent."""
    table = 0xC000
    for n in range(512):
        g.write(table + 8 * n, (DATA & ~0x1FFFFF) + (n << 12) | 7)
    g.write(table + 8 * (at >> 12 & 511), 0)
    g.write(PD + 8 * (DATA >> 21), table | 7)


def test_a_fault_in_the_middle_of_a_copy(guest):
    """What is done is done, the rest is not; L1 mends the page, and the copy ends."""
    g = guest("f3a4" + VMCALL, EXCEPTION_BITMAP=ALL)
    absent_page(g, DATA + 0x3000)
    strings(g, rsi=DATA, rdi=DATA + 0x2FF0, rcx=40)
    found = g.run()
    assert (found.reason, found.intr_info, found.rip) == (0, PF, CODE)
    assert (found.error, found.qualification) == (2, DATA + 0x3000)
    assert [g.regs()[n] for n in (RCX, RSI, RDI)] == [24, DATA + 16, DATA + 0x3000]
    g.write(0xC000 + 8 * 3, DATA + 0x3000 | 7)
    assert g.run().reason == 18
    assert g.memory.read(DATA + 0x2FF0, 40) == bytes(range(1, 41))
    assert g.regs()[RCX] == 0


def test_a_fault_leaves_the_flags_of_before(guest):
    """SDM 2, CMPS and SCAS with REP: they have changed nothing yet."""
    g = guest("f3a6", EXCEPTION_BITMAP=ALL)
    absent_page(g, DATA + 0x3000)
    g.memory.write(DATA, bytes(0x3000))
    g.regs(rsi=DATA, rdi=DATA + 0x2FF8, rcx=40)
    found = g.run(GUEST_RFLAGS=2 | CF | 0x800)
    assert found.intr_info == PF and found.qualification == DATA + 0x3000
    assert g.get("GUEST_RFLAGS") & 0xFFFF == 2 | CF | 0x800 and g.regs()[RCX] == 32


@pytest.mark.parametrize("at", [1, 2, 17, 99])
def test_interrupts_come_between_elements(guest, at):
    """RIP is at the instruction, and it goes on there."""
    g = guest("f3aa" + VMCALL, PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    g.regs(rax=0x5A, rdi=DATA, rcx=100)
    g.cpu.interrupt(0x40, after=at)
    found = g.run(GUEST_RFLAGS=2 | IF)
    assert (found.reason, found.rip) == (1, CODE)
    assert (g.regs()[RCX], g.regs()[RDI]) == (100 - at, DATA + at)
    assert g.memory.read(DATA + at - 1, 2) == b"\x5a\0"
    g.cpu.forget_events()
    assert g.run().reason == 18 and g.memory.read(DATA, 101) == b"\x5a" * 100 + b"\0"


def test_traps_come_behind_each_element(guest):
    g = guest("f348ab" + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | MTF)
    g.regs(rax=1, rdi=DATA, rcx=3)
    seen = [(found.reason, found.rip - CODE, g.regs()[RCX])
            for found in (g.run() for _ in range(3))]
    assert seen == [(37, 0, 2), (37, 0, 1), (37, 3, 0)]


@pytest.mark.parametrize("code, registers, after", [
    ("f2ae", dict(rax=5, rdi=DATA, rcx=100), dict(rcx=95, rdi=DATA + 5)),
    ("f3ae", dict(rax=1, rdi=DATA, rcx=100), dict(rcx=98, rdi=DATA + 2)),
    ("f3a6", dict(rsi=DATA, rdi=DATA + 255, rcx=20), dict(rcx=0, rsi=DATA + 20, rdi=DATA + 275)),
    ("fdf3a4fc", dict(rsi=DATA + 9, rdi=DATA + 99, rcx=10),
     dict(rcx=0, rsi=DATA - 1, rdi=DATA + 89)),
    # no element at all, and a count of 4 bytes
    ("f3a4", dict(rsi=1 << 63, rdi=0, rcx=0), dict(rcx=0, rdi=0)),
    ("67f3aa", dict(rdi=DATA, rcx=(1 << 32) + 2), dict(rcx=0, rdi=DATA + 2)),
    ("f3ad", dict(rsi=DATA, rcx=2), dict(rax=0x08070605, rcx=0, rsi=DATA + 8)),
])
def test_strings(guest, code, registers, after):
    g = guest(code + VMCALL, EXCEPTION_BITMAP=ALL)
    strings(g, **registers)
    assert g.run().reason == 18
    assert {name: g.regs()[globals()[name.upper()]] for name in after} == after


def test_frames(guest):
    """ENTER with levels copies the outer frames' pointers; LEAVE undoes it."""
    g = guest("c8200003" + VMCALL + "c9" + VMCALL)
    g.regs(rbp=STACK - 0x100)
    g.write(STACK - 0x108, 0x1111)
    g.write(STACK - 0x110, 0x2222)
    g.run(GUEST_RSP=STACK)
    frame = STACK - 8
    assert [g.read(STACK - 8 * n) for n in (1, 2, 3, 4)] == [STACK - 0x100, 0x1111, 0x2222, frame]
    assert g.regs()[RBP] == frame and g.get("GUEST_RSP") == STACK - 32 - 0x20
    g.run(GUEST_RIP=g.get("GUEST_RIP") + 3)
    assert (g.regs()[RBP], g.get("GUEST_RSP")) == (STACK - 0x100, STACK)


@pytest.mark.parametrize("code", ["c8000100", "c8000003", "c9"])
def test_a_frame_that_faults_moves_nothing(guest, code):
    g = guest(code, EXCEPTION_BITMAP=ALL)
    absent_page(g, DATA + 0x3000)
    rbp, rsp = (DATA + 0x3008, DATA + 0x4000) if code == "c9" else (DATA + 0x5000, DATA + 0x4010)
    rsp = DATA + 0x4008 if code == "c8000003" else rsp
    g.regs(rbp=rbp)
    found = g.run(GUEST_RSP=rsp)
    assert found.intr_info == PF and (g.regs()[RBP], g.get("GUEST_RSP")) == (rbp, rsp)


def test_far_calls(guest):
    """CALL far through memory, and RETF with parameters."""
    # call far [rbx]; vmcall        callee: vmcall; retf 16
    g = guest("ff1b" + VMCALL)
    g.code(VMCALL + "ca1000", CODE + 0x100)
    g.regs(rbx=DATA)
    g.write(DATA, CODE + 0x100, 4)
    g.write(DATA + 4, 0x08, 2)
    found = g.run(GUEST_RSP=STACK)
    assert found.rip == CODE + 0x100 and g.get("GUEST_RSP") == STACK - 8
    assert (g.read(STACK - 8, 4), g.read(STACK - 4, 4)) == (CODE + 2, 8)
    found = g.run(GUEST_RIP=found.rip + 3)
    assert (found.reason, found.rip, g.get("GUEST_RSP")) == (18, CODE + 2, STACK + 16)
    # a selector that is no code
    g.write(DATA + 4, 0x10, 2)
    found = g.run(GUEST_RIP=CODE, GUEST_RSP=STACK, EXCEPTION_BITMAP=ALL)
    assert (found.intr_info, found.error, g.get("GUEST_RSP")) == (GP, 0x10, STACK)


def test_segment_bases(guest):
    """RDFSBASE and its neighbours, with CR4.FSGSBASE."""
    code = "f3480faed3" "f3480faec0" "f3480faedb" "f30faec9" + VMCALL
    g = guest(code, GUEST_CR4=0x2020 | 1 << 16, EXCEPTION_BITMAP=ALL)
    g.regs(rbx=0xFFFF800012345678, rax=0, rcx=~0 & (1 << 64) - 1)
    assert g.run().reason == 18
    assert g.get("GUEST_FS_BASE") == g.get("GUEST_GS_BASE") == 0xFFFF800012345678
    assert (g.regs()[RAX], g.regs()[RCX]) == (0xFFFF800012345678, 0x12345678)
    g.regs(rbx=1 << 62)
    assert g.run(GUEST_RIP=CODE).intr_info == GP
    assert g.run(GUEST_RIP=CODE, GUEST_CR4=0x2020).intr_info == SOFT_UD


@pytest.mark.parametrize("number, push, pop", [("FS", "0fa0", "0fa1"), ("GS", "0fa8", "0fa9")])
def test_push_and_pop_of_fs_and_gs(guest, number, push, pop):
    g = guest(push + VMCALL + "6a10" + pop + VMCALL, **{f"GUEST_{number}_SELECTOR": 0x2B & ~3})
    g.run(GUEST_RSP=STACK)
    assert g.read(STACK - 8) == 0x28
    g.run(GUEST_RIP=CODE + 5)
    assert g.get(f"GUEST_{number}_SELECTOR") == 0x10 and g.get("GUEST_RSP") == STACK - 8


def test_compare_exchange_pairs(guest):
    """CMPXCHG16B wants its operand aligned; ZF says which way it went."""
    g = guest("f0480fc70b" + VMCALL, EXCEPTION_BITMAP=ALL)
    g.write(DATA, 1)
    g.write(DATA + 8, 2)
    g.regs(rax=1, rdx=2, rbx=DATA, rcx=4)
    assert g.run().reason == 18 and g.get("GUEST_RFLAGS") & ZF
    assert (g.read(DATA), g.read(DATA + 8)) == (DATA, 4)
    g.run(GUEST_RIP=CODE)
    assert not g.get("GUEST_RFLAGS") & ZF and (g.regs()[RAX], g.regs()[RDX]) == (DATA, 4)
    g.regs(rbx=DATA + 8)
    assert g.run(GUEST_RIP=CODE).intr_info == GP
