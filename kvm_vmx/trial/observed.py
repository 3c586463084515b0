# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's own KVM does in every scenario, as all oracles see it, in a process of its own.

`python -m kvm_vmx.trial.observed IMAGE PROFILE` prints it as JSON: a kernel that is being tried may
do anything.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvm_vmx.errors import BuildError, KernelBug, MachineError, counted
from kvm_vmx.kernel import executed, scenarios
from kvm_vmx.kernel.exit_counts import INSTRUCTIONS, exit_counts
from kvm_vmx.kernel.image import FAIL_POINTS
from kvm_vmx.kernel.kernel import Kernel, KernelModule
from kvm_vmx.machine.guests import CPUID_LOOP

# A kernel that has not done all that by then never will: seconds, of a run that takes ten.
PATIENCE = 600
# Of processor time in which nothing leaves L2: a loop of the kernel's.
LOOPS = 2.0
# More failures than there are steps in a life: an oracle that never ended would be a fault here.
MOST_FAILURES = 2000
MODES = scenarios.MODES
COUNTED = (*INSTRUCTIONS, "invept", "invvpid", "groups_reread", "bytes_reread")

# How the log ends a line that a WARNING has printed.
WARNED = re.compile(r" in \w+(?:\.\w+)*\+0x[0-9a-f]+$")

# What every kernel here is given beside its image.
GIVEN: dict[str, Any] = {"patience": LOOPS}

Seen = dict[str, Any]


def _held(kernel: Kernel, before: dict[str, int]) -> str:
    """What a kernel holds more than before, in words, or nothing."""
    now = kernel.allocations
    more = [counted(now[name] - before[name], name.removesuffix("s"))
            for name in now if now[name] > before[name]]
    return " and ".join(more)


def _warned(kernel: Kernel) -> list[str]:
    """The warnings in its log, each with its function."""
    return [line for line in kernel.dmesg if WARNED.search(line)]


def _tried(kernel: Kernel, run: Callable[[], object]) -> str:
    """Run something: how it ends, where not well."""
    try:
        run()
    except KernelBug as error:
        return f"dies: {error}"
    except (OSError, MachineError, MemoryError) as error:
        # what the kernel said last is among its warnings already
        return str(error).partition(" (kernel: ")[0]
    return ""


def _scenario(image: Path, name: str, mode: str) -> Seen:
    """One scenario in one mode: twice, so that what the first keeps for good is no leak."""
    options, run = scenarios.ALL[name]
    kernel = Kernel(image, scenarios.CPUS, lints=True, **GIVEN, **options)
    try:
        kernel.start_trace()
        ends = _tried(kernel, lambda: run(kernel, MODES[mode]))
        kernel.stop_trace()
        trace = kernel.trace
        found: Seen = {
            "steps": executed.steps_of(trace), "ends": ends, "left": "",
            "lints": [[lint.name, lint.field, lint.explain()] for lint in kernel.lints],
            "refused": sorted({record.outcome.why.id for record in trace
                               if record.outcome.why}),
            "warnings": _warned(kernel)}
        if not ends:
            before = kernel.allocations
            found["ends"] = _tried(kernel, lambda: run(kernel, MODES[mode]))
            if not found["ends"]:
                found["left"] = _held(kernel, before)
        return found
    finally:
        kernel.close()


def exits_of(steps: list[executed.Step]) -> list[tuple[Any, ...]]:
    """What of a trace both modes must have alike: each exit of L2, its processor, reason and
    qualification."""
    return [(step[0], *step[3]) for step in steps if step[1] in executed.ENTRIES]


def _an_exit(image: Path, enlightened: bool) -> dict[str, float]:
    """What one exit of the CPUID loop costs in its steady state."""
    return exit_counts(image, enlightened, COUNTED, warm_up=20, exits=200, **GIVEN)


