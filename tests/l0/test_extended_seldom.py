# SPDX-License-Identifier: GPL-2.0-only
"""x87, SSE and XSAVE where they fault, forms that no processor has, and Hyper-V's ports: each
against the SDM's and the TLFS' rule."""

import functools

import pytest
from modes import *
from root import FREE as ROOM
from root import RAX as RESULT
from root import Root
from test_extended_state import OSFXSR, OSXSAVE, XSAVE
from test_save_restore import XCR0_AT, forged

BEYOND = 1 << 47
FIELDS_OF_SSE = dict(EXCEPTION_BITMAP=0xFFFFFFFF, GUEST_CR4=0x2020 | OSFXSR)
POST, SIGNAL, FAST = 0x5C, 0x5D, 1 << 16
SOURCE, MESSAGES, EVENTS = 2, 0x18000, 0x19000


def sse(code, rbx=DATA, cr4=0, guest=plain, **fields):
    g = guest(code + VMCALL, **{**FIELDS_OF_SSE, "GUEST_CR4": 0x2020 | OSFXSR | cr4, **fields})
    g.regs(rbx=rbx, rax=3, rdx=0)
    return g


@pytest.mark.parametrize("code", [
    "f20f1603", "f30f1303", "f30f1703",             # MOVHPS, MOVLPS have no such prefix
    "f30fe703", "f20fe703", "0fe703",               # MOVNTDQ has 66
    "0f6ec1", "f30f6ec1", "f20f7ec1", "0f7ec1",     # MOVD of XMM has 66, MOVQ F3
    "0f5003", "f30f50c1", "0fd7c1", "660fd703",     # signs of a register
    "f30f71d101", "0f71d101", "660f73e101", "f30f54c1", "f20fefc1", "f30fc6c100", "0f70c100",
    "f3660fc4c100", "f20fc5c100", "0fc4c100", "660fc50300",     # PINSRW, PEXTRW
    "660fc303", "f30fc303", "f30fae03", "f20fae13", "dfe1", "dbe5", "d9d1"])
def test_forms_of_sse_and_x87_that_are_none(code):
    assert told(sse(code).run()) == (UD, 0)


@pytest.mark.parametrize("code", ["0f2803", "0f2b03", "660f6f03", "0fae03", "0fae0b"])
def test_operands_at_no_address(code):
    assert told(sse(code, rbx=BEYOND).run()) == (GP, 0)


@pytest.mark.parametrize("code, at, write", [
    ("660f6e03", END, 0), ("f30f7e03", END, 0), ("0fae13", END, 0), ("0fae1b", END, 2),
    ("d92b", END, 0), ("d93b", END, 2), ("0fae03", END - 0x100, 2), ("0fae0b", END - 0x100, 0)])
def test_operands_whose_page_is_not_there(code, at, write):
    """Nothing of an image is stored where some of it cannot be (SDM 3A 6.5)."""
    g = sse(code, rbx=at)
    g.memory.write(END - 0x100, b"\xa5" * 0x100)
    assert told(g.run()) == (PF, write)
    assert g.memory.read(END - 0x100, 0x100) == b"\xa5" * 0x100


@pytest.mark.parametrize("code, ends", [("dbe2", DONE), ("dfe0", DONE), ("dbe3", DONE),
                                        ("d9d0", DONE), ("0fae13", DONE)])
def test_what_there_is_of_x87_control(code, ends):
    g = sse(code)
    g.write(DATA, 0x1F80, 4)
    assert told(g.run()) == ends


@pytest.mark.parametrize("code, write", [("0fae23", 2), ("0fae2b", 0)])
@pytest.mark.parametrize("rfbm", [1, 2, 3])
@pytest.mark.parametrize("hole", [6, 7])
def test_xsave_areas_with_a_hole(code, write, rfbm, hole):
    """The legacy image or the header is on a page that is not there."""
    options = XSAVE["options"]
    g = sse(code, rbx=(7 << 21) - 0x200, cr4=OSXSAVE,
            guest=functools.partial(Guest, "plain", options=options))
    g.memory.write((7 << 21) - 0x200, bytes(0x400))
    g.write(7 << 21, 3)
    # XCR0 by XSETBV would leave: what power-up has is x87 alone
    g.write(PD + 8 * hole, 0)
    g.regs(rax=rfbm)
    found = told(g.run())
    assert found == (PF, write) or (code == "0fae2b" and hole == 6 and found == (GP, 0))


@pytest.mark.parametrize("rfbm, there, at, ends", [
    # the first bytes of the image, MXCSR behind them, the XMM registers, all of it
    (1, 1, 0x10, (PF, 0)), (2, 2, 0x10, (PF, 0)), (2, 0, 0x10, (PF, 0)), (1, 0, 0x10, DONE),
    (3, 3, 0, DONE), (3, 3, 8, (GP, 0)), (3, 3, BEYOND, (GP, 0)), (3, 4, 0, (GP, 0))])
