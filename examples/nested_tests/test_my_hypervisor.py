# SPDX-License-Identifier: GPL-2.0-only
"""Its tests: no VT-x, no root, a few milliseconds each."""

import re

import my_hypervisor
import pytest

from kvm_vmx import ConformanceError, ExitReason, VMfailValid, guests

ALL_CLEAN = 0xFFFF
# again: rdtsc; cpuid; jmp again
RDTSC_THEN_CPUID = bytes.fromhex("0f31" "0fa2" "ebfa")


def test_l2_goes_on_behind_its_cpuid(evmcs_page):
    assert evmcs_page.enter() and evmcs_page.exit_reason == ExitReason.CPUID
    rip = evmcs_page["GUEST_RIP"]
    my_hypervisor.skip_instruction(evmcs_page)
    assert evmcs_page["GUEST_RIP"] == rip + len(b"\x0f\xa2")


def leaves_at(page, change):
    """Why L2, in a loop of RDTSC and CPUID, leaves after a change between two entries."""
    page.vm.memory.write(0x1000, RDTSC_THEN_CPUID)
    page["GUEST_RIP"] = 0x1000
    assert page.enter()
    page["GUEST_RIP"] = 0x1000
    page.clean_fields = ALL_CLEAN
    change(page)
    assert page.enter(resume=True)
    return page.exit_reason


def test_rdtsc_exits(evmcs_page):
    assert leaves_at(evmcs_page, my_hypervisor.want_rdtsc_exits) == ExitReason.RDTSC


def test_without_the_clean_bit_nothing_changes(evmcs_page):
    assert leaves_at(evmcs_page, my_hypervisor.want_rdtsc_exits_and_forget) == ExitReason.CPUID


@pytest.mark.l1(strict=True)
def test_a_strict_l0_names_the_field(evmcs_page):
    with pytest.raises(ConformanceError, match="CPU_BASED_VM_EXEC_CONTROL"):
        leaves_at(evmcs_page, my_hypervisor.want_rdtsc_exits_and_forget)
        evmcs_page.machine.module.create_vm(code=guests.HALT).create_vcpu().run()


def test_why_an_entry_is_refused(evmcs_page):
    evmcs_page["HOST_CR4"] = 0
    assert {refusal.field for refusal in evmcs_page.refusals} == {"HOST_CR4"}
    outcome = evmcs_page.enter()
    assert outcome == VMfailValid(8) and outcome.why == evmcs_page.refusals[0]


def test_kvm_itself_breaks_no_rule(l0_strict):
    vcpu = l0_strict.insmod().create_vm(code=guests.CPUID_LOOP).create_vcpu()
    assert vcpu.run(exits=100).reasons == {ExitReason.CPUID: 100}


def test_the_number_is_the_kernels(kernel_tree):
    said = re.search(r"CPU_BASED_RDTSC_EXITING\s+(\w+)",
                     kernel_tree.files["arch/x86/include/asm/vmx.h"])
    assert int(said[1], 16) == my_hypervisor.RDTSC_EXITING
