# SPDX-License-Identifier: GPL-2.0-only
"""Why the module of a machine does not use enlightened VMCSs, by the conditions of v4.19."""

from typing import TYPE_CHECKING

from kvm_vmx.conditions import Finding, walk
from kvm_vmx.evidence import Evidence, facts_of_cpuid
from kvm_vmx.machine.lints import Lint

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine
    from kvm_vmx.machine.module import Module

LEAVES = (0, 1, 0x40000000, 0x40000003, 0x40000004, 0x4000000A)
FEATURE_CONTROL, LOCKED, OUTSIDE_SMX = 0x3A, 1 << 0, 1 << 2


def why_not(machine: "Machine", asked: bool | None) -> tuple[Finding, ...]:
    """The conditions that do not hold, in v4.19's order; asked is the module's parameter, None
    where it is built without any."""
    profile, kernel = machine._partition.profile, machine._kernel
    without = tuple(cpu for cpu in range(machine.possible_cpus)
                    if kernel.online(cpu) and kernel.assist_page(cpu) is None)
    leaves = {leaf: profile.cpuid.get(leaf, (0, 0, 0, 0)) for leaf in LEAVES}
    facts = facts_of_cpuid(leaves, lambda leaf: "CPUID {:#x} is {:#x} {:#x} {:#x} {:#x}".format(
        leaf, *leaves[leaf]))
    facts["config_hyperv"] = Evidence(
        asked is not None, "the module's parameters" if asked is not None else
        "the module has no parameter enlightened_vmcs")
    if asked is not None:
        facts["parameter"] = Evidence(asked, f"enlightened_vmcs={int(asked)}")
    facts["without_assist"] = Evidence(without, "the VP assist pages at the load")
    control = profile.msrs.get(FEATURE_CONTROL, 0)
    facts["locked_out"] = Evidence(
        control & (LOCKED | OUTSIDE_SMX) == LOCKED, f"MSR {FEATURE_CONTROL:#x} is {control:#x}")
    return tuple(finding for finding in walk(facts) if finding.holds is False)


def lints(module: "Module | None") -> list[Lint]:
    """One lint where the module was asked for enlightened VMCSs and does without."""
    if module is None or not module._asked or not module.why_not_evmcs:
        return []
    first, *others = (finding.why for finding in module.why_not_evmcs)
    also = f"; also {'; '.join(others)}" if others else ""
    return [Lint("evmcs_not_used", "", f"enlightened VMCS is not used, because {first}{also}")]