def test_xrstor_of_an_area_whose_begin_is_not_there(rfbm, there, at, ends):
    """SDM 1 13.8: what is asked for and stands there is read, and MXCSR with SSE whatever does."""
    g = sse("0fae2b", cr4=OSXSAVE, guest=functools.partial(
        Guest, "plain", options=XSAVE["options"]))
    g.cpu.restore(forged(g.cpu.save(), XCR0_AT, 3))
    hole = at == 0x10
    place = (7 << 21) - 0x40 if hole else DATA + at
    if place < 1 << 24:
        g.memory.write(place, bytes(0x240))
        g.write(place + 24, 0x1F80, 4)
        g.write(place + 0x200, there)
    g.write(PD + 8 * 6, 0 if hole else 6 << 21 | 0x87)
    g.regs(rbx=place, rax=rfbm)
    assert told(g.run()) == ends


@pytest.mark.parametrize("prefix, at", [("f3", 8), ("66f3", 8), ("f366", 8), ("f2", 0),
                                        ("66f2", 0)])
def test_a_shuffle_of_words_under_two_prefixes(prefix, at):
    """SDM 2A 2.1.2: of 66 and F3 or F2 the latter is part of the opcode."""
    g = sse("f30f6f0b" + prefix + "0f70c11b" + "f30f7f4310")
    words = b"".join(n.to_bytes(2, "little") for n in range(0x1000, 0x1008))
    g.memory.write(DATA, words)
    assert told(g.run()) is DONE
    turned = b"".join(words[at + 2 * n:at + 2 * n + 2] for n in (3, 2, 1, 0))
    assert g.memory.read(DATA + 16, 16) == words[:at] + turned + words[at + 8:]


@pytest.mark.parametrize("code", ["0f05", "0f07"])
def test_fast_calls_of_32_bit_code(code):
    """SDM 2B: #UD outside 64-bit code."""
    assert told(narrow(code).run()) == (UD, 0)


def test_sysret_of_level_3():
    g = wide("480f07", GUEST_IA32_EFER=0xD01, **LEVEL_3)
    g.cpu.efer = 0xD01
    g.regs(rcx=CODE)
    assert told(g.run())[0] in (GP, UD)


class Ports(Root):
    """L1's code with its synthetic interrupt controller on."""

    def __init__(self):
        super().__init__(profile="kvm-6.12")
        for msr, value in ((0x40000000, 1 << 48), (0x40000080, 1), (0x40000083, MESSAGES | 1),
                           (0x40000090 + SOURCE, 0x51)):
            assert self.wrmsr(msr, value) is None

    def call(self, control, parameter):
        assert self.step("0f01c1", rcx=control, rdx=parameter) is None
        return self.cpu.registers[RESULT] & 0xFFFF

    def post(self, connection, length=8, at=ROOM, control=POST):
        self.memory.write(ROOM, connection.to_bytes(8, "little") + (7).to_bytes(4, "little")
                          + length.to_bytes(4, "little") + bytes(240))
        return self.call(control, at)


def test_what_a_port_may_be():
    cpu = Ports().cpu
    assert not cpu.connect(1, 16, events=False)
    taken = 0
    while cpu.connect(100 + taken, SOURCE, events=False):
        taken += 1
        assert taken < 1000
    assert taken and not cpu.connect(99, SOURCE, events=True)
    cpu.disconnect(100)
    assert cpu.connect(99, SOURCE, events=True)


def test_messages_that_are_posted():
    """TLFS 11.11.2: by memory, 8-byte aligned, of up to 240 bytes, one at a time."""
    root = Ports()
    assert root.post(5) != 0, "no such connection"
    assert root.cpu.connect(5, SOURCE, events=False)
    for wrong in (dict(at=ROOM + 4), dict(at=BEYOND), dict(control=POST | FAST), dict(length=241)):
        assert root.post(5, **wrong) != 0
    assert root.post(5) == 0 and root.memory.read_u64(MESSAGES + 256 * SOURCE) & 0xFF == 7
    assert root.post(5) == 0, "it waits for its slot"
    assert root.post(5) == 0x13, "and holds back one"


def test_events_that_are_signalled():
    """TLFS 11.11.3: a flag of the page, where there is one, and an interrupt for the first."""
    root = Ports()
    assert root.call(SIGNAL | FAST, 5) != 0
    assert root.cpu.connect(5, SOURCE, events=True)
    assert root.call(SIGNAL | FAST, 5) == 0
    assert root.wrmsr(0x40000082, EVENTS | 1) is None
    for flag in (0, 0, 3):
        assert root.call(SIGNAL | FAST, 5 | flag << 32) == 0
    assert root.memory.read_u64(EVENTS + 256 * SOURCE) == 1 << 5 | 1 << 8
    assert root.call(SIGNAL | FAST, 5 | 2048 << 32) != 0
    root.memory.unback(EVENTS)
    assert root.call(SIGNAL | FAST, 5) == 0
