# SPDX-License-Identifier: GPL-2.0-only
"""fail() of one MSR, by name or number, and which access it was that failed."""

import pytest

from kvm_vmx import Machine

ASSIST = "HV_X64_MSR_VP_ASSIST_PAGE"


@pytest.mark.parametrize("point", [f"msr:{ASSIST}", "msr:0x40000073"])
def test_one_msr_fails_at_the_boot(point):
    """The first CPU's WRMSR of its assist page: v4.19's is one that may fault, and is warned of."""
    with Machine(cpus=2, lints=True, fail={point: 1}) as machine:
        machine.insmod()
        assert machine.failures_left == {}
        (told,) = (lint for lint in machine.lints if lint == "told_to_fail")
        assert f"WRMSR of MSR 0x40000073 ({ASSIST}) raised #GP; processor" in told.explain()
        assert any("0x40000073" in line for line in machine.dmesg)


def test_the_entry_without_an_assist_page_says_so():
    with Machine(cpus=1, lints=True, fail={f"msr:{ASSIST}": 1}) as machine:
        vcpu = machine.insmod().create_vm(code=b"\xf4").create_vcpu(cpu=0)
        summary = vcpu.run(exits=1)
        assert summary.refusal.id == "assist_page_off"
        assert {"told_to_fail", "assist_page_unset"} <= set(machine.lints)


def test_the_nth_of_any_kind_says_which_it_was():
    with Machine(cpus=1, lints=True) as machine:
        machine.fail("msr", 1)
        machine.insmod()
        (told,) = (lint for lint in machine.lints if lint == "told_to_fail")
        assert "MSR 0x" in told.explain() and "MSR of MSR" in told.explain()


def test_without_lints_nothing_is_told_and_the_count_is_by_name():
    with Machine(cpus=1) as machine:
        machine.fail("msr:MSR_IA32_VMX_BASIC", 1000)
        assert machine.failures_left == {"msr:MSR_IA32_VMX_BASIC": 1000}
        machine.fail("msr:MSR_IA32_VMX_BASIC", 0)
        assert machine.failures_left == {} and machine.lints == []


@pytest.mark.parametrize(("point", "said"), [
    ("msr:HV_X64_MSR_VP_ASIST_PAGE", "HV_X64_MSR_VP_ASSIST_PAGE"),
    ("msr:0x123456789", "32 bits"), ("msr:", "no fail point"), ("page:3", "no fail point")])
def test_a_name_that_is_none(point, said):
    with Machine(cpus=1) as machine, pytest.raises(ValueError, match=said):
        machine.fail(point, 1)
