# SPDX-License-Identifier: GPL-2.0-only
"""A board whose clock is the host's: what goes by it, and that a halted processor sleeps.

No test asks for so many microseconds: a busy machine is slow, but its clocks do not go backwards.
"""

import os
import signal
import struct
import subprocess
import sys
import time

import pytest
from command import started
from test_images import (
    APIC, CPUID, EAX, ECX, EDI, EDX, HLT, LGDT, RDMSR, RDTSC, STI, Board, ends, flat, handler, mov,
    out, run_with, store, wrmsr)

from kvm_vmx import Machine
from kvm_vmx.boot import loader

PM_TIMER_HZ = 3_579_545


def keep(address):
    """EDX:EAX to memory: MOV [RDI], EAX; MOV [RDI + 4], EDX."""
    return mov(EDI, address) + b"\x89\x07\x89\x57\x04"


def tsc(address):
    return RDTSC + keep(address)


DELAY = mov(ECX, 2_000_000) + b"\xff\xc9\x75\xfc"      # DEC ECX; JNZ
IN_DWORD = b"\xed"


def on_host(code, places=(), **options):
    board = Board(16 << 20, clock="host", **options)
    end = run_with(board, code, places)
    return board, end


def test_every_clock_goes_forward_by_the_same_time():
    """The TSC, the PM timer and the APIC's count, before and after a loop: SDM 3B 17.17."""
    def all_of(at):
        return tsc(at) + mov(EDX, 0x608) + IN_DWORD + keep(at + 8) + \
            mov(EDI, APIC + 0x390) + b"\x8b\x07" + keep(at + 16)

    code = store(APIC + 0xF0, 0x1FF) + store(APIC + 0x320, 0x10040) + store(APIC + 0x3E0, 0xB) + \
        store(APIC + 0x380, 0xFFFFFFFF) + all_of(0x5000) + DELAY + all_of(0x5100) + ends(0)
    began = time.monotonic()
    board, end = on_host(code)
    passed = time.monotonic() - began
    assert end.value == 0 and end.instructions["idle"] == 0
    word = board.memory.read_u64
    ticks = word(0x5100) - word(0x5000)
    pm = (word(0x5108) - word(0x5008)) & 0xFFFFFFFF
    left = (word(0x5010) & 0xFFFFFFFF) - (word(0x5110) & 0xFFFFFFFF)
    assert ticks > 0 and pm > 0 and left > 0
    # the APIC's timer has a tick of 32 of the TSC, and they are read one behind the other
    assert left * 32 <= ticks * 1.5 + 1_000_000 and ticks <= left * 32 * 1.5 + 100_000_000
    assert pm / PM_TIMER_HZ <= passed * 1.1


def test_the_tsc_never_goes_back():
    """Ten thousand readings, each below the next: CMP RAX, RBX; JB to UD2."""
    again = RDTSC + b"\x48\xc1\xe2\x20\x48\x09\xd0" + b"\x48\x39\xd8\x72\x0b" + b"\x48\x89\xc3" + \
        b"\xff\xcd\x75"
    code = mov(5, 10_000) + b"\x31\xdb" + again + bytes([256 - len(again) - 1]) + ends(0)
    code = code.replace(b"\x72\x0b", b"\x72" + bytes([len(again) - len(RDTSC) - 12 + 1 +
                                                      len(ends(0))]), 1) + b"\x0f\x0b"
    assert on_host(code)[1].value == 0


@pytest.mark.parametrize("kind", ["one-shot", "deadline", "periodic"])
def test_the_apic_timer_wakes_a_halted_processor(kind):
    """And no instruction is counted while it sleeps."""
    load, places = handler(0x40, store(APIC + 0xB0, 0) + b"\xff\xc5" + b"\x48\xcf")
    code = LGDT + load + store(APIC + 0xF0, 0x1FF) + b"\x31\xed"
    if kind == "deadline":
        code += store(APIC + 0x320, 0x40040) + RDTSC + b"\x05" + struct.pack("<I", 3_000_000) + \
            b"\x83\xd2\0" + mov(ECX, 0x6E0) + b"\x0f\x30"
    else:
        code += store(APIC + 0x3E0, 0xB) + \
            store(APIC + 0x320, 0x40 | (kind == "periodic") << 17) + store(APIC + 0x380, 100_000)
    times = 3 if kind == "periodic" else 1
    code += STI + tsc(0x5000) + HLT * times + tsc(0x5008) + b"\x89\xe8" + \
        mov(EDX, 0xF4) + b"\x89\xe8\xee"
    board, end = on_host(code, places)
    assert end.value == times and end.instructions["idle"] == 0
    assert board.memory.read_u64(0x5008) > board.memory.read_u64(0x5000)
    assert end.instructions["l1"] < 200


