# SPDX-License-Identifier: GPL-2.0-only
"""PUSHA, POPA, BOUND and ARPL, which 64-bit code has not: SDM 2A and 2B."""

import pytest
from root import *

BR = 5
RSP = 4
VALUES = [0x11111111 * (n + 1) for n in range(8)]


def protected():
    """A board in 32-bit code without paging, its registers all different."""
    root = Root()
    root.start(root.cpu, long=False)
    values = list(VALUES) + [0] * 8
    values[RSP] = STACK
    root.cpu.registers = values
    return root, values


@pytest.mark.parametrize("size, prefix", [(4, ""), (2, "66")])
def test_all_go_onto_the_stack_and_come_back(size, prefix):
    root, values = protected()
    assert root.step(prefix + "60") is None
    assert root.cpu.registers[RSP] == STACK - 8 * size
    mask = (1 << 8 * size) - 1
    assert root.memory.read(STACK - 8 * size, 8 * size) == b"".join(
        (values[n] & mask).to_bytes(size, "little") for n in range(7, -1, -1))
    root.cpu.registers = [0] * 4 + [STACK - 8 * size] + [0] * 11
    assert root.step(prefix + "61") is None
    assert root.cpu.registers[:8] == [
        value if n == RSP else value & mask for n, value in enumerate(values[:8])]


def test_a_fault_in_the_middle_changes_nothing():
    """The stack's limit lies between two of the eight."""
    root, values = protected()
    root.cpu.set(Field.GUEST_SS_LIMIT, STACK - 1)
    values[RSP] = STACK - 16
    root.cpu.registers = values
    root.cpu.set(Field.GUEST_IDTR_LIMIT, 0)
    root.step("61")
    assert root.cpu.registers[:8] == values[:8]


@pytest.mark.parametrize("index, raised", [(-5, None), (0, None), (7, None), (8, BR), (-6, BR)])
@pytest.mark.parametrize("size, prefix", [(4, ""), (2, "66")])
def test_bound(index, raised, size, prefix):
    root, values = protected()
    root.memory.write(FREE, b"".join((n & (1 << 8 * size) - 1).to_bytes(size, "little")
                                     for n in (-5, 7)))
    # outside of long mode a gate has 8 bytes
    root.memory.write_u64(IDT + 8 * BR, HANDLERS + 16 * BR | 0x28 << 16 | 0x8E << 40)
    assert root.step(prefix + "6203", rbx=FREE, rax=index & 0xFFFFFFFF) == raised


@pytest.mark.parametrize("selector, other, result, zero", [
    (0x10, 0x1B, 0x13, True), (0x11, 0x1A, 0x12, True), (0x13, 0x18, 0x13, False),
    (0x12, 0x1A, 0x12, False)])
def test_arpl(selector, other, result, zero):
    root, values = protected()
    assert root.step("63c8", rax=selector, rcx=other) is None
    assert root.cpu.registers[RAX] == result and bool(root.flags() & 0x40) == zero


@pytest.mark.parametrize("code", ["60", "61", "6203"])
def test_64_bit_code_has_none_of_them(code):
    assert Root().step(code, rbx=FREE) == UD
