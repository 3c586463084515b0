# SPDX-License-Identifier: GPL-2.0-only
"""What looking for lints costs an exit: at most as much again."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from kvm_vmx import Machine, building
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.measure import copied

# half a millisecond: some of them nobody else's work comes into
EXITS = 10_000
PROCESSES, PAIRS, SLICES = 6, 3, 20

both = pytest.mark.parametrize("enlightened", [False, True], ids=["VMCS", "eVMCS"])


def best(lints, enlightened, slices):
    """The shortest time of a slice of exits of the CPUID loop, and what they are counted as."""
    with Machine(cpus=1, lints=lints) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=EXITS)
        times = []
        for _ in range(slices):
            start = time.perf_counter()
            vcpu.run(exits=EXITS)
            times.append(time.perf_counter() - start)
        counters = machine.counters
        return min(times), {name: counters[name] for name in (
            "vmresume", "exits", "l2_instructions", "groups_reread", "bytes_reread",
            "bytes_ungrouped", "bytes_written_back")}


def shortest(enlightened):
    """Without and with lints, by turns, in processes of their own that load copies of the modules:
    where the text lies in memory is drawn anew in each, and can cost one of the two half as much
    again."""
    found = []
    here = pathlib.Path(__file__)
    paths = os.pathsep.join(filter(None, (str(here.parent), os.environ.get("PYTHONPATH"))))
    for _ in range(PROCESSES):
        done = subprocess.run(
            [sys.executable, "-P", copied.__file__, building.ROOT, here.stem,
             str(int(enlightened))],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": paths})
        found += json.loads(done.stdout)
    return [min(times) for times in zip(*found)]


@both
@pytest.mark.soak
def test_an_exit_with_lints_costs_at_most_twice(enlightened, soak):
    if not soak:
        pytest.skip("a measurement of half a minute: give --soak")
    off, on = shortest(enlightened)
    print(f"{off / EXITS * 1e9:.1f} and {on / EXITS * 1e9:.1f} ns an exit")
    assert on <= 2 * off


@both
def test_lints_change_no_count(enlightened):
    assert best(False, enlightened, 1)[1] == best(True, enlightened, 1)[1]


if __name__ == "__main__":
    print(json.dumps([[best(lints, bool(int(sys.argv[1])), SLICES)[0] for lints in (False, True)]
                      for _ in range(PAIRS)]))
