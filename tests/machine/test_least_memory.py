# SPDX-License-Identifier: GPL-2.0-only
"""Machines with next to no memory: a line at the step it does not do for, nothing half-done."""

import pytest

from kvm_vmx import Machine

HLT = b"\xf4"
REENLIGHTENMENT = 1 << 13       # of leaf 0x40000003 EAX


@pytest.fixture(scope="module")
def quiet():
    """A Hyper-V that tells of no migration: of the other v4.19 asks it at the load of kvm, also
    where there was no memory for what it asks by (erratum no_vp_index), and ends there."""
    with Machine(cpus=1) as machine:
        eax, *rest = machine.cpu(0).cpuid(0x40000003)
    return {0x40000003: (eax & ~REENLIGHTENMENT, *rest)}


def furthest(cpus, pages, cpuid):
    """How far a machine of so many pages comes, and what it says there."""
    try:
        machine = Machine(cpus=cpus, memory=pages * 4096, cpuid=cpuid)
    except ValueError as error:
        return 0, str(error)
    with machine:
        before = machine.allocations
        try:
            module = machine.insmod()
        except OSError as error:
            # hardware_setup() of v4.19 keeps two bitmaps where there are no pages for VMXON
            assert machine.allocations["pages"] - before["pages"] in (0, 2)
            return 1, str(error)
        loaded = machine.allocations
        try:
            vcpu = module.create_vm(code=HLT, memory=16 * 4096).create_vcpu()
        except OSError as error:
            for vm in list(machine._kernel.vms):
                vm.destroy()
            assert machine.allocations == loaded
            return 2, str(error)
        return 3, vcpu.run().reason


@pytest.mark.parametrize("cpus", [1, 2, 5])
def test_each_step_is_refused_in_one_line(cpus, quiet):
    found = [furthest(cpus, pages, quiet) for pages in (*range(1, 40), 64)]
    assert [step for step, _ in found] == sorted(step for step, _ in found)
    assert {step for step, _ in found} == {0, 1, 2, 3}
    for step, words in found:
        assert "\n" not in words and len(words) < 160
        assert words == "HLT" or (f"{cpus * 8192} or more" if step == 0 else "allocate") in words
