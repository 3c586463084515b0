# SPDX-License-Identifier: GPL-2.0-only
"""Seconds a VM exit of the built-in CPUID loop, by build and mode, by pyperf.

One loop of the benchmark is one VM exit: L2's CPUID, L0's exit, L1's handler, L0's entry.
usage: python perf/bench_run.py [pyperf's options]
"""

import time

from bench import Runner, world

MODES = {
    "exit_vmcs": ("hyperv", False),
    "exit_evmcs": ("hyperv", True),
    "exit_before": ("before", False),
    "exit_no_hyperv": ("no-hyperv", False),
    "exit_no_jump_label": ("no-jump-label", False),
}


def exits(loops, config, enlightened):
    """Seconds that `loops` exits take."""
    vcpu = world(config, enlightened).vcpu
    start = time.perf_counter()
    vcpu.run(exits=loops)
    return time.perf_counter() - start


def main():
    """Measure each mode in processes of its own."""
    runner = Runner("one VM exit of a CPUID loop, instructions by call")
    for name, mode in MODES.items():
        runner.bench_time_func(name, exits, *mode)


if __name__ == "__main__":
    main()
