# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU takes of memory, and that an exit costs the same however many CPUs and vCPUs are."""

import gc

import pytest

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

VCPUS = 200


def resident():
    """Bytes of memory that this process holds, the machine's guest-physical pages among them."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.parametrize("enlightened", [False, True])
def test_a_vcpu_takes_at_most_24_kib(enlightened):
    """Of the machine's pages, and of the process with its Python objects."""
    with Machine(cpus=1, memory=64 << 20) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        warm = kvm.create_vm(code=CPUID_LOOP, memory=64 << 10)
        made = [warm.create_vcpu() for _ in range(10)]
        vm = kvm.create_vm(code=CPUID_LOOP, memory=64 << 10)
        for vcpu in made:
            vcpu.run(exits=2)
        gc.collect()
        before, pages = resident(), machine.allocations["pages"]
        for _ in range(VCPUS):
            made.append(vm.create_vcpu())
            made[-1].run(exits=2)
        gc.collect()
        assert (machine.allocations["pages"] - pages) / VCPUS <= 5
        assert (resident() - before) / VCPUS <= 24 << 10


def one_exit(boot, cpus, vcpus, enlightened):
    """The instructions of L1 and L2 that one steady exit executes."""
    with boot(cpus=cpus) as machine:
        vm = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=CPUID_LOOP)
        made = [vm.create_vcpu(cpu=n % cpus) for n in range(vcpus)]
        for vcpu in made:
            vcpu.run(exits=10)
        counts = []
        for exits in (20, 60):
            before = dict(machine.counters)
            made[-1].run(exits=exits)
            counts.append({name: value - before[name]
                           for name, value in machine.counters.items()})
        return {name: (value - counts[0][name]) / 40 for name, value in counts[1].items()}


@pytest.mark.parametrize("enlightened", [False, True])
def test_an_exit_costs_the_same_on_every_size(kernel, enlightened):
    few = one_exit(kernel, 1, 1, enlightened)
    assert few["exits"] == 1 and few["vmresume"] == 1
    # a word of a kernel's own has a bit a CPU
    for cpus, vcpus in ((1, 64), (64, 64), (4096, 1)) if kernel.is_port else ((1, 16), (64, 16)):
        assert one_exit(kernel, cpus, vcpus, enlightened) == few
