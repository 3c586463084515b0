# SPDX-License-Identifier: GPL-2.0-only
"""Seconds a VM entry and the exit after it, in L0 alone, by dirty clean groups, by pyperf.

usage: python perf/bench_entry.py [pyperf's options]
"""

from bench import Runner, timed

from kvm_vmx.measure.loops import GROUPS


def main():
    """No group, each group alone, and 1 to 16 of them together."""
    runner = Runner("one VMRESUME until L2's CPUID has exited; L1's handler is not in it")
    runner.bench_time_func("entry_clean", timed, "hyperv", True, dirty(0))
    for mask, name in GROUPS.items():
        runner.bench_time_func(f"entry_{name}", timed, "hyperv", True, dirty(mask))
    for n in range(1, len(GROUPS) + 1):
        runner.bench_time_func(f"entry_{n}_groups", timed, "hyperv", True, dirty((1 << n) - 1))


def dirty(mask):
    """loop(world) of entries with these clean bits cleared."""
    return lambda world: world.entries(mask)


if __name__ == "__main__":
    main()
