# SPDX-License-Identifier: GPL-2.0-only
"""Seconds a VM exit with more vCPUs, more CPUs, more threads, under eVMCS, by pyperf.

vcpus_N: N vCPUs take turns on one CPU, 1,000 exits each. cpus_N: one vCPU on a machine of N
CPUs. threads_N: N threads, a CPU and a vCPU each; the time is of one exit of all together.
usage: python perf/bench_scale.py [pyperf's options]
"""

import functools
import os
import threading
import time

from bench import Runner

from kvm_vmx import Machine
from kvm_vmx.measure.loops import CPUID_LOOP, WARM_UP

TURN = 1_000


@functools.cache
def vcpus(cpus, count, spread):
    """`count` vCPUs of one VM on a machine of `cpus` CPUs: on a CPU each, or all on the first."""
    kvm = Machine(cpus=cpus).insmod(enlightened_vmcs=True)
    vm = kvm.create_vm(code=CPUID_LOOP)
    made = [vm.create_vcpu(cpu=n if spread else 0) for n in range(count)]
    for vcpu in made:
        vcpu.run(exits=WARM_UP)
    return made


def turns(loops, cpus, count):
    """Seconds that `loops` exits take, the vCPUs taking turns."""
    made = vcpus(cpus, count, False)
    start = time.perf_counter()
    for turn in range(0, loops, TURN):
        made[turn // TURN % count].run(exits=min(TURN, loops - turn))
    return time.perf_counter() - start


def together(loops, count):
    """Seconds that `loops` exits take when each of `count` threads runs its share."""
    made = vcpus(count, count, True)
    share = -(-loops // count)
    gate = threading.Barrier(count + 1)

    def run(vcpu):
        gate.wait()
        vcpu.run(exits=share)
        gate.wait()

    threads = [threading.Thread(target=run, args=(vcpu,)) for vcpu in made]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    gate.wait()
    elapsed = time.perf_counter() - start
    for thread in threads:
        thread.join()
    return elapsed


def main():
    """vCPUs on one CPU, CPUs of the machine, threads."""
    runner = Runner("one VM exit of a CPUID loop under eVMCS, instructions by call")
    for count in (1, 2, 8, 32):
        runner.bench_time_func(f"vcpus_{count}", turns, 1, count)
    for cpus in (2, 64, 1024, 4096):
        runner.bench_time_func(f"cpus_{cpus}", turns, cpus, 1)
    for count in range(1, min(4, os.cpu_count()) + 1):
        runner.bench_time_func(f"threads_{count}", together, count)


if __name__ == "__main__":
    main()
