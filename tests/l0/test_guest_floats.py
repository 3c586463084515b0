# SPDX-License-Identifier: GPL-2.0-only
"""Floating point of SSE: which flags of MXCSR an instruction leaves, and what it raises unmasked.

SDM 1 11.5.2: the six conditions; those before the result stop it. unicorn judges the results, in
test_second_opinion_sse.py, and knows no flags.
"""

import struct

import pytest
from guest import *

INVALID, DENORMAL, ZERO, OVERFLOW, UNDERFLOW, PRECISION = (1 << n for n in range(6))
ALL_MASKED, FLUSH, ZEROS = 0x1F80, 1 << 15, 1 << 6     # FZ and DAZ
OSFXSR, OSXMMEXCPT, CR4 = 1 << 9, 1 << 10, 0x2020
UD, NM, XM = 6, 7, 19
NAN, SNAN, INF, LARGEST, TINY = 0x7FC00000, 0x7F800001, 0x7F800000, 0x7F7FFFFF, 0x00800000
HALF, TWO, ONE = 0x3F000000, 0x40000000, 0x3F800000
TINY_WIDE, HALF_WIDE = 1 << 52, 0x3FE << 52
LOAD = "0faea3".replace("a3", "13")        # LDMXCSR [RBX]
STORE = "0fae5b04"                          # STMXCSR [RBX + 4]
FIRST, SECOND = "f30f104308", "f30f104b0c"  # MOVSS XMM0, [RBX + 8]; XMM1, [RBX + 12]
KEEP = "f30f114310"


def bits(value):
    return value if isinstance(value, int) else struct.unpack("<I", struct.pack("<f", value))[0]


def ran(mode, code, first, second, csr=ALL_MASKED, cr4=CR4 | OSFXSR | OSXMMEXCPT, **fields):
    """The exit, MXCSR behind it, and XMM0's lowest element."""
    g = Guest(mode, LOAD + FIRST + SECOND + code + STORE + KEEP + VMCALL, GUEST_CR4=cr4,
              EXCEPTION_BITMAP=1 << UD | 1 << NM | 1 << XM, **fields)
    for place, value in enumerate((csr, 0, bits(first), bits(second))):
        g.write(DATA + 4 * place, value, 4)
    g.regs(rbx=DATA)
    return g, g.run()


@pytest.mark.parametrize("mode", ["plain", "evmcs"])
@pytest.mark.parametrize("code, first, second, result, flags", [
    ("f30f58c1", 1.5, 2.25, 3.75, 0), ("f30f5cc1", INF, INF, 0xFFC00000, INVALID),
    ("f30f59c1", LARGEST, 4.0, INF, OVERFLOW | PRECISION),
    ("f30f59c1", TINY, bits(0.3), None, UNDERFLOW | PRECISION),
    ("f30f5ec1", 1.0, 0.0, INF, ZERO), ("f30f5ec1", 0.0, 0.0, 0xFFC00000, INVALID),
    ("f30f5ec1", 1.0, 3.0, None, PRECISION), ("f30f58c1", 1, 1.0, 1.0, DENORMAL | PRECISION),
    ("f30f58c1", SNAN, 1.0, SNAN | 1 << 22, INVALID), ("f30f58c1", NAN, 1.0, NAN, 0),
    ("f30f51c1", 0.0, -1.0, 0xFFC00000, INVALID), ("f30f51c1", 0.0, 4.0, 2.0, 0),
    # UCOMIS takes a quiet NaN as it is, COMIS does not
    ("0f2ec1", NAN, 1.0, NAN, 0), ("0f2fc1", NAN, 1.0, NAN, INVALID),
])
def test_flags_of_mxcsr(mode, code, first, second, result, flags):
    g, found = ran(mode, code, first, second)
    assert found.reason == 18
    assert g.read(DATA + 4, 4) == ALL_MASKED | flags
    if result is not None:
        assert g.read(DATA + 16, 4) == bits(result)


def test_flags_stay_until_they_are_cleared():
    g, _ = ran("plain", "f30f58c1", 1.0, 1.0, ALL_MASKED | ZERO)
    assert g.read(DATA + 4, 4) == ALL_MASKED | ZERO


