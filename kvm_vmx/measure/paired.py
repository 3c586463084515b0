# SPDX-License-Identifier: GPL-2.0-only
"""Tier 2: time, as paired rounds in fresh processes; a difference counts only beside its A/A."""

import json
import math
import os
import platform
import statistics as stdlib
import subprocess
import sys
import threading
import time

from kvm_vmx import Machine, build_info
from kvm_vmx.commands import Trouble
from kvm_vmx.measure.loops import ACCESSORS, CPUID_LOOP, GROUPS, WARM_UP, flip_key, loaded
from kvm_vmx.measure.report import MEASURED, Report
from kvm_vmx.measure.statistics import Estimate, differences, estimate, fit, ratios, undisturbed
from kvm_vmx.measure.structure import reread

# Processes and rounds of each task. Another process has another layout of its addresses.
PROCESSES = {"accesses": (12, 2_000), "exits": (10, 100), "entries": (8, 400)}

# How far apart two copies of one loop may be, in core cycles, before nothing else counts.
A_A_LIMIT = {"accesses": 0.05, "exits": 1.0, "entries": 1.0}

# The checks that L0 repeats when a group is dirty that they look at (l0/entry.pyx).
CHECKS = {"control": 0x3FF, "host": 0x6048, "guest": 0x1F78}


class Sample:
    """What one process timed: ticks of each variant's batches, and what a tick is."""

    def __init__(self, found, world):
        self.ticks, self.ops = found[world], found["ops"]
        self.calibration = found["calibration"]
        self.rounds = undisturbed(self.ticks)
        # the counter moves in steps: what is finer cannot be seen
        self.resolution = self.cycles(math.gcd(*(t for ticks in self.ticks.values() for t in ticks)))

    def cycles(self, ticks: float) -> float:
        """Ticks of a batch as core cycles of one operation."""
        return ticks * self.calibration["cycles_per_tick"] / self.ops

    def ns(self, name: str) -> float:
        """The median time of one operation."""
        return stdlib.median(self.ticks[name]) / self.ops / self.calibration["tsc_hz"] * 1e9

    def difference(self, name: str, control: str) -> float:
        """Core cycles an operation over the control, round by round, the median."""
        return self.cycles(differences(self.ticks, self.rounds, name, control))

    def ratio(self, name: str, control: str) -> float:
        """Time over the control's, round by round, the median."""
        return ratios(self.ticks, self.rounds, name, control)


class Samples:
    """All processes of one task."""

    def __init__(self, report: Report, task: str, progress):
        processes, rounds = PROCESSES[task]
        self.task, self.report, self.found = task, report, []
        for n in range(processes):
            progress(f"tier 2: {task}, process {n + 1} of {processes}")
            self.found.append(child(task, rounds))
        describe(report, self.found)

    def world(self, name: str) -> list[Sample]:
        """One sample a process, and their ticks into the report."""
        for n, found in enumerate(self.found):
            for variant, ticks in found[name].items():
                self.report.rounds.setdefault(f"{self.task} {name}: {variant}", []).append(ticks)
        return [Sample(found, name) for found in self.found]


