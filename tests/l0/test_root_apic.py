# SPDX-License-Identifier: GPL-2.0-only
"""The local APIC of a processor that runs L1 (SDM 3A 11): registers in memory and as MSRs, what
waits and is in service, the timer, and interrupts between processors."""

import pytest
from root import *

PAGE = 0xFEE00000
ID, VERSION, TPR, PPR, EOI, LDR, DFR, SPIV = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, IRR, ESR, ICR, ICR_HIGH = 0x100, 0x200, 0x280, 0x300, 0x310
TIMER, LINT0, COUNT, LEFT, DIVIDE, SELF = 0x320, 0x350, 0x380, 0x390, 0x3E0, 0x3F0
MASKED, PERIODIC, DEADLINE = 1 << 16, 1 << 17, 1 << 18


class Memory:
    """The registers as a page."""

    def __init__(self, root):
        self.root = root

    def __setitem__(self, register, value):
        assert self.root.store(PAGE + register, value) is None

    def __getitem__(self, register):
        return self.root.load(PAGE + register)


class Msrs(Memory):
    """The registers in x2APIC mode."""

    def __init__(self, root):
        self.root = root
        assert root.wrmsr(0x1B, PAGE | 0xD00) is None

    def __setitem__(self, register, value):
        assert self.root.wrmsr(0x800 + register // 16, value) is None

    def __getitem__(self, register):
        return self.root.rdmsr(0x800 + register // 16) & 0xFFFFFFFF


@pytest.fixture(params=[Memory, Msrs])
def apic(request):
    return request.param(Root(cpus=2))


@pytest.fixture
def pair():
    """Two processors in memory mode, both started."""
    root = Root(cpus=2)
    root.start(root.board.processors[1])
    return Memory(root), root.board.processors[1]


def test_what_is_fixed_and_what_is_kept(apic):
    assert apic[ID] == 0 and apic[VERSION] & 0xFF == 0x14
    for register, value in ((SPIV, 0x1F3), (LINT0, 0x8700), (TIMER, MASKED | 0x33), (DIVIDE, 0xB)):
        apic[register] = value
        assert apic[register] == value
    apic[TPR] = 0x5A
    assert (apic[TPR], apic[PPR]) == (0x5A, 0x5A)
    assert apic.root.step("440f20c0") is None and apic.root.cpu.registers[RAX] == 5
    assert apic.root.step("440f22c0", rax=7) is None and apic[TPR] & 0xF0 == 0x70
    apic[ESR] = 0
    assert apic[ESR] == 0


def test_of_memory_mode_alone():
    apic = Memory(Root())
    apic[DFR] = 0
    apic[LDR] = 0x12345678
    assert (apic[DFR], apic[LDR]) == (0x0FFFFFFF, 0x12000000)
    apic[ICR_HIGH] = 0x7000000
    assert apic[ICR_HIGH] == 0x7000000
    # no register: nothing is stored; within one: the byte at that place
    apic[0x40] = 5
    apic[TPR + 4] = 0x33
    assert apic[0x40] == 0 and apic[TPR] == 0 and apic[0xFF0] == 0
    assert apic[VERSION + 1] == apic[VERSION] >> 8
    # where the APIC is off, or elsewhere, nobody answers
    assert apic.root.wrmsr(0x1B, PAGE | 0x100) is None
    assert apic[VERSION] == 0xFFFFFFFF
    assert apic.root.wrmsr(0x1B, 0xFEC00900) is None
    assert apic.root.load(0xFEC00000 + VERSION) & 0xFF == 0x14
    assert apic[VERSION] == 0xFFFFFFFF


@pytest.mark.parametrize("offset", range(16))
def test_what_lies_within_a_register(offset):
    """32 bits of a register, and nothing above them up to the next, in whatever size."""
    root = Memory(Root()).root
    version = root.load(PAGE + VERSION)
    for size, code in ((1, "8a03"), (2, "668b03"), (4, "8b03"), (8, "488b03")):
        assert root.step(code, rbx=PAGE + VERSION + offset, rax=0) is None
        assert root.cpu.registers[RAX] == version >> 8 * offset & (1 << 8 * size) - 1


def test_in_msr_mode_the_page_is_gone():
    apic = Msrs(Root())
    assert apic.root.load(PAGE + VERSION) == 0xFFFFFFFF
    assert apic[LDR] == 1
    assert apic.root.wrmsr(0x830, 5 << 32 | 0x4500) is None
    assert apic.root.rdmsr(0x830) == 5 << 32 | 0x4500


@pytest.mark.parametrize("msr, value, ends", [
    (0x802, 0, GP), (0x803, 0, GP), (0x80A, 0, GP), (0x80D, 0, GP), (0x80E, 0, GP), (0x810, 0, GP),
    (0x820, 0, GP), (0x831, 0, GP), (0x839, 0, GP), (0x840, 0, GP), (0x8FF, 0, GP),
    (0x808, 0x100, GP), (0x808, 0x20, None), (0x80B, 1, GP), (0x80B, 0, None), (0x828, 1, GP),
    (0x828, 0, None), (0x83F, 0x100, GP), (0x80F, 1 << 32, GP), (0x80F, 0x1FF, None),
    (0x837, MASKED, None), (0x83E, 0, None)])
def test_msrs_that_may_not_be_written(msr, value, ends):
    assert Msrs(Root()).root.wrmsr(msr, value) == ends


@pytest.mark.parametrize("msr, ends", [
    (0x80B, False), (0x83F, False), (0x80E, False), (0x800, False), (0x831, False), (0x840, False),
    (0x802, True), (0x80A, True), (0x810, True), (0x827, True), (0x828, True), (0x839, True)])
def test_msrs_that_may_not_be_read(msr, ends):
    assert (Msrs(Root()).root.rdmsr(msr) != -1) == ends


def test_msrs_do_not_exist_in_memory_mode():
    root = Root()
    assert root.rdmsr(0x802) == -1 and root.wrmsr(0x808, 0) == GP
    # from x2APIC mode there is no way back but off; reserved bits are none
    for value in (PAGE | 0x500, PAGE | 0x901, 1 << 50):
        assert root.wrmsr(0x1B, value) == GP


def test_one_in_service_holds_back_its_class(apic):
    """The handler of 0x45 begins; 0x41 and 0x4f wait for its end, 0x55 does not."""
    root = apic.root
    apic[SPIV] = 0x1FF
    for vector in (0x45, 0x41, 0x4F):
        apic[ICR] = 1 << 18 | vector
        if vector == 0x45:
            assert apic[IRR + 0x20] == 1 << 5
            root.cpu.set(Field.GUEST_RFLAGS, 0x202)
            assert root.step("90") == 0x45
            assert apic[ISR + 0x20] == 1 << 5 and apic[PPR] == 0x40
    root.cpu.set(Field.GUEST_RFLAGS, 0x202)
    assert root.step("90") is None
    root.cpu.set(Field.GUEST_RFLAGS, 2)
    apic[ICR] = 1 << 18 | 0x55
    root.cpu.set(Field.GUEST_RFLAGS, 0x202)
    assert root.step("90") == 0x55
    for left in (0x50, 0x40, 0):
        assert apic[PPR] == left
        apic[EOI] = 0
    assert apic[IRR + 0x20] == 1 << 1 | 1 << 15 and apic[ISR + 0x20] == 0


def test_an_end_of_nothing_and_vectors_that_are_exceptions(apic):
    apic[EOI] = 0
    apic[ICR] = 1 << 18 | 0x0F
    assert [apic[IRR + 16 * n] for n in range(8)] == [0] * 8


def test_to_itself_by_one_register():
    apic = Msrs(Root())
    apic[SELF] = 0x66
    assert apic[IRR + 0x30] == 1 << 6


@pytest.mark.parametrize("divide, by", [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64),
                                        (10, 128), (11, 1)])
def test_the_timer_counts_down(apic, divide, by):
    apic[DIVIDE] = divide
    apic[TIMER] = MASKED | 0x40
    apic[COUNT] = 1000
    root = apic.root
    root.step("90" * 64 * by, count=60 * by)
    assert 1000 - 60 - 8 <= apic[LEFT] < 1000 - 50


def test_a_timer_that_repeats(apic):
    root = apic.root
    apic[DIVIDE] = 0xB
    apic[TIMER] = PERIODIC | 0x40
    apic[COUNT] = 100
    for _ in range(3):
        root.cpu.set(Field.GUEST_RFLAGS, 2)
        root.step("90" * 220, count=200)
        assert apic[IRR + 0x20] == 1
        root.cpu.set(Field.GUEST_RFLAGS, 0x202)
        assert root.step("90") == 0x40
        apic[EOI] = 0
    # once more as one that does not, masked, and stopped
    apic[TIMER] = MASKED | 0x40
    root.cpu.set(Field.GUEST_RFLAGS, 2)
    root.step("90" * 1200, count=1100)
    assert apic[IRR + 0x20] & ~1 == 0 and apic[LEFT] == 0
    apic[COUNT] = 0
    assert apic[LEFT] == 0


def test_a_short_period_leaves_time_between(apic):
    apic[DIVIDE] = 0xB
    apic[TIMER] = PERIODIC | 0x40
    apic[COUNT] = 1
    assert apic.root.step("90" * 100, count=90) is None
    assert apic[IRR + 0x20] == 1


def test_the_deadline_of_the_tsc(apic):
    root = apic.root
    assert root.wrmsr(0x6E0, 1 << 40) is None
    assert root.rdmsr(0x6E0) == 0
    apic[TIMER] = DEADLINE | 0x40
    apic[COUNT] = 77
    assert apic[COUNT] != 77
    now = root.rdmsr(0x10)
    assert root.wrmsr(0x6E0, now + 10_000) is None
    assert root.rdmsr(0x6E0) == now + 10_000 and apic[LEFT] == 0 and apic[IRR + 0x20] == 0
    root.step("90" * 400, count=390)
    assert apic[IRR + 0x20] == 1 and root.rdmsr(0x6E0) == 0
    # one that is over comes at once; 0 is none
    assert root.wrmsr(0x6E0, 1) is None
    root.step("9090", count=2)
    assert root.rdmsr(0x6E0) == 0
    assert root.wrmsr(0x6E0, 1 << 50) is None and root.wrmsr(0x6E0, 0) is None
    assert root.rdmsr(0x6E0) == 0


@pytest.mark.parametrize("ldr, dfr, destination, logical, here, there", [
    (None, None, 1, 0, 0, 1), (None, None, 0, 0, 1, 0), (None, None, 0xFF, 0, 1, 1),
    (None, None, 7, 0, 0, 0), ((1, 2), 0xF, 3, 1, 1, 1), ((1, 2), 0xF, 2, 1, 0, 1),
    ((0x11, 0x22), 0, 0x11, 1, 1, 0), ((0x11, 0x22), 0, 0x23, 1, 0, 1),
    ((0x11, 0x12), 0, 0x10, 1, 0, 0), ((1, 2), 0xF, 0xFF, 1, 1, 1)])
def test_destinations_of_memory_mode(pair, ldr, dfr, destination, logical, here, there):
    apic, other = pair
    root, first = apic.root, apic.root.cpu
    if ldr:
        for cpu, own in ((other, ldr[1]), (first, ldr[0])):
            root.cpu = cpu
            apic[LDR] = own << 24
            apic[DFR] = dfr << 28
    apic[ICR_HIGH] = destination << 24
    apic[ICR] = logical << 11 | 0x61
    found = [apic[IRR + 0x30] >> 1 & 1]
    root.cpu = other
    assert [*found, apic[IRR + 0x30] >> 1 & 1] == [here, there]


@pytest.mark.parametrize("destination, logical, here, there", [
    (1, 0, 0, 1), (2, 1, 0, 1), (3, 1, 1, 1), (0x10003, 1, 0, 0), (0xFFFFFFFF, 0, 1, 1),
    (0xFF, 0, 0, 0)])
def test_destinations_of_msr_mode(pair, destination, logical, here, there):
    apic, other = pair
    root, first = apic.root, apic.root.cpu
    found = []
    for cpu in (other, first):
        root.cpu = cpu
        Msrs(root)
    assert root.wrmsr(0x830, destination << 32 | logical << 11 | 0x61) is None
    for cpu in (first, other):
        root.cpu = cpu
        found.append(Msrs(root)[IRR + 0x30] >> 1 & 1)
    assert found == [here, there]


@pytest.mark.parametrize("shorthand, here, there", [(1, 1, 0), (2, 1, 1), (3, 0, 1)])
def test_shorthands(pair, shorthand, here, there):
    apic, other = pair
    apic[ICR] = shorthand << 18 | 0x61
    assert apic[ICR] == shorthand << 18 | 0x61
    found = [apic[IRR + 0x30] >> 1 & 1]
    apic.root.cpu = other
    assert [*found, apic[IRR + 0x30] >> 1 & 1] == [here, there]


def test_an_nmi_and_a_mode_that_is_none(pair):
    apic, other = pair
    apic[ICR_HIGH] = 1 << 24
    apic[ICR] = 7 << 8 | 0x61
    apic[ICR] = 4 << 8
    apic.root.cpu = other
    assert apic.root.step("90") == 2


def test_init_and_startup(pair):
    """What ends an INIT says nothing; a SIPI begins at its page in real mode; a second is lost."""
    apic, other = pair
    apic[ICR_HIGH] = 1 << 24
    apic[ICR] = 0x500
    assert other.run(1) == "paused" and other.get(Field.GUEST_CR0) & 1
    apic[ICR] = 0x4600 | 0x99
    assert other.run(1) == "paused" and other.get(Field.GUEST_CR0) & 1
    apic[ICR] = 0x4500
    other.run(10)
    assert other.idle and other.get(Field.GUEST_CR0) & 1 == 0
    apic.root.memory.write(0x12000, b"\x90\x90\xf4")
    apic[ICR] = 0x4600 | 0x12
    assert other.run(1) == "paused"
    assert (other.get(Field.GUEST_CS_SELECTOR), other.get(Field.GUEST_RIP)) == (0x1200, 1)
    apic[ICR] = 0x4500
    apic[ICR] = 0x4600 | 0x12
    assert other.run(1) == "paused" and other.get(Field.GUEST_CS_BASE) == 0x12000
