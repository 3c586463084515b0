# SPDX-License-Identifier: GPL-2.0-only
"""A guest of real machine code on one L1 processor, under a plain VMCS and under an eVMCS."""

import functools
from typing import NamedTuple

from world import BASE, FIELDS, TABLE, World

MEMBER = {encoding: member for encoding, member, _ in TABLE}

# Where things are in L2's memory; without EPT that is L1's own.
PML4, PDPT, PD, TSS, GDT, IDT, STACK = 0x1000, 0x2000, 0x3000, 0x6000, 0x7000, 0x8000, 0xA000
CODE, HANDLER, DATA, BITMAPS = 0x500000, 0x510000, 0x600000, 0x700000
EPT = 0x800000

# Controls that BASE has, and those that the tests switch on.
PROC, PIN = 0x84006172, 0x16
HLT, INVLPG, MWAIT, RDPMC, RDTSC = 1 << 7, 1 << 9, 1 << 10, 1 << 11, 1 << 12
CR3_LOAD, CR3_STORE, CR8_LOAD, CR8_STORE = 1 << 15, 1 << 16, 1 << 19, 1 << 20
TPR_SHADOW, NMI_WINDOW, MOV_DR, UNCOND_IO, IO_BITMAPS = (
    1 << 21, 1 << 22, 1 << 23, 1 << 24, 1 << 25)
MTF, MSR_BITMAPS, MONITOR, PAUSE, INTR_WINDOW = 1 << 27, 1 << 28, 1 << 29, 1 << 30, 1 << 2
TSC_OFFSET = 1 << 3
EXT_INTR, NMI_EXITING, VIRTUAL_NMIS = 1, 1 << 3, 1 << 5
(S_EPT, S_DESC, S_RDTSCP, S_X2APIC, S_VPID, S_WBINVD, S_UNRESTRICTED, S_RDRAND, S_INVPCID,
 S_RDSEED) = (1 << n for n in (1, 2, 3, 4, 5, 6, 7, 11, 12, 16))

VALID, CODE_BIT = 1 << 31, 1 << 11
EXT, NMI, HARD, SOFT_INT, PRIVILEGED, SOFT = 0, 2 << 8, 3 << 8, 4 << 8, 5 << 8, 6 << 8
IF, TF, ZF, CF = 1 << 9, 1 << 8, 1 << 6, 1

VMCALL = "0f01c1"
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)


class Exit(NamedTuple):
    """All that an exit tells L1."""

    reason: int
    qualification: int
    length: int
    rip: int
    intr_info: int
    error: int
    idt_info: int
    idt_error: int
    insn_info: int
    linear: int
    physical: int


EXIT_FIELDS = (
    "VM_EXIT_REASON", "EXIT_QUALIFICATION", "VM_EXIT_INSTRUCTION_LEN", "GUEST_RIP",
    "VM_EXIT_INTR_INFO", "VM_EXIT_INTR_ERROR_CODE", "IDT_VECTORING_INFO_FIELD",
    "IDT_VECTORING_ERROR_CODE", "VMX_INSTRUCTION_INFO", "GUEST_LINEAR_ADDRESS",
    "GUEST_PHYSICAL_ADDRESS")


def descriptor(rights, base=0, limit=0xFFFFF):
    """A segment descriptor; rights as the VMCS has them: bits 15:12 and 7:0."""
    return (limit & 0xFFFF | (base & 0xFFFFFF) << 16 | (rights & 0xFF) << 40
            | (limit >> 16 & 0xF) << 48 | (rights >> 12 & 0xF) << 52 | (base >> 24) << 56)


def gate(handler, selector=8, kind=0xE, dpl=0, ist=0, present=1):
    """A 64-bit gate of the IDT."""
    low = (handler & 0xFFFF | selector << 16 | ist << 32 | kind << 40 | dpl << 45
           | present << 47 | (handler >> 16 & 0xFFFF) << 48)
    return low.to_bytes(8, "little") + (handler >> 32).to_bytes(8, "little")


def gate_32(handler, selector=8, kind=0xE, dpl=0, present=1):
    """A 32-bit gate of the IDT."""
    return (handler & 0xFFFF | selector << 16 | kind << 40 | dpl << 45 | present << 47
            | (handler >> 16) << 48).to_bytes(8, "little")


@functools.cache
def ept_table(n, flags):
    """The last table of the nth two MByte, identity."""
    return b"".join((n << 21 | i << 12 | flags).to_bytes(8, "little") for i in range(512))


