# SPDX-License-Identifier: GPL-2.0-only
"""Images made by hand: what an L1 finds on a board, and what a board says of its end."""

import struct

import pytest

from kvm_vmx import Field, Machine
from kvm_vmx.boot import elf, loader
from kvm_vmx.boot.board import Board
from kvm_vmx.boot.devices import Ended

HLT, CLI, STI = b"\xf4", b"\xfa", b"\xfb"
RDTSC, CPUID, WRMSR, RDMSR = b"\x0f\x31", b"\x0f\xa2", b"\x0f\x30", b"\x0f\x32"
EAX, ECX, EDX, EBX, EDI = 0, 1, 2, 3, 7


def mov(register, value):
    """MOV r32, imm32."""
    return bytes([0xB8 + register]) + struct.pack("<I", value & 0xFFFFFFFF)


def out(port, value):
    """OUT DX, AL."""
    return mov(EDX, port) + mov(EAX, value) + b"\xee"


def ends(value):
    """Write to the exit port."""
    return out(0xF4, value)


def store(address, value):
    """MOV dword [RDI], imm32."""
    return mov(EDI, address) + b"\xc7\x07" + struct.pack("<I", value)


def wrmsr(msr, value):
    """WRMSR of 64 bits."""
    return mov(ECX, msr) + mov(EAX, value) + mov(EDX, value >> 32) + WRMSR


def flat(code, *, seconds=20, **options):
    """Boot flat 64-bit code; (board, end, what it sent)."""
    sent = []
    board = Board(16 << 20, sink=sent.append, **options)
    assert loader.boot(board, code) == "flat"
    return board, board.run(seconds), b"".join(sent)


def test_a_flat_image_says_hello_and_ends():
    code = b"".join(out(0x3F8, byte) for byte in b"hi\n") + ends(7)
    board, end, sent = flat(code)
    assert (end.value, sent) == (7, b"hi\n")
    assert end.instructions["l1"] == 12 and end.instructions["l2"] == 0


def test_every_run_is_the_same():
    """RDTSC, too: time is counted in instructions."""
    code = RDTSC + b"\x89\xc3" + CPUID + RDTSC + b"\x29\xd8" + b"\xa3" + struct.pack("<Q", 0x5000) \
        + ends(0)
    found = set()
    for _ in range(2):
        board, end, _ = flat(code)
        found.add((board.memory.read_u64(0x5000), end.instructions["l1"], end.value))
    assert len(found) == 1


@pytest.mark.parametrize("code, why", [
    (HLT, "halted at 0x7c01 in L1, with nothing on its way"),
    (b"\xeb\xfe", "1 seconds are over"),
    (b"\x0f\x0b", "triple fault of L1 at 0x7c00 in L1"),
    # XORPS: CR4 has no SSE, and no handler for #UD is there
    (b"\x0f\x57\xc0", "triple fault of L1 at 0x7c00 in L1"),
])
def test_an_end_without_the_exit_port_is_told(code, why):
    _, end, _ = flat(code, seconds=1)
    assert (end.value, end.why) == (None, why)


def elf32(code, entry=0x100000):
    """A multiboot image: an ELF 32 file with its header right behind the program header."""
    magic = struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)
    body = magic + code
    head = b"\x7fELF\1\1\1" + bytes(9) + struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, entry + 12, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    program = struct.pack("<IIIIIIII", 1, 84, entry, entry, len(body), len(body), 5, 4)
    return head + program + body


def test_a_multiboot_image_finds_its_command_line():
    # 32-bit code: the word at [EBX + 16], its first byte to the serial port
    code = b"\x8b\x73\x10" + mov(EDX, 0x3F8) + b"\x8a\x06\xee" + ends(0)
    sent = []
    board = Board(16 << 20, sink=sent.append)
    assert loader.boot(board, elf32(code), "name", "words") == "multiboot"
    end = board.run(10)
    assert (end.value, sent) == (0, [b"n"])
    assert board.memory.read(loader.COMMAND_LINE, 11) == b"name words\0"


def elf64(code, entry=0x200000):
    """An ELF 64 file of one segment."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 1, 5, 120, entry, entry, len(code), len(code), 16)
    return head + program + code


def test_an_elf_64_file_starts_in_long_mode():
    # MOVABS fits 64-bit code alone
    code = b"\x48\xb8" + struct.pack("<Q", 1 << 40) + b"\x48\xa3" + struct.pack("<Q", 0x5000)
    board = Board(16 << 20)
    assert loader.boot(board, elf64(code + ends(0))) == "elf64"
    assert board.run(10).value == 0 and board.memory.read_u64(0x5000) == 1 << 40


@pytest.mark.parametrize("data, why", [
    (b"", "a flat image of 0 bytes"),
    (b"\x90" * (1 << 20), "a flat image of 1048576 bytes"),
    (b"\x7fELF", "cut off"), (elf64(HLT)[:90], "cut off"), (elf64(HLT)[:-1], "cut off"),
    (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, *[0] * 10),
     "no executable for x86"),
    (b"\x7fELF\2\2\1" + bytes(100), "of no x86 processor"),
    (elf64(HLT, 1 << 40), "give more --memory"),
])
def test_a_file_that_is_none_is_one_line(data, why):
    with pytest.raises(ValueError, match=why):
        loader.boot(Board(16 << 20), data)


def handler(vector, code, table=0x6000, at=0x8000):
    """Bytes that load an IDT whose gate of a vector leads to code, and (address, bytes) to put."""
    gate = struct.pack("<HHBBHII", at & 0xFFFF, 8, 0, 0x8E, at >> 16, 0, 0)
    return (b"\x0f\x01\x1c\x25" + struct.pack("<i", 0x5F00),
            [(0x5F00, struct.pack("<HQ", 0xFFF, table)), (table + 16 * vector, gate), (at, code),
             (0x5E00, struct.pack("<QQQ", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)),
             (0x5F10, struct.pack("<HQ", 23, 0x5E00))])


LGDT = b"\x0f\x01\x14\x25" + struct.pack("<i", 0x5F10)
APIC = 0xFEE00000


class Port:
    """A device at one port: what is read of it, and what was written to it."""

    def __init__(self, holds):
        self.holds, self.told = holds, []

    def read(self, offset, size):
        return self.holds

    def write(self, offset, size, value):
        self.told.append((offset, size, value))


def test_a_file_is_booted_from_python(tmp_path):
    """IN from one port, OUT of what it gave to another; the exit port's value."""
    image, sent, asked, told = tmp_path / "image.bin", [], Port(0x5A), Port(0)
    image.write_bytes(out(0x3F8, ord("!")) + bytes.fromhex("66ba0003 ec 66ba0103 ee") + ends(3))
    end = Machine.boot(image, memory=16 << 20, sink=sent.append,
                       ports={0x300: asked, 0x301: told})
    assert (end.value, sent, told.told) == (3, [b"!"], [(0, 1, 0x5A)])
    with pytest.raises(ValueError, match="no image .*: give the name of a file"):
        Machine.boot(tmp_path / "none.bin")