def test_a_halt_with_nothing_on_its_way_ends():
    assert "nothing on its way" in on_host(HLT)[1].why


def test_the_limit_of_time_ends_a_sleep():
    load, places = handler(0x40, ends(1))
    code = LGDT + load + store(APIC + 0xF0, 0x1FF) + store(APIC + 0x320, 0x40) + \
        store(APIC + 0x3E0, 0xB) + store(APIC + 0x380, 0xFFFFFFFF) + STI + HLT
    board = Board(16 << 20, clock="host")
    for address, data in places:
        board.memory.write(address, data)
    loader.boot(board, code)
    end = board.run(0.05)
    assert (end.value, end.why) == (None, "0.05 seconds are over")


def test_the_reference_time_and_a_synthetic_timer():
    """MSR 0x40000020 goes on; timer 0, direct, wakes a halted processor: TLFS 12."""
    load, places = handler(0x50, ends(0x66))
    reference = mov(ECX, 0x40000020) + RDMSR
    code = LGDT + load + store(APIC + 0xF0, 0x1FF) + reference + keep(0x5000) + DELAY + \
        reference + keep(0x5008) + b"\x89\xc6\x81\xc6" + struct.pack("<I", 20_000) + \
        mov(ECX, 0x400000B1) + b"\x89\xf0" + b"\x0f\x30" + \
        wrmsr(0x400000B0, 1 | 1 << 12 | 0x50 << 4) + STI + HLT + ends(1)
    board, end = on_host(code, places, profile="kvm-6.12")
    assert board.memory.read_u64(0x5008) > board.memory.read_u64(0x5000)
    assert end.value == 0x66


def test_a_move_keeps_every_clock():
    """The TSC behind a move is not below the one before, nor is the timer lost."""
    load, places = handler(0x40, tsc(0x5008) + ends(0x44))
    code = LGDT + load + store(APIC + 0xF0, 0x1FF) + store(APIC + 0x320, 0x40) + \
        store(APIC + 0x3E0, 0xB) + store(APIC + 0x380, 500_000) + tsc(0x5000) + \
        mov(EDX, 0x77) + b"\xec" + STI + HLT + b"\xeb\xfd"
    board, moved = Board(16 << 20, clock="host"), []

    class Mover:
        def read(self, offset, size):
            moved.append(board.move())
            return 9

    board.ports.add(0x77, 1, Mover())
    end = run_with(board, code, places)
    assert len(moved) == 1 and end.value == 0x44
    assert board.memory.read_u64(0x5008) > board.memory.read_u64(0x5000)


def test_a_second_processor_starts():
    """It waits for its SIPI while the first one runs, and nobody sleeps."""
    board = Board(16 << 20, cpus=2, clock="host")
    board.memory.write(0x9000, b"\xb8\x33\x00\xba\xf4\x00\xee\xf4")
    code = store(APIC + 0xF0, 0x1FF) + store(APIC + 0x310, 1 << 24) + \
        store(APIC + 0x300, 0x4500) + store(APIC + 0x300, 0x4609) + b"\xeb\xfe"
    assert run_with(board, code, []).value == 0x33


def test_virtual_is_the_default_and_the_same_each_time():
    found = {tuple(flat(tsc(0x5000) + DELAY + tsc(0x5008) + ends(0))[0].memory.read(0x5000, 16))
             for _ in range(2)}
    assert len(found) == 1
    assert Board(16 << 20).clock == "virtual"


def test_a_clock_that_is_none_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="virtual.*host"):
        Board(16 << 20, clock="hots")
    image = tmp_path / "image.bin"
    image.write_bytes(tsc(0x5000) + ends(5))
    assert Machine.boot(image, memory=16 << 20, clock="host").value == 5


def test_ctrl_c_reaches_a_processor_that_sleeps(tmp_path):
    """The timer is minutes away; the command ends at the signal, with the shell's status."""
    load, places = handler(0x40, ends(1))
    image = tmp_path / "image.bin"
    code = store(APIC + 0xF0, 0x1FF) + store(APIC + 0x320, 0x40) + store(APIC + 0x3E0, 0xB) + \
        store(APIC + 0x380, 0xFFFFFFFF) + out(0x3F8, ord("z")) + out(0x3F8, 10) + STI + HLT
    image.write_bytes(code)
    with started(
            [sys.executable, "-m", "kvm_vmx", "boot", str(image), "--clock", "host", "--seconds",
             "600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"z\n"
        os.kill(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert child.returncode in (130, -signal.SIGINT), said


assert EAX == 0 and CPUID
