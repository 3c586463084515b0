# SPDX-License-Identifier: GPL-2.0-only
"""The instructions that L1's code leaves to L0: their operands, faults and flags (SDM 3C 30)."""

import pytest
from root import *

from kvm_vmx.boot.board import board_leaves

VMXON, REGION, OTHER = 0x11000, 0x12000, 0x13000
# by a memory operand at [RBX]; VMREAD and VMWRITE name their field in RCX
POINTERS = {"vmxon": "f30fc733", "vmclear": "660fc733", "vmptrld": "0fc733"}
MEMORY = {**POINTERS, "vmptrst": "0fc73b", "vmread": "0f780b", "vmwrite": "0f790b",
          "invept": "660f388003", "invvpid": "660f388103"}
PLAIN = {"vmxoff": "0f01c4", "vmlaunch": "0f01c2", "vmresume": "0f01c3", "vmread": "0f78c8",
         "vmwrite": "0f79c8"}
GUEST_RIP = 0x681E


@pytest.fixture
def root():
    return Root()


@pytest.fixture
def vmx(root):
    """In VMX operation, with a VMCS that is current."""
    assert root.step("0f22e0", rax=0x2020) is None
    assert root.step("0f22c0", rax=0x80000031) is None
    assert root.wrmsr(0x3A, 5) is None
    revision = root.rdmsr(0x480) & 0x7FFFFFFF
    for page in (VMXON, REGION, OTHER):
        root.memory.write(page, revision.to_bytes(4, "little"))
    root.memory.write_u64(FREE, VMXON)
    assert root.step(POINTERS["vmxon"], rbx=FREE) is None and root.flags() == 0
    root.memory.write_u64(FREE, REGION)
    assert root.step(POINTERS["vmclear"], rbx=FREE) is None
    assert root.step(POINTERS["vmptrld"], rbx=FREE) is None and root.flags() == 0
    return root


def test_cpuid_and_what_does_nothing(root):
    assert root.step("0fa2", rax=0) is None
    assert root.cpu.registers[RBX] == 0x756E6547
    assert root.step("0f08") is None
    assert root.step("0f01c1", rcx=0) == UD


@pytest.mark.parametrize("rax, rcx, rdx, ends", [
    (1, 0, 0, None), (1, 1, 0, GP), (1, 0, 1, GP), (0, 0, 0, GP)])
def test_in_xcr0_x87_stays(rax, rcx, rdx, ends):
    leaf = board_leaves("bare", 1)[1]
    root = Root(cpuid={1: (*leaf[:2], leaf[2] | 1 << 26, leaf[3])}, msrs={0x489: 0x3767FF})
    assert root.step("0f01d1", rax=1) == UD
    assert root.step("0f22e0", rax=0x40020) is None
    assert root.step("0f01d1", rax=rax, rcx=rcx, rdx=rdx) == ends


def test_msrs(root):
    assert root.wrmsr(0xC0000081, 0x1234500000000) is None
    assert root.rdmsr(0xC0000081) == 0x1234500000000
    assert root.rdmsr(0x12345) == -1 and root.wrmsr(0x12345, 0) == GP


@pytest.mark.parametrize("name", [*MEMORY, *(f"plain {name}" for name in PLAIN)])
def test_outside_vmx_operation_there_are_none(root, name):
    """#UD before an operand is looked at."""
    code = PLAIN[name[6:]] if name.startswith("plain") else MEMORY[name]
    assert root.step("0f22e0", rax=0x2020) is None
    assert root.step(code, rbx=NOWHERE if name != "vmxon" else FREE) == (
        GP if name == "vmxon" else UD)


@pytest.mark.parametrize("name", MEMORY)
def test_an_operand_at_no_address(vmx, name):
    assert vmx.step(MEMORY[name], rbx=NOWHERE, rcx=GUEST_RIP, rax=1) == GP


@pytest.mark.parametrize("name", ["invept", "invvpid"])
def test_the_second_half_of_an_operand_at_no_address(vmx, name):
    assert vmx.step(MEMORY[name], rbx=NOWHERE - 8, rax=1) in (GP, PF)


