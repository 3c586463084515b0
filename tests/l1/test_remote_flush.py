# SPDX-License-Identifier: GPL-2.0-only
"""kvm_flush_remote_tlbs(): one hypercall where Hyper-V flushes, else a request to each vCPU."""

import pytest


CODE = 0x1000

# The profile that announces the hypercall; KVM as Hyper-V (kvm-6.12) has none.
WITH_HYPERCALL = "tlfs-strict"


def loop(number):
    """again: mov $number, %esi; cpuid; jmp again"""
    return b"\xbe" + number.to_bytes(4, "little") + bytes.fromhex("0fa2 ebf7")


class Guest:
    """A VM whose code is replaced under it."""

    def __init__(self, machine, module=None, vcpus=1, **insmod):
        """What an INVEPT of a vCPU that first runs costs is no part of it."""
        self.machine = machine
        self.module = module or machine.insmod(**insmod)
        self.vm = self.module.create_vm(code=loop(1))
        self.vcpus = [self.vm.create_vcpu(cpu=cpu) for cpu in range(vcpus)]
        for vcpu in self.vcpus:
            vcpu.run(exits=10)

    def move(self, flush=True):
        """Move the code's page, then change it where it is now; the instructions that cost."""
        before = dict(self.machine.counters)
        self.vm.move_page(CODE, flush=flush)
        self.vm.memory.write(CODE, loop(2))
        for vcpu in self.vcpus:
            vcpu.run(exits=10)
        return {name: value - before[name] for name, value in self.machine.counters.items()}

    def seen(self):
        """What each vCPU's code loads."""
        return [vcpu.regs["rsi"] for vcpu in self.vcpus]


@pytest.fixture
def machine(kernel):
    with kernel(cpus=2, profile=WITH_HYPERCALL) as machine:
        yield machine


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("enlightened", [False, True])
def test_one_hypercall_for_all_vcpus(machine, enlightened):
    guest = Guest(machine, vcpus=2, enlightened_vmcs=enlightened)
    cost = guest.move()
    assert (cost["vmcall"], cost["invept"]) == (1, 0)
    assert guest.seen() == [2, 2]
    assert guest.vm.remote_tlb_flushes == 1


@pytest.mark.needs("hyperv")
def test_vcpus_with_different_ept_pointers_are_asked_one_by_one(kernel, machine):
    """check_ept_pointer_match(): a vCPU that has not run has no pointer yet. Later kernels flush
    each root that there is."""
    guest = Guest(machine)
    late = guest.vm.create_vcpu(cpu=1)
    cost = guest.move()
    assert (cost["vmcall"], cost["invept"]) == ((0, 1) if kernel.version == (4, 19) else (1, 0))
    assert guest.seen() == [2]
    late.run(exits=10)
    before = machine.counters["vmcall"]
    guest.vm.move_page(CODE)
    assert machine.counters["vmcall"] - before == 1


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("enlightened", [False, True])
def test_a_forgotten_flush_shows(kernel, enlightened):
    """L2 goes on with the old page, L0 says so, and nobody else has that page before it is
    flushed."""
    with kernel(cpus=2, profile=WITH_HYPERCALL, lints=True) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        first = Guest(machine, kvm, vcpus=2)    # what a CPU keeps of its first vCPU is no leak
        first.move()
        first.vm.destroy()
        held = machine.allocations
        guest = Guest(machine, kvm)
        cost = guest.move(flush=False)
        assert (cost["vmcall"], cost["invept"]) == (0, 0)
        assert guest.seen() == [1] and guest.vm.remote_tlb_flushes == 0
        told, = (lint for lint in machine.lints if lint == "stale_translation")
        assert "guest-physical 0x1000" in told.explain() and told.cpu == 0
        other = kvm.create_vm(code=loop(3), memory=16 << 20).create_vcpu(cpu=1)
        other.run(exits=10)
        guest.vcpus[0].run(exits=10)
        assert (guest.seen(), other.regs["rsi"]) == ([1], 3)
        other.vm.destroy()
        guest.vm.destroy()
        assert machine.allocations == held


def test_a_page_that_moves_with_its_flush_is_no_lint(kernel):
    with kernel(cpus=1, lints=True) as machine:
        guest = Guest(machine, machine.insmod())
        guest.move()
        assert guest.seen() == [2] and "stale_translation" not in machine.lints


@pytest.mark.needs("hyperv")
def test_a_hypercall_that_fails_leaves_it_to_requests(machine):
    guest = Guest(machine, vcpus=2)
    machine.fail("hypercall", 1)
    cost = guest.move()
    assert machine.failures_left == {}
    assert cost["invept"] == 2
    assert guest.seen() == [2, 2]


@pytest.mark.parametrize("profile, config", [
    ("kvm-6.12", "hyperv"), (WITH_HYPERCALL, "no-hyperv")])
def test_without_the_hypercall_each_vcpu_is_asked(kernel, profile, config):
    if config != "hyperv" and not kernel.is_port:
        pytest.skip("a tree's own KVM is built one way")
    with kernel(cpus=2, profile=profile) as machine:
        guest = Guest(machine, vcpus=2, **{"config": config} if kernel.is_port else {})
        cost = guest.move()
        assert (cost["vmcall"], cost["invept"]) == (0, 2)
        assert guest.seen() == [2, 2]


def test_any_address_of_a_page_moves_it(machine):
    guest = Guest(machine)
    guest.vm.move_page(CODE + 0x10)
    guest.vm.memory.write(CODE, loop(2))
    guest.vcpus[0].run(exits=10)
    assert guest.seen() == [2]


def test_outside_the_memory_nothing_moves(machine):
    guest = Guest(machine)
    with pytest.raises(IndexError, match="outside the guest's"):
        guest.vm.move_page(guest.vm.memory.size)
    machine.fail("page", 1)
    with pytest.raises(OSError, match="move_page"):
        guest.vm.move_page(CODE)
    guest.vcpus[0].run(exits=10)
    assert guest.seen() == [1]
