# SPDX-License-Identifier: GPL-2.0-only
"""Devices of Python: what L1 and L2 do at ports and addresses that nobody intercepts reaches them.

SDM 1 19.5: I/O is in the order of the program, each access once. SDM 2 IN, INS, MOVS: what a fault
stops has read and written nothing.
"""

import pytest
from guest import CODE as GUEST_CODE
from guest import DATA, EPT, S_EPT, S_VPID, Guest
from root import *
from test_root_guests import Nested

from kvm_vmx.boot.board import Board
from kvm_vmx.machine.device_bus import Bus

PORT, PLACE = 0x300, 0xC0000000
OURS = PLACE + 0x100
SIZES = {1: ("8a03", "8803"), 2: ("668b03", "668903"), 4: ("8b03", "8903"), 8: ("488b03", "488903")}


class Told:
    """Answers with what is in a list, or with its offset's digits; keeps all that it sees."""

    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []

    def read(self, offset, size):
        self.seen.append((offset, size))
        found = self.answers.pop(0) if self.answers else 0x8877665544332211
        if isinstance(found, Exception):
            raise found
        return found & (1 << 8 * size) - 1 if isinstance(found, int) and found > 0 else found

    def write(self, offset, size, value):
        self.seen.append((offset, size, value))
        if self.answers and isinstance(self.answers[0], Exception):
            raise self.answers.pop(0)


def served(root, code, count=1, **registers):
    """Run code, each access seen to; the vector that it has raised, or None."""
    cpu = root.board.processors[0]
    found = cpu.registers
    for name, value in registers.items():
        found[NAMED[name]] = value
    cpu.registers = found
    root.memory.write(CODE, bytes.fromhex(code))
    cpu.set(Field.GUEST_RIP, CODE)
    go(root, count)
    cpu = root.board.processors[0]
    at = cpu.get(Field.GUEST_RIP)
    return (at - HANDLERS) // 16 if HANDLERS <= at < HANDLERS + 0x1000 else None


def go(root, count=1):
    """So many instructions of the board's first processor, with its devices."""
    target = sum(root.board.processors[0].instructions.values()) + count
    while (left := target - sum(root.board.processors[0].instructions.values())) > 0:
        if (end := root.board.processors[0].run(left)) in ("port", "memory"):
            root.board.access(root.board.processors[0], end == "memory")
        else:
            assert end == "paused", end


def with_device(*answers, at=OURS, size=0x100, root=None):
    root, device = root or Root(), Told(*answers)
    root.board.mmio.add(at, size, device)
    return root, device


@pytest.mark.parametrize("size", SIZES)
def test_each_size_is_read_and_written(size):
    root, device = with_device()
    load, keep = SIZES[size]
    assert served(root, load, rbx=OURS + 8, rax=0) is None
    mask = (1 << 8 * size) - 1
    assert root.cpu.registers[RAX] == 0x8877665544332211 & mask
    assert served(root, keep, rbx=OURS + 16, rax=0x1122334455667788) is None
    # a write is seen before the next instruction
    go(root)
    assert device.seen == [(8, size), (16, size, 0x1122334455667788 & mask)]


def test_nobody_is_all_ones_and_forgets():
    root, device = with_device()
    assert served(root, "488b03", rbx=OURS + 0x1000) is None
    assert root.cpu.registers[RAX] == (1 << 64) - 1
    assert served(root, "4889034 88b03".replace(" ", ""), 2, rbx=OURS + 0x2000, rax=5) is None
    assert root.cpu.registers[RAX] == (1 << 64) - 1 and device.seen == []


def test_an_access_at_the_edge_is_seen_to_by_bytes():
    """The last bytes of one device, the first of the next, and what nobody has."""
    root, first = with_device(size=6)
    second = Told()
    root.board.mmio.add(OURS + 6, 1, second)
    assert served(root, "488b03", rbx=OURS) is None
    assert root.cpu.registers[RAX] == 0xFF11111111111111
    assert first.seen == [(n, 1) for n in range(6)] and second.seen == [(0, 1)]


def test_a_device_inside_another_sees_its_bytes():
    root, outer = with_device()
    inner = Told(0xAB)
    root.board.mmio.add(OURS + 2, 1, inner)
    assert served(root, "8b03", rbx=OURS) is None
    assert root.cpu.registers[RAX] == 0x11AB1111
    assert outer.seen == [(0, 1), (1, 1), (3, 1)] and inner.seen == [(0, 1)]


