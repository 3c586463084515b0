# SPDX-License-Identifier: GPL-2.0-only
"""Seconds of insmod, of rmmod, and of a flip of the static key, by pyperf.

usage: python perf/bench_load.py [pyperf's options]
"""

import contextlib
import functools
import time

from bench import Runner

from kvm_vmx import Machine
from kvm_vmx.measure.loops import flip_key

_open = contextlib.ExitStack()


@functools.cache
def machine(cpus):
    """The machine of this process."""
    return _open.enter_context(Machine(cpus=cpus))


def load(loops, cpus, wanted):
    """Seconds that `loops` insmods, or rmmods, take; the other half is not in it."""
    here = machine(cpus)
    total = 0.0
    for _ in range(loops):
        start = time.perf_counter()
        kvm = here.insmod(enlightened_vmcs=True)
        loaded = time.perf_counter()
        kvm.rmmod()
        total += loaded - start if wanted == "insmod" else time.perf_counter() - loaded
    return total


def flip(loops):
    """Seconds that `loops` flips take, with all the sites of the module."""
    here = machine(1)
    kvm = here.insmod(enlightened_vmcs=False)
    pairs = -(-loops // 2)
    start = time.perf_counter()
    flip_key(here, pairs)
    elapsed = time.perf_counter() - start
    kvm.rmmod()
    return elapsed * loops / (2 * pairs)


def main():
    """Loading and unloading by machine size; one flip of the key."""
    runner = Runner("loading kvm-intel with enlightened_vmcs=1, and one flip of its key")
    for cpus in (1, 64, 4096):
        runner.bench_time_func(f"insmod_{cpus}_cpus", load, cpus, "insmod")
        runner.bench_time_func(f"rmmod_{cpus}_cpus", load, cpus, "rmmod")
    runner.bench_time_func("flip_key", flip)


if __name__ == "__main__":
    main()
