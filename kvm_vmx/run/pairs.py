# SPDX-License-Identifier: GPL-2.0-only
"""The two times of `kvm-vmx run`: rounds in which the modes take turns, beside an A/A control.

A process has one machine, and so each turn loads kvm-intel, runs the guest from its start up to
a steady stretch, times that, and unloads. VMCS has two turns a round: where they differ, what
differs is the machine, and no time is told.
"""

import statistics
import time
from typing import NamedTuple

from kvm_vmx.machine.machine import Machine
from kvm_vmx.run.serial import Serial
from kvm_vmx.run.steady_state import WARM_UP, Run
from kvm_vmx.measure.rounds import order
from kvm_vmx.measure.statistics import Estimate, estimate

TURNS = {"vmcs": False, "evmcs": True, "vmcs again": False}
MOST_ROUNDS, FEWEST_ROUNDS = 41, 5
SECONDS = 1.2               # for all rounds together
MOST_STRETCHES = 5
STRETCH_NS = 600_000        # long beside a call, short beside a second
CALL_NS = 10_000            # what a call of run() costs besides its exits
LOAD_NS = 1_000_000         # to load, to create a VM, to unload: at most

# How far apart two turns of one mode may be, as a ratio, before nothing can be told: the median
# of the rounds, and its interval.
A_A_MEDIAN, A_A_INTERVAL = 0.05, 0.10


class Plan(NamedTuple):
    """A turn: exits to warm up, stretches to time, exits of each; and rounds of such turns."""

    warm_up: int
    stretches: int
    length: int
    rounds: int


class Times(NamedTuple):
    """Nanoseconds an exit of each mode, {} where nothing was timed; VMCS against itself."""

    ns: dict[str, Estimate]
    a_a: Estimate | None
    rounds: int

    @property
    def measurable(self) -> bool | None:
        """Do two turns of one mode agree? None where nothing was timed."""
        if self.a_a is None:
            return None
        return abs(self.a_a.value - 1) <= A_A_MEDIAN and \
            1 - A_A_INTERVAL <= self.a_a.low and self.a_a.high <= 1 + A_A_INTERVAL


NOTHING = Times({}, None, 0)


def plan(exits: int, ns: dict[str, float], by_trap: bool) -> Plan | None:
    """How to time a guest that has so many exits, which took about so long in each mode; None
    where it has too few of them, or takes too long."""
    slow, fast = max(ns.values()), min(ns.values())
    length = max(int(STRETCH_NS / slow), int(5 * CALL_NS / fast) + 1, 2)
    warm_up = max(1, min(WARM_UP, exits // 10, length if by_trap else WARM_UP))
    left = exits - warm_up - 1
    stretches = max(1, min(MOST_STRETCHES, left // length))
    length = min(length, left // stretches)
    if length < 2 or length * fast < 5 * CALL_NS:
        return None
    turn = (warm_up + 1 + stretches * length) * slow + LOAD_NS
    rounds = min(MOST_ROUNDS, int(SECONDS * 1e9 / (turn * len(TURNS))))
    return Plan(warm_up, stretches, length, rounds) if rounds >= FEWEST_ROUNDS else None


class Guest(NamedTuple):
    """What a turn runs: the machine, the build of kvm-intel, the guest."""

    machine: Machine
    config: str
    code: bytes
    memory: int
    serial: type[Serial] | None     # the serial port that the guest has


def timed(guest: Guest, exits: int, rough: dict[str, float]) -> Times:
    """The times of a guest that has so many exits, which took roughly so long; nothing where it
    has too few of them, or takes too long."""
    by_trap = guest.machine._kernel.by_trap
    pilot = plan(exits, rough, by_trap)
    # what a few exits took is mostly their first time
    each = {mode: turn(guest, mode, pilot) for mode in rough} if pilot else {}
    first = {mode: ns for mode, ns in each.items() if ns is not None}
    found = plan(exits, first, by_trap) if first and len(first) == len(each) else None
    if found is None:
        return NOTHING
    turns = list(TURNS)
    ns: dict[str, list[float]] = {name: [] for name in turns}
    for n in range(found.rounds):
        for i in order(n, len(turns)):
            one = turn(guest, turns[i], found)
            if one is None:
                return NOTHING
            ns[turns[i]].append(one)
    again = estimate([b / a for a, b in zip(ns["vmcs"], ns["vmcs again"])])
    return Times({mode: estimate(ns[mode]) for mode in rough}, again, found.rounds)


def turn(guest: Guest, name: str, found: Plan) -> float | None:
    """Nanoseconds an exit: the median stretch, less what the call itself costs. None where the
    guest ends before it did so far: one that reads a clock may."""
    kvm = guest.machine.insmod(enlightened_vmcs=TURNS[name], config=guest.config)
    vcpu = kvm.create_vm(code=guest.code, memory=guest.memory).create_vcpu(cpu=0)
    run = Run(vcpu, serial=guest.serial() if guest.serial else None)
    run.stretch(found.warm_up)
    call = elapsed(run, 1)
    stretch = statistics.median(elapsed(run, found.length) for _ in range(found.stretches))
    kvm.rmmod()
    if run.ended is not None:
        return None
    return max(stretch - call, 1) / (found.length - 1)


def elapsed(run: Run, exits: int) -> int:
    """How long so many exits take."""
    start = time.perf_counter_ns()
    run.stretch(exits)
    return time.perf_counter_ns() - start
