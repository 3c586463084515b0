# SPDX-License-Identifier: GPL-2.0-only
"""Nanoseconds a VM exit, under VMCS and under eVMCS, by pyperf: the built-in CPUID loop.

One loop of the benchmark is one VM exit: L2's CPUID, L0's exit, L1's handler, L0's entry.
usage: python perf/bench_run.py [pyperf's options]
"""

import functools
import time

import pyperf

from kvm_vmx import Machine
from kvm_vmx.commands.run import CPUID_LOOP

WARM_UP = 1_000


@functools.cache
def vcpu(enlightened):
    """The vCPU that a process measures: booted once, warmed up, never unloaded."""
    kvm = Machine(cpus=1).insmod(enlightened_vmcs=enlightened)
    guest = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    guest.run(exits=WARM_UP)
    return guest


def exits(loops, enlightened):
    """Seconds that `loops` exits take."""
    guest = vcpu(enlightened)
    start = time.perf_counter()
    guest.run(exits=loops)
    return time.perf_counter() - start


def main():
    """Measure each mode in processes of its own."""
    runner = pyperf.Runner()
    runner.metadata["description"] = "one VM exit of a CPUID loop, instructions by call"
    runner.metadata["kind"] = "measured here"
    runner.bench_time_func("exit_vmcs", exits, False)
    runner.bench_time_func("exit_evmcs", exits, True)


if __name__ == "__main__":
    main()
