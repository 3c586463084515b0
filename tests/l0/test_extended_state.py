# SPDX-License-Identifier: GPL-2.0-only
"""x87 and SSE state, XCR0, SYSCALL and SYSRET, STAC and CLAC, INVPCID: each against the SDM."""

import struct

import pytest
from guest import *

from kvm_vmx.boot.board import board_leaves, board_msrs

UD, NM, GP = VALID | HARD | 6, VALID | HARD | 7, VALID | HARD | CODE_BIT | 13
ALL = 0xFFFFFFFF
CR0, MP_EM, TS = 0x80000031, 1 << 2, 1 << 3
CR4 = 0x2020
OSFXSR, OSXSAVE, PCIDE, SMAP = 1 << 9, 1 << 18, 1 << 17, 1 << 21
XSAVE = {"options": {"profile": "bare", "cpuid": board_leaves("bare", 1),
                     "msrs": board_msrs("bare")}}
X87, SSE = 1, 2
MOVUPS, FXSAVE, FXRSTOR, LDMXCSR = "0f1003", "0fae03", "0fae0b", "0fae13"
STMXCSR, XSAVE_RBX, XRSTOR, XGETBV, XSETBV = "0fae1b", "0fae23", "0fae2b", "0f01d0", "0f01d1"


@pytest.fixture
def state(guest):
    """A guest with SSE switched on, RBX at DATA."""
    def begin(code, cr4=OSFXSR, cr0=0, **fields):
        g = guest(code, EXCEPTION_BITMAP=ALL, GUEST_CR4=CR4 | cr4, GUEST_CR0=CR0 | cr0, **fields)
        g.regs(rbx=DATA, rcx=0)
        return g
    return begin


@pytest.mark.parametrize("code, cr4, cr0, info", [
    (MOVUPS, 0, 0, UD), (MOVUPS, OSFXSR, MP_EM, UD), (MOVUPS, OSFXSR, TS, NM),
    (MOVUPS, 0, TS, UD), (LDMXCSR, 0, 0, UD), (STMXCSR, OSFXSR, TS, NM),
    (FXSAVE, 0, TS, NM), (FXRSTOR, 0, MP_EM, NM),
    (XSAVE_RBX, OSFXSR, 0, UD), (XRSTOR, OSFXSR, 0, UD), (XGETBV, OSFXSR, 0, UD),
    # forms that nobody has: MMX, and registers where memory alone may be
    ("0f6fc1", OSFXSR, 0, UD), ("660fe7c1", OSFXSR, 0, UD), ("0f13c1", OSFXSR, 0, UD),
    ("660f12c1", OSFXSR, 0, UD), ("f30f28c1", OSFXSR, 0, UD), ("0fefc1", OSFXSR, 0, UD),
    ("0fc3c1", OSFXSR, 0, UD), ("660f710b01", OSFXSR, 0, UD), ("660f71c101", OSFXSR, 0, UD),
    ("660fae03", OSFXSR, 0, UD), ("f0660fefc1", OSFXSR, 0, UD), ("0f77", OSFXSR, 0, UD),
])
def test_who_may_execute_it(state, code, cr4, cr0, info):
    """SDM 3A 13.1, 2A: #UD before #NM; FXSAVE asks CR0 alone."""
    found = state(code, cr4, cr0).run()
    assert (found.reason, found.intr_info, found.rip) == (0, info, CODE)


@pytest.mark.parametrize("code, offset, fault", [
    ("0f2803", 8, GP), ("660f6f03", 1, GP), ("0f2b03", 4, GP), ("660fef03", 8, GP),
    ("0f1003", 1, None), ("f30f6f03", 8, None), ("f30f1003", 3, None), (FXSAVE, 8, GP),
    (FXRSTOR, 8, GP)])
def test_alignment(state, code, offset, fault):
    g = state(code + VMCALL)
    g.regs(rbx=DATA + offset)
    found = g.run()
    assert (found.reason, found.intr_info if fault else 0) == (0 if fault else 18, fault or 0)


