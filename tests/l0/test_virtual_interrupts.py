# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of L2's own APIC: recognized, delivered, ended, posted (SDM 3C 30.1.3 to 30.6)."""

import pytest
from guest import *
from test_virtual_apic import (
    ACCESS, APIC_PAGE, APIC_WRITE, CALLED, DELIVERY, END, REGISTERS, SELF, VEOI, VICR, VIRTUAL,
    VPPR, VTPR, WRMSR, virtual)

from kvm_vmx.machine.outcome import Stopped

ISR, IRR = 0x100, 0x200
NOP, HLT_INSN, STI, CPUID = "90", "f4", "fb", "0fa2"
END_BY_MSR = "b90b080000" "31c0" "31d2" + WRMSR
HALTED = 1
NOTIFICATION, DESCRIPTOR = 0xF2, 0x710000
POSTED, ACK = 1 << 7, 0x36FFB | 1 << 15


def delivering(code=NOP + VMCALL, secondary=0, **fields):
    """L2 with virtual-interrupt delivery, and handlers that count in RBX and stay."""
    g = virtual(code, secondary=DELIVERY | S_X2APIC | secondary, **{
        "PIN_BASED_VM_EXEC_CONTROL": PIN | EXT_INTR, "GUEST_RFLAGS": 0x202, **fields})
    for vector in range(0x20, 0x100):
        g.vector(vector, code="48ffc3" + VMCALL)
    g.regs(rbx=0)
    return g


def bit(g, register, vector, on=None):
    """The bit of a vector in ISR or IRR; or set it."""
    place = VIRTUAL + register + ((vector & 0xE0) >> 1)
    word = g.read(place, 4)
    if on is not None:
        g.write(place, word & ~(1 << (vector & 31)) | on << (vector & 31), 4)
    return word >> (vector & 31) & 1


def request(g, *vectors):
    """Virtual interrupts are requested; the highest is RVI."""
    for vector in vectors:
        bit(g, IRR, vector, 1)
    g.set(GUEST_INTR_STATUS=g.get("GUEST_INTR_STATUS") & 0xFF00 | max(vectors))


def handler(vector):
    return HANDLER + 0x100 * vector


@pytest.mark.parametrize(("rvi", "svi", "vtpr", "vppr"), [
    (0x31, 0, 0, 0), (0x31, 0, 0x2F, 0x2F), (0x31, 0, 0x30, 0x30), (0x31, 0x2F, 0, 0x20),
    (0x31, 0x3F, 0, 0x30), (0x31, 0x2F, 0x25, 0x25), (0x31, 0x42, 0x31, 0x40),
    (0xF0, 0xE8, 0xEF, 0xEF), (0xFF, 0xFF, 0, 0xF0), (0x0F, 0, 0, 0), (0, 0, 0, 0)])
def test_a_pending_interrupt_is_taken_at_entry(rvi, svi, vtpr, vppr):
    """Where its class is above that of the processor priority, which the entry computes."""
    g = delivering(VMCALL, GUEST_INTR_STATUS=svi << 8)
    if rvi:
        request(g, rvi)
    if svi:
        bit(g, ISR, svi, 1)
    g.write(VIRTUAL + VTPR, vtpr, 4)
    found = g.run()
    taken = rvi >> 4 > vppr >> 4
    assert (found.reason, found.rip) == (
        CALLED, handler(rvi) + 3 if taken else CODE)
    assert g.read(VIRTUAL + VPPR, 4) == (rvi & 0xF0 if taken else vppr)
    assert g.get("GUEST_INTR_STATUS") == (rvi << 8 if taken else svi << 8 | rvi)
    assert (bit(g, IRR, rvi), bit(g, ISR, rvi)) == (
        (0, 1) if taken else (rvi != 0, rvi == svi != 0))
    if taken:
        assert g.read(STACK - 40) == CODE and not found.idt_info


def test_what_holds_an_interrupt_back():
    """RFLAGS.IF, the instruction behind STI; not the priority of L1's processor."""
    g = delivering(NOP + STI + NOP + NOP + VMCALL, GUEST_RFLAGS=2)
    g.cpu.mov_to_cr(8, 15)
    request(g, 0x31)
    assert g.run().rip == handler(0x31) + 3 and g.read(STACK - 40) == CODE + 3


