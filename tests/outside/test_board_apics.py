# SPDX-License-Identifier: GPL-2.0-only
"""The board's APICs, by images made by hand: lines, their ends, modes (82093AA; SDM 3A 11)."""

import struct

import pytest
from kvm_vmx.boot import loader
from kvm_vmx.boot.board import Board
from test_images import (
    APIC, EAX, ECX, EDI, HLT, LGDT, STI, elf32, ends, handler, mov, out, run_with, store,
    wrmsr)

IO_APIC, TEST_LINES = 0xFEC00000, 0x2000
VECTOR, LINE = 0x41, 5
LEVEL, MASKED, REMOTE = 1 << 15, 1 << 16, 1 << 14
ON = store(APIC + 0xF0, 0x1FF)
LOAD_EAX = b"\x8b\x07"          # MOV EAX, [RDI]
TO_SERIAL = mov(2, 0x3F8) + b"\xee"


def chosen(register):
    """The I/O APIC's index."""
    return store(IO_APIC, register)


def entry(line, value):
    """Write a redirection entry, its upper half first."""
    halves = value & 0xFFFFFFFF, value >> 32
    return b"".join(chosen(0x10 + 2 * line + n) + store(IO_APIC + 0x10, halves[n])
                    for n in (1, 0))


def set_line(line, level):
    return out(TEST_LINES + line, level)


def send_register(register, shift=0):
    """A byte of a register of the I/O APIC to the serial port."""
    return chosen(register) + mov(EDI, IO_APIC + 0x10) + LOAD_EAX + \
        b"\xc1\xe8" + bytes([shift]) + TO_SERIAL


END = store(APIC + 0xB0, 0)
IRET = b"\x48\xcf"


def sent_by(code, isr=b"", cpus=1):
    """What an image sends whose handler of VECTOR is isr."""
    load, places = handler(VECTOR, isr + IRET)
    sent = []
    board = Board(16 << 20, cpus=cpus, sink=sent.append)
    end = run_with(board, LGDT + load + ON + code + ends(0), places)
    assert end.value == 0, end
    return b"".join(sent)


def test_the_registers_of_the_io_apic():
    code = send_register(1) + send_register(1, 16) + chosen(0) + \
        store(IO_APIC + 0x10, 0xFFFFFFFF) + send_register(0, 24) + send_register(2, 24) + \
        send_register(0x10, 16)
    # version, 24 lines, four bits of ID, which arbitration has too, and masked entries
    assert sent_by(code) == b"\x11\x17\x0f\x0f\x01"


COUNT = out(0x3F8, ord("i"))


@pytest.mark.parametrize(("flags", "isr", "code", "sent"), [
    # an edge comes once, whatever the line does afterwards
    (0, COUNT + END, set_line(LINE, 1) + b"\x90" * 4, b"i"),
    (0, COUNT + END, (set_line(LINE, 1) + set_line(LINE, 0)) * 2 + b"\x90", b"ii"),
    # and an edge of a masked line is lost
    (MASKED, COUNT + END, set_line(LINE, 1) + entry(LINE, VECTOR) + b"\x90", b""),
    # a level comes until the line falls, and not before the end of the one before
    (LEVEL, COUNT + set_line(LINE, 0) + END, set_line(LINE, 1) + b"\x90", b"i"),
    (LEVEL, COUNT + END + set_line(LINE, 0), set_line(LINE, 1) + b"\x90", b"ii"),
    (LEVEL | MASKED, COUNT + set_line(LINE, 0) + END,
     set_line(LINE, 1) + entry(LINE, LEVEL | VECTOR) + b"\x90", b"i"),
    # the end is the same for another destination
    (LEVEL, COUNT + send_register(0x10 + 2 * LINE, 8) + set_line(LINE, 0) + END,
     set_line(LINE, 1) + b"\x90" + send_register(0x10 + 2 * LINE, 8), b"i\xc0\x80"),
    # nobody is there, or only in a logical mode that nobody has set
    (7 << 56, COUNT, set_line(LINE, 1) + b"\x90", b""),
    (1 << 11 | 1 << 56, COUNT, set_line(LINE, 1) + b"\x90", b""),
    (0xFF << 56, COUNT + END, set_line(LINE, 1) + b"\x90", b"i")])
def test_what_a_line_does(flags, isr, code, sent):
    assert sent_by(entry(LINE, flags | VECTOR) + STI + code, isr) == sent


