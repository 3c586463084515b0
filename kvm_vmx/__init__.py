# SPDX-License-Identifier: GPL-2.0-only
"""KVM's enlightened-VMCS path in user space, on an emulated Hyper-V."""

from kvm_vmx.machine.fields import fields
from kvm_vmx.machine.kernel import KernelBug, MachineError
from kvm_vmx.machine.lints import ConformanceError, Lint
from kvm_vmx.machine.machine import Cpu, ExitSummary, Machine, Module, Vcpu, Vm
from kvm_vmx.machine.outcome import Fault, Outcome, VMfailInvalid, VMfailValid, VMsucceed

__all__ = [
    "ConformanceError", "Cpu", "ExitSummary", "Fault", "KernelBug", "Lint", "Machine",
    "MachineError", "Module", "Outcome", "VMfailInvalid", "VMfailValid", "VMsucceed", "Vcpu", "Vm",
    "fields",
]
