# SPDX-License-Identifier: GPL-2.0-only
"""Virtual APIC and I/O APIC where they seldom go: priorities, requests below another, registers
that are none (SDM 3C 30; 82093AA)."""

import pytest
from guest import *
from root import Root
from test_root_apic import IRR, Memory
from test_root_guests import ICR, Nested
from test_virtual_apic import (
    ACCESS, APIC_ACCESS, APIC_PAGE, CALLED, DELIVERY, EVENT, MISSING, RDMSR, REGISTERS, VIRTUAL,
    VTPR, WRITE, WRMSR, access, virtual)
from test_virtual_interrupts import (
    ACK, DESCRIPTOR, NOP, NOTIFICATION, POSTED, post, posting, request)

from kvm_vmx import Field

IO_APIC, INDEX, DATA_AT = 0xFEC00000, 0, 0x10
LOGICAL, LEVEL, OFF, LOWEST = 1 << 11, 1 << 15, 1 << 16, 1 << 8
VIRQ = DELIVERY | REGISTERS | ACCESS


@pytest.mark.parametrize("first, second", [(0x61, 0x41), (0x41, 0x61)])
def test_a_request_beside_a_higher_one(first, second):
    """RVI is the highest of what is requested (SDM 30.1.5)."""
    g = virtual(WRMSR + VMCALL, secondary=DELIVERY | REGISTERS | S_X2APIC, GUEST_RFLAGS=2,
                PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR)
    for vector in (first, second):
        g.regs(rcx=0x83F, rax=vector, rdx=0)
        assert g.run(GUEST_RIP=CODE).reason == CALLED
    assert g.get("GUEST_INTR_STATUS") & 0xFF == max(first, second)