class Guest:
    """L2 in 64-bit mode at CODE, identity-mapped by 2-MByte pages that anybody may write.

    mode is "plain" or "evmcs"; fields are VMCS fields by their names, over BASE.
    """

    def __init__(self, mode, code="", options=None, **fields):
        self.mode, self.options, self.world = mode, options, World(**(options or {}))
        self.memory, self.cpu = self.world.memory, self.world.cpu
        self.write(PML4, PDPT | 7)
        self.write(PDPT, PD | 7)
        for n in range(8):
            self.write(PD + 8 * n, n << 21 | 0x87)
        for n, rights in enumerate((0, 0xA09B, 0xC093, 0xA0FB, 0xC0F3, 0xC09B)):
            self.write(GDT + 8 * n, descriptor(rights) if rights else 0)
        self.code(code)
        # no I/O-permission bitmap within the limit; RSP0 and the interrupt stacks of the task
        self.write(TSS + 102, 0x68, 2)
        for n in range(3):
            self.write(TSS + 4 + 8 * n, STACK - 0x800)
        for n in range(7):
            self.write(TSS + 0x24 + 8 * n, STACK - 0x1000 * (n > 0) - 0x400)
        if mode == "plain":
            self.world.plain(**fields)
        else:
            self.world.enlighten(**{MEMBER[name]: value for name, value in fields.items()})
        self.launched = False

    def write(self, gpa, value, size=8):
        """A number into memory."""
        self.memory.write(gpa, value.to_bytes(size, "little"))

    def read(self, gpa, size=8):
        """A number from memory."""
        return int.from_bytes(self.memory.read(gpa, size), "little")

    def code(self, text, at=CODE):
        """Machine code as hexadecimal text."""
        self.memory.write(at, bytes.fromhex(text))

    def vector(self, number, handler=None, code=VMCALL, **options):
        """A gate whose handler is `code`, at a place of its own unless told."""
        handler = HANDLER + 0x100 * number if handler is None else handler
        self.code(code, handler)
        self.memory.write(IDT + 16 * number, gate(handler, **options))
        return handler

    def set(self, **fields):
        """Change fields of the VMCS, as L1 would."""
        for name, value in fields.items():
            if self.mode == "plain":
                assert self.cpu.vmwrite(FIELDS[name], value).ok
            else:
                self.world.put(0x44000, MEMBER[name], value)
        if self.mode != "plain":
            self.world.set_clean(0)

    def get(self, name):
        """A field of the VMCS, as L1 sees it."""
        if self.mode == "plain":
            return self.cpu.vmread(FIELDS[name]).value
        return self.world.get(0x44000, MEMBER[name])

    def regs(self, **values):
        """Set general registers by name, and read them all by encoding."""
        found = self.cpu.registers
        for name, value in values.items():
            found[globals()[name.upper()] if name[1:].isalpha() else int(name[1:])] = value
        self.cpu.registers = found
        return found

    def run(self, code=None, **fields):
        """Enter, with RIP back at CODE where code is given; the exit."""
        if code is not None:
            self.code(code)
            fields.setdefault("GUEST_RIP", CODE)
        if fields:
            self.set(**fields)
        outcome = self.cpu.vmresume() if self.launched else self.cpu.vmlaunch()
        assert outcome.ok, outcome
        self.launched = True
        return self.last()

    def last(self):
        """The exit that came last."""
        return Exit(*(self.get(name) for name in EXIT_FIELDS))

    def map_ept(self, size=16 << 20, flags=0x37, leaf=None):
        """An EPT of 4-KByte pages, identity; returns EPTP and the address of the last tables."""
        self.write(EPT, EPT + 0x1000 | 7)
        self.write(EPT + 0x1000, EPT + 0x2000 | 7)
        for n in range(size >> 21):
            table = EPT + 0x3000 + 0x1000 * n
            self.write(EPT + 0x2000 + 8 * n, table | 7)
            self.memory.write(table, ept_table(n, flags))
        return EPT | 0x1E

    def ept_entry(self, gpa):
        """Where the last-level EPT entry of a guest-physical address is."""
        return EPT + 0x3000 + 0x1000 * (gpa >> 21) + 8 * (gpa >> 12 & 511)


assert BASE[FIELDS["GUEST_RIP"]] == CODE and BASE[FIELDS["CPU_BASED_VM_EXEC_CONTROL"]] == PROC
