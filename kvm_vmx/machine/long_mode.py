# SPDX-License-Identifier: GPL-2.0-only
"""How a guest starts: 64-bit mode, whole gigabytes mapped as they are, flat segments, code at
0x1000. What is mapped behind the memory is a device's: MMIO."""

import functools
from typing import Any

from kvm_vmx.abi import constants

START = 0x1000
PAGE, LARGE_PAGE, GIGABYTE = 4096, 2 << 20, 1 << 30
PRESENT_WRITABLE_USER, LARGE = 7, 0x80

CR0 = constants.X86_CR0_PG | constants.X86_CR0_NE | constants.X86_CR0_ET | constants.X86_CR0_PE
CR4 = constants.X86_CR4_PAE
EFER = constants.EFER_LMA | constants.EFER_LME

# Leaves that a guest sees, without what this processor cannot run.
GUEST_LEAVES = (0, 1, 0x80000000, 0x80000001, 0x80000008)
LEAF_1_ECX_HIDDEN = 1 << 5 | 1 << 31    # VMX, hypervisor present


def tables_size(memory: int) -> int:
    """Bytes of page tables at the top of the guest's memory: PML4, PDPT, one PD a gigabyte."""
    return (2 + -(-memory // GIGABYTE)) * PAGE


def stack(memory: int) -> int:
    """The first stack pointer: right below the page tables."""
    return memory - tables_size(memory)


def room(memory: int) -> int:
    """Bytes that memory has for code: from the start to the stack's one page."""
    return stack(memory) - PAGE - START


def check(code: bytes, memory: int) -> None:
    """TypeError and ValueError where memory is no good, or the code does not fit into it."""
    if not isinstance(code, (bytes, bytearray)):
        raise TypeError(f"the code is of type {type(code).__name__}: give bytes")
    if not isinstance(memory, int) or memory % PAGE or not 16 * PAGE <= memory <= 64 * GIGABYTE:
        raise ValueError(f"guest memory of {memory} bytes: give a multiple of {PAGE} "
                         f"from {16 * PAGE} to {64 * GIGABYTE}")
    if len(code) > room(memory):
        raise ValueError(f"the code is larger than the guest's memory has room for ({len(code)} "
                         f"of {room(memory)} bytes): give more memory")


def fill(target: Any, code: bytes, memory: int) -> None:
    """Put the code and the page tables into the guest's memory."""
    target.write(START, code)
    base = stack(memory)
    gigabytes = -(-memory // GIGABYTE)
    target.write(base, _entry(base + PAGE))
    for i in range(gigabytes):
        directory = base + (2 + i) * PAGE
        target.write(base + PAGE + 8 * i, _entry(directory))
        target.write(directory, _directory(i))


@functools.cache
def _directory(gigabyte: int) -> bytes:
    """The page directory of a whole gigabyte, as each guest has it: what of that lies behind its
    memory is a device's."""
    return b"".join(
        _entry(gigabyte * GIGABYTE + n * LARGE_PAGE, LARGE) for n in range(512))


def _entry(address: int, flags: int = 0) -> bytes:
    return (address | PRESENT_WRITABLE_USER | flags).to_bytes(8, "little")


def sregs(memory: int) -> dict[str, Any]:
    """struct kvm_sregs of the start."""
    def segment(selector: int, kind: int, **more: int) -> dict[str, int]:
        return {"base": 0, "limit": 0xFFFFFFFF, "selector": selector, "type": kind, "present": 1,
                "dpl": 0, "db": 0, "s": 1, "l": 0, "g": 1, "avl": 0, "unusable": 0,
                "padding": 0} | more

    data = segment(0x18, 3, db=1)
    table = {"base": 0, "limit": 0}
    return {
        "cs": segment(0x10, 11, l=1), "ds": data, "es": data, "fs": data, "gs": data, "ss": data,
        "tr": segment(0, 11, s=0, g=0, limit=0x67),
        "ldt": segment(0, 2, s=0, unusable=1, present=0),
        "gdt": table, "idt": table, "cr0": CR0, "cr2": 0, "cr3": stack(memory), "cr4": CR4,
        "cr8": 0, "efer": EFER, "apic_base": 0xFEE00900,
    }


def cpuid_entries(cpu: Any) -> list[dict[str, int]]:
    """The guest's CPUID table: the host's leaves, without VMX and without a hypervisor."""
    entries = []
    for leaf in GUEST_LEAVES:
        eax, ebx, ecx, edx = cpu.cpuid(leaf)
        if leaf == 0:
            eax = 1
        elif leaf == 1:
            ecx &= ~LEAF_1_ECX_HIDDEN
        elif leaf == 0x80000000:
            eax = 0x80000008
        entries.append({"function": leaf, "index": 0, "flags": 0,
                        "eax": eax, "ebx": ebx, "ecx": ecx, "edx": edx})
    return entries
