# SPDX-License-Identifier: GPL-2.0-only
"""Save and restore of a processor that runs L1's code: no blob leads L0 out of its own state."""

import ctypes
import random
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64

import pytest
from root import *
from test_devices import OURS, with_device
from test_save_restore import forged
from world import LAYOUT


def struct(name, **fields):
    """A struct of C."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


# kvm_vmx/l0/whole/parts.h
ACCESS = struct("ACCESS", address=c_uint64, value=c_uint64, in_memory=c_uint8, is_read=c_uint8,
                size=c_uint8)
BUS = struct("BUS", asks=c_uint8, answered=c_uint8, nr_answers=c_uint8, used=c_uint8,
             first=c_uint8, nr_writes=c_uint8, is_virtual=c_uint8, now=ACCESS, queue=ACCESS * 80,
             answer=c_uint64 * 80, page=c_uint64)
APIC = struct("APIC", reg=c_uint32 * 64, isr=c_uint64 * 4, timer_at=c_uint64, timer_every=c_uint64,
              deadline=c_uint64, icr_high=c_uint32, init_waits=c_uint8, sipi_waits=c_uint8,
              virtual_work=c_uint8, reserved=c_uint8, sipi_vector=c_uint8, written_size=c_uint8,
              written=c_uint16)
ROOT = struct("ROOT", on=c_uint8, shadow_ended=c_uint8, waits=c_uint8, entered=c_uint64,
              since=c_uint64, instructions=c_uint64, queued=c_uint32, queued_error=c_uint32,
              queued_past=c_uint8, idle=c_uint64, bus=BUS, apic=APIC)
PORT = struct("PORT", connection=c_uint32, vp=c_uint32, kind=c_uint8, source=c_uint8,
              waits=c_uint8, length=c_uint8, message=c_uint32, body=c_uint8 * 240)
IO_APIC = struct("IO_APIC", entry=c_uint64 * 24, lines=c_uint32, index=c_uint32, id=c_uint32)
BOARD = struct("BOARD", io_apic=IO_APIC, port=PORT * 16)
# behind them: three times, and the checksum
END = struct("END", root=ROOT, board=BOARD, times=c_uint64 * 3, checksum=c_uint64)


def begin(root):
    """Where the VMCS of L1's registers begins: what of a blob one of them has changed."""
    before = root.cpu.save()
    was = root.cpu.get(Field.GUEST_ACTIVITY_STATE)
    root.cpu.set(Field.GUEST_ACTIVITY_STATE, was ^ 1)
    after = root.cpu.save()
    root.cpu.set(Field.GUEST_ACTIVITY_STATE, was)
    (at,) = [n for n in range(len(before) - 8) if before[n] != after[n]]
    return at - LAYOUT["guest_activity_state"][0]


def place(root, blob, name):
    """(offset, size) of what a name says: of the end, or vmcs.member."""
    if name.startswith("vmcs."):
        offset, size = LAYOUT[name[5:]]
        return begin(root) + offset, size
    offset, kind = len(blob) - ctypes.sizeof(END), END
    for part in name.split("."):
        if part.isdigit():
            kind = kind._type_
            offset += int(part) * ctypes.sizeof(kind)
        else:
            offset += getattr(kind, part).offset
            kind = dict(kind._fields_)[part]
    return offset, ctypes.sizeof(kind)


def changed(root, blob, values):
    """blob with other numbers in it, and a checksum that is right."""
    for name, value in values.items():
        offset, size = place(root, blob, name)
        blob = blob[:offset] + value.to_bytes(size, "little") + blob[offset + size:]
    return forged(blob, len(blob) - 8, 0)


def queued(**values):
    """One access that waits in the queue, but for these."""
    return {"root.bus.nr_writes": 1, **{f"root.bus.queue.0.{name}": value for name, value in {
        "size": 4, **values}.items()}}


