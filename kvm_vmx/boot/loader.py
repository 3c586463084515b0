# SPDX-License-Identifier: GPL-2.0-only
"""From a file to a processor at its first instruction: multiboot, ELF 64, flat."""

import functools
import os
import pathlib
import struct
from collections.abc import Callable, Mapping

from kvm_vmx.abi.numbers import Field
from kvm_vmx.boot import elf
from kvm_vmx.boot.board import Board, End
from kvm_vmx.machine import long_mode
from kvm_vmx.machine.device_bus import BusDevice
from kvm_vmx.machine.whole import WholeProcessor

MULTIBOOT_HEADER, MULTIBOOT_LOADED = 0x1BADB002, 0x2BADB002
SEARCH = 8192                   # where a multiboot header must begin
INFORMATION, MODULES, COMMAND_LINE, ENVIRONMENT = 0x8000, 0x8800, 0x9000, 0xA000
ELSEWHERE, ROOM = 0x80000, 0x3000   # where an image lies there itself
PAGE_TABLES, STACK = 0x70000, 0x70000
FLAT_AT = 0x7C00
CODE, DATA, TASK = 8, 16, 24
CODE_32, CODE_64, FLAT_DATA, BUSY_TASK, UNUSABLE = 0xC09B, 0xA09B, 0xC093, 0x8B, 0x10000
CR0_PROTECTED, CR0_LONG, CR4_PAE, EFER_LONG = 0x31, 0x80000031, 0x20, 0x500
RBX, RSP = 3, 4
LIMIT = 0xFFFFFFFF
SEGMENTS = ("ES", "CS", "SS", "DS", "FS", "GS")


def set_segments(processor: WholeProcessor, code_rights: int) -> None:
    """Flat segments, and a task state segment that is there."""
    for name in SEGMENTS:
        is_code = name == "CS"
        _segment(processor, name, CODE if is_code else DATA, 0, LIMIT,
                 code_rights if is_code else FLAT_DATA)
    _segment(processor, "LDTR", 0, 0, 0, UNUSABLE)
    _segment(processor, "TR", TASK, 0, 0x67, BUSY_TASK)
    for table in ("GDTR", "IDTR"):
        processor.set(Field[f"GUEST_{table}_BASE"], 0)
        processor.set(Field[f"GUEST_{table}_LIMIT"], 0xFFFF)


def _segment(processor: WholeProcessor, name: str, selector: int, base: int, limit: int,
             rights: int) -> None:
    processor.set(Field[f"GUEST_{name}_SELECTOR"], selector)
    processor.set(Field[f"GUEST_{name}_BASE"], base)
    processor.set(Field[f"GUEST_{name}_LIMIT"], limit)
    processor.set(Field[f"GUEST_{name}_AR_BYTES"], rights)


def start(processor: WholeProcessor, rip: int, registers: list[int], *, long: bool,
          cr3: int = 0) -> None:
    """At its first instruction: 32-bit protected mode without paging, or long mode."""
    set_segments(processor, CODE_64 if long else CODE_32)
    processor.set(Field.GUEST_CR0, CR0_LONG if long else CR0_PROTECTED)
    processor.set(Field.GUEST_CR3, cr3)
    processor.set(Field.GUEST_CR4, CR4_PAE if long else 0)
    processor.processor.efer = EFER_LONG if long else 0
    processor.set(Field.GUEST_RFLAGS, 2)
    processor.set(Field.GUEST_RIP, rip)
    processor.set(Field.GUEST_ACTIVITY_STATE, 0)
    processor.registers = registers


def load(board: Board, program: elf.Executable) -> None:
    """Put an executable where it wants to be."""
    for segment in program.segments:
        if segment.physical + segment.size > board.memory.size:
            raise ValueError(
                f"the image wants memory at {segment.physical:#x} to "
                f"{segment.physical + segment.size:#x}: give more --memory")
        board.memory.write(segment.physical, segment.data)


