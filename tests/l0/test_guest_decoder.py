# SPDX-License-Identifier: GPL-2.0-only
"""The decoder's instruction lengths against capstone's, and code that nobody wrote."""

import random
import re

import needed
import pytest
from guest import *

capstone = needed.module("capstone")

SEED = 20260

# Opcodes that execute without leaving the next instruction, in 64-bit code, by what follows.
LEGACY = ["66", "67", "2e", "36", "3e", "26", "64", "65"]
ONE_BYTE = [0x00 + 8 * n + i for n in range(8) for i in range(6)] + [
    0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8D, 0xA8, 0xA9,
    0xC6, 0xC7, 0xF6, 0xF7, 0xFE, 0xFF, *range(0xB0, 0xC0), *range(0x50, 0x60), 0x68, 0x6A,
    0xA0, 0xA1, 0xA2, 0xA3, 0x63, 0x69, 0x6B, 0x98, 0x99, 0x9E, 0x9F, *range(0xA4, 0xA8),
    *range(0xAA, 0xB0), 0xC0, 0xC1, 0xC8, 0xC9, *range(0xD0, 0xD4), 0xD7]
TWO_BYTE = [0x0D, *range(0x18, 0x20), *range(0x40, 0x50), *range(0x90, 0xA2), *range(0xA3, 0xA6),
            *range(0xA8, 0xAA), *range(0xAB, 0xB2), 0xB3, *range(0xB6, 0xB9), *range(0xBA, 0xC2),
            *range(0xC8, 0xD0)]


def make(rng, bits):
    """Random bytes that begin like an instruction the decoder knows."""
    prefix = b"".join(bytes.fromhex(rng.choice(LEGACY)) for _ in range(rng.choice((0, 0, 1, 2))))
    rex = bytes([0x40 | rng.randrange(16)]) if bits == 64 and rng.random() < .6 else b""
    opcode = bytes([0x0F, rng.choice(TWO_BYTE)] if rng.random() < .2 else [rng.choice(ONE_BYTE)])
    return prefix + rex + opcode + rng.randbytes(14)


def decoded_length(g, code):
    """The length that L2 found: how far RIP is behind one instruction, or None for an exception
    that is not about memory. The trap flag of L1 stops it there."""
    g.memory.write(CODE, code)
    found = g.run(GUEST_RIP=CODE, GUEST_RSP=STACK)
    if found.reason == 37:
        return found.rip - CODE
    vector = found.intr_info & 0xFF
    assert found.reason == 0 and vector in (0, 6, 12, 13, 14), found
    return None if vector == 6 else "fault"


MODES = {
    64: (capstone.CS_MODE_64, {}),
    32: (capstone.CS_MODE_32, dict(GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B)),
    16: (capstone.CS_MODE_16, dict(GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0x809B)),
}




@pytest.mark.parametrize("bits", MODES)
def test_lengths(bits):
    """Every memory access ends in the same scratch page, so that most of them succeed."""
    mode, fields = MODES[bits]
    oracle = capstone.Cs(capstone.CS_ARCH_X86, mode)
    rng = random.Random(SEED + bits)
    g = Guest("plain", CPU_BASED_VM_EXEC_CONTROL=PROC | MTF, EXCEPTION_BITMAP=0xFFFFFFFF, **fields)
    agreed = undefined = 0
    for _ in range(6000):
        code = make(rng, bits)
        expected = next(oracle.disasm(code, CODE), None)
        g.regs(rax=DATA, rcx=DATA, rdx=DATA, rbx=DATA, rbp=DATA, rsi=DATA, rdi=DATA)
        name = expected.mnemonic.removeprefix("notrack ") if expected is not None else None
        length = decoded_length(g, code)
        if length == "fault":
            continue
        if length is None:
            # what this processor leaves out of a group
            undefined += 1
            assert name is None or name in LEFT_OUT, (code.hex(), expected)
            continue
        if name in ("jmp", "call", "ljmp") or expected is None and HINT.search(code[:6]):
            continue
        assert expected is not None and length == expected.size, (code.hex(), length, expected)
        agreed += 1
    assert agreed > 1500 and undefined > 0


# what capstone names although it is #UD, and of groups the parts that stay out
LEFT_OUT = {"ud0", "ud1", "xabort", "xbegin", "arpl", "popcnt", "fxsave", "fxsave64", "fxrstor",
            "fxrstor64", "ldmxcsr", "stmxcsr", "xsave", "xsave64", "xrstor", "xrstor64", "xsaveopt",
            "xsaveopt64", "clwb", "clflushopt", "clrssbsy", "umonitor", "tpause", "umwait",
            "incsspd", "incsspq", "lfence", "mfence", "sfence", "ptwrite",
            "rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase"}
# hints, fences, and MOVSXD without REX.W, which capstone knows in part
HINT = re.compile(rb"\x0f([\x0d\x18-\x1f]|\xae[\xe8-\xff])|"
                  rb"^[\x26\x2e\x36\x3e\x64-\x67]*[\x40-\x47]?\x63")


@pytest.mark.parametrize("code, length", [
    ("66" * 12 + "6690", None), ("66" * 13 + "90", 14), ("66" * 14 + "90", 15),
    ("66" * 15 + "90", "gp"), ("2e" * 11 + "48c7c0", "gp"),
    # a REX prefix in front of a legacy one counts for nothing
    ("486690", 3), ("4866b83412", 5), ("66489090", 3), ("4048b8" + "00" * 8, 11),
    ("f30f1f00", 4), ("0f1f8400000000", 8), ("660f1f840000000000", 9),
    # 66 does not shorten a near branch in 64-bit code
    ("66e900000000", 6), ("660f8400000000", 7), ("66c3", 2),
    # addresses by themselves have the address size
    ("a1" + "00" * 8, 9), ("67a100000000", 6), ("48b8" + "00" * 8, 10), ("66b80000", 4),
])
def test_lengths_worth_a_look(guest, code, length):
    g = guest(code, CPU_BASED_VM_EXEC_CONTROL=PROC | MTF, EXCEPTION_BITMAP=1 << 13)
    g.write(STACK, CODE + 2)
    if length is None:
        length = len(code) // 2
    found = g.run()
    if length == "gp":
        # more than 15 bytes
        assert found.intr_info == VALID | HARD | CODE_BIT | 13
    else:
        assert (found.reason, found.rip) == (37, CODE + length)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["plain", "evmcs"])