def asking(**values):
    return {"root.bus.asks": 1, **{f"root.bus.now.{name}": value for name, value in {
        "size": 4, "is_read": 1, **values}.items()}}


def port(number=3, **values):
    return {f"board.port.{number}.{name}": value for name, value in {
        "kind": 1, "connection": 7, **values}.items()}


FLAG, BUS_WORDS, APIC_WORDS = "no such value", "accesses to devices", "its APIC"
WRONG = [
    ({"root.on": 0}, FLAG), ({"root.on": 2}, FLAG), ({"root.shadow_ended": 2}, FLAG),
    ({"root.waits": 2}, FLAG), ({"root.queued_past": 2}, FLAG),
    ({"root.queued": 0x80000B20}, "queued"), ({"root.queued": 0x8000070D}, "queued"),
    ({"root.queued": 13}, "queued"), ({"root.queued_error": 0x10000}, "queued"),
    ({"times.2": 1 << 63}, "its time"), ({"times.2": (1 << 64) - 1}, "its time"),
    # past the answers, and past the queue
    ({"root.bus.nr_answers": 255, "root.bus.used": 200}, BUS_WORDS),
    ({"root.bus.nr_answers": 81}, BUS_WORDS), ({"root.bus.used": 1}, BUS_WORDS),
    ({**asking(), "root.bus.nr_answers": 255}, BUS_WORDS),
    ({**asking(), "root.bus.nr_answers": 80}, BUS_WORDS),
    ({**asking(), "root.bus.answered": 1}, BUS_WORDS), ({"root.bus.asks": 2}, BUS_WORDS),
    ({"root.bus.answered": 2}, BUS_WORDS), ({"root.bus.is_virtual": 2}, BUS_WORDS),
    ({"root.bus.page": 0xC0000001}, BUS_WORDS),
    ({"root.bus.first": 100, "root.bus.nr_writes": 200}, BUS_WORDS),
    ({"root.bus.nr_writes": 81}, BUS_WORDS), ({"root.bus.first": 1}, BUS_WORDS),
    *((queued(**values), BUS_WORDS) for values in (
        {"size": 0}, {"size": 3}, {"size": 16}, {"size": 255}, {"is_read": 1}, {"in_memory": 2},
        {"value": 1 << 32})),
    *((asking(**values), BUS_WORDS) for values in (
        {"size": 0}, {"size": 5}, {"size": 128}, {"is_read": 0}, {"is_read": 2},
        {"in_memory": 255})),
    ({"root.bus.now.size": 7}, BUS_WORDS),
    ({"root.apic.init_waits": 2}, APIC_WORDS), ({"root.apic.sipi_waits": 2}, APIC_WORDS),
    *(({"root.apic.virtual_work": work}, APIC_WORDS) for work in (2, 3, 4, 7, 8)),
    ({"root.apic.reserved": 1}, APIC_WORDS),
    ({"root.apic.written": 0x400}, APIC_WORDS), ({"root.apic.written_size": 5}, APIC_WORDS),
    ({"root.apic.written": 0x83, "root.apic.written_size": 2}, APIC_WORDS),
    ({"root.apic.isr.0": 1 << 15}, APIC_WORDS), ({"root.apic.timer_every": 15}, APIC_WORDS),
    ({"root.apic.timer_every": 1 << 40}, APIC_WORDS),
    *(({f"vmcs.{name}": value}, "no state of a processor") for name, value in (
        ("guest_activity_state", 4), ("pin_based_vm_exec_control", 1), ("exception_bitmap", 1),
        ("cpu_based_vm_exec_control", 0), ("secondary_vm_exec_control", 2))),
    *(({f"board.io_apic.{name}": value}, "its board") for name, value in (
        ("lines", 1 << 24), ("index", 256), ("id", 16))),
    *((port(**values), "its board") for values in (
        {"vp": 2}, {"vp": 0xFFFFFFFF}, {"kind": 3}, {"source": 16}, {"length": 241},
        {"length": 255}, {"waits": 2}, {"kind": 2, "waits": 1}, {"kind": 0, "vp": 9},
        {"number": 15, "vp": 2})),
]
RIGHT = [
    {"root.bus.nr_answers": 80, "root.bus.used": 80}, {**asking(), "root.bus.nr_answers": 79},
    queued(size=8, value=(1 << 64) - 1), queued(size=1, in_memory=1), {"root.queued": 0x80000B1F},
    {"root.apic.virtual_work": 1},
    {"root.apic.written": 0x3F0, "root.apic.written_size": 4}, {"root.apic.timer_every": 16},
    {"root.apic.timer_every": 0xFFFFFFFF << 7}, {"vmcs.guest_activity_state": 3},
    port(vp=1, source=15, length=240, waits=1), port(kind=2),
    {"board.io_apic.lines": (1 << 24) - 1, "board.io_apic.index": 255},
]