def run_with(board, code, places, seconds=20):
    """Boot flat code with more in memory."""
    for address, data in places:
        board.memory.write(address, data)
    loader.boot(board, code)
    return board.run(seconds)


@pytest.mark.parametrize("x2apic", [False, True])
def test_the_apic_timer_wakes_a_halted_processor(x2apic):
    load, places = handler(0x40, ends(0x55))
    if x2apic:
        setup = wrmsr(0x1B, 0xFEE00D00) + wrmsr(0x80F, 0x1FF) + wrmsr(0x832, 0x40) + \
            wrmsr(0x83E, 0xB) + wrmsr(0x838, 100_000)
    else:
        setup = store(APIC + 0xF0, 0x1FF) + store(APIC + 0x320, 0x40) + \
            store(APIC + 0x3E0, 0xB) + store(APIC + 0x380, 100_000)
    board = Board(16 << 20)
    end = run_with(board, LGDT + load + setup + STI + HLT, places)
    assert end.value == 0x55
    # time jumps to the timer
    assert 99_000 < end.instructions["idle"] <= 100_000


def test_a_masked_priority_holds_an_interrupt_back():
    load, places = handler(0x40, ends(1))
    # to itself, while CR8 is 15: it waits; then CR8 0 lets it in
    code = LGDT + load + store(APIC + 0xF0, 0x1FF) + mov(EAX, 15) + b"\x44\x0f\x22\xc0" + STI + \
        store(APIC + 0x300, 0x44040) + b"\x90" * 4 + out(0x3F8, 0x61) + \
        b"\x31\xc0\x44\x0f\x22\xc0" + b"\x90" + ends(2)
    sent = []
    board = Board(16 << 20, sink=sent.append)
    end = run_with(board, code, places)
    assert (sent, end.value) == ([b"a"], 1)


def test_a_second_processor_starts_by_init_and_sipi():
    # 16-bit code at 0x9000: OUT 0xf4 from real mode
    board = Board(16 << 20, cpus=2)
    board.memory.write(0x9000, b"\xb8\x33\x00\xba\xf4\x00\xee\xf4")
    code = store(APIC + 0xF0, 0x1FF) + store(APIC + 0x310, 1 << 24) + \
        store(APIC + 0x300, 0x4500) + store(APIC + 0x300, 0x4609) + b"\xeb\xfe"
    assert run_with(board, code, []).value == 0x33


def test_a_board_moves_with_all_that_it_has():
    """At a port the machine is saved, and another goes on; the timer, too."""
    load, places = handler(0x40, ends(0x44))
    code = LGDT + load + store(APIC + 0xF0, 0x1FF) + store(APIC + 0x320, 0x40) + \
        store(APIC + 0x3E0, 0xB) + store(APIC + 0x380, 50_000) + STI + mov(EBX, 0x1234) + \
        mov(EDX,
            0x77) + b"\xec" + b"\x81\xfb\x34\x12\x00\x00" + b"\x74\x02\x0f\x0b" + HLT + b"\xeb\xfd"
    board = Board(16 << 20)
    moved = []

    class Mover:
        def read(self, offset, size):
            before = board.processors[0]
            board.move()
            moved.append(board.processors[0] is not before)
            return 9

    board.ports.add(0x77, 1, Mover())
    end = run_with(board, code, places)
    assert moved == [True] and end.value == 0x44


def test_what_was_not_saved_is_not_restored():
    board = Board(16 << 20)
    with pytest.raises(ValueError, match="give the"):
        board.processors[0].restore(b"x")
    blob = bytearray(board.processors[0].save())
    blob[100] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        board.processors[0].restore(bytes(blob))


def test_registers_have_names():
    board = Board(16 << 20)
    loader.boot(board, HLT)
    processor = board.processors[0]
    assert processor.get(Field.GUEST_RIP) == 0x7C00
    with pytest.raises(ValueError, match="no field"):
        processor.get(0xFFFF)
    with pytest.raises(ValueError, match="give whole pages"):
        Board(4097)


def test_an_exit_value_is_no_error_of_the_board():
    assert Ended(3).value == 3 and elf.is_elf(b"\x7fELF")
