# SPDX-License-Identifier: GPL-2.0-only
"""6.1's and 6.12's own KVM as L1: it loads, runs guests, unloads; what 6.12 has no more
of v4.19's weaknesses."""

import pytest

from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.kernel.exit_counts import exit_counts
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

UNTIL_HLT = bytes.fromhex("b90a000000" "31c0" "51" "0fa2" "59" "ffc9" "75f6" "f4")


@pytest.mark.parametrize("enlightened", [True, False])
def test_a_guest_runs_to_its_end_and_everything_is_given_back(any_later, enlightened):
    with Kernel(any_later, 2, lints=True) as kernel:
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
    plain, enlightened = exit_counts(later, False), exit_counts(later, True)
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


NESTED_FEATURES, ENLIGHTENED_BITMAP, MSR_BITMAP = 0x4000000A, 1 << 19, 1 << 1
ENCLS_EXITING = 1 << 15


def test_a_new_vcpu_touches_no_other_one(later):
    """touch_current: the clean bit of the vCPU that is current stays."""
    with Kernel(later, 1, cpuid={
            NESTED_FEATURES: (1 << 8 | 1 | ENLIGHTENED_BITMAP, 0, 0, 0)}) as kernel:
        vm = kernel.insmod().create_vm(CPUID_LOOP)
        first = vm.create_vcpu(0)
        first.run(exits=10)
        assert first.evmcs.clean_fields & MSR_BITMAP
        vm.create_vcpu(0)
        assert first.evmcs.clean_fields & MSR_BITMAP


def test_the_assist_page_of_a_cpu_that_goes_is_left_clean(later):
    """stale_assist: no entry is enlightened there any more."""
    with Kernel(later, 2) as kernel:
        kvm = kernel.insmod()
        vm = kvm.create_vm(CPUID_LOOP)
        vm.create_vcpu(1).run(exits=10)
        assert kernel.assist_page(1)[40] == 1
        vm.destroy()
        kernel.offline(1)
        kvm.rmmod()
        assert kernel.assist_page(1)[40] == 0


def test_a_control_whose_field_has_no_slot_is_not_taken(later):
    """encls: the capability offers it, the eVMCS has no room for its bitmap."""
    with Kernel(later, 1, msrs={0x48B: (0x000118FE | ENCLS_EXITING) << 32}) as kernel:
        vcpu = kernel.insmod().create_vm(CPUID_LOOP).create_vcpu(0)
        vcpu.run(exits=10)
        assert not vcpu.evmcs["SECONDARY_VM_EXEC_CONTROL"] & ENCLS_EXITING
        assert not any("unsupported EVMCS field" in line for line in kernel.dmesg)


def test_no_failed_load_leaks(later):
    """bitmaps_leaked, and whatever else a load that fails could keep."""
    with Kernel(later, 1) as kernel:
        kernel.insmod().rmmod()
        before = kernel.allocations
        failed = 0
        for point in ("page", "kmalloc"):
            for nth in range(1, 40):
                kernel.fail(point, nth)
                try:
                    kvm = kernel.insmod()
                except OSError:
                    failed += 1
                    assert kernel.allocations == before, (point, nth)
                else:
                    kernel.fail(point, 0)
                    kvm.rmmod()
                    break
        assert failed > 3