def test_a_bus_that_has_too_many_ranges_is_attached_to_nothing():
    board = Board(memory=1 << 20)
    bus = Bus(board.memory.size)
    for n in range(40):
        bus.memory.add(PLACE + 0x2000 * n, 1, Told())
    before = board.partition.bus
    with pytest.raises(ValueError, match="there is place for"):
        bus.attach(board.partition)
    assert bus.partition is None and board.partition.bus is before


@pytest.mark.parametrize("below", [1, 2, 3, 5, 7])
def test_a_page_is_crossed(below):
    """A device's last bytes and the first of another page, which is a device or nothing."""
    at = OURS & -4096 | 4096 - below
    root, device = with_device(0x11, 0x22, 0x33, at=at, size=below)
    assert served(root, "488b03", rbx=at) is None
    pieces = {1: [1], 2: [2], 3: [2, 1], 5: [4, 1], 7: [4, 2, 1]}[below]
    assert [size for _, size in device.seen] == pieces
    value, shift = 0, 0
    for piece, answer in zip(pieces, (0x11, 0x22, 0x33)):
        value, shift = value | answer << shift, shift + 8 * piece
    assert root.cpu.registers[RAX] == value | (1 << 64) - (1 << shift)


def test_a_page_is_crossed_from_memory_and_to_it():
    """The last page of memory, and the device behind it: both halves, of a read and a write."""
    root, device = Root(), Told(0x44332211)
    end = root.memory.size
    root.board.mmio.add(end, 16, device)
    root.memory.write(end - 4, b"\xaa\xbb\xcc\xdd")
    assert served(root, "488b03", rbx=end - 4) is None
    assert root.cpu.registers[RAX] == 0x44332211DDCCBBAA
    assert served(root, "48890390", 2, rbx=end - 4, rax=0x0102030405060708) is None
    assert device.seen == [(0, 4), (0, 4, 0x01020304)]
    assert root.memory.read(end - 4, 4) == b"\x08\x07\x06\x05"


@pytest.mark.parametrize("code, seen, registers", [
    # ADD [RBX], EAX; XCHG; CMPXCHG; INC; BTS; MOVZX of a byte; TEST
    ("0103", [(0, 4), (0, 4, 8)], {}), ("8703", [(0, 4), (0, 4, 3)], {RAX: 5}),
    ("0fb10b", [(0, 4), (0, 4, 5)], {RAX: 5}), ("ff03", [(0, 4), (0, 4, 6)], {}),
    ("0fba2b03", [(0, 4), (0, 4, 13)], {}), ("0fb603", [(0, 1)], {RAX: 5}),
    ("8503", [(0, 4)], {}),
    # PUSH [RBX] and POP [RBX], CALL [RBX] reads before it pushes
    ("ff33", [(0, 8)], {}), ("8f03", [(0, 8, 0)], {}),
])
def test_instructions_that_read_and_write(code, seen, registers):
    """Each reads once and writes once, however often the device lets it begin anew."""
    root, device = with_device(5)
    root.memory.write(STACK, bytes(8))
    assert served(root, code + "90", 2, rbx=OURS, rax=3, rcx=0) is None
    assert device.seen == seen
    for register, value in registers.items():
        assert root.cpu.registers[register] == value


@pytest.mark.parametrize("code, expected, seen", [
    # CMPXCHG that loses and that wins, CMPXCHG8B likewise, CMPXCHG over a page's end
    ("0fb10b", (3, 0), [(0, 4), (0, 4, 5)]), ("0fb10b", (5, 0), [(0, 4), (0, 4, 9)]),
    ("0fc70b", (3, 6), [(0, 4), (4, 4), (0, 4, 5), (4, 4, 6)]),
    ("0fc70b", (5, 6), [(0, 4), (4, 4), (0, 4, OURS & 0xFFFFFFFF), (4, 4, 9)]),
    ("0fb14b7e", (3, 0), [(0x7E, 4), (0x7E, 4, 5)])])
def test_a_comparison_begins_anew_as_it_began(code, expected, seen):
    """While the device answers, no register and no flag has changed."""
    root, looked = Root(), []

    class Looks(Told):
        def read(self, offset, size):
            cpu = root.board.processors[0]
            looked.append((*[cpu.registers[n] for n in (RAX, RDX, RCX, RBX)],
                           cpu.get(Field.GUEST_RFLAGS) & 0x8D5))
            return super().read(offset, size)

    device = Looks(5, 6)
    root.board.mmio.add(OURS, 0x100, device)
    root.cpu.set(Field.GUEST_RFLAGS, 2 | 0x891)
    rax, rdx = expected
    assert served(root, code + "90", 2, rbx=OURS, rax=rax, rdx=rdx, rcx=9) is None
    assert device.seen == seen
    assert set(looked) == {(rax, rdx, 9, OURS, 0x891)}
    wins = rax == 5
    cpu = root.board.processors[0]
    assert cpu.get(Field.GUEST_RFLAGS) >> 6 & 1 == wins
    assert cpu.registers[RAX] == 5 and cpu.registers[RDX] == rdx