class Life:
    """A life of the module from load to unload, in which the nth step of a kind fails; 0: none."""

    def __init__(self, kernel: Kernel, enlightened: bool, point: str = "page", nth: int = 0):
        self.kernel, self.stage, self.reached = kernel, "", True
        before = kernel.allocations
        kernel.fail(point, nth)
        self.ends = _tried(kernel, lambda: self._run(enlightened, point))
        self.left = "" if kernel.oopsed else _held(kernel, before)

    def _run(self, enlightened: bool, point: str) -> None:
        self.stage = "insmod"
        try:
            kvm: KernelModule = self.kernel.insmod(enlightened)
            self.stage = "create_vm"
            vm = kvm.create_vm(CPUID_LOOP)
            self.stage = "create_vcpu"
            vcpu = vm.create_vcpu(1)
            self.stage = "run"
            vcpu.run(exits=3)
            self.stage = "hotplug"
            self.kernel.offline(1)
            self.kernel.online(1)
            self.stage = "run on another CPU"
            vcpu.cpu = 0
            vcpu.run(exits=3)
        finally:
            if not self.kernel.oopsed:
                self.reached = point not in self.kernel.failures_left
                self.kernel.fail(point, 0)
                if self.kernel.module is not None:
                    self.kernel.module.rmmod()

    def __str__(self) -> str:
        if self.kernel.oopsed:
            return self.ends
        told = f"{self.stage}: {self.ends.rpartition(': ')[2]}" if self.ends else ""
        return ", ".join(filter(None, (told, f"{self.left} left" if self.left else "")))


def _failures(image: Path, enlightened: bool) -> dict[str, int]:
    """Each step of a life that can fail fails in turn: {"what fails: how it ends": how often}."""
    found: Counter[str] = Counter()
    for point in FAIL_POINTS:
        kernel = _aged(image, enlightened)
        try:
            for nth in range(1, MOST_FAILURES):
                if kernel.oopsed:
                    kernel.close()
                    kernel = _aged(image, enlightened)
                life = Life(kernel, enlightened, point, nth)
                if not life.reached:
                    break
                found[f"{point}: {life}"] += bool(str(life))
        finally:
            kernel.close()
    return dict(+found)


def _aged(image: Path, enlightened: bool) -> Kernel:
    """A kernel in which everything has been done once."""
    kernel = Kernel(image, 2, **GIVEN)
    life = Life(kernel, enlightened)
    if life.ends:
        kernel.close()
        raise MachineError(life.ends)
    return kernel


def observe(image: Path) -> Seen:
    """All of it, of one image."""
    found: Seen = {"an exit": {}, "failures": {}, "scenarios": {}}
    for mode, enlightened in MODES.items():
        for name in scenarios.ALL:
            found["scenarios"][f"{name}, {mode}"] = _scenario(image, name, mode)
    for mode, enlightened in MODES.items():
        for part, of in (("an exit", _an_exit), ("failures", _failures)):
            try:
                found[part][mode] = of(image, enlightened)
            except (KernelBug, OSError, MachineError) as error:
                found[part][mode] = {}
                found["scenarios"][f"{part}, {mode}"] = {
                    "steps": [], "ends": str(error), "left": "", "lints": [], "refused": [],
                    "warnings": []}
    return found


def beside(image: Path, patience: float = PATIENCE, profile: str = "kvm-6.12") -> Seen:
    """observe() under a profile of L0, by another process; BuildError in one line where that one
    comes to nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(image), profile], capture_output=True, text=True,
            errors="replace", timeout=patience)
    except subprocess.TimeoutExpired:
        raise BuildError(f"the kernel does not come to an end in {patience:g} seconds: it loops, "
                         "or it waits for what never comes") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"signal {-done.returncode}"
        raise BuildError(f"the kernel ended the process that ran it: {why}")
    seen: Seen = json.loads(done.stdout)
    for scenario in seen["scenarios"].values():
        scenario["steps"] = executed.frozen(scenario["steps"])
    return seen


if __name__ == "__main__":
    GIVEN["profile"] = sys.argv[2]
    json.dump(observe(Path(sys.argv[1])), sys.stdout)