def test_an_end_is_told_where_spiv_lets_it():
    """Bit 12 of SPIV holds the broadcast back: remote IRR stays."""
    code = store(APIC + 0xF0, 0x11FF) + entry(LINE, LEVEL | VECTOR) + STI + \
        set_line(LINE, 1) + b"\x90" + set_line(LINE, 0) + send_register(0x10 + 2 * LINE, 8)
    assert sent_by(code, END) == b"\xc0"


def test_the_mode_of_trigger_is_to_be_seen():
    """TMR of a vector: as it came last."""
    seen = mov(EDI, APIC + 0x180 + (VECTOR >> 5) * 16) + LOAD_EAX + \
        b"\xc1\xe8" + bytes([VECTOR & 31]) + b"\x24\x01" + TO_SERIAL
    isr = seen + set_line(LINE, 0) + END
    code = STI + b"".join(entry(LINE, flags | VECTOR) + set_line(LINE, 1) + b"\x90"
                          for flags in (0, LEVEL, 0))
    assert sent_by(code, isr) == b"\0\1\0"


def test_a_board_moves_with_its_lines():
    load, places = handler(VECTOR, ends(0x41))
    board = Board(16 << 20)

    class Mover:
        def write(self, offset, size, value):
            board.move()

    board.ports.add(0x77, 1, Mover())
    code = LGDT + load + ON + entry(LINE, LEVEL | VECTOR) + set_line(LINE, 1) + out(0x77, 0) + \
        STI + HLT
    assert run_with(board, code, places).value == 0x41


def base(value):
    return wrmsr(0x1B, 0xFEE00100 | value)


EN, EXTD = 0x800, 0x400


@pytest.mark.parametrize(("values", "holds"), [
    ([EN | EXTD], True), ([EN | EXTD, 0], True), ([0, EN], True), ([EN | EXTD, EN | EXTD], True),
    ([EN | EXTD, EN], False), ([0, EN | EXTD], False), ([EXTD], False), ([0, EXTD], False)])
def test_the_modes_of_the_local_apic(values, holds):
    """SDM 3A 11.12.5: which may follow which."""
    board = Board(16 << 20)
    loader.boot(board, b"".join(base(value) for value in values) + ends(1))
    # without a handler a #GP is a triple fault
    assert board.run(10).value == (1 if holds else None)


def test_cpuid_tells_whether_there_is_an_apic():
    bit = mov(EAX, 1) + b"\x0f\xa2" + b"\xc1\xea\x09\x80\xe2\x01\x88\xd0" + TO_SERIAL
    sent = []
    board = Board(16 << 20, sink=sent.append)
    loader.boot(board, bit + base(0) + bit + ends(0))
    assert board.run(10).value == 0 and sent == [b"\1", b"\0"]


@pytest.mark.parametrize(("first", "then", "low", "high"), [
    (0, 1 << 17, 50_000, 99_000), (1 << 17, 0, 50_000, 99_000), (0, 1 << 18, 0, 0)])
def test_a_timer_goes_on_in_another_mode(first, then, low, high):
    """SDM 3A 11.5.4: the count is not begun anew; the deadline's mode ends it."""
    left = mov(EDI, APIC + 0x390) + LOAD_EAX + b"\xa3" + struct.pack("<Q", 0x5000)
    board = Board(16 << 20)
    loader.boot(board, ON + store(APIC + 0x3E0, 0xB) + store(APIC + 0x320, 1 << 16 | first | 0x40)
               + store(APIC + 0x380, 100_000) + mov(ECX, 1000) + b"\xff\xc9\x75\xfc"
               + store(APIC + 0x320, 1 << 16 | then | 0x40) + left + ends(0))
    assert board.run(10).value == 0
    assert low <= board.memory.read_u64(0x5000) & 0xFFFFFFFF <= high




@pytest.mark.parametrize(("index", "told"), [(0, b"\0\1"), (1, b"\2\4"), (2, b"\0\0")])
def test_leaf_11_tells_how_ids_are_made(index, told):
    """Threads and cores: how many bits of the ID they have, and how many there are."""
    code = mov(EAX, 0xB) + mov(ECX, index) + b"\x0f\xa2" + TO_SERIAL + b"\x88\xd8" + TO_SERIAL
    assert sent_by(code, cpus=4) == told


