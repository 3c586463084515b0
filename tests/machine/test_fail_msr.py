# SPDX-License-Identifier: GPL-2.0-only
"""fail() of one MSR, by name or number, and which access it was that failed."""

import contextlib
import re

import pytest

from kvm_vmx import ConformanceError

ASSIST = "HV_X64_MSR_VP_ASSIST_PAGE"


@pytest.mark.parametrize("point", [f"msr:{ASSIST}", "msr:0x40000073"])
def test_one_msr_fails_at_the_boot(kernel, point):
    """The first CPU's WRMSR of its assist page: v4.19's is one that may fault, and is warned of."""
    with kernel(cpus=2, lints=True, fail={point: 1}) as machine:
        machine.insmod()
        assert machine.failures_left == {}
        (told,) = (lint for lint in machine.lints if lint == "told_to_fail")
        assert f"WRMSR of MSR 0x40000073 ({ASSIST}) raised #GP; processor" in told.explain()
        assert any("0x40000073" in line for line in machine.dmesg)


def test_the_entry_without_an_assist_page_says_so(kernel):
    with kernel(cpus=1, lints=True, fail={f"msr:{ASSIST}": 1}) as machine:
        vcpu = machine.insmod().create_vm(code=b"\xf4").create_vcpu(cpu=0)
        summary = vcpu.run(exits=1)
        assert summary.refusal.id == "assist_page_off"
        assert {"told_to_fail", "assist_page_unset"} <= set(machine.lints)


def test_the_nth_of_any_kind_says_which_it_was(kernel):
    with kernel(cpus=1, lints=True) as machine:
        machine.fail("msr", 1)
        with contextlib.suppress(OSError):          # later ones do not load without their PAT
            machine.insmod()
        (told,) = (lint for lint in machine.lints if lint == "told_to_fail")
        assert "MSR 0x" in told.explain() and "MSR of MSR" in told.explain()


@pytest.mark.parametrize("nth", range(1, 7))
def test_whichever_access_fails_has_a_name_and_the_assist_page_s_loss_a_rule(kernel, nth):
    with kernel(cpus=1, lints=True, fail={"msr": nth}) as machine:
        summary = vcpu = None
        try:
            vcpu = machine.insmod().create_vm(code=b"\xf4").create_vcpu(cpu=0)
            machine.start_trace()
            summary = vcpu.run(exits=1)
        except OSError as error:
            assert not kernel.is_port and "(kernel: " in str(error)
        (told,) = (lint.explain() for lint in machine.lints if lint == "told_to_fail")
        name = re.search(r"(?:RD|WR)MSR of MSR 0x[0-9a-f]+ \((\w+)\) raised #GP", told)[1]
        refused = [lint for lint in machine.lints if lint == "assist_page_unset"]
        assert bool(refused) == (name == ASSIST and summary is not None)
        if summary is not None:
            lost = summary.refusal is not None and summary.refusal.id == "assist_page_off"
            assert bool(refused) == lost
            assert (summary.reason == "FAIL_ENTRY") == (name in (ASSIST, "MSR_EFER"))
        if refused:
            entries = [str(record) for record in machine.trace if "launch" in str(record)]
            for said in (refused[0].explain(), str(summary), str(vcpu.why_not), *entries):
                assert "VP assist page is off" in said and "R20" in said


def test_a_strict_machine_stops_where_a_processor_has_lost_its_assist_page(kernel):
    with kernel(cpus=2, strict=True) as machine:
        vcpu = machine.insmod().create_vm(code=b"\xf4").create_vcpu(cpu=1)
        machine.cpu(1).wrmsr(0x40000073, 0)
        with pytest.raises(ConformanceError, match="R20: .*VP assist page is off.*processor 1"):
            vcpu.run(exits=1)


def test_without_lints_nothing_is_told_and_the_count_is_by_name(kernel):
    with kernel(cpus=1) as machine:
        machine.fail("msr:MSR_IA32_VMX_BASIC", 1000)
        assert machine.failures_left == {"msr:MSR_IA32_VMX_BASIC": 1000}
        machine.fail("msr:MSR_IA32_VMX_BASIC", 0)
        assert machine.failures_left == {} and machine.lints == []


@pytest.mark.parametrize(("point", "said"), [
    ("msr:HV_X64_MSR_VP_ASIST_PAGE", "HV_X64_MSR_VP_ASSIST_PAGE"),
    ("msr:0x123456789", "32 bits"), ("msr:", "no fail point"), ("page:3", "no fail point")])
def test_a_name_that_is_none(kernel, point, said):
    with kernel(cpus=1) as machine, pytest.raises(ValueError, match=said):
        machine.fail(point, 1)