def test_hostile_code(mode, seed):
    """Whatever bytes L2 runs, in whatever mode, it ends by an exit; L1 enters it again."""
    rng = random.Random(seed)
    fields = rng.choice([
        {}, dict(GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B),
        dict(GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB, GUEST_SS_SELECTOR=0x23,
             GUEST_SS_AR_BYTES=0xC0F3)])
    g = Guest(mode, MSR_BITMAP=BITMAPS, IO_BITMAP_A=BITMAPS, IO_BITMAP_B=BITMAPS,
              VM_EXIT_CONTROLS=0x36FFB | 1 << 15, EPT_POINTER=EPT | 0x1E, **fields)
    g.map_ept()
    for vector in range(32):
        g.vector(vector, code="48cf", dpl=3)
    reasons = set()
    for _ in range(400):
        g.memory.write(CODE, rng.randbytes(256) if rng.random() < .5 else soup(rng))
        g.memory.write(STACK - 64, rng.randbytes(256))
        g.regs(**{name: rng.choice((DATA, rng.getrandbits(64), 0, CODE))
                  for name in ("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi")})
        g.cpu.forget_events()
        g.cpu.interrupt(rng.randrange(32, 256), after=rng.randrange(300))
        changes = dict(
            PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR | rng.choice((0, NMI_EXITING)),
            CPU_BASED_VM_EXEC_CONTROL=PROC | rng.getrandbits(32) & (
                HLT | INVLPG | RDTSC | CR3_LOAD | MOV_DR | IO_BITMAPS | MTF | MSR_BITMAPS | PAUSE
                | INTR_WINDOW),
            SECONDARY_VM_EXEC_CONTROL=rng.choice((0, S_EPT, S_EPT | S_RDTSCP | S_DESC)),
            EXCEPTION_BITMAP=rng.getrandbits(32) & rng.getrandbits(32))
        g.set(**changes, **dict(GUEST_RIP=CODE + rng.randrange(8), GUEST_RSP=STACK,
                                GUEST_RFLAGS=2 | rng.getrandbits(12) & 0xED5,
                                GUEST_INTERRUPTIBILITY_INFO=0, GUEST_ACTIVITY_STATE=0,
                                GUEST_PENDING_DBG_EXCEPTIONS=0, GUEST_CR0=0x80010033,
                                GUEST_CR3=PML4, GUEST_CR4=0x2020, **restored(fields)))
        outcome = g.cpu.vmresume() if g.launched else g.cpu.vmlaunch()
        g.launched |= outcome.ok
        assert outcome.ok, outcome
        reasons.add(g.get("VM_EXIT_REASON"))
    assert len(reasons) > 4 and all(reason < 65 for reason in reasons)
    assert g.cpu.counters()["l2_instructions"] > 400


def soup(rng):
    """Instructions that the decoder knows, one behind another."""
    known = ["0fa2", "cf", "48cf", "cd80", "cc", "fb", "fa", "f4", "8ed0", "8ed8", "9d", "9c", "58",
             "50", "c3", "e8fcffffff", "ebf0", "75f0", "0f22c0", "0f20c0", "0f22d8", "0f22e0",
             "0f30", "0f32", "e480", "ef", "6c", "f36f", "488903", "488b03", "ff23", "ffe0",
             "0f013b", "0f0113", "0f011b", "0f00d8", "0f06", "0f01f0", "0f23f8", "f1", "0f01c1",
             "0f0b", "ea0000500008", "cb", "0fc7f0", "f7f1", "d9d0", "0f09", "660f388203"]
    code = b"".join(bytes.fromhex(rng.choice(known)) for _ in range(80))
    return code[:256]


def restored(fields):
    """The segments and tables that a guest may have ruined."""
    whole = dict(
        GUEST_CS_SELECTOR=8, GUEST_CS_AR_BYTES=0xA09B, GUEST_SS_SELECTOR=0x10,
        GUEST_SS_AR_BYTES=0xC093, GUEST_CS_BASE=0, GUEST_SS_BASE=0, GUEST_CS_LIMIT=0xFFFFFFFF,
        GUEST_SS_LIMIT=0xFFFFFFFF, GUEST_GDTR_BASE=GDT, GUEST_GDTR_LIMIT=0xFFFF,
        GUEST_IDTR_BASE=IDT, GUEST_IDTR_LIMIT=0xFFFF, GUEST_TR_SELECTOR=0x18,
        GUEST_TR_BASE=TSS, GUEST_TR_LIMIT=0x67, GUEST_TR_AR_BYTES=0x8B,
        GUEST_LDTR_AR_BYTES=0x10000, GUEST_DR7=0x400, GUEST_IA32_EFER=0xD01,
        VM_ENTRY_CONTROLS=0x13FB)
    for name in ("DS", "ES", "FS", "GS"):
        whole.update({f"GUEST_{name}_SELECTOR": 0x10, f"GUEST_{name}_AR_BYTES": 0xC093,
                      f"GUEST_{name}_BASE": 0, f"GUEST_{name}_LIMIT": 0xFFFFFFFF})
    return {**whole, **fields}
