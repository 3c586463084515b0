# SPDX-License-Identifier: GPL-2.0-only
"""A guest that writes down what it sees of the fields that L1 sets for it."""

from kvm_vmx.abi import constants
from kvm_vmx.machine.vm import Vm

START, REPORT = 0x1000, 0x2000
# Fields that a guest can see without an exit: by an instruction into RAX, or as an MSR.
LOOKS: dict[str, str | int] = {
    "CR0_READ_SHADOW": "0f20c0",        # mov %cr0, %rax
    "CR4_READ_SHADOW": "0f20e0",        # mov %cr4, %rax
    "GUEST_RSP": "4889e0",              # mov %rsp, %rax
    "GUEST_SYSENTER_CS": constants.MSR_IA32_SYSENTER_CS,
    "GUEST_SYSENTER_ESP": constants.MSR_IA32_SYSENTER_ESP,
    "GUEST_SYSENTER_EIP": constants.MSR_IA32_SYSENTER_EIP,
    "GUEST_FS_BASE": constants.MSR_FS_BASE, "GUEST_GS_BASE": constants.MSR_GS_BASE,
}
# Bits of a field that may be turned, and the guest sees just that.
TURNED = {"CR0_READ_SHADOW": 0x50006, "CR4_READ_SHADOW": 0x2051} | dict.fromkeys(
    ("GUEST_RSP", "GUEST_SYSENTER_CS", "GUEST_SYSENTER_ESP", "GUEST_SYSENTER_EIP",
     "GUEST_FS_BASE", "GUEST_GS_BASE"), 0x7FF0)


def rdmsr(index: int) -> bytes:
    """mov $index, %ecx; rdmsr"""
    return b"\xb9" + index.to_bytes(4, "little") + bytes.fromhex("0f32")


def store(opcode: str, address: int) -> bytes:
    """A MOV of RAX, EAX or EDX to an address."""
    return bytes.fromhex(opcode) + address.to_bytes(4, "little")


def code(probe: int) -> bytes:
    """Look at every field, store it, read the probe's MSR, leave by CPUID."""
    text = b""
    for at, look in zip(range(REPORT, REPORT + 8 * len(LOOKS), 8), LOOKS.values()):
        if isinstance(look, str):
            text += bytes.fromhex(look) + store("48890425", at)
        else:
            text += rdmsr(look) + store("890425", at) + store("891425", at + 4)
    return text + rdmsr(probe) + bytes.fromhex("0fa2")


def report(vm: Vm) -> dict[str, int]:
    """What the guest has written down."""
    words = vm.memory.read(REPORT, 8 * len(LOOKS))
    return {field: int.from_bytes(words[8 * n:8 * n + 8], "little")
            for n, field in enumerate(LOOKS)}
