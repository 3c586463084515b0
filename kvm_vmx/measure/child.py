# SPDX-License-Identifier: GPL-2.0-only
"""A process of its own for one measurement: python -m kvm_vmx.measure.child WHAT, JSON out."""

import contextlib
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from kvm_vmx import Machine, building
from kvm_vmx.measure.loops import (
    ACCESSORS, GROUPS, RSP_WAYS, STORES, Loop, World, address, loaded)
from kvm_vmx.measure.rounds import Loops, order, read_tsc

# what a process has timed: ops of a batch, calibration, and ticks by variant under other names
Timed: TypeAlias = dict[str, Any]

COUNTED_OPS = 100
COUNTED_FLIPS = 10
ACCESS_OPS, EXIT_OPS, ENTRY_OPS, TRAP_OPS = 1_600, 1_000, 100, 10
SETTLING = 300      # milliseconds of a process: a third to warm up, the rest to calibrate its clock
CHAIN_OPS, ADDITIONS = 1_000, 16
MCL_CURRENT = 1

EXIT_CONFIGS = (("hyperv", False), ("hyperv", True), ("before", False),
                ("no-hyperv", False), ("no-jump-label", False), ("no-jump-label", True),
                ("by-call", False), ("by-call", True))

# What is timed against what: build and key; the same one twice is the A/A control.
TIMED_EXITS = {
    "key off": ("hyperv", False), "key off again": ("hyperv", False), "before": ("before", False),
    "flag": ("no-jump-label", False), "key on": ("hyperv", True),
}

# What is timed by trap, likewise.
TIMED_TRAPS = {"VMCS": False, "VMCS again": False, "eVMCS": True}


def entry_masks() -> dict[str, int]:
    """Dirty masks by name: none, each group, and one group more from step to step."""
    masks = {"none": 0}
    masks |= {name: mask for mask, name in GROUPS.items()}
    masks |= {f"first {n}": (1 << n) - 1 for n in range(1, len(GROUPS) + 1)}
    return masks


def accessor_loops(config: str, names: Iterable[str]) -> dict[str, Loop]:
    """Name: loop, of bench_NAME of a config."""
    return {name: (address(config, name), 0) for name in names}


def counted() -> list[tuple[str, int]]:
    """Run every loop that is counted, between marks; name and turns of each, in order."""
    order: list[tuple[str, int]] = []
    plain = [accessor.name for accessor in ACCESSORS]
    beside = [f"c_{name}" for name in plain] + list(STORES)

    def run(machine: Machine, where: str, loops: dict[str, Loop], ops: int = COUNTED_OPS) -> None:
        Loops(machine._kernel, 0, list(loops.values())).marked(ops)
        order.extend((f"{where}: {name}", ops) for name in loops)

    for config, _ in EXIT_CONFIGS:
        building.port(config)       # which looks at all sources, and is not to be counted
    with Machine(cpus=1, insn="call") as machine:
        for config, on in EXIT_CONFIGS:
            with loaded(machine, config, on) as world:
                where = f"{config} {'on' if on else 'off'}"
                run(machine, where, {"exit": world.exits})
                run(machine, where, accessor_loops(
                    config, plain + beside if config == "hyperv" else plain))
                if on and config == "hyperv":
                    run(machine, where, accessor_loops(config, RSP_WAYS))
                    run(machine, where, {f"entry {dirty}": world.entries(mask)
                                         for dirty, mask in entry_masks().items()})
        machine.insmod(enlightened_vmcs=False)
        run(machine, "hyperv off", accessor_loops("hyperv", ["flip_key"]), COUNTED_FLIPS)
    return order


