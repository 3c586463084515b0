# SPDX-License-Identifier: GPL-2.0-only
"""Seconds an access: each accessor under eVMCS beside C, and by VMREAD or VMWRITE, by pyperf.

usage: python perf/bench_accessors.py [pyperf's options]
"""

from bench import Runner, timed

from kvm_vmx.measure.loops import ACCESSORS, address


def main():
    """The raw store, then each accessor: under eVMCS, in C, under VMCS."""
    runner = Runner("one access with a constant field, in a loop")
    runner.bench_time_func("store", timed, "hyperv", True, named("store"))
    for accessor in ACCESSORS:
        name = accessor.name
        runner.bench_time_func(f"evmcs_{name}", timed, "hyperv", True, named(name))
        runner.bench_time_func(f"evmcs_{name}_in_c", timed, "hyperv", True, named(f"c_{name}"))
        runner.bench_time_func(f"vmcs_{name}", timed, "hyperv", False, named(name))


def named(name):
    """loop(world) of bench_NAME."""
    return lambda world: (address("hyperv", name), 0)


if __name__ == "__main__":
    main()
