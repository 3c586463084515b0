# SPDX-License-Identifier: GPL-2.0-only
"""Opcodes that trap, in every operand form: what they do, their flags, their faults."""

import ctypes

import pytest
from trapping import (
    GUEST_RSP, RAX, RBP, RCX, RDX, RSP, at, execute, indexed, modrm, rex)

from kvm_vmx import KernelBug, Machine

CF, ZF = 1, 0x40
NO_FIELD = 0x6FFE
VALUE = 0x123456789ABCDEF0
REGISTERS = [n for n in range(16) if n not in (RSP, 11)]


@pytest.fixture
def machine():
    """A VMCS is current on CPU 0."""
    with Machine(cpus=2, insn="trap") as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        machine.vcpu = kvm.create_vm(code=b"\xf4").create_vcpu(cpu=0)
        machine.vcpu._raw.load(0)
        yield machine


def vmread(reg, rm, operand):
    return rex(reg, rm) + b"\x0f\x78" + operand


def vmwrite(reg, rm, operand):
    return rex(reg, rm) + b"\x0f\x79" + operand


@pytest.mark.parametrize("field", REGISTERS)
def test_every_pair_of_registers(machine, field):
    for other in REGISTERS:
        if other == field:
            continue
        value = VALUE ^ field << 8 ^ other
        execute(machine, vmwrite(field, other, modrm(field, other)),
                {field: GUEST_RSP, other: value})
        assert machine.cpu(0).vmread(GUEST_RSP).value == value
        got, flags = execute(machine, vmread(field, other, modrm(field, other)),
                             {field: GUEST_RSP, other: 0}, result=other)
        assert (got, flags) == (value, 0)


def test_one_register_as_field_and_operand(machine):
    """VMREAD of a field into the register that names it; VMWRITE of the encoding itself."""
    machine.cpu(0).vmwrite(GUEST_RSP, VALUE)
    assert execute(machine, vmread(RCX, RCX, modrm(RCX, RCX)), {RCX: GUEST_RSP}, RCX)[0] == VALUE
    execute(machine, vmwrite(RCX, RCX, modrm(RCX, RCX)), {RCX: GUEST_RSP})
    assert machine.cpu(0).vmread(GUEST_RSP).value == GUEST_RSP


def based(base):
    """(encoder of an opcode, registers by which it reaches an address) of each displacement."""
    for disp in (None, 0, 127, -128, 128, -129, 1 << 20, -(1 << 20)):
        yield (lambda opcode: rex(RDX, base) + opcode + at(RDX, base, disp),
               lambda to: {base: to - (disp or 0)})


def scaled(index):
    """Likewise of each scale."""
    for scale in (1, 2, 4, 8):
        yield (lambda opcode: rex(RDX, RAX, index) + opcode + indexed(RDX, RAX, index, scale, -64),
               lambda to: {RAX: to + 64 - 0x110 * scale, index: 0x110})


@pytest.mark.parametrize("forms, register", [
    *((based, base) for base in REGISTERS if base != RDX),
    *((scaled, index) for index in REGISTERS if index not in (RDX, RAX))])
def test_every_memory_form(machine, forms, register):
    for n, (encode, registers) in enumerate(forms(register)):
        words = (ctypes.c_uint64 * 4)(0, VALUE, 0, 0)
        setup = {**registers(ctypes.addressof(words) + 8), RDX: GUEST_RSP}
        machine.cpu(0).vmwrite(GUEST_RSP, 0)
        execute(machine, encode(b"\x0f\x79"), setup)
        assert machine.cpu(0).vmread(GUEST_RSP).value == VALUE, n
        words[1] = 0
        _, flags = execute(machine, encode(b"\x0f\x78"), setup)
        assert list(words) == [0, VALUE, 0, 0] and flags == 0, n


def test_an_address_that_counts_from_the_next_instruction(machine):
    """VMWRITE disp32(%rip): the code that follows is the operand."""
    code = rex(RDX) + b"\x0f\x79" + bytes([RDX << 3 | RBP]) + (0).to_bytes(4, "little")
    execute(machine, code + bytes.fromhex("0f1f840000000000"), {RDX: GUEST_RSP})
    assert machine.cpu(0).vmread(GUEST_RSP).value == 0x0000000000841F0F


