# SPDX-License-Identifier: GPL-2.0-only
"""Hostile input: whatever L1 and L2 put before L0, every outcome is one that a processor has.

The long form runs for HOSTILE_SECONDS (600) with --soak; perf/sanitize.sh runs it on a build
with the address and undefined-behaviour sanitizers.
"""

import os
import random
import time

import pytest
from world import ASSIST, BASE, EVMCS, EVMCS_B, LAYOUT, REVISION, VMCS_A, VMCS_B, VMXON, World

from kvm_vmx.machine.outcome import Outcome, Stopped

FLAGS, RCX, R8 = 0x8D5, 1, 8
PAGES = (VMXON, VMCS_A, VMCS_B, ASSIST, EVMCS, EVMCS_B, 0x5000, 0x50000, 0x90000)
MSRS = [0x3A, 0x10, 0x174, 0x1D9, 0x277, 0x38F, 0xC0000080, 0xC0000100, *range(0x480, 0x492),
        0x40000000, 0x40000001, 0x40000021, *range(0x40000070, 0x40000074),
        *range(0x40000080, 0x40000085), *range(0x40000090, 0x400000A0), 0x40000106, 0x40000107,
        0x40000108]
CALLS = [2, 3, 8, 0x13, 0x14, 0xAF, 0xB0, 0x8001, 0x5C]
PROFILES = ["kvm-6.12", "tlfs-strict", "ice-lake"]
POLICIES = ["always", "never", "random(3)", "commit_on_success"]
L2_OPCODES = [b"\x0f\xa2", b"\x0f\x01\xc1", b"\xf4", b"\x0f\x32", b"\x0f\x30",
              b"\xcd\x03", b"\x0f\x22\xc0", b"\x0f\x20\xc0", b"\xe4\x10", b"\x48\xcf", b"\xff"]


