# SPDX-License-Identifier: GPL-2.0-only
"""L1 as code in memory, an instruction at a time: where it stands behind one tells how it ended."""

from kvm_vmx import Field
from kvm_vmx.boot import loader
from kvm_vmx.boot.board import Board

CODE, HANDLERS, GDT, IDT, FREE, STACK = 0x7C00, 0x9000, 0x5E00, 0x6000, 0x10000, 0x4F00
RAX, RCX, RDX, RBX = range(4)
NAMED = {"rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsi": 6, "rdi": 7, "r14": 14}
UD, GP, PF = 6, 13, 14
NOWHERE = 1 << 47


def gate(handler):
    return (handler & 0xFFFF | 8 << 16 | 0x8E << 40 | (handler >> 16) << 48).to_bytes(16, "little")


class Root:
    """A board whose processor 0 stands in 64-bit code; any exception has a handler."""

    def __init__(self, **options):
        self.board = Board(16 << 20, **options)
        self.memory = self.board.memory
        self.cpu = self.board.processors[0]
        for n, low in enumerate((0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00AFFB000000FFFF,
                                 0x00CFF3000000FFFF, 0x00CF9B000000FFFF)):
            self.memory.write_u64(GDT + 8 * n, low)
        for vector in range(256):
            self.memory.write(IDT + 16 * vector, gate(HANDLERS + 16 * vector))
        self.start(self.cpu)

    def start(self, cpu, long=True):
        loader.start(cpu, CODE, [0] * 16, long=long, cr3=loader.identity_tables(self.board))
        for name, base, limit in (("GDTR", GDT, 0x2F), ("IDTR", IDT, 0xFFF)):
            cpu.set(Field[f"GUEST_{name}_BASE"], base)
            cpu.set(Field[f"GUEST_{name}_LIMIT"], limit)
        cpu.set(Field.GUEST_RSP, STACK)

    def step(self, code, count=1, **registers):
        """Run code of so many instructions: the vector that it has raised, or None."""
        cpu = self.cpu
        found = cpu.registers
        for name, value in registers.items():
            found[NAMED[name]] = value
        cpu.registers = found
        self.memory.write(CODE, bytes.fromhex(code))
        cpu.set(Field.GUEST_RIP, CODE)
        self.end = cpu.run(count)
        at = cpu.get(Field.GUEST_RIP)
        return (at - HANDLERS) // 16 if HANDLERS <= at < HANDLERS + 0x1000 else None

    def wrmsr(self, msr, value):
        return self.step("0f30", rcx=msr, rax=value & 0xFFFFFFFF, rdx=value >> 32)

    def rdmsr(self, msr):
        """The MSR's value, or -1 where it cannot be read."""
        if self.step("0f32", rcx=msr) is not None:
            return -1
        return self.cpu.registers[RDX] << 32 | self.cpu.registers[RAX]

    def flags(self):
        """VMfailInvalid is 1, VMfailValid 0x40."""
        return self.cpu.get(Field.GUEST_RFLAGS) & 0x41

    def store(self, address, value):
        """MOV [RBX], EAX"""
        return self.step("8903", rbx=address, rax=value)

    def load(self, address):
        """MOV EAX, [RBX]"""
        assert self.step("8b03", rbx=address) is None
        return self.cpu.registers[RAX]
