# SPDX-License-Identifier: GPL-2.0-only
"""Faults that a Hyper-V, or what acts as one, has had: each a policy of a profile, off in all of
the shipped ones."""

import dataclasses
from collections.abc import Iterable

from kvm_vmx.words import unknown


@dataclasses.dataclass(frozen=True)
class Defect:
    """One fault by name: what L0 does then, what L1 sees of it, and where that was told."""

    name: str
    does: str
    symptom: str
    source: str


FAULTS = {fault.name: fault for fault in (
    Defect("leaves_error_unwritten",
           "a VMfail stores no VM_INSTRUCTION_ERROR into the active eVMCS",
           "KVM reports the error that stood there before: hardware error 0x0",
           'KVM commit "KVM: nVMX: Force enlightened VMCS sync from nested_vmx_failValid()", 2021'),
    Defect("launch_trusts_clean",
           "VMLAUNCH, and an eVMCS that has become active again, go by the clean bits in the page",
           "a field that was changed around VMCLEAR, its clean bit left set, is not seen",
           '"KVM: nVMX: eVMCS: don\'t use clean fields data on enlightened VMLAUNCH", 2019; K3'),
    Defect("rereads_clean_groups",
           "every group is read at every entry, whatever its clean bit says",
           "a clean bit that L1 forgets to clear does no harm, and an exit costs what "
           "it did before",
           "KVM 6.12 copy_enlightened_to_vmcs12() with no clean fields, as for a migration; R37"),
    Defect("loses_assist_page",
           "MSR 0x40000073 does not take a page again after it was switched off, as it is when a "
           "CPU goes offline or L1 is reset",
           "after the CPU came back the MSR reads 0, and each entry fails: hardware error 0x0",
           '"x86/hyperv: restore VP assist page after cpu offlining/onlining", 2022'),
    Defect("serves_stale_bitmaps",
           "the content of an enlightened MSR bitmap is read once, whatever its clean bit says",
           "an intercept that L1 has switched on since does not come",
           'K11; "KVM: nVMX: Track whether changes in L0 require MSR bitmap for L2 to be rebuilt", '
           "2021"),
)}


def check_faults(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each of which is a fault's; ValueError with those that there are."""
    if isinstance(names, str):
        raise ValueError(f"faults {names!r}: give a list, as in [{names!r}]")
    found = tuple(names)
    for name in found:
        if name not in FAULTS:
            raise ValueError(unknown("fault", name, FAULTS))
    return found
