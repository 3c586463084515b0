# SPDX-License-Identifier: GPL-2.0-only
"""The APIC that L1 gives L2, register by register: APIC-access page, MSRs, virtual-APIC page.

SDM 3C 30.1 to 30.5; the registers are those of its lists, by their offsets.
"""

import pytest
from guest import *

REGISTERS, ACCESS = 1 << 8, 1
DELIVERY = 1 << 9
APIC_PAGE, VIRTUAL, MISSING = DATA, BITMAPS + 0x1000, 1 << 30
READ, WRITE, FETCH, EVENT, EVENT_PHYSICAL, PHYSICAL = (n << 12 for n in (0, 1, 2, 3, 10, 15))
APIC_ACCESS, END, APIC_WRITE, BELOW_THRESHOLD, CALLED = 44, 45, 56, 43, 18
VTPR, VPPR, VEOI, VICR, VICR_HIGH, SELF = 0x80, 0xA0, 0xB0, 0x300, 0x310, 0x3F0
# ID, version, TPR, EOI, LDR, DFR, SVR, ISR to IRR, ESR, ICR, LVT, initial count, divider
READABLE = {0x20, 0x30, 0x80, 0xB0, 0xD0, 0xE0, 0xF0, *range(0x100, 0x290, 16), *range(
    0x300, 0x390, 16), 0x3E0}
WRITABLE = {0x20, 0x80, 0xB0, 0xD0, 0xE0, 0xF0, 0x280, *range(0x300, 0x390, 16), 0x3E0}
LOAD, STORE = "8b03", "8903"        # MOV EAX, [RBX]; MOV [RBX], EAX
WRMSR, RDMSR = "0f30", "0f32"


def virtual(code="", mode="plain", secondary=0, shadow=True, **fields):
    """L2 with a virtual-APIC page, and other controls as asked."""
    g = Guest(mode, code, {"profile": "bare"} if mode == "plain" else {
        "profile": "ice-lake", "msrs": {
            0x48B: 0x203DFFF << 32, 0x481: 0xFF00000016, 0x48D: 0xFF00000016}}, **{
            "CPU_BASED_VM_EXEC_CONTROL": PROC | (TPR_SHADOW if shadow else 0) | MSR_BITMAPS,
            "SECONDARY_VM_EXEC_CONTROL": secondary, "VIRTUAL_APIC_PAGE_ADDR": VIRTUAL,
            "MSR_BITMAP": BITMAPS, **fields})
    if secondary & ACCESS and mode == "plain":
        g.set(APIC_ACCESS_ADDR=fields.get("APIC_ACCESS_ADDR", APIC_PAGE))
    return g


def access(g, offset, code, **registers):
    """Run code with RBX at an offset of the APIC-access page, then VMCALL."""
    g.regs(rbx=APIC_PAGE + offset, **registers)
    return g.run(code + VMCALL)


