# SPDX-License-Identifier: GPL-2.0-only
"""Facts: values of a host, each with where it was found.

config_hyperv  bool: the kernel is built with CONFIG_HYPERV
parameter      bool: kvm_intel was loaded with enlightened_vmcs=1, its default
hypervisor     bool: CPUID 1 ECX[31]
detected       str: the hypervisor that the kernel found, "" for none
signature      str: CPUID 0x40000000 EBX, ECX, EDX as text
max_leaf, features, priv_high, hints, nested, isolation
               int: CPUID 0x40000000 EAX, ...03 EAX, ...03 EBX, ...04 EAX, ...0A EAX, ...0C EBX
without_assist tuple[int, ...]: the online CPUs without a VP assist page
vendor         str: CPUID 0 as text
vmx            bool: CPUID 1 ECX[5]
locked_out     bool: IA32_FEATURE_CONTROL keeps VMX from being switched on
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MICROSOFT = "Microsoft Hv"


class Evidence(NamedTuple):
    """A value, and where it was found."""

    value: Any
    source: str


Facts = Mapping[str, Evidence]


def text_of(*words: int) -> str:
    """Registers of CPUID as the text that they spell."""
    return b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0").decode(
        "ascii", "replace")


def facts_of_cpuid(leaves: Mapping[Any, tuple[int, int, int, int]],
                   source: Callable[[int], str]) -> dict[str, Evidence]:
    """What a host's CPUID says; source tells where a leaf was found."""
    found = {}

    def note(name: str, leaf: int, value: Callable[[tuple[int, int, int, int]], Any]) -> None:
        if leaf in leaves:
            found[name] = Evidence(value(leaves[leaf]), source(leaf))

    note("vendor", 0, lambda r: text_of(r[1], r[3], r[2]))
    note("vmx", 1, lambda r: bool(r[2] >> 5 & 1))
    note("hypervisor", 1, lambda r: bool(r[2] >> 31 & 1))
    if "hypervisor" in found and not found["hypervisor"].value:
        return found            # what the leaves above 0x40000000 hold is nobody's
    note("signature", 0x40000000, lambda r: text_of(*r[1:]))
    note("max_leaf", 0x40000000, lambda r: r[0])
    if found.get("signature", Evidence("", "")).value != MICROSOFT:
        return found
    note("features", 0x40000003, lambda r: r[0])
    note("priv_high", 0x40000003, lambda r: r[1])
    note("hints", 0x40000004, lambda r: r[0])
    note("nested", 0x4000000A, lambda r: r[0])
    note("isolation", 0x4000000C, lambda r: r[1])
    return found