def test_fxsave_is_what_fxrstor_takes(state):
    """All 16 registers and MXCSR, 416 bytes of 512; the rest stays as it is."""
    g = state("0fae0b" "0fae8300040000" + VMCALL)
    image = bytearray(range(256)) + bytearray(b"\xaa" * 256)
    image[24:32] = struct.pack("<II", 0x1FBF, 0xFFFF)
    g.memory.write(DATA, bytes(image))
    # FXRSTOR (RBX), then FXSAVE 0x400(RBX)
    g.memory.write(DATA + 0x400, b"\x55" * 512)
    assert g.run().reason == 18
    assert g.memory.read(DATA + 0x400, 512) == bytes(image[:416]) + b"\x55" * 96


@pytest.mark.parametrize("code", [FXRSTOR, LDMXCSR])
def test_reserved_bits_of_mxcsr(state, code):
    g = state(code)
    g.write(DATA + (24 if code == FXRSTOR else 0), 0x10000, 4)
    assert g.run().intr_info == GP


def test_mxcsr_after_power_up(state):
    g = state(STMXCSR + VMCALL)
    assert g.run().reason == 18 and g.read(DATA, 4) == 0x1F80


@pytest.mark.parametrize("code, wanted", [
    ("dbe3" "d93b", 0x37F), ("dbe3" "dd3b", 0), ("d92b" "d93b", 0x1F7F)])
def test_words_of_the_x87(state, code, wanted):
    """FNINIT, FNSTCW and FNSTSW; FLDCW of all ones keeps bit 6 and the control bits."""
    g = state(code + VMCALL)
    g.write(DATA, 0xFFFF, 2)
    assert g.run().reason == 18 and g.read(DATA, 2) == wanted


@pytest.fixture
def board():
    """The processor with XSAVE, on a board; run() ends at UD2, and says whether it came there."""
    import on_board

    made = on_board.OnBoard()

    def run(code, memory=b"", cr4=OSFXSR | OSXSAVE, **registers):
        from random_insn import PAGES, SIZE, State

        values = [0] * 16
        for name, value in {"rbx": PAGES, **registers}.items():
            values[globals()[name.upper()]] = value
        text = bytes.fromhex(code) + b"\x0f\x0b"
        made.memory.write(CODE, text)
        made.memory.write(PAGES, memory + bytes(SIZE - len(memory)))
        made.begin(State(tuple(values), CODE, 2, b""))
        made.processor.set(0x6804, 0x20 | cr4)
        assert made.processor.run(10_000) == "shutdown"
        found = made.state()
        return found, found.rip == CODE + len(text) - 2
    run.board = made
    return run


def both_on(more=""):
    """XCR0 = x87 and SSE."""
    return "31c9" "31d2" "b803000000" + XSETBV + more


def test_cpuid_says_what_there_is(board):
    """Leaf 1: XSAVE, and OSXSAVE by CR4; leaf 0xd: 576 bytes of x87 and SSE."""
    code = "b801000000" "0fa2" "4189c8" "b80d000000" "31c9" "0fa2"
    found, whole = board(code)
    assert whole and found.registers[8] >> 26 & 3 == 3
    assert (found.registers[RAX], found.registers[RBX], found.registers[RCX],
            found.registers[RDX]) == (3, 576, 576, 0)
    found, whole = board(code, cr4=OSFXSR)
    assert whole and found.registers[8] >> 26 & 3 == 1


@pytest.mark.parametrize("eax, edx, ecx, taken", [
    (1, 0, 0, True), (3, 0, 0, True), (2, 0, 0, False), (0, 0, 0, False), (7, 0, 0, False),
    (3, 1, 0, False), (3, 0, 1, False)])
def test_xsetbv(board, eax, edx, ecx, taken):
    """SDM 2C XSETBV: bit 0 stays, and what CPUID does not name is #GP."""
    code = XSETBV + "31c9" + XGETBV
    found, whole = board(code, rax=eax, rdx=edx, rcx=ecx)
    assert whole == taken and (not taken or found.registers[RAX] == eax)
    # the upper half of RCX does not count
    assert board(code, rax=3, rcx=1 << 32)[1]
    assert not board("b901000000" + XGETBV)[1]


