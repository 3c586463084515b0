# SPDX-License-Identifier: GPL-2.0-only
"""What tests ask of a vCPU and of a module of any L1, by the way that each has."""

from kvm_vmx.kernel import ioctls


def set_cpuid(vcpu, entries):
    """KVM_SET_CPUID2 of a guest's leaves."""
    if hasattr(vcpu, "_raw"):
        assert vcpu._raw.set_cpuid(0, entries) == 0
    else:
        vcpu._do(ioctls.SET_CPUID2, ioctls.cpuid_of(entries), "set_cpuid")


def destroy_vms(machine):
    """All VMs of a machine."""
    for vm in list(getattr(machine.module, "vms", ())):
        vm.destroy()
    if hasattr(machine, "_kernel"):
        machine._kernel.destroy_vms()