def test_an_address_of_32_bits(machine):
    """With prefix 67 the sum is cut to 32 bits: a fault here, since nothing is mapped there."""
    with pytest.raises(KernelBug, match="vector 14"):
        execute(machine, b"\x67" + vmwrite(RDX, RAX, at(RDX, RAX)),
                {RAX: 1 << 40 | 8, RDX: GUEST_RSP})


@pytest.mark.parametrize("opcode", [b"\x0f\x78", b"\x0f\x79"])
def test_a_field_that_is_none_sets_zf_alone_and_leaves_the_operand(machine, opcode):
    got = execute(machine, rex(RDX, RAX) + opcode + modrm(RDX, RAX), {RDX: NO_FIELD, RAX: VALUE})
    assert got == (VALUE, ZF)
    assert machine.cpu(0).vmread(0x4400).value == 12


def test_without_a_current_vmcs_cf_is_set_alone(machine):
    word = ctypes.c_uint64(0)
    vmptrst = bytes.fromhex("0fc7") + at(7, RAX)
    assert execute(machine, vmptrst, {RAX: ctypes.addressof(word)}, cpu=1)[1] == 0
    assert word.value == (1 << 64) - 1
    write = vmwrite(RDX, RAX, modrm(RDX, RAX))
    assert execute(machine, write, {RDX: GUEST_RSP}, cpu=1)[1] == CF


@pytest.mark.parametrize("name, opcode", [
    ("vmclear", "660fc730"), ("vmptrld", "0fc730"), ("vmxon", "f30fc730"), ("vmptrst", "0fc738"),
    ("invept", "660f388008"), ("invvpid", "660f388108"),
])
def test_memory_that_is_not_there_is_a_page_fault_of_the_kernel(machine, name, opcode):
    for address in (0, 8 << 40, 1 << 63):
        with pytest.raises(KernelBug, match="exception: vector 14 at"):
            execute(machine, bytes.fromhex(opcode), {RAX: address, RCX: 2})
        machine.close()
        machine.__init__(cpus=2, insn="trap")
        kvm = machine.insmod(enlightened_vmcs=False)
        kvm.create_vm(code=b"\xf4").create_vcpu(cpu=0)._raw.load(0)


def test_pointer_instructions_take_their_operand_from_memory(machine):
    """VMPTRST, VMCLEAR and VMPTRLD of the VMCS that is current."""
    word = ctypes.c_uint64(0)
    registers = {RAX: ctypes.addressof(word)}
    assert execute(machine, bytes.fromhex("0fc738"), registers)[1] == 0
    assert word.value == machine.vcpu.vmcs_gpa
    assert execute(machine, bytes.fromhex("660fc730"), registers)[1] == 0
    assert machine.cpu(0).vmptrst().value == (1 << 64) - 1
    assert execute(machine, bytes.fromhex("0fc730"), registers)[1] == 0
    assert machine.cpu(0).vmptrst().value == word.value


def test_msrs_use_32_bits_of_three_registers_and_leave_the_flags(machine):
    star = 0xC0000081
    high = 0xFFFFFFFF << 32
    _, flags = execute(
        machine, b"\x0f\x30", {RCX: high | star, RAX: high | 0x9ABCDEF0, RDX: 0x12345678})
    assert flags == 0x8D5 and machine.cpu(0).rdmsr(star).value == 0x123456789ABCDEF0
    for register, value in (RAX, 0x9ABCDEF0), (RDX, 0x12345678):
        got, flags = execute(
            machine, b"\x0f\x32", {RCX: high | star, RAX: high, RDX: high}, register)
        assert (got, flags) == (value, 0x8D5)


def test_an_msr_that_is_none_without_a_fixup_kills_the_kernel_and_no_more(machine):
    with pytest.raises(KernelBug, match="exception: vector 13 at"):
        execute(machine, b"\x0f\x32", {RCX: 0xDEAD})
    with pytest.raises(KernelBug, match="close the machine"):
        machine.vcpu.run(exits=1)