def xsave_image(bits):
    legacy = bytearray(n & 0xFF for n in range(512))
    legacy[24:32] = struct.pack("<II", 0x1F80, 0xFFFF)
    return bytes(legacy) + struct.pack("<8Q", bits, *[0] * 7)


@pytest.mark.parametrize("wanted", [0, X87, SSE, X87 | SSE, 7])
@pytest.mark.parametrize("there", [0, X87, SSE, X87 | SSE])
def test_xsave_and_xrstor(board, wanted, there):
    """SDM 1 13.7 and 13.8: of what is asked for, what is not there is as after reset; XSAVE writes
    what is asked for and leaves the rest."""
    # MOV $7, %eax first, so that XRSTOR takes all
    code = both_on("b807000000" "480fae2b" f"b8{wanted:02x}000000" "480faea300040000")
    image = xsave_image(there)
    found, whole = board(code, image + bytes(0x400 - len(image)) + b"\x55" * 576)
    assert whole
    saved = found.memory[0x400:0x400 + 576]
    loaded_x87 = image[:24] + image[32:160] if there & X87 else \
        b"\x7f\x03" + bytes(22) + bytes(128)
    loaded_sse = image[160:416] if there & SSE else bytes(256)
    blank = b"\x55" * 576
    assert saved[:24] + saved[32:160] == (loaded_x87 if wanted & X87 else blank[:152])
    assert saved[160:416] == (loaded_sse if wanted & SSE else blank[:256])
    assert saved[24:32] == (image[24:32] if wanted & SSE else blank[:8])
    assert saved[416:512] == blank[:96] and saved[520:] == blank[:56]
    bits = struct.unpack_from("<Q", saved, 512)[0]
    assert bits & 3 == 0x5555555555555555 & 3 & ~wanted | wanted & 3


@pytest.mark.parametrize("at, value", [(512, 4), (520, 1), (520, 1 << 63), (528, 1), (24, 1 << 16)])
def test_xrstor_refuses(board, at, value):
    """A component that XCR0 has not, a compacted form, reserved bytes, reserved bits of MXCSR."""
    image = bytearray(xsave_image(3))
    image[at:at + 8] = (value | (0xFFFF << 32 if at == 24 else 0)).to_bytes(8, "little")
    code = both_on("b807000000" "480fae2b")
    assert not board(code, bytes(image))[1] and board(code, xsave_image(3))[1]


def test_xsave_wants_64_bytes(board):
    assert not board(both_on("480fae6310"))[1] and board(both_on("480fae6340"))[1]


def test_the_board_moves_with_its_registers(board):
    """Saved and restored, XMM registers are what they were."""
    made = board.board.board
    board(both_on("660f6f03"), bytes(range(16)))
    before = made.processors[0]
    made.move()
    board.board.processor = made.processors[0]
    assert made.processors[0] is not before
    found, whole = board("660f7f4310")
    assert whole and found.memory[16:32] == bytes(range(16))


STAR, LSTAR, FMASK, EFER = 0xC0000081, 0xC0000082, 0xC0000084, 0xC0000080
TARGET = CODE + 0x800


def calls(state, code, efer=0x501, star=0x001B0008 << 32, mask=0, **fields):
    g = state(code, **fields)
    for msr, value in ((STAR, star), (LSTAR, TARGET), (FMASK, mask), (EFER, efer)):
        assert g.cpu.wrmsr(msr, value).ok
    return g


def test_syscall(state):
    """SDM 2B SYSCALL: RCX and R11, the mask, flat segments of level 0."""
    g = calls(state, "0f05", mask=0x200, GUEST_RFLAGS=0xA93)
    g.code(VMCALL, TARGET)
    found = g.run()
    assert (found.reason, found.rip) == (18, TARGET)
    assert (g.regs()[RCX], g.regs()[11], g.get("GUEST_RFLAGS")) == (CODE + 2, 0xA93, 0x893)
    assert (g.get("GUEST_CS_SELECTOR"), g.get("GUEST_CS_AR_BYTES")) == (8, 0xA09B)
    assert (g.get("GUEST_SS_SELECTOR"), g.get("GUEST_SS_AR_BYTES")) == (16, 0xC093)