@pytest.fixture(scope="module")
def two():
    return Root(cpus=2)


@pytest.mark.parametrize("values, words", WRONG, ids=lambda row: str(row)[:60])
def test_a_whole_blob_that_contradicts_itself_changes_nothing(two, values, words):
    blob = two.cpu.save()
    bad = changed(two, blob, values)
    assert bad != blob
    with pytest.raises(ValueError, match=words):
        two.cpu.restore(bad)
    assert two.cpu.save() == blob


@pytest.mark.parametrize("values", RIGHT, ids=lambda row: str(row)[:60])
def test_what_is_at_the_edge_is_taken(two, values):
    blob = two.cpu.save()
    assert changed(two, blob, {}) == blob
    edge = changed(two, blob, values)
    two.cpu.restore(edge)
    assert two.cpu.save() == edge
    two.cpu.restore(blob)
    assert two.cpu.save() == blob


def test_an_accident_anywhere_in_it_is_noticed(two):
    blob, rng = two.cpu.save(), random.Random(3)
    for at in [*(rng.randrange(len(blob)) for _ in range(40)), begin(two) + 8, len(blob) - 1]:
        bad = bytearray(blob)
        bad[at] ^= 1 << rng.randrange(8)
        with pytest.raises(ValueError):
            two.cpu.restore(bytes(bad))
    assert two.cpu.save() == blob


def numbers(kind=END, name=""):
    """The names of all numbers at a blob's end."""
    if hasattr(kind, "_fields_"):
        for part, inner in kind._fields_:
            yield from numbers(inner, f"{name}.{part}" if name else part)
    elif hasattr(kind, "_length_"):
        for n in range(kind._length_):
            yield from numbers(kind._type_, f"{name}.{n}")
    else:
        yield name


def test_any_whole_blob_is_survived():
    """Its processor runs on, with a device, a message and an end of message."""
    rng = random.Random(11)
    root, device = with_device()
    root.memory.write(CODE, bytes.fromhex("8b03" "8903" "0f01c1" "ebf7"))
    found = root.cpu.registers
    found[RBX] = OURS
    root.cpu.registers = found
    root.cpu.set(Field.GUEST_RIP, CODE)
    root.cpu.run(1)
    blob, taken = root.cpu.save(), 0
    names = [name for name in numbers() if "body" not in name and "times" not in name]
    few = [name for name in names if not any(part.isdigit() for part in name.split("."))]
    for _ in range(300):
        values = {}
        for name in (rng.choice(few), rng.choice(names)):
            bits = 8 * place(root, blob, name)[1]
            values[name] = rng.choice([0, 1, 2, 79, 80, 255, rng.getrandbits(bits),
                                       (1 << bits) - 1]) & (1 << bits) - 1
        bad = changed(root, blob, values)
        try:
            root.cpu.restore(bad)
            taken += 1
        except ValueError:
            continue
        for _ in range(6):
            if root.cpu.run(20) in ("port", "memory"):
                root.cpu.answer(5)
        assert len(root.cpu.save()) == len(blob)
    assert 60 < taken < 300