def test_the_window_is_the_other_way():
    """SDM 30.2.1: with interrupt-window exiting nothing is recognized."""
    g = delivering(NOP + VMCALL, CPU_BASED_VM_EXEC_CONTROL=PROC | TPR_SHADOW | INTR_WINDOW)
    request(g, 0x31)
    assert (g.run().reason, bit(g, IRR, 0x31)) == (7, 1)


def test_an_external_interrupt_comes_behind():
    g = delivering()
    request(g, 0x31)
    g.cpu.interrupt(0x88)
    found = g.run()
    assert (found.reason, found.rip, g.read(STACK - 40)) == (1, handler(0x31), CODE)


@pytest.mark.parametrize("enters", [True, False])
def test_a_halted_processor_wakes(enters):
    g = delivering(NOP + VMCALL if enters else HLT_INSN + NOP,
                   GUEST_ACTIVITY_STATE=HALTED if enters else 0)
    if not enters:
        g.code("b93f080000" "b831000000" "31d2" "fa" + WRMSR + STI + HLT_INSN + VMCALL)
    else:
        request(g, 0x31)
    found = g.run()
    assert (found.reason, found.rip) == (CALLED, handler(0x31) + 3)
    assert g.get("GUEST_ACTIVITY_STATE") == 0


def test_nobody_wakes_it_below_the_priority():
    g = delivering(HLT_INSN)
    g.write(VIRTUAL + VTPR, 0x30, 4)
    request(g, 0x31)
    assert isinstance(g.cpu.vmlaunch(), Stopped)


@pytest.mark.parametrize("clean", [False, True])
def test_each_entry_looks_again(clean):
    """Nothing of the VMCS changes: what L1 writes into the page counts at the next entry."""
    g = delivering(CPUID * 20, secondary=S_VPID, VIRTUAL_PROCESSOR_ID=1)
    g.write(VIRTUAL + VTPR, 0x30, 4)
    request(g, 0x31)
    for n in range(6):
        if n == 5:
            g.write(VIRTUAL + VTPR, 0, 4)
        found = g.run() if clean and n == 0 else g.run(GUEST_RIP=CODE + 2 * n)
        assert (found.reason, found.rip) == (
            (10, CODE + 2 * n) if n < 5 else (CALLED, handler(0x31) + 3))


@pytest.mark.rule("R63")
@pytest.mark.parametrize(("secondary", "pin", "check"), [
    (ACCESS, 0, "uncovered_secondary"), (REGISTERS, 0, "uncovered_secondary"),
    (DELIVERY, EXT_INTR, "uncovered_secondary"),
    (DELIVERY, EXT_INTR | 1 << 7, "uncovered_pin")])
def test_an_evmcs_has_none_of_it(secondary, pin, check):
    """Whatever the machine is told to offer: an eVMCS has no fields for it."""
    g = virtual(VMCALL, "evmcs", secondary=secondary, PIN_BASED_VM_EXEC_CONTROL=PIN | pin,
                VM_EXIT_CONTROLS=0x36FFB | 1 << 15)
    outcome = g.cpu.vmlaunch()
    assert (outcome.error, outcome.why.id) == (7, check)


@pytest.mark.parametrize("by_memory", [True, False])
def test_a_lower_priority_lets_it_in(by_memory):
    code = f"c70425{APIC_PAGE + VTPR:08x}".replace(
        f"{APIC_PAGE + VTPR:08x}", (APIC_PAGE + VTPR).to_bytes(4, "little").hex()) + "20000000"
    g = delivering((code if by_memory else "440f22c0") + NOP + VMCALL)
    if by_memory:
        g.set(SECONDARY_VM_EXEC_CONTROL=DELIVERY | ACCESS, APIC_ACCESS_ADDR=APIC_PAGE)
    g.regs(rax=2)
    g.write(VIRTUAL + VTPR, 0xFF, 4)
    request(g, 0x31)
    assert g.run().rip == handler(0x31) + 3
    assert g.read(STACK - 40) == CODE + len(code if by_memory else "440f22c0") // 2