@pytest.mark.parametrize("delivers", [True, False])
def test_a_virtual_interrupt_whose_delivery_leaves(delivers):
    """Through L2's own IDT, whose page EPT has or has not."""
    g = virtual("fb90" + VMCALL, secondary=VIRQ | S_EPT, GUEST_RFLAGS=2,
                PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR, EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    g.set(GUEST_INTR_STATUS=0x61)
    g.write(VIRTUAL + 0x200 + 0x30, 1 << 1, 4)
    g.vector(0x61)
    if not delivers:
        g.write(g.ept_entry(IDT), 0)
    found = g.run(GUEST_RIP=CODE)
    assert found.reason == (CALLED if delivers else 48)
    if delivers:
        assert found.rip == HANDLER + 0x6100
    else:
        assert found.idt_info & 0xFF == 0x61


def io(root, number, value=None):
    """A register of the I/O APIC, by its index."""
    assert root.store(IO_APIC + INDEX, number) is None
    if value is None:
        return root.load(IO_APIC + DATA_AT)
    return root.store(IO_APIC + DATA_AT, value)


def test_registers_of_the_i_o_apic():
    root = Root(cpus=2)
    for number, value in ((0, 0x5000000), (2, 0x5000000), (0x10, 0x161), (0x11, 0x1000000)):
        io(root, number, value)
    assert io(root, 0) == io(root, 2) and io(root, 1) & 0xFF == 0x11 or io(root, 1) & 0xFF == 0x20
    assert io(root, 0x10) & 0xFF == 0x61 and io(root, 0x11) == 0x1000000
    # none there, nor behind the last of its lines
    for number in (3, 0xF, 0x10 + 2 * 24, 0xFF):
        io(root, number, 0x77)
        assert io(root, number) in (0, 0xFFFFFFFF)
    # the index is read back, other offsets are no registers
    io(root, 0x10)
    assert root.load(IO_APIC + INDEX) == 0x10
    assert root.store(IO_APIC + 0x20, 5) is None and root.load(IO_APIC + 0x20) in (0, 0xFFFFFFFF)


@pytest.mark.parametrize("mode, arrives", [
    (0, True), (LOWEST, True), (LOGICAL, False), (OFF, False), (LEVEL, True)])
def test_a_line_by_its_entry(mode, arrives):
    """An edge is lost where its entry is masked, a level waits until it ends."""
    root = Root(cpus=2)
    root.start(root.board.processors[1])
    apic = Memory(root)
    io(root, 0x10 + 2 * 5, 0x61 | mode)
    for level in (1, 1, 0):
        root.cpu.set_line(5, level)
    assert apic[IRR + 0x30] >> 1 & 1 == arrives
    # of the other processor, which is halted
    io(root, 0x11 + 2 * 5, 1 << 24)
    root.cpu.set_line(5, 1)
    root.cpu = root.board.processors[1]
    # a level whose end L1 has not told is not sent again
    assert Memory(root)[IRR + 0x30] >> 1 & 1 == (arrives and mode not in (LOGICAL, LEVEL))
    assert root.cpu.get(Field.GUEST_ACTIVITY_STATE) == 0


def test_an_operand_over_the_end_of_a_register_page():
    """Four bytes of it are the APIC's, four of whatever is behind: nobody's."""
    root = Root()
    assert root.step("488b03", rbx=0xFEE00FFC) is None
    assert root.step("488903", rbx=0xFEE00FFC, rax=0) is None
    assert root.cpu.get(Field.GUEST_RIP) > 0


def test_a_line_for_processors_that_nobody_has_started():
    """To all of them by its entry: one runs L1's code."""
    root = Root()
    root.board.options["cpus"] = 2
    root.board.power_on()
    root.cpu = root.board.processors[0]
    root.start(root.cpu)
    io(root, 0x11 + 2 * 5, 0xFF << 24)
    io(root, 0x10 + 2 * 5, 0x61)
    root.cpu.set_line(5, 1)
    assert Memory(root)[IRR + 0x30] == 2
    assert root.board.partition.processor(1).pending_interrupt is None


def test_a_gate_in_the_apic_page():
    """SDM 30.4.2: reads of an event's delivery are never virtual."""
    g = virtual(secondary=ACCESS | REGISTERS, GUEST_IDTR_BASE=APIC_PAGE, GUEST_RFLAGS=0x202,
                VM_ENTRY_INTR_INFO_FIELD=VALID | 0x31)
    found = g.run()
    assert (found.reason, found.qualification, found.idt_info) == (
        APIC_ACCESS, EVENT | 0x310, VALID | 0x31)


def test_two_writes_of_one_instruction():
    """SDM 30.4.3.1: of SGDT's two the first is virtual, the other at another offset is not."""
    g = virtual(secondary=ACCESS | REGISTERS)
    g.write(VIRTUAL + VTPR, 0x11223344, 4)
    found = access(g, VTPR, "0f0103")
    assert found[:3] == (APIC_ACCESS, WRITE | VTPR + 2, 3) and found.rip == CODE
    assert g.read(VIRTUAL + VTPR, 4) == 0x11220000 | g.get("GUEST_GDTR_LIMIT")


def test_msrs_of_an_apic_that_is_in_memory():
    """SDM 30.5: without the control they are the processor's own, which has none of them."""
    g = virtual(secondary=ACCESS | REGISTERS, EXCEPTION_BITMAP=1 << 13)
    g.regs(rcx=0x808)
    for code in (RDMSR, WRMSR):
        found = g.run(code + VMCALL)
        assert (found.reason, found.intr_info & 0xFF) == (0, 13)


@pytest.mark.parametrize("descriptor, status", [(MISSING, 0xEE), (DESCRIPTOR, 0xEE)])
def test_what_is_posted_below_what_is_requested(descriptor, status):
    """RVI stays the highest; and a descriptor where no memory is has nothing."""
    g = posting(NOP * 20 + VMCALL, GUEST_RFLAGS=2, POSTED_INTR_DESC_ADDR=descriptor)
    request(g, 0xEE)
    post(g, 0x31)
    g.cpu.interrupt(NOTIFICATION, after=5)
    assert g.run().reason == CALLED
    assert g.get("GUEST_INTR_STATUS") == status and g.cpu.pending_interrupt is None
    assert g.read(VIRTUAL + 0x210, 4) == (0 if descriptor == MISSING else 1 << 17)


def test_a_notification_by_l1s_own_apic():
    """SDM 30.6: it is acknowledged there, and ended."""
    root = Nested("8903" "90" + VMCALL, dict(
        PIN_BASED_VM_EXEC_CONTROL=PIN | EXT_INTR | POSTED, VM_EXIT_CONTROLS=ACK,
        CPU_BASED_VM_EXEC_CONTROL=PROC | TPR_SHADOW, SECONDARY_VM_EXEC_CONTROL=DELIVERY,
        VIRTUAL_APIC_PAGE_ADDR=0x30000, POSTED_INTR_NV=NOTIFICATION,
        POSTED_INTR_DESC_ADDR=0x31000), profile="bare")
    root.memory.write_u64(0x31000, 1 << 0x31)
    root.enter(rbx=ICR, rax=1 << 18 | NOTIFICATION, count=6)
    assert root.exited() == (CALLED, 0)
    assert root.read(0x810) == 0x31 and root.memory.read_u64(0x31000) == 0
    apic = Memory(root)
    assert apic[0x170] == apic[IRR + 0x70] == 0