@pytest.mark.parametrize("code, seen", [
    ("0f1003", [(0, 8), (8, 8)]), ("0f1103", [(0, 8, 0), (8, 8, 0)])])
def test_sixteen_bytes(code, seen):
    root, device = with_device()
    root.cpu.set(Field.GUEST_CR4, 0x220)
    assert served(root, code + "90", 2, rbx=OURS) is None
    assert device.seen == seen


def test_a_row_of_strings():
    """REP MOVSB from one device to another, and REP STOSD: an element at a time."""
    root, device = with_device(*range(1, 9))
    other = Told()
    root.board.mmio.add(PLACE + 0x10000, 0x100, other)
    assert served(root, "f3a490", 9, rsi=OURS, rdi=PLACE + 0x10000, rcx=8) is None
    assert [value for _, _, value in other.seen] == list(range(1, 9))
    assert device.seen == [(n, 1) for n in range(8)] and root.cpu.registers[RCX] == 0
    other.seen.clear()
    assert served(root, "f3ab90", 4, rdi=PLACE + 0x10000, rcx=3, rax=7) is None
    assert other.seen == [(0, 4, 7), (4, 4, 7), (8, 4, 7)]


def test_rep_scas_and_cmps_stop_at_a_difference():
    root, device = with_device(7, 7, 9, 1)
    assert served(root, "f3ae", 3, rdi=OURS, rcx=9, rax=7) is None
    assert root.cpu.registers[RCX] == 6 and len(device.seen) == 3


@pytest.mark.parametrize("size, code", [(1, "6c"), (2, "666d"), (4, "6d")])
def test_ins_reads_the_port(size, code):
    """Alone and repeated, forwards and backwards."""
    root, device = Root(), Told(0x11223344, 0x55667788, 0x99AABBCC)
    root.board.ports.add(PORT, 4, device)
    assert served(root, code, rdi=FREE, rdx=PORT) is None
    assert root.memory.read(FREE, size) == 0x11223344.to_bytes(4, "little")[:size]
    assert served(root, "f3" + code, 2, rdi=FREE, rdx=PORT, rcx=2) is None
    assert root.memory.read(FREE, 2 * size) == b"".join(
        value.to_bytes(4, "little")[:size] for value in (0x55667788, 0x99AABBCC))
    assert device.seen == [(0, size)] * 3 and root.cpu.registers[7] == FREE + 2 * size


@pytest.mark.parametrize("size, code", [(1, "6e"), (2, "666f"), (4, "6f")])
def test_outs_writes_the_port(size, code):
    root, device = Root(), Told()
    root.board.ports.add(PORT, 4, device)
    root.memory.write(FREE, bytes(range(1, 13)))
    assert served(root, "f3" + code + "90", 4, rsi=FREE, rdx=PORT, rcx=3) is None
    assert device.seen == [
        (0, size, int.from_bytes(bytes(range(1 + size * n, 1 + size * (n + 1))), "little"))
        for n in range(3)]


@pytest.mark.parametrize("code, to", [("6c", "rdi"), ("a4", "rdi")])
def test_a_fault_comes_before_the_device(code, to):
    """INS into a page that is not there asks nobody; MOVS reads once more behind the fault."""
    root, device = with_device()
    root.board.ports.add(PORT, 1, device)
    assert served(root, code, rdx=PORT, rsi=OURS, **{to: NOWHERE >> 1}) == PF
    assert device.seen == ([] if code == "6c" else [(0, 1)])


@pytest.mark.parametrize("where", ["memory", "port"])
@pytest.mark.parametrize("bad, why", [
    (ValueError("mine"), "mine"), (KeyError("none"), "none"), (RuntimeError("odd"), "odd")])
def test_an_exception_comes_out_and_the_read_is_asked_again(where, bad, why):
    root, device = with_device(bad, 6)
    root.board.ports.add(PORT, 4, device)
    root.memory.write(CODE, bytes.fromhex("8b03" if where == "memory" else "66ed8b0390"))
    cpu = root.cpu
    found = cpu.registers
    found[RBX], found[RDX], found[RAX] = OURS, PORT, 1
    cpu.registers = found
    cpu.set(Field.GUEST_RIP, CODE)
    with pytest.raises(type(bad), match=why):
        root.board.run(1)
    assert cpu.get(Field.GUEST_RIP) == CODE and cpu.registers[RAX] == 1
    go(root)
    assert cpu.registers[RAX] == 6 and len(device.seen) == 2


