# SPDX-License-Identifier: GPL-2.0-only
"""The same processor where it runs L1's code: rows of instructions that it has decoded before."""

from guest import CODE, DATA
from random_insn import BASE_FS, BASE_GS, PAGES, SIZE, State
from random_program import COUNTER, counter

from kvm_vmx import Field
from kvm_vmx.boot import loader
from kvm_vmx.boot.board import Board, board_leaves
from kvm_vmx.l0.profile import build

ROOT, TABLE, PAGE = 0x1000, 0xB000, 4096
OSFXSR, PAE = 1 << 9, 1 << 5
CR0_WP = 0x80010031         # code is not to be written
STANDS = "shutdown"         # a fault without a handler for it


class OnBoard:
    """One board, whose processor begins anew with each program."""

    def __init__(self):
        leaves = {**build("bare").cpuid, **board_leaves("bare", 1)}
        eax, ebx, ecx, edx = leaves[7]
        # TZCNT, as unicorn has it
        self.board = Board(16 << 20, cpuid={**leaves, 7: (eax, ebx | 8, ecx, edx)})
        self.memory = memory = self.board.memory
        self.processor = self.board.processors[0]
        # small pages: code for reading, data for writing; nothing else is there
        for at, entry in ((ROOT, 0x2007), (0x2000, 0x3007), (0x3000 + 8 * (CODE >> 21), TABLE | 7),
                          (0x3000 + 8 * (DATA >> 21), TABLE + PAGE | 7),
                          (TABLE + 8 * (CODE >> 12 & 511), CODE | 5)):
            memory.write_u64(at, entry)
        for page in (*range(PAGES, PAGES + SIZE, PAGE), COUNTER):
            memory.write_u64(TABLE + PAGE + 8 * (page >> 12 & 511), page | 7)

    def begin(self, before):
        """Registers and flags as they are to be, at CODE."""
        loader.start(self.processor, CODE, list(before.registers), long=True, cr3=ROOT)
        for field, value in ((Field.GUEST_CR0, CR0_WP), (Field.GUEST_CR4, PAE | OSFXSR),
                             (Field.GUEST_RFLAGS, before.flags),
                             (Field.GUEST_FS_BASE, BASE_FS), (Field.GUEST_GS_BASE, BASE_GS)):
            self.processor.set(field, value)

    def state(self):
        """What is there now."""
        get = self.processor.get
        return State(tuple(self.processor.registers), get(Field.GUEST_RIP),
                     get(Field.GUEST_RFLAGS), self.memory.read(PAGES, SIZE))

    def run(self, code, before, passes):
        """Run a program until it faults; what it leaves."""
        self.memory.write(CODE, code + b"\x90" * 16)
        self.memory.write(PAGES, before.memory)
        self.memory.write(COUNTER, counter(passes))
        self.begin(before)
        assert self.processor.run(1_000_000) == STANDS
        return self.state()
