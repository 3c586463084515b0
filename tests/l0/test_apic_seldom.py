# SPDX-License-Identifier: GPL-2.0-only
"""Virtual APIC and I/O APIC where they seldom go: priorities, requests below another, registers
that are none (SDM 3C 30; 82093AA)."""

import pytest
from guest import *
from root import Root
from test_root_apic import IRR, Memory
from test_virtual_apic import ACCESS, CALLED, DELIVERY, REGISTERS, VIRTUAL, WRMSR, virtual

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