def test_an_exception_of_a_write_is_not_tried_again():
    root, device = with_device(OSError("full"))
    with pytest.raises(OSError, match="full"):
        served(root, "890390", 2, rbx=OURS, rax=3)
    go(root)
    assert device.seen == [(0, 4, 3)]


@pytest.mark.parametrize("bad", [None, "x", 1.5, -1, 1 << 32])
def test_a_value_that_is_none_is_one_line(bad):
    root, device = Root(), Told()
    device.read = lambda offset, size: bad
    root.board.mmio.add(OURS, 8, device)
    with pytest.raises(ValueError, match="give a number of 4 bytes"):
        served(root, "8b03", rbx=OURS)


def test_a_machine_moves_in_the_middle_of_an_instruction():
    """Between the two reads of CMPSQ, and between the two writes of MOVUPS."""
    root, moved = Root(), []

    class Mover(Told):
        def read(self, offset, size):
            moved.append(root.board.processors[0])
            root.board.move()
            return super().read(offset, size)

        def write(self, offset, size, value):
            moved.append(root.board.processors[0])
            root.board.move()
            return super().write(offset, size, value)

    device = Mover(4, 9)
    root.board.mmio.add(OURS, 0x40, device)
    assert served(root, "48a7", rsi=OURS, rdi=OURS + 8) is None
    cpu = root.board.processors[0]
    assert device.seen == [(0, 8), (8, 8)] and cpu.get(Field.GUEST_RFLAGS) & 0x41 == 1
    assert len(set(map(id, moved))) == 2 and cpu not in moved
    cpu.set(Field.GUEST_CR4, 0x220)
    assert served(root, "0f110390", 2, rbx=OURS + 16) is None
    assert device.seen[2:] == [(16, 8, 0), (24, 8, 0)] and len(moved) == 4


def test_an_interrupt_does_not_come_between_a_read_and_its_value():
    """The device raises it while it answers: the instruction ends first, and reads once."""
    root, device = Root(), Told(5)
    root.cpu.set(Field.GUEST_RFLAGS, 0x202)

    class Raises(Told):
        def read(self, offset, size):
            root.cpu.processor.pending_nmi = True
            return device.read(offset, size)

    root.board.mmio.add(OURS, 8, Raises())
    assert served(root, "8b03", rbx=OURS) is None
    assert root.cpu.registers[RAX] == 5 and device.seen == [(0, 4)]
    go(root)
    assert HANDLERS + 32 <= root.cpu.get(Field.GUEST_RIP) < HANDLERS + 48


@pytest.mark.parametrize("first, count, why", [
    (0x100, 16, "behind memory"), (16 << 20, 0, "places below"), (-1, 4, "places below"),
    (1 << 52, 1, "places below"), ("x", 1, "places below"), (0xFEE00000, 4096, "an APIC"),
    (0xFEBFF000, 0x2000, "an APIC")])
def test_a_place_that_is_none_is_one_line(first, count, why):
    bus = Board(16 << 20).bus
    with pytest.raises(ValueError, match=why):
        bus.memory.add(first, count, Told())
    assert bus.memory.places == []


def test_what_is_no_device_and_too_many_of_them():
    board = Board(16 << 20)
    with pytest.raises(ValueError, match="is no device"):
        board.mmio.add(PLACE, 1, object())
    for n in range(32):
        board.mmio.add(PLACE + 0x10000 * n, 1, Told())
    # what touches another is no range of its own
    board.mmio.add(PLACE + 0x1000, 1, Told())
    with pytest.raises(ValueError, match="there is place for 32"):
        board.mmio.add(PLACE + 0x1000000, 1, Told())
    board.move()


def mapped(root):
    """An EPT at 0xa00000 that maps what the board's own tables do; its pointer."""
    at = 0xA00000
    root.memory.write_u64(at, at + 0x1000 | 7)
    for n in range(4):
        root.memory.write_u64(at + 0x1000 + 8 * n, n << 30 | 0xB7)
    return at | 0x1E


@pytest.mark.parametrize("size", SIZES)
def test_l2_of_an_image_through_its_ept(size):
    load, keep = SIZES[size]
    root = Nested(load + keep + "0f01c1")
    device = Told()
    root.board.mmio.add(OURS, 0x100, device)
    pointer = mapped(root)
    root.step("0f79c8", rcx=0x201A, rax=pointer)
    root.step("0f79c8", rcx=0x401E, rax=S_EPT | S_VPID)
    root.step("0f79c8", rcx=0, rax=1)
    served(root, "0f01c2", 60, rbx=OURS + 8)
    assert root.exited()[0] == 18
    mask = (1 << 8 * size) - 1
    assert device.seen == [(8, size), (8, size, 0x8877665544332211 & mask)]