def is_multiboot(data: bytes) -> bool:
    """Is there a multiboot header near the beginning?"""
    for at in range(0, min(len(data), SEARCH) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<III", data, at)
        if magic == MULTIBOOT_HEADER and not magic + flags + checksum & 0xFFFFFFFF:
            return True
    return False


def boot_multiboot(board: Board, program: elf.Executable, name: str, append: str,
                   test_device: bool) -> None:
    """As a loader would: flat 32-bit code, and in EBX what the machine is and the words for it.
    The environment is that of kvm-unit-tests' own scripts."""
    write = board.memory.write
    load(board, program)
    moved = ELSEWHERE if any(segment.physical < INFORMATION + ROOM and
                             segment.physical + segment.size > INFORMATION
                             for segment in program.segments) else 0
    information_at, modules, command_line, environment_at = (
        place + moved for place in (INFORMATION, MODULES, COMMAND_LINE, ENVIRONMENT))
    environment = (f"NR_CPUS={board.cpus}\nMEMSIZE={board.memory.size >> 20}\n"
                   f"TEST_DEVICE={test_device:d}\nBOOTLOADER=1\n").encode()
    words = f"{name} {append}".rstrip().encode() + b"\0"
    if len(words) > 4096:
        raise ValueError(f"{len(words)} bytes for --append: give fewer than 4096")
    write(command_line, words)
    write(environment_at, environment)
    write(modules, struct.pack("<IIII", environment_at, environment_at + len(environment), 0, 0))
    information = bytearray(116)
    # memory, command line, modules
    struct.pack_into("<IIIIIII", information, 0, 1 | 4 | 8, 640,
                     (board.memory.size - (1 << 20)) >> 10, 0, command_line, 1, modules)
    write(information_at, bytes(information))
    registers = [0] * 16
    registers[0], registers[RBX] = MULTIBOOT_LOADED, information_at
    start(board.processors[0], program.entry, registers, long=False)


def identity_tables(board: Board, at: int = PAGE_TABLES) -> int:
    """Page tables that map the first 4 GByte as they are; CR3."""
    gigabytes = 4
    write = board.memory.write_u64
    write(at, at + 0x1000 | 7)
    for n in range(gigabytes):
        write(at + 0x1000 + 8 * n, at + 0x2000 + n * 0x1000 | 7)
        board.memory.write(at + 0x2000 + n * 0x1000, _gigabyte(n))
    return at


@functools.cache
def _gigabyte(n: int) -> bytes:
    """The page directory of the nth GByte, as it is."""
    return b"".join((n * long_mode.GIGABYTE + i * long_mode.LARGE_PAGE | 0x87).to_bytes(8, "little")
                    for i in range(512))


def boot_long(board: Board, rip: int) -> None:
    """Flat 64-bit code with a stack."""
    registers = [0] * 16
    registers[RSP] = STACK - 8
    start(board.processors[0], rip, registers, long=True, cr3=identity_tables(board))


def boot(board: Board, data: bytes, name: str = "image", append: str = "", *,
         test_device: bool = True) -> str:
    """Put an image on a board, at its first instruction; what kind it is. test_device says whether
    one of kvm-unit-tests is told that there is its device."""
    if not elf.is_elf(data):
        if is_multiboot(data):
            raise ValueError("a multiboot image without an ELF header: give the ELF file")
        if not data or FLAT_AT + len(data) > PAGE_TABLES:
            raise ValueError(f"a flat image of {len(data)} bytes: give 1 to "
                             f"{PAGE_TABLES - FLAT_AT}, or an ELF file")
        board.memory.write(FLAT_AT, data)
        boot_long(board, FLAT_AT)
        return "flat"
    program = elf.parse(data)
    if is_multiboot(data):
        boot_multiboot(board, program, name, append, test_device)
        return "multiboot"
    if program.bits == 32:
        raise ValueError("an ELF 32 file without a multiboot header: give one that has it")
    load(board, program)
    boot_long(board, program.entry)
    return "elf64"


def run_file(file: str | os.PathLike[str], append: str = "", *, memory: int = 512 << 20,
             cpus: int = 1, profile: str = "bare", seconds: float = 60.0,
             sink: Callable[[bytes], None] = lambda sent: None, clock: str = "virtual",
             ports: Mapping[int, BusDevice] = {},
             mmio: Mapping[tuple[int, int], BusDevice] = {}) -> End:
    """Boot a file on a board of its own: what Machine.boot() is, where each option is told."""
    path = pathlib.Path(file)
    if not path.is_file():
        raise ValueError(f"no image {file}: give the name of a file")
    board = Board(memory, cpus, profile, sink, clock)
    for port, device in ports.items():
        board.ports.add(port, 1, device)
    for (first, count), device in mmio.items():
        board.mmio.add(first, count, device)
    boot(board, path.read_bytes(), path.name, append)
    return board.run(seconds)