def test_the_end_of_one_begins_the_next():
    g = delivering(NOP + VMCALL)
    for vector in (0x31, 0x45, 0x52):
        g.vector(vector, code="48ffc3" + END_BY_MSR + "fb" + NOP * 3 + VMCALL)
    request(g, 0x31, 0x45, 0x52)
    found = g.run()
    assert found.reason == CALLED and g.regs()[RBX] == 3
    assert g.get("GUEST_INTR_STATUS") == 0 and g.read(VIRTUAL + VPPR, 4) == 0
    assert not any(bit(g, register, vector) for register in (ISR, IRR)
                   for vector in (0x31, 0x45, 0x52))


@pytest.mark.parametrize("vector", [0x21, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF])
def test_an_end_that_l1_wants_to_know(vector):
    g = delivering(END_BY_MSR + VMCALL, GUEST_INTR_STATUS=vector << 8, GUEST_RFLAGS=2)
    bit(g, ISR, vector, 1)
    bit(g, ISR, 0x20, 1)
    g.write(VIRTUAL + VEOI, 0x55, 4)
    g.set(**{f"EOI_EXIT_BITMAP{vector >> 6}": 1 << (vector & 63)})
    assert g.run()[:4] == (END, vector, 0, CODE + len(END_BY_MSR) // 2)
    # it has ended all the same
    assert (bit(g, ISR, vector), g.get("GUEST_INTR_STATUS"), g.read(VIRTUAL + VPPR, 4),
            g.read(VIRTUAL + VEOI, 4)) == (0, 0x2000, 0x20, 0)
    assert g.run().reason == CALLED


@pytest.mark.parametrize(("command", "own"), [
    (0x40031, True), (0x44031, True), (0x40831, True), (0x4000F, False), (0x00031, False),
    (0x80031, False), (0xC0031, False), (0x48031, False), (0x41031, False), (0x40131, False),
    (0x40431, False), (0x42031, False), (0x50031, False), (0x140031, False)])
def test_a_command_to_itself(command, own):
    """SDM 30.1.5: what else the command says is L1's to do."""
    store = "c70425" + (APIC_PAGE + VICR).to_bytes(4, "little").hex() + command.to_bytes(
        4, "little").hex()
    g = delivering(store + NOP + VMCALL)
    g.set(SECONDARY_VM_EXEC_CONTROL=DELIVERY | ACCESS | REGISTERS, APIC_ACCESS_ADDR=APIC_PAGE)
    found = g.run()
    if own:
        assert found.rip == handler(command & 0xFF) + 3 and g.read(STACK - 40) == CODE + 11
    else:
        assert found[:4] == (APIC_WRITE, VICR, 0, CODE + 11)
    assert g.read(VIRTUAL + VICR, 4) == command


def test_an_interrupt_to_itself_by_msr():
    g = delivering("b93f080000" "b831000000" "31d2" + WRMSR + NOP + VMCALL)
    assert g.run().rip == handler(0x31) + 3
    assert g.read(VIRTUAL + SELF, 4) == 0x31 and g.read(STACK - 40) == CODE + 14


@pytest.mark.parametrize("event", ["virtual", "external", "nmi", "debug"])
def test_a_monitor_trap_comes_behind_what_is_delivered(event):
    """SDM 26.5.2: before the handler's first instruction."""
    g = delivering(CPU_BASED_VM_EXEC_CONTROL=PROC | TPR_SHADOW | MTF)
    vector = {"nmi": 2, "debug": 1}.get(event, 0x31)
    g.vector(vector)
    if event == "virtual":
        request(g, vector)
    elif event == "debug":
        g.set(GUEST_PENDING_DBG_EXCEPTIONS=1 << 12 | 1)
    else:
        g.set(PIN_BASED_VM_EXEC_CONTROL=PIN, SECONDARY_VM_EXEC_CONTROL=0)
        g.cpu.nmi() if event == "nmi" else g.cpu.interrupt(vector)
    assert g.run()[:4] == (37, 0, 0, handler(vector))


def test_a_processor_that_is_moved_takes_it():
    g = delivering(NOP * 8 + STI + NOP + NOP + VMCALL, GUEST_RFLAGS=2)
    request(g, 0x31)
    assert isinstance(g.cpu.vmlaunch(stop_after=3), Stopped)
    blob = g.cpu.save()
    other = virtual()
    other.memory.write(0, g.memory.read(0, 16 << 20))
    other.cpu.restore(blob)
    assert other.cpu.go_on().ok
    assert other.last().rip == handler(0x31) + 3 and bit(other, ISR, 0x31)


def test_a_processor_that_is_moved_to_where_another_was_recognized():
    """What waited for the L2 that was here is not for the one that comes."""
    g = delivering(NOP * 8 + STI + NOP + NOP + VMCALL, GUEST_RFLAGS=2)
    request(g, 0x31)
    other = virtual(NOP * 8 + VMCALL, GUEST_RFLAGS=0x202)
    for one in (g, other):
        assert isinstance(one.cpu.vmlaunch(stop_after=3), Stopped)
    g.memory.write(0, other.memory.read(0, 16 << 20))
    g.cpu.restore(other.cpu.save())
    for one in (g, other):
        one.vector(0)
        assert one.cpu.go_on().ok and one.last()[:4] == (CALLED, 0, 3, CODE + 8)


# --- posted interrupts


def post(g, *vectors):
    """Another processor posts interrupts and notifies."""
    for vector in vectors:
        place = DESCRIPTOR + vector // 8
        g.write(place, g.read(place, 1) | 1 << vector % 8, 1)
    g.write(DESCRIPTOR + 32, 1, 1)


def posting(code, **fields):
    return delivering(code, **{
        "PIN_BASED_VM_EXEC_CONTROL": PIN | EXT_INTR | POSTED, "VM_EXIT_CONTROLS": ACK,
        "POSTED_INTR_NV": NOTIFICATION, "POSTED_INTR_DESC_ADDR": DESCRIPTOR, **fields})


@pytest.mark.parametrize("halts", [True, False])
def test_posted_interrupts_come_with_the_notification(halts):
    g = posting(NOP * 4 + (HLT_INSN if halts else "ebfe"))
    post(g, 0x31, 0xEE, 0x60)
    g.cpu.interrupt(NOTIFICATION, after=8)
    found = g.run()
    assert (found.reason, found.rip) == (CALLED, handler(0xEE) + 3)
    # the descriptor is empty, and the notification was nobody's interrupt
    assert not any(g.memory.read(DESCRIPTOR, 33)) and g.cpu.pending_interrupt is None
    assert g.get("GUEST_INTR_STATUS") == 0xEE60
    assert [bit(g, IRR, vector) for vector in (0x31, 0xEE, 0x60)] == [1, 0, 1]


def test_another_interrupt_still_leaves():
    g = posting("ebfe")
    post(g, 0x31)
    g.cpu.interrupt(NOTIFICATION - 1, after=3)
    found = g.run()
    assert (found.reason, found.intr_info) == (1, VALID | NOTIFICATION - 1)
    assert g.read(DESCRIPTOR + 32, 1) == 1 and g.get("GUEST_INTR_STATUS") == 0


def test_a_notification_below_the_priority_posts_and_no_more():
    """IF holds the interrupt back, not the notification."""
    g = posting(NOP * 20 + VMCALL, GUEST_RFLAGS=2)
    post(g, 0x31)
    g.cpu.interrupt(NOTIFICATION, after=5)
    found = g.run()
    assert (found.reason, found.rip, bit(g, IRR, 0x31)) == (CALLED, CODE + 20, 1)
    assert g.get("GUEST_INTR_STATUS") == 0x31


def test_without_the_control_a_notification_is_an_interrupt():
    g = posting("ebfe", PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    post(g, 0x31)
    g.cpu.interrupt(NOTIFICATION, after=3)
    assert g.run().intr_info == VALID | NOTIFICATION