@pytest.mark.parametrize("rounding, result", [(0, 0x3EAAAAAB), (1, 0x3EAAAAAA), (2, 0x3EAAAAAB),
                                              (3, 0x3EAAAAAA)])
def test_rounding(rounding, result):
    g, _ = ran("plain", "f30f5ec1", 1.0, 3.0, ALL_MASKED | rounding << 13)
    assert g.read(DATA + 16, 4) == result


@pytest.mark.parametrize("cr4, vector", [(CR4 | OSFXSR | OSXMMEXCPT, XM), (CR4 | OSFXSR, UD)])
def test_an_unmasked_one_is_raised(cr4, vector):
    """#XM where CR4 says that there is a handler for it, else #UD; the register stays."""
    g, found = ran("plain", "f30f5ec1", 1.0, 0.0, ALL_MASKED & ~(ZERO << 7), cr4)
    assert (found.reason, found.intr_info & 0xFF) == (0, vector)
    assert found.rip == CODE + len(LOAD + FIRST + SECOND) // 2
    g.code(STORE + KEEP + VMCALL)
    g.run(GUEST_RIP=CODE)
    assert g.read(DATA + 4, 4) == ALL_MASKED & ~(ZERO << 7) | ZERO
    assert g.read(DATA + 16, 4) == bits(1.0)


def test_one_that_stops_the_result_hides_those_of_the_result():
    """A packed division: 1/0 unmasked, 1/3 inexact; the flag of the second is not set."""
    g = Guest("plain", LOAD + "0f104310" "0f104b20" "0f5ec1" + VMCALL,
              GUEST_CR4=CR4 | OSFXSR | OSXMMEXCPT, EXCEPTION_BITMAP=1 << XM)
    g.write(DATA, ALL_MASKED & ~(ZERO << 7), 4)
    for n, (a, b) in enumerate(((1.0, 0.0), (1.0, 3.0), (1.0, 1.0), (1.0, 1.0))):
        g.write(DATA + 16 + 4 * n, bits(a), 4)
        g.write(DATA + 32 + 4 * n, bits(b), 4)
    g.regs(rbx=DATA)
    assert g.run().intr_info & 0xFF == XM
    g.code(STORE + VMCALL)
    g.run(GUEST_RIP=CODE)
    assert g.read(DATA + 4, 4) == ALL_MASKED & ~(ZERO << 7) | ZERO


def of_registers(code, first, second, csr):
    """Code of XMM0 and XMM1, all 16 bytes: the vector or None, MXCSR behind it, XMM0."""
    g = Guest("plain", LOAD + "0f104310" "0f104b20" + code + STORE + "0f114330" + VMCALL,
              GUEST_CR4=CR4 | OSFXSR | OSXMMEXCPT, EXCEPTION_BITMAP=1 << XM)
    g.write(DATA, csr, 4)
    g.write(DATA + 16, first, 16)
    g.write(DATA + 32, second, 16)
    g.regs(rbx=DATA)
    found = g.run()
    if found.reason == 0:
        g.code(STORE + "0f114330" + VMCALL)
        g.run(GUEST_RIP=CODE)
    return found.intr_info & 0xFF if found.reason == 0 else None, g.read(DATA + 4, 4), \
        g.read(DATA + 48, 16)


# Results that are tiny and exact: MULSS, MULPS in its second element, MULSD, MULPD in its second,
# DIVSS, SUBSS, ADDSS of a denormal, CVTSD2SS and CVTPD2PS of 2^-127.
TINY_AND_EXACT = [
    ("f30f59c1", TINY, HALF, 0), ("0f59c1", TINY << 32 | ONE, HALF << 32 | ONE, 0),
    ("f20f59c1", TINY_WIDE, HALF_WIDE, 0), ("660f59c1", TINY_WIDE << 64, HALF_WIDE << 64, 0),
    ("f30f5ec1", TINY, TWO, 0), ("f30f5cc1", TINY + 1, TINY, 0), ("f30f58c1", 1, 0, DENORMAL),
    ("f20f5ac1", 0, 0x380 << 52, 0), ("660f5ac1", 0, 0x380 << 116, 0)]


