# SPDX-License-Identifier: GPL-2.0-only
"""Tier 2: time, as paired rounds in fresh processes; a difference counts only beside its A/A."""

import json
import math
import os
import platform
import statistics as stdlib
import subprocess
import sys
from collections.abc import Sequence

from kvm_vmx import Machine, build_info, building
from kvm_vmx.console import Trouble
from kvm_vmx.machine.fields import done_again
from kvm_vmx.measure import copied, host_rsp, scale, scaling
from kvm_vmx.measure.child import SETTLING, Timed
from kvm_vmx.measure.loops import ACCESSORS, GROUPS, loaded
from kvm_vmx.measure.report import DISAGREE, MEASURED, Report, Say, row
from kvm_vmx.measure.statistics import Estimate, differences, estimate, fit, ratios, undisturbed
from kvm_vmx.measure.structure import reread

# Processes and rounds of each task. Another process has another layout of its addresses.
PROCESSES = {"accesses": (12, 2_000), "exits": (10, 100), "entries": (8, 400), "traps": (10, 12)}

# How far apart two copies of one loop may be, in core cycles, before nothing else counts.
A_A_LIMIT = {"accesses": 0.05, "exits": 1.0, "entries": 1.0}

# What L0 does again, whatever the bytes, where one of these groups is dirty.
AGAIN = done_again()


class Sample:
    """What one process timed: ticks of each variant's batches, and what a tick is."""

    def __init__(self, found: Timed, world: str):
        self.ticks: dict[str, list[int]] = found[world]
        self.ops: int = found["ops"]
        self.calibration: dict[str, float] = found["calibration"]
        self.rounds = undisturbed(self.ticks)
        # the counter moves in steps: what is finer cannot be seen
        self.resolution = self.cycles(
            math.gcd(*(t for ticks in self.ticks.values() for t in ticks)))

    def cycles(self, ticks: float) -> float:
        """Ticks of a batch as core cycles of one operation."""
        return ticks * self.calibration["cycles_per_tick"] / self.ops

    def median(self, name: str) -> float:
        """Ticks of a variant's median batch."""
        return stdlib.median(self.ticks[name])

    def ns(self, name: str) -> float:
        """The median time of one operation."""
        return self.median(name) / self.ops / self.calibration["tsc_hz"] * 1e9

    def difference(self, name: str, control: str) -> float:
        """Core cycles an operation over the control, round by round, the median."""
        return self.cycles(differences(self.ticks, self.rounds, name, control))

    def ratio(self, name: str, control: str) -> float:
        """Time over the control's, round by round, the median."""
        return ratios(self.ticks, self.rounds, name, control)


class Samples:
    """All processes of one task."""

    def __init__(self, report: Report, task: str, progress: Say):
        processes, rounds = PROCESSES[task]
        self.task, self.report = task, report
        self.found: list[Timed] = []
        self.worlds: dict[str, list[Sample]] = {}
        # in front of minutes of timing, as it takes a file that may not be there
        report.machine["cpu_model_name"] = cpu_model()
        for n in range(processes):
            progress(f"tier 2: {task}, process {n + 1} of {processes}")
            self.found.append(child(task, rounds))
        describe(report, self.found)

    def world(self, name: str) -> list[Sample]:
        """One sample a process; the first time, their ticks go into the report."""
        if name in self.worlds:
            return self.worlds[name]
        for n, found in enumerate(self.found):
            for variant, ticks in found[name].items():
                self.report.rounds.setdefault(f"{self.task} {name}: {variant}", []).append(ticks)
        self.worlds[name] = [Sample(found, name) for found in self.found]
        return self.worlds[name]