@pytest.mark.parametrize("page", [APIC_PAGE, MISSING])
@pytest.mark.parametrize("offset", [0, 0x20, 0x80, 0x3F4, 0xFFC])
@pytest.mark.parametrize(("code", "kind"), [(LOAD, READ), (STORE, WRITE), ("833b00", READ)])
def test_an_access_to_the_apic_page(code, kind, offset, page):
    """Whether memory is there or not: it leaves, like a fault, and tells where and what."""
    g = virtual(secondary=ACCESS, shadow=False, APIC_ACCESS_ADDR=page)
    if page == MISSING:
        g.write(PD, page | 0x87)
        g.regs(rbx=offset)
        found = g.run(code + VMCALL)
    else:
        found = access(g, offset, code)
    assert found[:8] == (APIC_ACCESS, kind | offset, len(code) // 2, CODE, 0, 0, 0, 0)
    assert g.get("GUEST_RFLAGS") >> 16 & 1


@pytest.mark.parametrize("code", ["830301", "d123", "ff03", "f71b", "0fbb13", "0fa41303", "0fc113"])
def test_a_register_that_is_read_and_not_written(code):
    """SDM 3C 27.3.3: it leaves at the write, with RF and otherwise the flags of before."""
    g = virtual(secondary=ACCESS | REGISTERS, GUEST_RFLAGS=0x8D7)
    g.write(VIRTUAL + 0x30, 0x7FFFFFFF)
    found = access(g, 0x30, code, rdx=5, rcx=3)
    assert found[:2] == (APIC_ACCESS, WRITE | 0x30)
    assert g.get("GUEST_RFLAGS") == 1 << 16 | 0x8D7 and g.read(VIRTUAL + 0x30) == 0x7FFFFFFF


def test_a_fetch_from_the_apic_page():
    g = virtual(secondary=ACCESS)
    assert g.run(GUEST_RIP=APIC_PAGE + 0x80)[:4] == (
        APIC_ACCESS, FETCH | 0x80, 0, APIC_PAGE + 0x80)
    # and of an instruction that begins before the page
    g.code("b8", APIC_PAGE - 1)
    assert g.run(GUEST_RIP=APIC_PAGE - 1)[:2] == (APIC_ACCESS, FETCH)


def test_an_event_that_is_delivered_into_the_apic_page():
    """Its pushes are no instruction's, and are never virtual."""
    g = virtual(secondary=ACCESS | REGISTERS, GUEST_RSP=APIC_PAGE + 0x88,
                GUEST_RFLAGS=0x202, VM_ENTRY_INTR_INFO_FIELD=VALID | 0x31)
    g.vector(0x31)
    found = g.run()
    assert (found.reason, found.qualification >> 12 << 12, found.length, found.idt_info) == (
        APIC_ACCESS, EVENT, 0, VALID | 0x31)


@pytest.mark.parametrize("injected", [False, True])
def test_a_paging_structure_in_the_apic_page(injected):
    """SDM 30.4.6: with EPT that is a guest-physical access."""
    g = virtual(secondary=ACCESS | S_EPT)
    g.set(EPT_POINTER=g.map_ept())
    g.write(PD + 8 * 3, APIC_PAGE | 7)
    g.regs(rbx=3 << 21 | 5 << 12)
    kind = PHYSICAL
    if injected:
        g.set(VM_ENTRY_INTR_INFO_FIELD=VALID | 0x31, GUEST_IDTR_BASE=3 << 21,
              GUEST_RFLAGS=0x202)
        kind = EVENT_PHYSICAL
    found = g.run(LOAD)
    assert (found.reason, found.qualification >> 12 << 12) == (APIC_ACCESS, kind)
    assert found.idt_info == (VALID | 0x31 if injected else 0)


@pytest.mark.parametrize(("secondary", "shadow", "readable", "writable"), [
    (0, False, set(), set()), (0, True, {VTPR}, {VTPR}),
    (DELIVERY, True, {VTPR}, {VTPR, VEOI, VICR}), (REGISTERS, True, READABLE, WRITABLE),
    (REGISTERS | DELIVERY, True, READABLE, WRITABLE)])
def test_which_registers_are_read_and_written(secondary, shadow, readable, writable):
    g = virtual(secondary=secondary | ACCESS, shadow=shadow,
                PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    read, written = set(), set()
    for offset in range(0, 0x1000, 16):
        g.write(VIRTUAL + offset, 0x11223344, 4)
        found = access(g, offset, LOAD, rax=0)
        if found.reason == CALLED:
            read.add(offset)
            assert g.regs()[RAX] == 0x11223344
        else:
            assert found[:2] == (APIC_ACCESS, offset)
        found = access(g, offset, STORE, rax=0xABCD00)
        if found.reason in (CALLED, APIC_WRITE):
            written.add(offset)
            done = {VTPR, VICR_HIGH} | ({VEOI} if secondary & DELIVERY else set())
            kept = {VTPR: 0, VICR_HIGH: 0}.get(offset, 0 if offset in done else 0xABCD00)
            assert g.read(VIRTUAL + offset, 4) == kept
            # like a trap: the instruction has done its work
            assert (found.reason == CALLED) == (offset in done)
            assert offset in done or found[1:4] == (offset, 0, CODE + 2)
        else:
            assert found[:3] == (APIC_ACCESS, WRITE | offset, 2)
            # an entry with interrupt delivery computes the processor priority
            assert g.read(VIRTUAL + offset, 4) == 0x11223344 or \
                (offset == VPPR and secondary & DELIVERY)
    assert (read, written) == (readable, writable)


@pytest.mark.parametrize(("offset", "code", "fits"), [
    (0x80, "8a03", True), (0x83, "8a03", True), (0x84, "8a03", False), (0x82, "668b03", True),
    (0x83, "668b03", False), (0x80, "488b03", False), (0x81, LOAD, False), (0x8C, LOAD, False),
    (0x7E, LOAD, False), (0x83, "8803", True), (0x80, "488903", False), (0x81, STORE, False),
    (0xFFE, LOAD, False), (0xFFE, STORE, False), (-2, LOAD, False), (-2, STORE, False)])
def test_an_access_must_fit_its_register(offset, code, fits):
    g = virtual(secondary=ACCESS | REGISTERS)
    assert (access(g, offset, code).reason == CALLED) == fits


def test_a_read_and_write_reads_and_writes():
    g = virtual(secondary=ACCESS)
    g.write(VIRTUAL + VTPR, 0x30, 4)
    assert access(g, VTPR, "830310").reason == CALLED        # ADD dword [RBX], 0x10
    assert g.read(VIRTUAL + VTPR, 4) == 0x40


@pytest.mark.parametrize("code", [
    # CMPXCHG that loses and that wins, XADD, XCHG, ADC, INC, NEG, RCL, SHLD, BTS
    "0fb10b", "0fb113", "0fc10b", "870b", "1103", "ff03", "f71b", "d113", "0fa40b04", "0fba2b00"])
def test_a_read_and_write_of_what_is_only_read(code):
    """The version: SDM 30.4.3.1. It leaves for the write, and will begin with all as it was."""
    g = virtual(secondary=ACCESS | REGISTERS, GUEST_RFLAGS=2 | 0x8D5)
    g.write(VIRTUAL + 0x30, 0x50014, 4)
    for flags in (0x8D5, 0x54, 1, 0):
        g.set(GUEST_RFLAGS=2 | flags)
        before = dict(rax=0x50014 if code == "0fb113" else 0x1111, rcx=0x2222, rdx=0x3333)
        found = access(g, 0x30, code, **before)
        assert found[:4] == (APIC_ACCESS, WRITE | 0x30, len(code) // 2, CODE)
        registers = g.regs()
        assert [registers[n] for n in (RAX, RCX, RDX)] == [*before.values()]
        assert g.get("GUEST_RFLAGS") & ~(1 << 16) == 2 | flags
        assert g.read(VIRTUAL + 0x30, 4) == 0x50014


@pytest.mark.parametrize("code", ["0fb10b", "0fc10b", "870b", "ff03"])
def test_a_read_and_write_of_what_is_neither(code):
    """It leaves for the read."""
    g = virtual(secondary=ACCESS | REGISTERS)
    g.write(VIRTUAL + 0x40, 0x11, 4)
    found = access(g, 0x40, code, rax=1, rcx=2, rdx=3)
    assert found[:4] == (APIC_ACCESS, READ | 0x40, len(code) // 2, CODE)
    assert g.regs()[:3] == [1, 2, 3] and g.get("GUEST_RFLAGS") & 0x8D5 == 0


def test_a_comparison_that_loses_writes_the_register():
    """SDM 2A CMPXCHG: what was there is written again, and what L1 sees is done."""
    g = virtual(secondary=ACCESS | REGISTERS)
    g.write(VIRTUAL + 0xF0, 0x1FF, 4)
    assert access(g, 0xF0, "0fb10b", rax=1, rcx=2)[:4] == (APIC_WRITE, 0xF0, 0, CODE + 3)
    assert g.regs()[RAX] == g.read(VIRTUAL + 0xF0, 4) == 0x1FF


def test_another_control_has_other_translations():
    """Without an INVEPT between: what was memory is the APIC's, and again memory."""
    g = virtual(secondary=S_VPID, shadow=False)
    g.set(VIRTUAL_PROCESSOR_ID=1)
    g.write(APIC_PAGE + 0x20, 0x55, 4)
    for on in (False, True, False, True):
        g.set(SECONDARY_VM_EXEC_CONTROL=S_VPID | (ACCESS if on else 0), APIC_ACCESS_ADDR=APIC_PAGE)
        assert access(g, 0x20, LOAD).reason == (APIC_ACCESS if on else CALLED)
    g.set(APIC_ACCESS_ADDR=APIC_PAGE + 0x1000)
    assert access(g, 0x20, LOAD).reason == CALLED
    assert access(g, 0x1020, LOAD).reason == APIC_ACCESS


# --- the task priority

BY_MEMORY, BY_CR8, BY_MSR = "c703{:02x}000000", "440f22c0", "0f30"


@pytest.mark.parametrize("threshold", [0, 1, 5, 15])
@pytest.mark.parametrize("way", [BY_MEMORY, BY_CR8, BY_MSR])
def test_a_priority_below_the_threshold_leaves(way, threshold):
    g = virtual(secondary=S_X2APIC if way == BY_MSR else ACCESS)
    for priority in (0x00, 0x4F, 0x50, 0x51, 0xFF):
        # an entry finds a priority that is not below
        g.write(VIRTUAL + VTPR, 0xFF, 4)
        g.set(TPR_THRESHOLD=threshold)
        code = way.format(priority)
        if way == BY_CR8:
            priority &= 0xF0
        found = access(g, VTPR, code, rcx=0x808, rdx=0,
                       rax=priority >> 4 if way == BY_CR8 else priority)
        assert (found.reason, g.read(VIRTUAL + VTPR, 4)) == (
            BELOW_THRESHOLD if priority >> 4 < threshold else CALLED, priority)
        assert found.rip == CODE + len(code) // 2


def test_a_step_over_a_write_waits_for_the_next_entry():
    """SDM 30.4.3.3: the exit comes before the debug exception of the same instruction."""
    g = virtual(secondary=ACCESS | REGISTERS, EXCEPTION_BITMAP=2, GUEST_RFLAGS=2 | TF)
    found = access(g, 0xF0, STORE)
    assert found[:2] == (APIC_WRITE, 0xF0)
    assert g.get("GUEST_PENDING_DBG_EXCEPTIONS") == 1 << 14
    found = g.run()
    assert (found.reason, found.qualification, found.rip) == (0, 1 << 14, CODE + 2)


def test_each_element_of_a_string_is_a_write():
    g = virtual(secondary=ACCESS | REGISTERS)
    g.regs(rdi=APIC_PAGE + 0x320, rsi=CODE + 0x800, rcx=2)
    found = g.run("f3a5" + VMCALL)           # REP MOVSD
    assert found[:4] == (APIC_WRITE, 0x320, 0, CODE) and g.regs()[RCX] == 1
    assert g.run()[:4] == (APIC_ACCESS, WRITE | 0x324, 2, CODE)


@pytest.mark.parametrize("threshold", [0, 4, 5])
@pytest.mark.parametrize("secondary", [ACCESS, 0])
def test_a_priority_below_the_threshold_at_entry(secondary, threshold):
    """SDM 27.7.7: with an APIC-access page it is no refusal, and comes behind the injection."""
    g = virtual(VMCALL, secondary=secondary)
    g.write(VIRTUAL + VTPR, 0x40, 4)
    handler = g.vector(0x31)
    g.set(TPR_THRESHOLD=threshold)
    if threshold <= 4:
        assert g.run().reason == CALLED
    elif not secondary:
        assert g.cpu.vmlaunch().error == 7
    else:
        assert g.run()[:4] == (BELOW_THRESHOLD, 0, 0, CODE)
        found = g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | 0x31, GUEST_RFLAGS=0x202)
        assert (found.reason, found.rip, g.read(STACK - 40)) == (BELOW_THRESHOLD, handler, CODE)


# --- MSRs 0x800 to 0x8ff


@pytest.mark.parametrize("secondary", [S_X2APIC, S_X2APIC | REGISTERS])
def test_which_msrs_are_the_page(secondary):
    """No MSR is too strange to be read from the page; the processor itself has none of them."""
    g = virtual(secondary=secondary, EXCEPTION_BITMAP=1 << 13)
    for msr in range(0x800, 0x900, 5 if secondary & REGISTERS else 8):
        g.write(VIRTUAL + ((msr & 0xFF) << 4), 0x1122334455667788)
        g.regs(rcx=msr)
        found = g.run(RDMSR + VMCALL)
        if secondary & REGISTERS or msr == 0x808:
            registers = g.regs()
            assert found.reason == CALLED
            assert (registers[RDX], registers[RAX]) == (0x11223344, 0x55667788)
        else:
            assert (found.reason, found.intr_info & 0xFF) == (0, 13)


@pytest.mark.parametrize(("msr", "value", "ends"), [
    (0x808, 0xFF, CALLED), (0x808, 0x100, 13), (0x808, 1 << 32, 13),
    (0x80B, 0, CALLED), (0x80B, 1, 13), (0x80B, 1 << 63, 13),
    (0x83F, 0x31, CALLED), (0x83F, 0x0F, APIC_WRITE), (0x83F, 0x100, 13), (0x80F, 0x1FF, 13)])
def test_what_may_be_written_to_an_msr(msr, value, ends):
    g = virtual(secondary=S_X2APIC | DELIVERY, EXCEPTION_BITMAP=1 << 13,
                PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    g.write(VIRTUAL + VTPR, 0xFF, 4)
    g.regs(rcx=msr, rax=value & 0xFFFFFFFF, rdx=value >> 32)
    found = g.run(WRMSR + VMCALL)
    if ends == 13:
        assert (found.reason, found.intr_info & 0xFF) == (0, 13)
    else:
        assert (found.reason, found.rip) == (ends, CODE + 2)
        assert ends == CALLED or found.qualification == SELF
        assert g.read(VIRTUAL + ((msr & 0xFF) << 4), 4) == value


def test_the_bitmap_comes_first():
    g = virtual(secondary=S_X2APIC | REGISTERS)
    g.write(BITMAPS + 0x800 // 8, 0xFFFF, 2)
    g.write(BITMAPS + 2048 + 0x800 // 8, 0xFFFF, 2)
    g.regs(rcx=0x808, rax=0, rdx=0)
    assert [g.run(code + VMCALL).reason for code in (RDMSR, WRMSR)] == [31, 32]
