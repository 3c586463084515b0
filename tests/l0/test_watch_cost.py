# SPDX-License-Identifier: GPL-2.0-only
"""What looking for lints costs an exit: at most as much again."""

import time

import pytest

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

EXITS = 10_000


def best(lints, rounds=40):
    """The shortest time of a slice of exits of the CPUID loop, under eVMCS."""
    with Machine(cpus=1, lints=lints) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=EXITS)
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            vcpu.run(exits=EXITS)
            times.append(time.perf_counter() - start)
        counters = machine.counters
        return min(times), {name: counters[name] for name in ("vmresume", "exits", "groups_reread")}


@pytest.mark.soak
def test_an_exit_with_lints_costs_at_most_twice(soak):
    if not soak:
        pytest.skip("a measurement: give --soak, on a quiet machine")
    pairs = [(best(False), best(True)) for _ in range(3)]
    assert min(on[0] for _, on in pairs) <= 2 * min(off[0] for off, _ in pairs)


def test_lints_change_no_count():
    assert best(False, 1)[1] == best(True, 1)[1]
