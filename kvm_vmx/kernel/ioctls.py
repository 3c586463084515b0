# SPDX-License-Identifier: GPL-2.0-only
"""KVM's ioctls as user space knows them: their numbers, and the structures they take."""

import ctypes
from typing import Any

KVMIO = 0xAE
NONE, WRITE, READ = 0, 1, 2


def number(direction: int, nr: int, size: int = 0) -> int:
    """The number of an ioctl: what it moves, how many bytes, and which of KVM's it is."""
    return direction << 30 | size << 16 | KVMIO << 8 | nr


REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11",
             "r12", "r13", "r14", "r15", "rip", "rflags")


class Regs(ctypes.Structure):
    """struct kvm_regs."""

    _fields_ = [(name, ctypes.c_uint64) for name in REGISTERS]


class KvmSegment(ctypes.Structure):
    """struct kvm_segment."""

    _fields_ = [("base", ctypes.c_uint64), ("limit", ctypes.c_uint32),
                ("selector", ctypes.c_uint16),
                *((name, ctypes.c_uint8) for name in (
                    "type", "present", "dpl", "db", "s", "l", "g", "avl", "unusable", "padding"))]


class KvmDtable(ctypes.Structure):
    """struct kvm_dtable."""

    _fields_ = [("base", ctypes.c_uint64), ("limit", ctypes.c_uint16),
                ("padding", ctypes.c_uint16 * 3)]


SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")
CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")


class Sregs(ctypes.Structure):
    """struct kvm_sregs."""

    _fields_ = [*((name, KvmSegment) for name in SEGMENTS), ("gdt", KvmDtable), ("idt", KvmDtable),
                *((name, ctypes.c_uint64) for name in CONTROL),
                ("interrupt_bitmap", ctypes.c_uint64 * 4)]


class MemoryRegion(ctypes.Structure):
    """struct kvm_userspace_memory_region."""

    _fields_ = [("slot", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("guest_phys_addr", ctypes.c_uint64), ("memory_size", ctypes.c_uint64),
                ("userspace_addr", ctypes.c_uint64)]


class CpuidEntry(ctypes.Structure):
    """struct kvm_cpuid_entry2."""

    _fields_ = [(name, ctypes.c_uint32) for name in (
        "function", "index", "flags", "eax", "ebx", "ecx", "edx", "p0", "p1", "p2")]


class Cpuid(ctypes.Structure):
    """struct kvm_cpuid2 with room for some leaves."""

    _fields_ = [("nent", ctypes.c_uint32), ("padding", ctypes.c_uint32),
                ("entries", CpuidEntry * 32)]


CREATE_VM = number(NONE, 0x01)
CREATE_VCPU = number(NONE, 0x41)
SET_USER_MEMORY_REGION = number(WRITE, 0x46, ctypes.sizeof(MemoryRegion))
RUN = number(NONE, 0x80)
GET_REGS = number(READ, 0x81, ctypes.sizeof(Regs))
SET_REGS = number(WRITE, 0x82, ctypes.sizeof(Regs))
GET_SREGS = number(READ, 0x83, ctypes.sizeof(Sregs))
SET_SREGS = number(WRITE, 0x84, ctypes.sizeof(Sregs))
INTERRUPT = number(WRITE, 0x86, 4)
NMI = number(NONE, 0x9A)
GET_MP_STATE = number(READ, 0x98, 4)
SET_CPUID2 = number(WRITE, 0x90, 8)

# struct kvm_run: where its members lie.
REQUEST_INTERRUPT_WINDOW, IMMEDIATE_EXIT, EXIT_REASON, READY = 0, 1, 8, 12
UNION = 32


def sregs_of(values: dict[str, Any]) -> Sregs:
    """struct kvm_sregs of what long_mode.sregs() and vcpu.sregs say."""
    found = Sregs()
    for name in SEGMENTS:
        setattr(found, name, KvmSegment(**values[name]))
    for name in ("gdt", "idt"):
        setattr(found, name, KvmDtable(values[name]["base"], values[name]["limit"]))
    for name in CONTROL:
        setattr(found, name, values[name])
    return found


def sregs_as(found: Sregs) -> dict[str, Any]:
    """The same, the other way."""
    values: dict[str, Any] = {name: {field: getattr(getattr(found, name), field)
                                     for field, *_ in KvmSegment._fields_} for name in SEGMENTS}
    for name in ("gdt", "idt"):
        table = getattr(found, name)
        values[name] = {"base": table.base, "limit": table.limit}
    return values | {name: getattr(found, name) for name in CONTROL}


def cpuid_of(entries: list[dict[str, int]]) -> Cpuid:
    """struct kvm_cpuid2 of a guest's leaves."""
    found = Cpuid(nent=len(entries))
    for i, entry in enumerate(entries):
        found.entries[i] = CpuidEntry(**entry)
    return found