def child(task: str, rounds: int) -> dict:
    """What a fresh process found."""
    done = subprocess.run([sys.executable, "-m", "kvm_vmx.measure.child", task, str(rounds)],
                          capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Trouble(f"the loops could not be timed: {last}")
    return json.loads(done.stdout)


def describe(report: Report, found) -> None:
    """The machine as it was: what pyperf and a reader need to judge the numbers."""
    calibration = [one["calibration"] for one in found]
    report.machine |= {
        "cpu_model_name": cpu_model(), "cpu_count": os.cpu_count(), "platform": platform.platform(),
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
    if not found.low - step <= 0 <= found.high + step or abs(found.value) > A_A_LIMIT[task.split(",")[0]]:
        report.measurable = False


def row(report: Report, table: str, name: str, found: Estimate, unit: str, note="") -> None:
    """An estimate as a row."""
    report.add(table, name, found.value, unit, MEASURED, low=found.low, high=found.high, note=note)


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
    cost = over(off, "store_key", "store")
    report.claim("key off: an access costs at most 0.5 cycle more than without the key",
                 cost.value <= 0.5, f"{cost.value:+.2f} cycle [{cost.low:+.2f}, {cost.high:+.2f}]")


def accessors(report: Report, samples: Samples) -> None:
    """Each accessor under eVMCS: over the raw store, and against C."""
    on = samples.world("on")
    a_a(report, "accesses, key on", on, "store_again", "store")
    row(report, "an access under eVMCS", "store",
        estimate([sample.cycles(stdlib.median(sample.ticks["store"])) for sample in on]), "cycles",
        "the raw store itself, with its loop")
    worst = 0.0
    for accessor in ACCESSORS:
        row(report, "an access under eVMCS", accessor.name, estimate(
            [sample.cycles(stdlib.median(sample.ticks[accessor.name])) for sample in on]), "cycles")
    for accessor in ACCESSORS:
        row(report, "an access over a raw store", accessor.name,
            over(on, accessor.name, "store"), "cycles")
    for accessor in ACCESSORS:
        found = estimate([sample.ratio(accessor.name, f"c_{accessor.name}") for sample in on])
        row(report, "time against the same in C", accessor.name, found, "times")
        worst = max(worst, abs(found.value - 1))
    report.claim("each accessor takes the time of its C control within 5 %", worst <= 0.05,
                 f"at most {worst:.1%} apart")


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
    report.claim("key off: a whole CPUID exit costs at most 3 cycles more than before (the mail: 3.2)",
                 cost.value <= 3, f"{cost.value:+.1f} cycles [{cost.low:+.1f}, {cost.high:+.1f}]")
    for name, mode, bound in (("key on", "eVMCS", 60), ("key off", "VMCS", 120)):
        ns = estimate([sample.ns(name) for sample in found])
        report.claim(f"{mode}: one exit takes at most {bound} ns", ns.value <= bound,
                     f"{ns.value:.1f} ns [{ns.low:.1f}, {ns.high:.1f}]")


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
    """Fit time to bytes, one step for each kind of check that the groups call for."""
    masks = {name: mask for mask, name in GROUPS.items()}
    masks |= {f"first {n}": (1 << n) - 1 for n in range(1, len(GROUPS) + 1)}
    with Machine(cpus=1) as machine, loaded(machine, "hyperv", True) as world:
        size = {name: reread(machine, world, masks[name])[0] for name in ns}
    rows = [[1.0, size[name], *(float(bool(masks[name] & checks)) for checks in CHECKS.values())]
            for name in ns]
    found, square = fit(rows, list(ns.values()))
    table = "one entry: what it is made of"
    for name, value, unit in zip(("a dirty entry", "a byte", *(f"{kind} checks" for kind in CHECKS)),
                                 found, ("ns",) * 5):
        report.add(table, name, value, unit, MEASURED)
    report.add(table, "R squared", square, "", MEASURED)
    report.claim("entry cost is linear in the bytes of the dirty groups, beside a constant for each "
                 "kind of check", square >= 0.95, f"R squared {square:.3f}, {found[1]:.3f} ns a byte")


def scale(report: Report, progress) -> None:
    """Two threads against one; insmod of the largest machine; one flip of the key."""
    progress("tier 2: threads, insmod, flips")
    threads(report)
    with Machine(cpus=4096) as machine:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            kvm = machine.insmod(enlightened_vmcs=True)
            times.append((time.perf_counter() - start) * 1e3)
            kvm.rmmod()
    found = estimate(times)
    row(report, "loading", "insmod, 4096 CPUs", found, "ms")
    report.claim("insmod of 4096 CPUs takes at most 50 ms", found.value <= 50, f"{found.value:.1f} ms")
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        times = []
        for _ in range(25):
            start = time.perf_counter()
            flip_key(machine, 10)
            times.append((time.perf_counter() - start) * 1e3 / 20)
        kvm.rmmod()
    found = estimate(times)
    row(report, "loading", "one flip of the key", found, "ms", "all sites of the module")
    report.claim("a flip of the key with all sites takes at most 1 ms", found.value <= 1,
                 f"{found.value:.3f} ms")


THREAD_EXITS, THREAD_ROUNDS = 300_000, 15


def threads(report: Report) -> None:
    """Exits a second of two threads on two CPUs over those of one, in rounds beside each other."""
    if len(os.sched_getaffinity(0)) < 2:
        report.claim("two vCPU threads on two cores: at least 1.9 times one", None,
                     "this process may run on one CPU alone")
        return
    with Machine(cpus=2) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        vm = kvm.create_vm(code=CPUID_LOOP)
        vcpus = [vm.create_vcpu(cpu=n) for n in range(2)]
        for vcpu in vcpus:
            vcpu.run(exits=WARM_UP)
        rounds = [[together(part) for part in (vcpus[:1], vcpus, vcpus[:1])]
                  for _ in range(THREAD_ROUNDS)]
        kvm.rmmod()
    table = "two threads on two CPUs"
    wall, cpu, control = (
        estimate([2 * (one[0] + again[0]) / 2 / both[0] for one, both, again in rounds]),
        estimate([2 * (one[1] + again[1]) / both[1] for one, both, again in rounds]),
        estimate([one[0] / again[0] for one, _, again in rounds]))
    row(report, table, "times one thread", wall, "times")
    row(report, table, "times one thread, by CPU time", cpu, "times",
        "what other processes took of the CPUs left out")
    row(report, table, "one thread again (A/A)", control, "times")
    steady = control.low > 0.95 and control.high < 1.05
    report.claim("two vCPU threads on two cores: at least 1.9 times one",
                 wall.value >= 1.9 if wall.value >= 1.9 or steady else None,
                 f"{wall.value:.2f} [{wall.low:.2f}, {wall.high:.2f}], by CPU time {cpu.value:.2f}, "
                 f"A/A [{control.low:.2f}, {control.high:.2f}]")


def together(vcpus) -> tuple[float, float]:
    """Seconds until each vCPU, in a thread of its own, has had its exits; and of CPU time."""
    gate = threading.Barrier(len(vcpus) + 1)
    processors = sorted(os.sched_getaffinity(0))
    used = []

    def run(vcpu):
        # a thread of its own begins on the processor of the one that made it
        os.sched_setaffinity(0, {processors[vcpu.cpu]})
        gate.wait()
        before = time.thread_time()
        vcpu.run(exits=THREAD_EXITS)
        used.append(time.thread_time() - before)

    workers = [threading.Thread(target=run, args=(vcpu,)) for vcpu in vcpus]
    for worker in workers:
        worker.start()
    gate.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start, sum(used)


TASK = {"key": "accesses", "accessors": "accesses", "loop": "exits", "entry": "entries"}
PARTS = {"key": key, "accessors": accessors, "loop": loop, "entry": entry}


def run(report: Report, parts, progress=lambda text: None) -> None:
    """Tier 2 of these parts."""
    samples = {}
    for part in parts:
        if part == "scale":
            scale(report, progress)
            continue
        task = TASK[part]
        if task not in samples:
            samples[task] = Samples(report, task, progress)
        PARTS[part](report, samples[task])
