# SPDX-License-Identifier: GPL-2.0-only
"""One mode of `kvm-vmx run`: load, warm up, measure the steady state, unload."""

import hashlib
import statistics
import time
from typing import NamedTuple

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

    def less(self, once):
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
    ended: str                  # why the guest ended before its exits were up, or ""


class Run:
    """A guest on its way: its exits, their reasons, and the time of each stretch."""

    def __init__(self, machine, vcpu, report):
        self.machine, self.vcpu, self.report = machine, vcpu, report
        self.exits = 0
        self.reasons = {}
        self.ended = ""
        self.ns_per_exit = []

    def stretch(self, exits):
        """One call: run at most `exits` more."""
        start = time.perf_counter_ns()
        summary = self.vcpu.run(exits=exits)
        elapsed = time.perf_counter_ns() - start
        self.exits += summary.exits
        for reason, count in summary.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        if summary.exits:
            self.ns_per_exit.append(elapsed / summary.exits)
        if summary.exits < exits:
            self.ended = summary.reason
        self.report(self.exits)

    def window(self, exits):
        """Run `exits` more in stretches, unless the guest ends before."""
        before, traps, exits_before, calls = (
            dict(self.machine.counters), self.machine.traps, self.exits, 0)
        end = self.exits + exits
        length = min(LONGEST, max(SHORTEST, exits // STRETCHES))
        self.ns_per_exit = []
        while self.exits < end and not self.ended:
            self.stretch(min(length, end - self.exits))
            calls += 1
        return Window(
            difference(before, self.machine.counters), difference(traps, self.machine.traps),
            self.exits - exits_before, calls)

    def steady(self, exits):
        """Run `exits` in all; the window of the steady state, or all where it was not reached."""
        before, traps = dict(self.machine.counters), self.machine.traps
        warm_up = min(WARM_UP, max(1, exits // STRETCHES))
        self.window(warm_up)
        once = self.window(min(1, exits - warm_up))
        long = self.window(exits - self.exits)
        if long.exits > long.calls:
            return long.less(once)
        return Window(
            difference(before, self.machine.counters), difference(traps, self.machine.traps),
            self.exits, 0)


def measure(machine, mode, code, memory, exits, report, config="hyperv"):
    """Load a build of kvm-intel for `mode`, run `code` for `exits` VM exits, unload.

    Returns the mode's figures (the M of schema kvm_vmx.run/1) and the guest's Result.
    """
    boot, boot_traps = dict(machine.counters), machine.traps
    kvm = machine.insmod(enlightened_vmcs=mode == "evmcs", config=config)
    key = kvm.enable_evmcs
    vm = kvm.create_vm(code=code, memory=memory)
    vcpu = vm.create_vcpu(cpu=0)
    run = Run(machine, vcpu, lambda done: report(mode, done))
    steady = run.steady(exits)
    result = Result(dict(vcpu.regs), digest(vm.memory), run.reasons, run.ended)
    kvm.rmmod()

    counters = steady.counters
    entries = counters["vmlaunch"] + counters["vmresume"]
    return {
        "exits": run.exits,
        "instructions": difference(boot, machine.counters),
        "per_exit": {name: ratio(value, steady.exits) for name, value in counters.items()},
        "traps": difference(boot_traps, machine.traps),
        "traps_per_exit": {name: ratio(value, steady.exits)
                           for name, value in steady.traps.items()},
        "groups_reread_per_entry": ratio(counters["groups_reread"], entries),
        "bytes_reread_per_entry": ratio(counters["bytes_reread"], entries),
        "ns_per_exit": round(statistics.median(run.ns_per_exit), 1) if run.ns_per_exit else 0,
        "enable_evmcs": key,
    }, result


def difference(before, after):
    """How far each counter has moved."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


def ratio(value, count):
    """value / count: an int where it is whole, 0 where nothing was counted."""
    if not count:
        return 0
    return value // count if value % count == 0 else value / count


def digest(memory):
    """The SHA-256 of a guest's memory."""
    return hashlib.sha256(memory.read(0, memory.size)).hexdigest()