def test_vmread_and_vmwrite(vmx):
    for code, where in ((PLAIN["vmwrite"], "rax"), (MEMORY["vmwrite"], "memory")):
        value = 0x123456789A if where == "rax" else 0xABCDEF012345
        vmx.memory.write_u64(FREE, value)
        assert vmx.step(code, rbx=FREE, rax=value, rcx=GUEST_RIP) is None and vmx.flags() == 0
        assert vmx.step(PLAIN["vmread"], rax=0, rcx=GUEST_RIP) is None
        assert vmx.cpu.registers[RAX] == value
        assert vmx.step(MEMORY["vmread"], rbx=FREE + 8, rcx=GUEST_RIP) is None
        assert vmx.memory.read_u64(FREE + 8) == value
    for code in (PLAIN["vmread"], MEMORY["vmread"], PLAIN["vmwrite"]):
        assert vmx.step(code, rbx=FREE, rcx=0x7FFE) is None and vmx.flags() == 0x40


def test_pointers(vmx):
    assert vmx.step(MEMORY["vmptrst"], rbx=FREE + 16) is None
    assert vmx.memory.read_u64(FREE + 16) == REGION
    # bits that no address has, and the VMXON region
    for pointer in (1, VMXON):
        vmx.memory.write_u64(FREE, pointer)
        for code in (POINTERS["vmclear"], POINTERS["vmptrld"]):
            assert vmx.step(code, rbx=FREE) is None and vmx.flags() == 0x40
    vmx.memory.write_u64(FREE, OTHER)
    assert vmx.step(POINTERS["vmptrld"], rbx=FREE) is None and vmx.flags() == 0
    assert vmx.step(POINTERS["vmxon"], rbx=FREE) is None and vmx.flags() == 0x40


def test_invept_and_invvpid(vmx):
    vmx.memory.write(FREE, bytes(16))
    assert vmx.step(MEMORY["invept"], rbx=FREE, rax=2) is None and vmx.flags() == 0
    assert vmx.step(MEMORY["invept"], rbx=FREE, rax=9) is None and vmx.flags() == 0x40
    assert vmx.step(MEMORY["invvpid"], rbx=FREE, rax=2) is None and vmx.flags() == 0
    assert vmx.step(MEMORY["invvpid"], rbx=FREE, rax=9) is None and vmx.flags() == 0x40


def test_an_entry_that_fails_and_what_follows_vmxoff(vmx):
    assert vmx.step(PLAIN["vmresume"]) is None and vmx.flags() == 0x40
    assert vmx.step(PLAIN["vmlaunch"]) is None and vmx.flags() == 0x40
    assert vmx.step(PLAIN["vmxoff"]) is None and vmx.flags() == 0
    assert vmx.step(PLAIN["vmlaunch"]) == UD


def test_without_a_vmcs_there_is_no_error_number(vmx):
    vmx.memory.write_u64(FREE, REGION)
    assert vmx.step(POINTERS["vmclear"], rbx=FREE) is None
    for code in (PLAIN["vmlaunch"], PLAIN["vmread"]):
        assert vmx.step(code, rcx=GUEST_RIP) is None and vmx.flags() == 1


def test_in_level_3_they_are_refused(vmx):
    cpu = vmx.cpu
    for name, selector, rights in (("CS", 0x1B, 0xA0FB), ("SS", 0x23, 0xC0F3)):
        cpu.set(Field[f"GUEST_{name}_SELECTOR"], selector)
        cpu.set(Field[f"GUEST_{name}_AR_BYTES"], rights)
    # whatever the operand is; the handler of level 0 has a stack of its own
    cpu.set(Field.GUEST_TR_BASE, 0x5000)
    vmx.memory.write_u64(0x5004, STACK)
    saved = {field: cpu.get(Field[field]) for field in (
        "GUEST_CS_SELECTOR", "GUEST_CS_AR_BYTES", "GUEST_SS_SELECTOR", "GUEST_SS_AR_BYTES")}
    for code in (*MEMORY.values(), *PLAIN.values()):
        for field, value in saved.items():
            cpu.set(Field[field], value)
        assert vmx.step(code, rbx=NOWHERE) == GP


def test_a_trap_behind_an_instruction_of_l0(root):
    """TF: #DB with the next instruction's address."""
    root.cpu.set(Field.GUEST_RFLAGS, 0x102)
    root.step("0fa2", count=2)
    assert root.memory.read_u64(STACK - 40) == CODE + 2


def test_32_bit_code_has_32_bits_of_operand_and_address():
    root = Root()
    root.start(root.cpu, long=False)
    root.memory.write(CODE, bytes.fromhex("0fa2"))
    assert root.cpu.run(1) == "paused" and root.cpu.get(Field.GUEST_RIP) == CODE + 2