def test_l2_of_an_image_at_a_port():
    root = Nested("e4a0" "e6a1" "0f01c1")
    device = Told(0x5A)
    root.board.ports.add(0xA0, 2, device)
    served(root, "0f01c2", 60, rdx=PORT)
    assert root.exited()[0] == 18 and device.seen == [(0, 1), (1, 1, 0x5A)]


# --- L2 whose L1 is Python: no board, and a bus that is put beside the partition


def with_bus(guest, *answers):
    g, device = guest, Told(*answers)
    bus = Bus(g.memory.size)
    bus.attach(g.world.partition)
    bus.memory.add(0x1800000, 0x1000, device)
    return g, device, bus


def far_page(g):
    """What lies behind memory, at a linear address of its own."""
    g.write(0x3000 + 8 * 9, 0x1800000 | 0x87)
    return 9 << 21


@pytest.mark.parametrize("mode", ["plain", "evmcs"])
@pytest.mark.parametrize("size", SIZES)
def test_l2_without_a_board(mode, size):
    load, keep = SIZES[size]
    g, device, bus = with_bus(Guest(mode, load + "83c301" + keep + "0f01c1"))
    g.regs(rbx=far_page(g) + 16)
    assert g.run().reason == 18
    mask = (1 << 8 * size) - 1
    assert device.seen == [(16, size), (17, size, 0x8877665544332211 & mask)]


@pytest.mark.parametrize("mode", ["plain", "evmcs"])
def test_ports_of_l2_without_a_board(mode):
    g, device, bus = with_bus(Guest(mode, "ec" "ee" "f36c" "0f01c1"), 1, 2, 3)
    bus.ports.add(PORT, 1, device)
    g.regs(rdx=PORT, rcx=2, rdi=DATA)
    assert g.run().reason == 18
    assert device.seen == [(0, 1), (0, 1, 1), (0, 1), (0, 1)] and g.read(DATA, 2) == 0x0302


def test_an_exception_leaves_l2_where_it_asks():
    g, device, bus = with_bus(Guest("plain", "8b03" "0f01c1"), ValueError("mine"), 6)
    g.regs(rbx=far_page(g))
    with pytest.raises(ValueError, match="mine"):
        g.cpu.vmlaunch()
    assert g.cpu.stopped
    assert g.cpu.go_on().ok and not g.cpu.stopped
    assert g.cpu.registers[RAX] == 6 and g.get("VM_EXIT_REASON") == 18


def test_without_a_bus_nobody_is_there():
    g = Guest("plain", "8b03" "ec" "0f01c1")
    g.regs(rbx=far_page(g), rdx=PORT)
    assert g.run().reason == 18 and g.cpu.registers[RAX] == (1 << 32) - 1


def test_l2_behind_an_ept_violation_is_l1s():
    """What L1 intercepts no device sees."""
    g, device, bus = with_bus(Guest("plain", "8b03" "0f01c1", SECONDARY_VM_EXEC_CONTROL=S_EPT,
                                    EPT_POINTER=EPT | 0x1E))
    g.write(EPT, EPT + 0x1000 | 7)
    g.write(EPT + 0x1000, EPT + 0x2000 | 7)
    for n in range(8):
        g.write(EPT + 0x2000 + 8 * n, n << 21 | 0xB7)
    g.regs(rbx=far_page(g))
    assert g.run().reason == 48 and device.seen == []
    g.write(EPT + 0x2000 + 8 * 12, 0x1800000 | 0xB7)
    g.cpu.invept(2, 0)
    assert g.run(GUEST_RIP=GUEST_CODE).reason == 18 and device.seen == [(0, 4)]


def test_between_and_below_the_devices_nobody_is():
    root, device = with_device()
    root.board.mmio.add(PLACE + 0x10000, 0x100, other := Told())
    for address in (PLACE - 0x1000, PLACE + 0x5000, PLACE + 0x20000):
        assert served(root, "8b03", rbx=address) is None
        assert root.board.processors[0].registers[RAX] == 0xFFFFFFFF
        assert served(root, "8903", rbx=address) is None
    assert device.seen == other.seen == []


def test_a_gate_where_a_device_is():
    """Nobody is asked while an event is delivered: all ones are no gate, and so to the end."""
    root, device = with_device()
    root.cpu.set(Field.GUEST_IDTR_BASE, OURS)
    root.step("0f0b")
    assert root.end == "shutdown" and device.seen == []
