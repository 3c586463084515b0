# SPDX-License-Identifier: GPL-2.0-only
"""What tests ask of a vCPU and of a module of any L1, by the way that each has."""

from kvm_vmx import Field, fields
from kvm_vmx.kernel import ioctls
from kvm_vmx.machine.fields import CLEAN_FIELDS


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


def load(vcpu):
    """Make a vCPU's VMCS the current one of its CPU."""
    if hasattr(vcpu, "_raw"):
        vcpu._raw.load(vcpu.cpu)
    else:
        vcpu.load()


def write_field(vcpu, field, value):
    """Write a field of a vCPU's VMCS as KVM would, whose accessors are inlined in a kernel's own:
    by VMWRITE, or in its page with the group's clean bit cleared. What VMWRITE says, or None."""
    load(vcpu)
    machine, row = vcpu.vm.module.machine, row_of(field)
    if not vcpu.vm.module.enable_evmcs:
        return machine.cpu(vcpu.cpu).vmwrite(field, value)
    memory, page = machine.memory, vcpu.vmcs_gpa
    memory.write(page + row["offset"], value.to_bytes(row["size"], "little"))
    clean = int.from_bytes(memory.read(page + CLEAN_FIELDS, 4), "little")
    memory.write(page + CLEAN_FIELDS,
                 (clean & ~int(row["clean_mask"], 16)).to_bytes(4, "little"))
    return None


def row_of(field):
    """The row of an encoding in the table of the eVMCS."""
    return next((row for row in fields() if int(row["encoding"], 16) == field), None)


def change_field(vcpu, field, bits, on=True):
    """Set or clear bits of one."""
    load(vcpu)
    value = vcpu.vmcs[Field(field)]
    write_field(vcpu, field, value | bits if on else value & ~bits)
