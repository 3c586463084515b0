# SPDX-License-Identifier: GPL-2.0-only
"""A crash: what v4.19 leaves behind for the kernel that is to dump this one."""

import pytest

from kvm_vmx import KernelBug
from kvm_vmx.machine.guests import CPUID_LOOP

pytestmark = pytest.mark.needs("hyperv")

CR4_VMXE = 1 << 13


def crash(machine):
    """All that a crash executes; of the port, which can be left in it, before the next kernel."""
    if hasattr(machine, "_kernel"):
        machine._kernel.crash(0)
    else:
        machine.kexec(crash=True)


@pytest.mark.parametrize("enlightened", [False, True])
def test_every_loaded_vmcs_is_cleared_on_its_own_cpu(kernel, enlightened):
    with kernel(cpus=3) as m:
        vm = m.insmod(enlightened_vmcs=enlightened).create_vm(code=CPUID_LOOP)
        for cpu in (0, 0, 1):
            vm.create_vcpu(cpu=cpu).run(exits=10)
        before = dict(m.counters)
        crash(m)
        assert m.counters["vmclear"] - before["vmclear"] == 3
        assert m.counters["vmxoff"] - before["vmxoff"] == 3
        assert [m.cpu(n).cr4 & CR4_VMXE for n in range(3)] == [0, 0, 0]
        if kernel.is_port:
            with pytest.raises(KernelBug):
                vm.create_vcpu(cpu=0)


def test_nothing_is_cleared_without_the_module(kernel):
    with kernel(cpus=2) as m:
        m.insmod().rmmod()
        before = dict(m.counters)
        crash(m)
        assert m.counters["vmclear"] == before["vmclear"]
        assert m.counters["vmxoff"] == before["vmxoff"]


def interrupts_are_off(machine, cpu):
    """Whether a CPU's kernel has them off: its count, or the flags that are its stand-in's."""
    if hasattr(machine, "image"):
        return not machine.image.per_cpu("standin_flags", cpu) & 1 << 9
    return machine._kernel.irqs_disabled(cpu) != 0


def test_interrupts_are_as_they_were(kernel):
    """local_irq_save() and its pair nest: no CPU is left with -1, or with interrupts off."""
    with kernel(cpus=3) as m:
        vm = m.insmod().create_vm(code=CPUID_LOOP)
        vcpu = vm.create_vcpu(cpu=0)
        for _ in range(3):
            vcpu.run(exits=10)
            m.offline(1)
            m.online(1)
            with m.cpu(2):
                vm.move_page(0x1000)
            vcpu.cpu = 2 if vcpu.cpu == 0 else 0
            assert [interrupts_are_off(m, n) for n in range(3)] == [False] * 3