@pytest.mark.parametrize("wide", [True, False])
def test_sysret(state, wide):
    """To level 3: 64-bit code by REX.W, else 32-bit code. It ends with #GP there: HLT."""
    g = calls(state, ("48" if wide else "") + "0f07", star=0x00130008 << 32)
    g.code("f4", TARGET)
    g.regs(rcx=TARGET | (0 if wide else 1 << 32), r11=0x10246)
    found = g.run()
    assert (found.reason, found.intr_info, found.rip) == (0, GP, TARGET)
    assert (g.get("GUEST_CS_SELECTOR"), g.get("GUEST_CS_AR_BYTES")) == (
        (0x23, 0xA0FB) if wide else (0x13, 0xC0FB))
    assert (g.get("GUEST_SS_SELECTOR"), g.get("GUEST_SS_AR_BYTES")) == (0x1B, 0xC0F3)
    # the fault has set RF
    assert g.get("GUEST_RFLAGS") & ~0x10000 == 0x246


@pytest.mark.parametrize("code, efer, rcx, info", [
    ("0f05", 0x500, 0, UD), ("480f07", 0x500, 0, UD), ("480f07", 0x501, 1 << 47, GP)])
def test_syscall_and_sysret_refuse(state, code, efer, rcx, info):
    g = calls(state, code, efer)
    g.regs(rcx=rcx)
    assert g.run().intr_info == info


def test_a_trap_by_what_syscall_leaves(state):
    """TF counts behind them: SYSCALL masks it and there is no trap."""
    g = calls(state, "0f05", mask=0x100, GUEST_RFLAGS=0x102)
    g.code(VMCALL, TARGET)
    assert g.run().reason == 18
    g = calls(state, "480f07", star=0x00130008 << 32)
    g.regs(rcx=TARGET, r11=0x102)
    found = g.run()
    assert (found.reason, found.intr_info, found.rip) == (0, VALID | HARD | 1, TARGET)


def test_stac_and_clac(state):
    g = state("0f01cb" + VMCALL, cr4=SMAP)
    assert g.run().reason == 18 and g.get("GUEST_RFLAGS") & 1 << 18
    assert g.run("0f01ca" + VMCALL).reason == 18 and not g.get("GUEST_RFLAGS") & 1 << 18
    # not at level 3
    g = state("0f01cb", GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB,
              GUEST_SS_SELECTOR=0x23, GUEST_SS_AR_BYTES=0xC0F3)
    assert g.run().intr_info == UD


@pytest.mark.parametrize("kind, process, linear, pcide, info", [
    (0, 0, 0, 0, None), (3, 0, 0, 0, None), (4, 0, 0, 0, GP), (0, 1, 0, 0, GP), (1, 1, 0, 0, GP),
    (2, 1, 0, 0, None), (0, 0, 1 << 63, 0, GP), (1, 0, 1 << 63, 0, None), (2, 0x1000, 0, 0, GP),
    (0, 1, 0, PCIDE, None), (1, 0xFFF, 0, PCIDE, None), (3, 1 << 63, 0, PCIDE, GP)])
def test_invpcid_operands(state, kind, process, linear, pcide, info):
    """SDM 2A INVPCID."""
    g = state("660f388203" + VMCALL, cr4=pcide,
              CPU_BASED_VM_EXEC_CONTROL=PROC | 1 << 31, SECONDARY_VM_EXEC_CONTROL=S_INVPCID)
    g.regs(rax=kind)
    g.write(DATA, process)
    g.write(DATA + 8, linear)
    found = g.run()
    assert (found.reason, found.intr_info) == ((0, info) if info else (18, 0))


def test_a_store_past_the_caches(state):
    """MOVNTI needs neither CR4.OSFXSR nor CR0."""
    g = state("480fc303" + VMCALL, cr4=0, cr0=TS)
    g.regs(rax=0x1122334455667788)
    assert g.run().reason == 18 and g.read(DATA) == 0x1122334455667788
