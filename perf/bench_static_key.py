# SPDX-License-Identifier: GPL-2.0-only
"""Seconds a store: alone, behind the static key (off), behind a flag in memory, by pyperf.

store_again is a second copy of store, for A/A; store_moved stands elsewhere in its cache line.
usage: python perf/bench_static_key.py [pyperf's options]
"""

from bench import Runner, timed

from kvm_vmx.measure.loops import STORES, address


def main():
    """Each loop, and one access by VMWRITE in the builds with and without the key."""
    runner = Runner("one store, or one VMWRITE by call, in a loop; the key is off")
    for name in STORES:
        runner.bench_time_func(name, timed, "hyperv", False, named("hyperv", name))
    for config in ("hyperv", "before", "no-hyperv", "no-jump-label"):
        runner.bench_time_func(f"vmwrite_{config}", timed, config, False, named(config, "writel"))


def named(config, name):
    """loop(world) of bench_NAME."""
    return lambda world: (address(config, name), 0)


if __name__ == "__main__":
    main()