@pytest.mark.parametrize("flush", [0, FLUSH])
@pytest.mark.parametrize("code, first, second, flags", TINY_AND_EXACT)
def test_underflow_of_an_exact_result(code, first, second, flags, flush):
    """SDM 1 4.9.1.5: masked, it is one where the result is inexact too; unmasked, wherever it is
    tiny. 10.2.3.3: FZ counts only where it is masked, and makes it inexact."""
    unmasked = ALL_MASKED & ~(UNDERFLOW << 7) | flush
    assert of_registers(code, first, second, unmasked) == (XM, unmasked | UNDERFLOW | flags, first)
    vector, csr, _ = of_registers(code, first, second, ALL_MASKED | flush)
    assert (vector, csr) == (
        None, ALL_MASKED | flush | flags | (UNDERFLOW | PRECISION if flush else 0))


@pytest.mark.parametrize("code, first, second, flags", [
    # MINSS and MAXPS give an operand, CVTSS2SD widens it, RCPSS raises nothing
    ("f30f5dc1", 1, ONE, DENORMAL), ("0f5fc1", 1, 0, DENORMAL), ("f30f5ac1", 0, 1, DENORMAL),
    ("f30f53c1", 0, 0x7F000000, 0),
    # a zero; an element that a scalar leaves alone; what rounds up to a normal number
    ("f30f59c1", 0, HALF, 0), ("f30f59c1", 1 << 32 | ONE, ONE, 0),
    ("f30f59c1", 0x007FFFFF, ONE + 1, DENORMAL | PRECISION)])
def test_no_underflow(code, first, second, flags):
    unmasked = ALL_MASKED & ~(UNDERFLOW << 7)
    vector, csr, _ = of_registers(code, first, second, unmasked)
    assert (vector, csr) == (None, unmasked | flags)


def test_a_denormal_that_counts_as_zero_and_one_that_stops():
    """With DAZ the sum is 0; with DE unmasked too, there is no result that could be tiny."""
    unmasked = ALL_MASKED & ~(UNDERFLOW << 7)
    assert of_registers("f30f58c1", 1, 0, unmasked | ZEROS) == (None, unmasked | ZEROS, 0)
    unmasked &= ~(DENORMAL << 7)
    assert of_registers("f30f58c1", 1, 0, unmasked) == (XM, unmasked | DENORMAL, 1)


@pytest.mark.parametrize("code, flags", [
    ("f30f58c1", 1), ("0f2ec1", 1), ("f30f2dc1", 1), ("f30f5ac1", 1)])
def test_who_may(code, flags):
    """#UD without CR4.OSFXSR, #NM with CR0.TS: SDM 3A 2.5."""
    for fields, vector in ((dict(GUEST_CR4=CR4), UD), (dict(
            GUEST_CR4=CR4 | OSFXSR, GUEST_CR0=0x80050039), NM)):
        g = Guest("plain", code + VMCALL, EXCEPTION_BITMAP=1 << UD | 1 << NM, **fields)
        found = g.run()
        assert (found.reason, found.intr_info & 0xFF) == (0, vector)


@pytest.mark.parametrize("code", [
    # CVTPI2PS, CVTTPD2PI: MMX; F2 and F3 where there is no such form
    "0f2ac1", "660f2cc1", "f20f5bc1", "0fe6c1", "f30f2ec1", "f20f52c1", "0fc4c100", "660fc50300"])
def test_no_such_form(code):
    g = Guest("plain", code + VMCALL, GUEST_CR4=CR4 | OSFXSR, EXCEPTION_BITMAP=1 << UD)
    found = g.run()
    assert (found.reason, found.intr_info & 0xFF) == (0, UD)


@pytest.mark.parametrize("code, misaligned", [
    ("0f5803", True), ("f30f5803", False), ("0f5a03", False), ("f30fe603", False),
    ("660fe603", True), ("0f5b03", True), ("0fc20300", True)])
def test_who_asks_for_alignment(code, misaligned):
    g = Guest("plain", code + VMCALL, GUEST_CR4=CR4 | OSFXSR, EXCEPTION_BITMAP=1 << 13)
    g.regs(rbx=DATA + 4)
    assert g.run().reason == (0 if misaligned else 18)


