# SPDX-License-Identifier: GPL-2.0-only
"""Why L0 refused something, asked of the vCPU and of its CPU, and told where a person looks."""

import pytest

from kvm_vmx import ConformanceError
from kvm_vmx.machine.guests import CPUID_LOOP

ASSIST_MSR = 0x40000073


@pytest.fixture(params=[True, False], ids=["evmcs", "vmcs"])
def vcpu(request, kernel):
    with kernel(cpus=1, lints=True) as machine:
        kvm = machine.insmod(enlightened_vmcs=request.param)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        yield vcpu


def set_rflags(vcpu, value):
    """By the kernel's own function, which asks nobody whether a processor could have it."""
    with vcpu.vm.module.machine.cpu(0):
        vcpu.vm.module.port.vmx_set_rflags(vcpu, value)


def refused(vcpu):
    set_rflags(vcpu, 0)
    return vcpu.run(exits=1)


def test_the_vcpu_says_which_check_refused_its_entry(vcpu):
    assert vcpu.why_not is None
    summary = refused(vcpu)
    assert vcpu.why_not == summary.refusal and summary.refusal.id == "guest_rflags"
    assert "bit 1 must be 1" in summary.why
    set_rflags(vcpu, 2)
    vcpu.run(exits=1)
    assert vcpu.why_not is None


def test_the_cpu_says_what_the_kernel_was_refused(vcpu):
    machine = vcpu.vm.module.machine
    cpu = machine.cpu(0)
    assert cpu.wrmsr(0x277, 2).why == cpu.why_not and cpu.why_not.id == "msr_pat"
    assert cpu.vmread(0x4002).ok or cpu.why_not.id.startswith("vmread")


def test_lints_have_a_refused_entry(kernel):
    with kernel(cpus=1, lints=True) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        refused(vcpu)
        told = [lint for lint in machine.lints if lint == "entry_refused"]
        assert len(told) == 1 and told[0].field == "GUEST_RFLAGS"
        assert vcpu.why_not.sentence in told[0].explain()


@pytest.mark.parametrize("strict", [False, True])
def test_an_assist_page_that_is_not_there(kernel, strict):
    """What "hardware error 0x0" means where the MSR was lost."""
    with kernel(cpus=2, lints=True, strict=strict) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=1)
        assert machine.cpu(1).wrmsr(ASSIST_MSR, 0).ok
        if strict:
            with pytest.raises(ConformanceError, match="R20.*assist page is off"):
                vcpu.run(exits=1)
            return
        summary = vcpu.run(exits=1)
        # VMfailInvalid leaves no number; later kernels hand on what they had at the exit before
        if kernel.version == (4, 19):
            assert summary.data == {"hardware_entry_failure_reason": 0}
        assert "the VP assist page is off: MSR 0x40000073 is 0x0" in summary.why
        assert [lint.cpu for lint in machine.lints if lint == "assist_page_unset"] == [1]
