# SPDX-License-Identifier: GPL-2.0-only
"""6.12's own KVM as L1: it loads, runs guests, unloads; weaknesses of v4.19 that it has no more."""

import pytest

from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.kernel import command
from kvm_vmx.kernel.kernel import Kernel

CPUID_LOOP = bytes.fromhex("b800000000" "0fa2" "ebf7")
UNTIL_HLT = bytes.fromhex("b90a000000" "31c0" "51" "0fa2" "59" "ffc9" "75f6" "f4")


@pytest.mark.parametrize("enlightened", [True, False])
def test_a_guest_runs_to_its_end_and_everything_is_given_back(later, enlightened):
    with Kernel(later, 2, lints=True) as kernel:
        left = []
        for _ in range(3):
            kvm = kernel.insmod(enlightened)
            assert kvm.enable_evmcs == enlightened
            summary = kvm.create_vm(UNTIL_HLT).create_vcpu(0).run()
            assert (summary.reason, summary.reasons[ExitReason.CPUID]) == ("HLT", 10)
            kvm.rmmod()
            left.append(kernel.allocations)
        assert left[0] == left[1] == left[2]
        assert kernel.warnings == 0 and kernel.lints == []


def test_an_exit_costs_one_access_less_than_with_v4_19(later):
    plain, enlightened = command.counts(later, False), command.counts(later, True)
    assert (plain["vmread"], plain["vmwrite"], plain["vmresume"]) == (6, 1, 1)
    assert (enlightened["vmread"], enlightened["vmwrite"], enlightened["vmresume"]) == (0, 0, 1)


def test_host_rsp_is_no_weakness_any_more(later):
    """HOST_RSP is written with its clean bit: another stack depth is no stale field."""
    with Kernel(later, 1, lints=True) as kernel:
        vcpu = kernel.insmod().create_vm(CPUID_LOOP).create_vcpu(0)
        for depth in (0, 64, 128, 0):
            assert vcpu.run(exits=10, stack_depth=depth).exits == 10
        assert kernel.lints == []


def test_version_range_is_as_it_was(later):
    """Of a range of eVMCS versions 6.12 looks at the low end, as v4.19 does."""
    with Kernel(later, 1, cpuid={0x4000000A: (5 << 8 | 5, 0, 0, 0)}) as kernel:
        assert kernel.insmod().enable_evmcs