class Hostile:
    """A machine of two processors, and everything that may be done to it, at random."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.world = World(
            cpus=2, profile=rng.choice(PROFILES), cache_policy=rng.choice(POLICIES),
            lints=rng.random() < 0.5, enforce_cpuid=rng.random() < 0.2)
        self.memory = self.world.memory
        for n in range(2):
            cpu = self.world.partition.processor(n)
            cpu.wrmsr(0x40000000, 1 << 48)
            self.world.enlighten(EVMCS if n == 0 else EVMCS_B, cpu, ASSIST + (n << 12) * 0x20)
        self.world.guest_code(b"\x0f\xa2")

    def word(self):
        """A number that is somebody's boundary."""
        rng = self.rng
        return rng.choice([
            0, 1, 0xFFF, 1 << 45, 1 << 46, (1 << 64) - 1, (1 << 64) - 2, 1 << 63, 1 << 47,
            rng.getrandbits(64), rng.getrandbits(32), rng.choice(PAGES),
            rng.choice(PAGES) | rng.getrandbits(12), self.memory.size - 8, self.memory.size])

    def step(self):
        """One thing that L1 does; its outcome, or None where it is a store."""
        rng = self.rng
        cpu = self.world.partition.processor(rng.randrange(2))
        if cpu.stopped:
            self.blob(cpu)
            return cpu.go_on(rng.choice([None, 1])) if cpu.stopped else None
        what = rng.choice([self.entry] * 4 + [
            self.mend, self.page, self.page, self.field, self.pointer, self.instruction,
            self.msr, self.call, self.code, self.registers, self.blob, self.backing, self.time])
        return what(cpu)

    def entry(self, cpu):
        registers = [self.word() for _ in range(16)]
        registers[RCX] = self.rng.choice(CALLS) | self.rng.choice([0, 1 << 16, self.word()])
        registers[R8] = self.rng.choice([3, 1, self.word()])
        cpu.registers = registers
        return self.rng.choice([cpu.vmlaunch, cpu.vmresume, cpu.vmresume])(
            stop_after=self.rng.choice([None, None, 0, 2]))

    def mend(self, cpu):
        """A good eVMCS again, whose guest may flush directly."""
        page, assist = (EVMCS, EVMCS_B)[cpu.index], ASSIST + (cpu.index << 12) * 0x20
        if self.there(page, 4096) and self.there(assist, 4096):
            cpu.cpl, cpu.cr0, cpu.cr4, cpu.efer = 0, 0x80050033, 0x26F0, 0xD01
            self.world.enlighten(page, cpu, assist, hv_vm_id=1, hv_vp_id=self.rng.randrange(3),
                                 hv_enlightenments_control=self.rng.randrange(4),
                                 partition_assist_page=self.rng.choice([0x50000, self.word()]))
            self.memory.write(assist + 32, b"\1")
            self.world.guest_code(b"\x0f\x01\xc1\x0f\xa2")

    def page(self, cpu):
        at = self.rng.choice(PAGES)
        if not self.there(at, 4096):
            return
        if self.rng.random() < 0.3:
            self.memory.write(at, self.rng.randbytes(4096))
            return
        for _ in range(self.rng.randrange(1, 8)):
            offset = self.rng.randrange(4089)
            self.memory.write(at + offset, self.word().to_bytes(8, "little"))

    def there(self, gpa, size):
        try:
            self.memory.read(gpa, size)
        except IndexError:
            return False
        return True

    def field(self, cpu):
        page, member = self.rng.choice([EVMCS, EVMCS_B]), self.rng.choice(list(LAYOUT))
        offset, size = LAYOUT[member]
        if self.there(page, 4096):
            self.memory.write(page + offset, (self.word() & (1 << 8 * size) - 1).to_bytes(
                size, "little"))

    def pointer(self, cpu):
        page = ASSIST + (cpu.index << 12) * 0x20
        if self.there(page, 4096):
            self.memory.write_u64(page + 48, self.rng.choice([EVMCS, EVMCS_B, self.word()]))
            self.memory.write(page + 40, bytes([self.rng.choice([1, 1, 1, 0, 255])]))
            self.memory.write(page + 32, bytes([self.rng.choice([1, 0, 255])]))

    def instruction(self, cpu):
        name = self.rng.choice(["vmxon", "vmxoff", "vmclear", "vmptrld", "vmptrst", "vmread",
                                "vmwrite", "invept", "invvpid", "mov_to_cr"])
        arity = {"vmxoff": 0, "vmptrst": 0, "vmwrite": 2, "invept": 3, "invvpid": 3,
                 "mov_to_cr": 2}.get(name, 1)
        arguments = [self.word() for _ in range(arity)]
        if name in ("vmread", "vmwrite"):
            arguments[0] = self.rng.choice([*BASE, self.word()])
        if name == "mov_to_cr":
            arguments[0] = self.rng.randrange(9)
        return getattr(cpu, name)(*arguments)

    def msr(self, cpu):
        msr = self.rng.choice([*MSRS, self.rng.getrandbits(32)])
        if self.rng.random() < 0.5:
            return cpu.rdmsr(msr)
        return cpu.wrmsr(msr, self.word())

    def call(self, cpu):
        rng = self.rng
        control = rng.choice(CALLS) | rng.choice([0, 1 << 16]) | rng.getrandbits(5) << 17
        control |= rng.choice([0, rng.getrandbits(12)]) << 32 | rng.choice([0, 0, 1, 4000]) << 48
        return cpu.hypercall(control, self.word(), self.word(),
                             tuple(self.word() for _ in range(rng.randrange(13))))

    def code(self, cpu):
        if self.there(0x500000, 64):
            self.memory.write(0x500000, b"".join(
                self.rng.choice([*L2_OPCODES, self.rng.randbytes(3)]) for _ in range(12)))

    def registers(self, cpu):
        name = self.rng.choice(["cr0", "cr4", "efer", "rflags", "rip", "cpl", "mov_ss_shadow",
                                "pending_interrupt", "pending_nmi"])
        value = {"cpl": self.rng.choice([0, 0, 0, 3]), "mov_ss_shadow": False,
                 "pending_interrupt": self.rng.choice([None, 0x33]),
                 "pending_nmi": self.rng.random() < 0.5}.get(name, self.word())
        if name in ("cr0", "cr4", "efer") and self.rng.random() < 0.8:
            value = {"cr0": 0x80050033, "cr4": 0x26F0, "efer": 0xD01}[name]
        setattr(cpu, name, value)

    def blob(self, cpu):
        saved = bytearray(cpu.save())
        if self.rng.random() < 0.5:
            saved[self.rng.randrange(len(saved))] ^= 1 << self.rng.randrange(8)
        try:
            cpu.restore(bytes(saved))
        except ValueError:
            pass

    def backing(self, cpu):
        for page in PAGES:
            self.memory.back(page)
        if self.rng.random() < 0.3:
            self.memory.unback(self.rng.choice(PAGES))

    def time(self, cpu):
        if self.rng.random() < 0.2:
            self.world.partition.migrate(self.rng.choice([1.0, 2.0, 0.5]))
        if self.rng.random() < 0.2:
            self.memory.write(VMXON, REVISION.to_bytes(4, "little")) if self.there(VMXON, 4) \
                else None
        cpu.signal_sint(self.rng.randrange(16))


def check(outcome):
    """One of the outcomes that an instruction may have."""
    if outcome is None:
        return
    assert isinstance(outcome, Outcome)
    if hasattr(outcome, "vector"):
        assert outcome.vector in (6, 13)
    elif hasattr(outcome, "error"):
        assert 1 <= outcome.error <= 28 and outcome.rflags & FLAGS == 0x40
    elif not outcome.ok and not isinstance(outcome, Stopped):
        assert outcome.rflags & FLAGS == 1


def storm(seed, steps):
    """A machine that goes through a storm; its counters."""
    hostile = Hostile(seed)
    for _ in range(steps):
        check(hostile.step())
    hostile.world.partition.lints()
    return hostile.world.partition.counters()


@pytest.mark.rule("R79", "R98")
@pytest.mark.parametrize("seed", range(20))
def test_hostile_input(seed):
    storm(seed, 400)


def test_the_storm_gets_everywhere():
    totals = {}
    for seed in range(100, 120):
        for name, count in storm(seed, 400).items():
            totals[name] = totals.get(name, 0) + count
    missed = {name for name, count in totals.items() if not count}
    assert missed <= {"cpuid"}


@pytest.mark.soak
def test_hostile_input_for_long(soak):
    if not soak:
        pytest.skip("a soak: give --soak")
    end = time.monotonic() + float(os.environ.get("HOSTILE_SECONDS", "600"))
    seed = int.from_bytes(os.urandom(4), "little")
    while time.monotonic() < end:
        seed += 1
        print(f"seed {seed}")
        storm(seed, 2000)
