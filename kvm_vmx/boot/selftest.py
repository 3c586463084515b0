# SPDX-License-Identifier: GPL-2.0-only
"""Runs the guest code of a KVM selftest: the world that the suite's library makes for it, and what
it tells its host by ucalls."""

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

from kvm_vmx.abi.numbers import Field
from kvm_vmx.boot import elf, loader
from kvm_vmx.boot.board import Board, board_leaves
from kvm_vmx.boot.devices import CannotGoOn, Ended

MEMORY = 64 << 20
UCALL_PORT = 0x1000
RDI, RSI, RDX, RCX, RSP = 7, 6, 2, 1, 4
ARGUMENTS = (RDI, RSI, RDX, RCX, 8, 9)
# where the library's world lies: tables first, then what it allocates, and the stack
TABLES, HANDLERS, POOL, PAGES, STACK_TOP = 0x200000, 0x240000, 0x250000, 0x400000, 0x3FF000
GDT, IDT, TSS, APIC_TABLE = (TABLES + n * 0x10000 for n in (1, 2, 3, 0))
APIC_DIRECTORY = TABLES + 0x8000
POOL_UCALLS, POOL_HEADER, UCALL_SIZE, UCALL_SELF = 64, 64, 1096, 1088
UCALL_ARGUMENTS, UCALL_TEXT = 8, 64
SYNC, ABORT, PRINTF, DONE = "sync", "abort", "printf", "done"
KINDS = {1: SYNC, 2: ABORT, 3: PRINTF, 4: DONE}
# of trees without printf in the guest, ABORT and DONE have one number less
CR0, CR4, EFER = 0x80000031, 0x220, 0xD01
LARGE_PAGE = 2 << 20


@dataclasses.dataclass(frozen=True)
class Ucall:
    """What guest code says to its host: the kind, its arguments, its text, and from where."""

    kind: str
    args: tuple[int, ...]
    text: str
    in_guest: bool


class Failed(CannotGoOn):
    """The test does not hold: an assertion of the guest, or what the host expects of it."""


class UcallPort:
    """The port by which guest code calls its host."""

    def __init__(self, test: "Selftest") -> None:
        self.test = test

    def read(self, offset: int, size: int) -> int:
        """IN: RDI is the ucall."""
        processor = self.test.board.processors[0]
        self.test.ucall(processor.registers[RDI], processor.in_guest)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """OUT says nothing."""