def settle(ms: int = SETTLING) -> None:
    """Stay on one CPU, in memory, and let its clock rise."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ctypes.CDLL(None).mlockall(MCL_CURRENT)
    end = time.monotonic() + ms / 3_000
    while time.monotonic() < end:
        pass


def calibrate(world: World, ms: int = SETTLING) -> dict[str, float]:
    """TSC ticks a second, and core cycles a tick."""
    kernel = world.machine._kernel
    chain = Loops(kernel, 0, [(address("hyperv", "chain"), 0)])
    start, ns = read_tsc(), time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    while time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - ns < ms * 2_000_000 // 3:
        pass
    ticks, elapsed = read_tsc() - start, time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - ns
    cycles = CHAIN_OPS * ADDITIONS
    return {"tsc_hz": ticks * 1e9 / elapsed,
            "cycles_per_tick": cycles / statistics.median(chain.timed(200, CHAIN_OPS)[0])}


def accesses(rounds: int, ms: int = SETTLING) -> Timed:
    """Timed rounds of every access, with the key off and with it on."""
    settle(ms)
    found: Timed = {"ops": ACCESS_OPS}
    plain = [accessor.name for accessor in ACCESSORS]
    off = accessor_loops("hyperv", [*STORES, "writel", "readl"])
    with Machine(cpus=1, insn="call") as machine:
        with loaded(machine, "hyperv", False) as world:
            found["calibration"] = calibrate(world, ms)
            off |= {f"{name} before": loop
                    for name, loop in accessor_loops("before", ["writel", "readl"]).items()}
            found["off"] = rounds_of(machine, off, rounds, ACCESS_OPS)
        on = accessor_loops(
            "hyperv", [*STORES[:3], *RSP_WAYS,
                       *(f"{place}{name}" for place in ("", "c_", "again_") for name in plain)])
        with loaded(machine, "hyperv", True):
            found["on"] = rounds_of(machine, on, rounds, ACCESS_OPS)
    return found


def rounds_of(machine: Machine, loops: dict[str, Loop], rounds: int,
              ops: int) -> dict[str, list[int]]:
    """Ticks of each loop's batches by its name, the first rounds thrown away."""
    runner = Loops(machine._kernel, 0, list(loops.values()))
    runner.timed(max(1, rounds // 10), ops)
    return dict(zip(loops, runner.timed(rounds, ops)))


def exits(rounds: int, ms: int = SETTLING) -> Timed:
    """Timed rounds of VM exits in each build: loaded, warmed up, timed, unloaded."""
    settle(ms)
    variants = list(TIMED_EXITS)
    ticks: dict[str, list[int]] = {name: [] for name in variants}
    with Machine(cpus=1, insn="call") as machine:
        with loaded(machine) as world:
            found: Timed = {"ops": EXIT_OPS, "calibration": calibrate(world, ms)}
        for turn in range(rounds + 2):
            for name in (variants[i] for i in order(turn, len(variants))):
                with loaded(machine, *TIMED_EXITS[name]) as world:
                    batches = Loops(machine._kernel, 0, [world.exits]).timed(5, EXIT_OPS)[0]
                if turn >= 2:
                    ticks[name].append(sorted(batches)[len(batches) // 2])
    return found | {"exits": ticks}


def entries(rounds: int, ms: int = SETTLING) -> Timed:
    """Timed rounds of VM entries, by dirty groups."""
    settle(ms)
    with Machine(cpus=1, insn="call") as machine, loaded(machine, "hyperv", True) as world:
        found: Timed = {"ops": ENTRY_OPS, "calibration": calibrate(world, ms)}
        masks = entry_masks() | {"none again": 0}
        loops = {name: world.entries(mask) for name, mask in masks.items()}
        return found | {"entries": rounds_of(machine, loops, rounds, ENTRY_OPS)}


def traps(rounds: int, ms: int = SETTLING) -> Timed:
    """Timed rounds by trap: exits of either mode, single accesses, entries that note RSP."""
    settle(ms)
    ticks: dict[str, list[int]] = {name: [] for name in TIMED_TRAPS}
    noting = {f"entry_{way}": (address("hyperv", f"entry_{way}"), 1)
              for way in ("test", "test_again", "key", "poke")}
    with Machine(cpus=1, insn="trap") as machine:
        with loaded(machine) as world:
            found: Timed = {"ops": TRAP_OPS, "calibration": calibrate(world, ms)}
            found["accesses"] = rounds_of(
                machine, accessor_loops("hyperv", ["readl", "writel"]), rounds, TRAP_OPS)
            found["entries off"] = rounds_of(machine, noting, rounds, TRAP_OPS)
        with loaded(machine, "hyperv", True):
            found["entries on"] = rounds_of(machine, noting, rounds, TRAP_OPS)
        for turn in range(rounds + 2):
            for name in (list(ticks)[i] for i in order(turn, len(ticks))):
                with loaded(machine, "hyperv", TIMED_TRAPS[name]) as world:
                    world.move_stack()
                    batches = Loops(machine._kernel, 0, [world.exits]).timed(9, TRAP_OPS)[0]
                if turn >= 2:
                    ticks[name].append(sorted(batches)[len(batches) // 2])
    return found | {"exits": ticks}


TASKS: dict[str, Callable[..., object]] = {
    "counted": counted, "accesses": accesses, "exits": exits, "entries": entries,
    "traps": traps}


def main() -> None:
    """Run one task; what it prints besides goes to standard error."""
    task, *arguments = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        result = TASKS[task](*map(int, arguments))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