RAISES = dict(GUEST_CR4=CR4 | OSFXSR | OSXMMEXCPT,
              EXCEPTION_BITMAP=1 << UD | 1 << NM | 1 << XM | 1 << 14)


@pytest.mark.parametrize("code", ["f30f2a03", "f2480f2a03", "f30f2d03", "f20f2c03", "0f2e03",
                                  "660f2f03", "f20f5a03", "0f5803", "660fc403" "05"])
def test_an_operand_that_is_not_there(code):
    g = Guest("plain", code, **RAISES)
    g.regs(rbx=0x1000000)
    found = g.run()
    assert (found.reason, found.intr_info & 0xFF, found.rip) == (0, 14, CODE)


@pytest.mark.parametrize("code, first, second, masked", [
    # CVTSI2SS of what no single has, CVTSS2SI of none, COMISS and UCOMISS of one that signals
    ("f30f2ac1", 1.0, 1.0, PRECISION), ("f30f2dc1", 1.0, NAN, INVALID),
    ("0f2fc1", 1.0, NAN, INVALID), ("0f2ec1", 1.0, SNAN, INVALID)])
def test_a_conversion_or_comparison_that_raises_changes_nothing(code, first, second, masked):
    for csr in (ALL_MASKED, ALL_MASKED & ~(masked << 7)):
        g = Guest("plain", LOAD + FIRST + SECOND + code + KEEP + VMCALL, GUEST_RFLAGS=2 | 0x8D5,
                  **RAISES)
        for place, value in enumerate((csr, 0, bits(first), bits(second))):
            g.write(DATA + 4 * place, value, 4)
        g.regs(rbx=DATA, rax=0x1234, rcx=0x7FFFFFFF)
        found = g.run()
        same = g.regs()[RAX] == 0x1234 and g.get("GUEST_RFLAGS") & 0x8D5 == 0x8D5
        if csr == ALL_MASKED:
            assert found.reason == 18
            assert not same or g.read(DATA + 16, 4) != bits(first)
            continue
        assert (found.reason, found.intr_info & 0xFF, same) == (0, XM, True)
        g.code(KEEP + VMCALL)
        assert g.run(GUEST_RIP=CODE).reason == 18
        assert g.read(DATA + 16, 4) == bits(first)


@pytest.mark.parametrize("code, exponent, elements", [
    ("0f52c1", -0.5, 4), ("f30f52c1", -0.5, 1), ("0f53c1", -1, 4), ("f30f53c1", -1, 1)])
def test_reciprocals_are_near(code, exponent, elements):
    """SDM 2B RCPPS, RSQRTPS: within 1.5 * 2^-12; of a scalar the others stay."""
    g = Guest("plain", "0f1003" "0f104b10" + code + "0f1103" + VMCALL, GUEST_CR4=CR4 | OSFXSR)
    values = (3.0, 0.7, 1e10, 2.0)
    g.memory.write(DATA, struct.pack("<8f", *[9.0] * 4, *values))
    g.regs(rbx=DATA)
    assert g.run().reason == 18
    found = struct.unpack("<4f", g.memory.read(DATA, 16))
    for n, value in enumerate(values):
        if n < elements:
            assert abs(found[n] / value ** exponent - 1) <= 1.5 / 4096
        else:
            assert found[n] == 9.0


@pytest.mark.parametrize("place", range(8))
def test_a_word_of_a_register(place):
    """PINSRW of a register and of memory, PEXTRW; the immediate's upper bits do not count."""
    words = [0x1000 + n for n in range(8)]
    index = f"{place | 0xA8:02x}"
    code = ("0f1003" "660fc4c1" + index + "660fc5d0" + index + "0f1103"
            "660fc44320" + index + "0f114310" + VMCALL)
    g = Guest("plain", code, GUEST_CR4=CR4 | OSFXSR)
    g.memory.write(DATA, struct.pack("<8H", *words) + bytes(16) + b"\xcd\xab")
    g.regs(rbx=DATA, rcx=0xFFFF1234, rdx=(1 << 64) - 1)
    assert g.run().reason == 18 and g.regs()[RDX] == 0x1234
    for at, value in ((0, 0x1234), (16, 0xABCD)):
        words[place] = value
        assert g.memory.read(DATA + at, 16) == struct.pack("<8H", *words)