def child(task: str, rounds: int) -> Timed:
    """What a fresh process found, with modules that lie elsewhere in memory than any other's."""
    done = subprocess.run(
        [sys.executable, "-P", copied.__file__, building.ROOT, "kvm_vmx.measure.child", task,
         str(rounds), str(SETTLING)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Trouble(f"the loops could not be timed: {last}")
    found: Timed = json.loads(done.stdout)
    return found


def describe(report: Report, found: list[Timed]) -> None:
    """The machine as it was: what pyperf and a reader need to judge the numbers."""
    calibration = [one["calibration"] for one in found]
    report.machine |= {
        "cpu_count": os.cpu_count(), "platform": platform.platform(),
        "hypervisor": "hypervisor" in cpu_line("flags"), "compiler": build_info.compiler,
        "tsc_hz": round(stdlib.median(one["tsc_hz"] for one in calibration)),
        "cycles_per_tick": round(stdlib.median(one["cycles_per_tick"] for one in calibration), 4),
    }


def cpu_line(name: str) -> str:
    """The first processor's line of /proc/cpuinfo."""
    with open("/proc/cpuinfo") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def cpu_model() -> str:
    """The processor's own name."""
    return cpu_line("model name")


def over(samples: list[Sample], name: str, control: str) -> Estimate:
    """Core cycles over the control, over all processes."""
    return estimate([sample.difference(name, control) for sample in samples])


def a_a(report: Report, task: str, samples: list[Sample], name: str, control: str) -> None:
    """The control against its own copy: unless they are equal, nothing is measurable."""
    found = over(samples, name, control)
    step = max(sample.resolution for sample in samples)
    report.add("A/A control", task, found.value, "cycles", MEASURED, low=found.low, high=found.high,
               note=f"two copies of one loop; the clock's step is {step:.3f} cycle")
    limit = A_A_LIMIT[task.split(",")[0]]
    if not found.low - step <= 0 <= found.high + step or abs(found.value) > limit:
        report.measurable = False


def at_most(found: Estimate, bound: float) -> bool | None:
    """Is it within a bound? None where the processes disagree, above it and below."""
    if found.value <= bound:
        return True
    return False if found.low > bound else None


def at_least(found: Estimate, bound: float) -> bool | None:
    """Does it reach a bound? None where the processes disagree, below it and above."""
    if found.value >= bound:
        return True
    return False if found.high < bound else None


def key(report: Report, samples: Samples) -> None:
    """What the key costs off: beside a store, beside a flag, in an access by VMWRITE."""
    off = samples.world("off")
    a_a(report, "accesses, key off", off, "store_again", "store")
    table = "over a raw store, key off"
    for name, note in (("store_moved", "the same loop elsewhere in its cache line"),
                       ("store_key", "behind the static key"), ("store_flag", "behind a flag")):
        row(report, table, name, over(off, name, "store"), "cycles", note)
    table = "an access by call, over the tree before"
    for name in ("writel", "readl"):
        row(report, table, name, over(off, name, f"{name} before"), "cycles")
    host_rsp.timed(report, "RSP moved and noted, eVMCS", samples.world("on"), "rsp_")
    cost = over(off, "store_key", "store")
    report.claim("key off: an access costs at most 0.5 cycle more than without the key",
                 at_most(cost, 0.5), f"{cost.value:+.2f} cycle [{cost.low:+.2f}, {cost.high:+.2f}]",
                 why=DISAGREE)


def accessors(report: Report, samples: Samples) -> None:
    """Each accessor under eVMCS: over the raw store, and against C."""
    on = samples.world("on")
    a_a(report, "accesses, key on", on, "store_again", "store")
    row(report, "an access under eVMCS", "store",
        estimate([sample.cycles(stdlib.median(sample.ticks["store"])) for sample in on]), "cycles",
        "the raw store itself, with its loop")
    for accessor in ACCESSORS:
        row(report, "an access under eVMCS", accessor.name, estimate(
            [sample.cycles(stdlib.median(sample.ticks[accessor.name])) for sample in on]), "cycles")
    for accessor in ACCESSORS:
        row(report, "an access over a raw store", accessor.name,
            over(on, accessor.name, "store"), "cycles")
    beside_c(report, on)


def beside_c(report: Report, on: list[Sample]) -> None:
    """Each accessor's time against C's; what two copies of C differ by is no difference."""
    pairs = []
    for accessor in ACCESSORS:
        ours, copy = (estimate([sample.ratio(f"{place}{accessor.name}", f"c_{accessor.name}")
                                for sample in on]) for place in ("", "again_"))
        row(report, "time against the same in C", accessor.name, ours, "times")
        row(report, "a copy of C against C (A/A)", accessor.name, copy, "times")
        pairs.append((accessor.name, ours, copy))
    verdict, figure = alike(pairs)
    report.claim("each accessor takes the time of its C control within 5 %", verdict, figure,
                 why="two copies of C are as far apart, or the processes disagree")


def alike(pairs: list[tuple[str, Estimate, Estimate]]) -> tuple[bool | None, str]:
    """Whether each ratio is within 5 % of 1; open where the copy of C is no nearer either."""
    off = {name: (abs(ours.value - 1), abs(copy.value - 1)) for name, ours, copy in pairs
           if abs(ours.value - 1) > 0.05}
    if not off:
        return True, f"at most {max(abs(ours.value - 1) for _, ours, _ in pairs):.1%} apart"
    surely = [name for name, ours, copy in pairs if name in off
              and (ours.low > 1.05 or ours.high < 0.95) and off[name][1] <= 0.05]
    figures = (f"{name} {far:.0%} (two copies of C {control:.0%})"
               for name, (far, control) in off.items())
    return False if surely else None, ", ".join(figures)


def loop(report: Report, samples: Samples) -> None:
    """One exit in each mode, and what the key costs a whole exit."""
    found = samples.world("exits")
    a_a(report, "exits", found, "key off again", "key off")
    for name in ("before", "key off", "flag", "key on"):
        row(report, "one exit", name, estimate([sample.ns(name) for sample in found]), "ns")
    table = "one exit, over the tree before"
    for name in ("key off", "flag", "key on"):
        row(report, table, name, over(found, name, "before"), "cycles")
    cost = over(found, "key off", "before")
    report.claim(
        "key off: a whole CPUID exit costs at most 3 cycles more than before (the mail: 3.2)",
        at_most(cost, 3), f"{cost.value:+.1f} cycles [{cost.low:+.1f}, {cost.high:+.1f}]",
        why=DISAGREE)
    for name, mode, bound in (("key on", "eVMCS", 60), ("key off", "VMCS", 120)):
        ns = estimate([sample.ns(name) for sample in found])
        report.claim(f"{mode}: one exit takes at most {bound} ns", at_most(ns, bound),
                     f"{ns.value:.1f} ns [{ns.low:.1f}, {ns.high:.1f}]", why=DISAGREE)


def entry(report: Report, samples: Samples) -> None:
    """One VM entry and exit in L0, by dirty groups; linear in their bytes, the checks apart."""
    found = samples.world("entries")
    a_a(report, "entries", found, "none again", "none")
    row(report, "one entry by dirty group", "none",
        estimate([sample.ns("none") for sample in found]), "ns")
    masks = dict(GROUPS.items())
    for mask, name in masks.items():
        row(report, "one entry by dirty group", name,
            estimate([sample.ns(name) for sample in found]), "ns")
    for n in range(1, len(masks) + 1):
        row(report, "one entry by number of dirty groups", f"first {n}",
            estimate([sample.ns(f"first {n}") for sample in found]), "ns")
    points = {name: stdlib.median(sample.ns(name) for sample in found)
              for name in [*masks.values(), *(f"first {n}" for n in range(1, len(masks) + 1))]}
    linear(report, points)


def linear(report: Report, ns: dict[str, float]) -> None:
    """Fit time to bytes, one step for each thing that the groups make L0 do again."""
    masks = {name: mask for mask, name in GROUPS.items()}
    masks |= {f"first {n}": (1 << n) - 1 for n in range(1, len(GROUPS) + 1)}
    with Machine(cpus=1, insn="call") as machine, loaded(machine, "hyperv", True) as world:
        size = {name: reread(machine, world, masks[name])[0] for name in ns}
    rows = [[1.0, size[name], *(float(bool(masks[name] & checks)) for checks in AGAIN.values())]
            for name in ns]
    found, square = fit(rows, list(ns.values()))
    table = "one entry: what it is made of"
    for name, value in zip(("a dirty entry", "a byte", *AGAIN), found):
        report.add(table, name, value, "ns", MEASURED)
    report.add(table, "R squared", square, "", MEASURED)
    report.claim(
        "entry cost is linear in the bytes of the dirty groups, beside a constant for what "
        "a dirty group makes L0 do again", square >= 0.95,
        f"R squared {square:.3f}, {found[1]:.3f} ns a byte")


TASK = {"key": "accesses", "accessors": "accesses", "loop": "exits", "entry": "entries"}
PARTS = {"key": key, "accessors": accessors, "loop": loop, "entry": entry}


def run(report: Report, parts: Sequence[str], progress: Say = lambda text: None) -> None:
    """Tier 2 of these parts."""
    samples: dict[str, Samples] = {}
    for part in parts:
        if part == "scale":
            scale.run(report, progress)
            scaling.run_timed(report, progress)
            continue
        task = TASK[part]
        if task not in samples:
            samples[task] = Samples(report, task, progress)
        PARTS[part](report, samples[task])