class Selftest:
    """The guest code of a test on a board of one processor, whose CPUID.1:ECX lacks some bits."""

    def __init__(self, program: elf.Executable, profile: str = "kvm-6.12", lacks: int = 0,
                 **options: Any):
        if lacks:
            leaves = board_leaves(profile, 1)
            eax, ebx, ecx, edx = leaves[1]
            options["cpuid"] = {**leaves, 1: (eax, ebx, ecx & ~lacks, edx)}
        self.board = Board(MEMORY, 1, profile, **options)
        self.symbols = program.symbols
        self.next_page = PAGES
        self.notes: list[str] = []
        self.said: list[Ucall] = []
        self.on_sync: Callable[[Ucall], None] = lambda ucall: None
        # has the host something else to run?
        self.on_done: Callable[[], bool] = lambda: False
        for segment in program.segments:
            self.write(segment.linear, segment.data)
        self.has_printf = "guest_vsnprintf" in self.symbols
        self.make_world()
        self.board.ports.add(UCALL_PORT, 1, UcallPort(self))

    # --- memory: linear addresses are physical ones

    def write(self, address: int, data: bytes) -> None:
        """Bytes of guest memory."""
        self.board.memory.write(address, data)

    def word(self, address: int) -> int:
        """8 bytes of guest memory."""
        return self.board.memory.read_u64(address)

    def put(self, address: int, value: int) -> None:
        """Store 8 bytes."""
        self.board.memory.write_u64(address, value)

    def text(self, address: int) -> str:
        """A string of the guest."""
        if not 0 < address < MEMORY - 256:
            return ""
        return self.board.memory.read(address, 256).split(b"\0")[0].decode("latin-1")

    def page(self) -> int:
        """A page that nobody has."""
        self.next_page += 0x1000
        return self.next_page - 0x1000

    def pages(self, count: int) -> int:
        """The library's table of pages: each by its address, host address and GPA."""
        table = self.page()
        for n in range(count):
            page = self.page()
            for column in range(3):
                self.put(table + 24 * n + 8 * column, page)
        return table

    # --- the world that vm_create() and vcpu_setup() make

    def make_world(self) -> None:
        """Page tables, descriptor tables, and the variables that the library's host part sets."""
        self.put(TABLES, TABLES + 0x1000 | 3)
        self.put(TABLES + 0x1000, TABLES + 0x2000 | 3)
        for n in range(512):
            self.put(TABLES + 0x2000 + 8 * n, n * LARGE_PAGE | 0x83)
        # the local APIC, one page of 2 MByte
        self.put(TABLES + 0x1000 + 8 * 3, APIC_DIRECTORY | 3)
        self.put(APIC_DIRECTORY + 8 * (0x3EE00000 >> 21), 0xFEE00000 | 0x93)
        task = 0x67 | (TSS & 0xFFFFFF) << 16 | 0x8B << 40 | TSS >> 24 << 56
        for n, value in enumerate((0, 0xAF9B000000FFFF, 0xCF93000000FFFF, task, TSS >> 32)):
            self.put(GDT + 8 * n, value)
        if "idt_handlers" in self.symbols:
            for n in range(256):
                handler = self.word(self.symbols["idt_handlers"] + 8 * n)
                self.write(IDT + 16 * n, struct.pack(
                    "<HHBBHII", handler & 0xFFFF, 8, 0, 0x8E, handler >> 16 & 0xFFFF,
                    handler >> 32, 0))
        self.variable("exception_handlers", HANDLERS)
        if "host_cpu_is_intel" in self.symbols:
            self.write(self.symbols["host_cpu_is_intel"], b"\1")
        if "ucall_pool" in self.symbols:
            self.variable("ucall_pool", POOL)
            for n in range(POOL_UCALLS):
                ucall = POOL + POOL_HEADER + UCALL_SIZE * n
                self.put(ucall + UCALL_SELF, ucall)

    def variable(self, name: str, value: int) -> None:
        """Set a variable of the program, where it has one of that name."""
        if name in self.symbols:
            self.put(self.symbols[name], value)

    def handler(self, vector: int, name: str) -> None:
        """vm_install_exception_handler()."""
        self.put(HANDLERS + 8 * vector, self.symbols[name])

    def start(self, entry: str, *args: int) -> None:
        """vcpu_setup() and vcpu_args_set()."""
        processor = self.board.processors[0]
        registers = [0] * 16
        for register, value in zip(ARGUMENTS, args):
            registers[register] = value
        registers[RSP] = STACK_TOP - 8
        loader.start(processor, self.symbols[entry], registers, long=True, cr3=TABLES)
        processor.set(Field.GUEST_CR0, CR0)
        processor.set(Field.GUEST_CR4, CR4)
        processor.processor.efer = EFER
        for table, place, limit in (("GDTR", GDT, 39), ("IDTR", IDT, 0xFFF)):
            processor.set(Field[f"GUEST_{table}_BASE"], place)
            processor.set(Field[f"GUEST_{table}_LIMIT"], limit)
        processor.set(Field.GUEST_TR_BASE, TSS)

    # --- ucalls

    def ucall(self, address: int, in_guest: bool) -> None:
        """What the guest says; the host's part of the test answers."""
        if not 0 < address < MEMORY - UCALL_SIZE:
            raise Failed(f"the guest has no ucall ({address:#x})")
        command, *args = struct.unpack("<8Q", self.board.memory.read(address, 64))
        if not self.has_printf and command > 2:
            command += 1
        text = self.text(address + UCALL_TEXT) if self.has_printf else ""
        said = Ucall(KINDS.get(command, str(command)), tuple(args), text, in_guest)
        self.said.append(said)
        if said.kind == SYNC:
            self.on_sync(said)
        elif said.kind == ABORT:
            raise Failed(f"{self.text(args[0])} at {self.text(args[1]).rpartition('/')[2]}:"
                         f"{args[2]} {text}".rstrip())
        elif said.kind == DONE:
            if not self.on_done():
                raise Ended(0)
        elif said.kind != PRINTF:
            raise Failed(f"a ucall of kind {said.kind}")

    def run(self, seconds: float = 60.0) -> str:
        """To the end: "" where the guest says that it is done, or why not."""
        end = self.board.run(seconds)
        return "" if end.value == 0 else end.why