@pytest.mark.parametrize(("automatic", "sent"), [(0, b"i"), (1 << 17, b"ii")])
def test_a_synthetic_source_may_end_by_itself(automatic, sent):
    """TLFS, AutoEOI: without it the second waits for an end of the first."""
    load, places = handler(VECTOR, COUNT + IRET)
    fire = mov(2, 0x3000) + mov(EAX, 3 << 16 | 2) + b"\xef"
    code = wrmsr(0x40000080, 1) + wrmsr(0x40000092, VECTOR | automatic) + STI + \
        (fire + b"\x90") * 2
    said = []
    board = Board(16 << 20, profile="kvm-6.12", sink=said.append)
    end = run_with(board, LGDT + load + ON + code + ends(0), places)
    assert (end.value, b"".join(said)) == (0, sent)


def test_multiboot_information_lies_where_the_image_does_not():
    """An image from 32 KiB on, as realmode of kvm-unit-tests: its own bytes stay."""
    own = b"\x8b\x73\x10" + mov(2, 0x3F8) + b"\x8a\x06\xee" + ends(0)
    sent = []
    board = Board(16 << 20, sink=sent.append)
    assert loader.boot(board, elf32(own.ljust(0x2000, b"\x90"), 0x8000), "name") == "multiboot"
    assert (board.run(10).value, sent) == (0, [b"n"])


PORT, FIELDS_AT = 0x3000, 0x7000
HYPERV = wrmsr(0x40000000, 1 << 48) + wrmsr(0x40000080, 1) + wrmsr(0x40000082, 0x3000 | 1) + \
    wrmsr(0x40000083, 0x4000 | 1) + wrmsr(0x40000092, VECTOR | 1 << 17)
POST, SIGNAL = 0x5C, 0x1005D
STATUS = mov(2, 0x3F8) + b"\xee"


def command(number, connection):
    """The test device of connections, for source 2 of processor 0."""
    return mov(2, PORT) + mov(EAX, connection << 24 | number << 16 | 2) + b"\xef"


def calls(control, parameter):
    return mov(ECX, control) + mov(2, parameter) + b"\x45\x31\xc0" + b"\x0f\x01\xc1" + STATUS


def message(board, connection, kind, body):
    board.memory.write(FIELDS_AT, struct.pack("<IIII", connection, 0, kind, len(body)) + body)


def hyperv(code, prepare=lambda board: None):
    # RAX and RDX stay
    load, places = handler(VECTOR, b"\x50\x52" + COUNT + b"\x5a\x58" + IRET)
    said = []
    board = Board(16 << 20, profile="kvm-6.12", sink=said.append)
    prepare(board)
    end = run_with(board, LGDT + load + ON + HYPERV + STI + code + ends(0), places)
    assert end.value == 0, end
    return b"".join(said), board


def test_a_message_comes_to_who_is_connected():
    """TLFS 11.11: into the source's slot; the next one waits for the end of that."""
    end = store(0x4200, 0) + wrmsr(0x40000084, 0)
    said, board = hyperv(
        calls(POST, FIELDS_AT) + command(4, 0x10) + calls(POST, FIELDS_AT) +
        calls(POST, FIELDS_AT) + calls(POST, FIELDS_AT) + end + b"\x90" + command(5, 0x10) +
        calls(POST, FIELDS_AT), lambda board: message(board, 0x10, 0x1234, b"body"))
    # nobody; taken, with its interrupt; kept; no room; the kept one; nobody
    assert said == b"\x03i\0\0\x13i\x03"
    assert struct.unpack("<IBB", board.memory.read(0x4200, 6)) == (0x1234, 4, 0)
    assert board.memory.read(0x4210, 4) == b"body"


def test_an_event_sets_its_flag():
    said, board = hyperv(calls(SIGNAL, 0x21) + command(6, 0x21) + calls(SIGNAL, 0x21) * 2)
    # an interrupt comes with the flag, and not once more while that is set
    assert said == b"\x03i\0\0" and board.memory.read(0x3200 + 4, 1) == b"\2"


def test_a_message_that_waits_moves_with_the_board():
    class Mover:
        def write(self, offset, size, value):
            boards[0].move()

    def prepare(board):
        message(board, 0x10, 0x1234, b"one")
        board.ports.add(0x77, 1, Mover())
        boards.append(board)

    boards = []
    said, board = hyperv(
        command(4, 0x10) + calls(POST, FIELDS_AT) * 2 + out(0x77, 0) + store(0x4200, 0) +
        wrmsr(0x40000084, 0) + b"\x90", prepare)
    assert said == b"i\0\0i"
