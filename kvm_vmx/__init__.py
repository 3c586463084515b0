# SPDX-License-Identifier: GPL-2.0-only
"""KVM's enlightened-VMCS path in user space, on an emulated Hyper-V."""

from kvm_vmx.abi.numbers import ExitReason, Field
from kvm_vmx.decode import Decoded, decode, decode_all
from kvm_vmx.l0.cpuid_dump import parse_cpuid, read_cpuid
from kvm_vmx.l0.faults import FAULTS
from kvm_vmx.machine import guests
from kvm_vmx.machine.cpu import Cpu
from kvm_vmx.machine.fields import fields
from kvm_vmx.machine.kernel import KernelBug, MachineError
from kvm_vmx.machine.lints import ConformanceError, Lint
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.options import L1, HyperV
from kvm_vmx.machine.outcome import Fault, Outcome, VMfailInvalid, VMfailValid, VMsucceed
from kvm_vmx.machine.vcpu import ExitSummary, Vcpu
from kvm_vmx.machine.vm import Vm

__all__ = [
    "FAULTS", "L1", "ConformanceError", "Cpu", "Decoded", "ExitReason", "ExitSummary", "Fault",
    "Field", "HyperV", "KernelBug", "Lint", "Machine", "MachineError", "Module", "Outcome",
    "VMfailInvalid", "VMfailValid", "VMsucceed", "Vcpu", "Vm", "decode", "decode_all", "fields",
    "guests", "parse_cpuid", "read_cpuid",
]
