# SPDX-License-Identifier: GPL-2.0-only
"""One mode of `kvm-vmx run`: load, warm up, count over the steady state, unload."""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.vcpu import ExitSummary, Vcpu
from kvm_vmx.machine.vm import GuestMemory
from kvm_vmx.run.serial import Serial

MODES = {"vmcs": "VMCS", "evmcs": "eVMCS"}

WARM_UP = 1_000
STRETCHES = 10
SHORTEST, LONGEST = 100, 1_000_000


class Window(NamedTuple):
    """Some exits in a row: how far counters and traps moved, and how often user space called."""

    counters: dict[str, int]
    traps: dict[str, int]
    exits: int
    calls: int

    def less(self, once: "Window") -> "Window":
        """The window without what a call costs by itself, known from `once`: one exit, one call."""
        return Window(
            {name: value - self.calls * once.counters[name]
             for name, value in self.counters.items()},
            {name: value - self.calls * once.traps[name] for name, value in self.traps.items()},
            self.exits - self.calls, 0)


class Result(NamedTuple):
    """What the guest left behind, for comparison between modes."""

    registers: dict[str, int]
    memory: str                 # SHA-256 of all of the guest's memory
    reasons: dict[int, int]     # VM exits by reason
    ended: ExitSummary | None   # what ended it before its exits were up
    serial: str                 # what it sent to its serial port


class Run:
    """A guest on its way: its exits, their reasons, and why it has ended, if it has."""

    def __init__(self, vcpu: Vcpu, report: Callable[[int], object] = lambda done: None,
                 serial: Serial | None = None):
        self.vcpu, self.report, self.serial = vcpu, report, serial
        self.exits = self.calls = self.ns = 0
        self.reasons: dict[int, int] = {}
        self.ended: ExitSummary | None = None

    def stretch(self, exits: int) -> None:
        """Run at most `exits` more. The guest has ended where KVM gives another reason than that
        the exits are up, and no device here serves it: an exit may be a stretch's last and the
        guest's last at once."""
        end = self.exits + exits
        while self.exits < end and self.ended is None:
            start = time.perf_counter_ns()
            summary = self.vcpu.run(exits=end - self.exits)
            self.ns += time.perf_counter_ns() - start
            self.calls += 1
            self.exits += summary.exits
            for reason, count in summary.reasons.items():
                self.reasons[reason] = self.reasons.get(reason, 0) + count
            if summary.reason != "INTR" and not (
                    self.serial and self.serial.serves(summary, self.vcpu)):
                self.ended = summary
        self.report(self.exits)

    def steady(self, machine: Machine, exits: int) -> Window:
        """Run `exits` in all; the window of the steady state, or all where it was not reached."""
        before, traps = dict(machine.counters), machine.traps
        warm_up = min(WARM_UP, max(1, exits // STRETCHES))
        self.window(machine, warm_up)
        once = self.window(machine, min(1, exits - warm_up))
        long = self.window(machine, exits - self.exits)
        if long.exits > long.calls and once.calls == once.exits == 1:
            return long.less(once)
        return Window(
            difference(before, machine.counters), difference(traps, machine.traps), self.exits, 0)

    def window(self, machine: Machine, exits: int) -> Window:
        """Run `exits` more in stretches, unless the guest ends before."""
        before, traps, exits_before, calls = (
            dict(machine.counters), machine.traps, self.exits, self.calls)
        end = self.exits + exits
        length = min(LONGEST, max(SHORTEST, exits // STRETCHES))
        while self.exits < end and self.ended is None:
            self.stretch(min(length, end - self.exits))
        return Window(
            difference(before, machine.counters), difference(traps, machine.traps),
            self.exits - exits_before, self.calls - calls)


class Figures(TypedDict):
    """What a mode's run has cost: the M of schema kvm_vmx.run/2, but for the times."""

    exits: int
    instructions: dict[str, int]
    per_exit: dict[str, float]
    traps: dict[str, int]
    traps_per_exit: dict[str, float]
    groups_reread_per_entry: float
    bytes_reread_per_entry: float
    enable_evmcs: bool


class Counted(NamedTuple):
    """A mode's run: its figures, what the guest left behind, and roughly what an exit took."""

    figures: Figures
    result: Result
    ns: float


def measure(machine: Machine, mode: str, code: bytes, memory: int, exits: int,
            report: Callable[[str, int], object], config: str = "hyperv",
            serial: Serial | None = None) -> Counted:
    """Load a build of kvm-intel for `mode`, run `code` for `exits` VM exits, unload."""
    boot, boot_traps = dict(machine.counters), machine.traps
    kvm = machine.insmod(enlightened_vmcs=mode == "evmcs", config=config)
    key = kvm.enable_evmcs
    vm = kvm.create_vm(code=code, memory=memory)
    vcpu = vm.create_vcpu(cpu=0)
    run = Run(vcpu, lambda done: report(mode, done), serial)
    steady = run.steady(machine, exits)
    result = Result(dict(vcpu.regs), digest(vm.memory), run.reasons, run.ended,
                    serial.text if serial else "")
    kvm.rmmod()

    counters = steady.counters
    entries = counters["vmlaunch"] + counters["vmresume"]
    return Counted({
        "exits": run.exits,
        "instructions": difference(boot, machine.counters),
        "per_exit": {name: ratio(value, steady.exits) for name, value in counters.items()},
        "traps": difference(boot_traps, machine.traps),
        "traps_per_exit": {name: ratio(value, steady.exits)
                           for name, value in steady.traps.items()},
        "groups_reread_per_entry": ratio(counters["groups_reread"], entries),
        "bytes_reread_per_entry": ratio(counters["bytes_reread"], entries),
        "enable_evmcs": key,
    }, result, run.ns / max(1, run.exits))


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """How far each counter has moved."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


def ratio(value: int, count: int) -> float:
    """value / count: an int where it is whole, 0 where nothing was counted."""
    if not count:
        return 0
    return value // count if value % count == 0 else value / count


def digest(memory: GuestMemory) -> str:
    """The SHA-256 of a guest's memory."""
    return hashlib.sha256(memory.read(0, memory.size)).hexdigest()
