# SPDX-License-Identifier: GPL-2.0-only
"""Lines of a kernel log, of /proc/cpuinfo, of a configuration: what each kind of line tells."""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kvm_vmx.conditions import SVM_VENDORS

AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
INTEL, AMD = "GenuineIntel", SVM_VENDORS[0]


class Kind(NamedTuple):
    """A kind of line: its pattern, and the facts that a match tells; weak: where nothing else
    speaks."""

    pattern: re.Pattern[str]
    facts: Callable[[re.Match[str]], Iterable[tuple[str, Any]]]
    weak: bool = False


def kind(pattern: str, *facts: tuple[str, Any], weak: bool = False, **values: Any) -> Kind:
    """A line that always tells the same, or, by keyword, numbers of its groups."""
    numbers = [(name, group) for name, group in values.items()]
    return Kind(re.compile(pattern), lambda hit: [
        *facts, *((name, int(hit[group], 16)) for name, group in numbers)], weak)


def truth(word: str) -> bool | None:
    """What the kernel makes of a word for a bool; None: an error."""
    if word[:1].lower() in ("y", "t", "1") or word[:2].lower() == "on":
        return True
    if word[:1].lower() in ("n", "f", "0") or word[:2].lower() == "of":
        return False
    return None


def _asked(hit: re.Match[str]) -> list[tuple[str, Any]]:
    words = re.findall(r"\bkvm[_-]intel\.enlightened_vmcs(?:=(\S*))?", hit[0])
    said = [truth(word) if word else True for word in words]
    return [("parameter", said[-1])] if said and said[-1] is not None else []


def _option(hit: re.Match[str]) -> list[tuple[str, Any]]:
    said = truth(hit[1])
    return [] if said is None else [("parameter", said)]


def _now(hit: re.Match[str]) -> list[tuple[str, Any]]:
    return [("config_hyperv", True), ("used_now", hit[1] == "Y")]


def _release(hit: re.Match[str]) -> list[tuple[str, Any]]:
    release = hit[1]
    place = "wsl2" if re.search("microsoft-standard|WSL", release) else \
        "azure" if release.endswith("-azure") else ""
    return [("release", release), *([("place", place)] if place else [])]


def _flags(hit: re.Match[str]) -> list[tuple[str, Any]]:
    flags = hit[1].split()
    return [("hypervisor", "hypervisor" in flags), ("cpuinfo_vmx", "vmx" in flags)]


def _hypervisor_name(hit: re.Match[str]) -> list[tuple[str, Any]]:
    names = {"Microsoft": "Microsoft Hyper-V"}
    return [("hypervisor", True), ("detected", names.get(hit[1].strip(), hit[1].strip()))]


# as %#x prints it, a 0 has no 0x
_X = r"(?:0x)?([0-9a-fA-F]{1,8})\b"
KINDS = (
    Kind(re.compile(r"\bLinux version (\d+\.\d+[\w.+~-]{0,80})"), _release),
    Kind(re.compile(r"^(\d+\.\d+\.\d+[\w.+~-]{0,80})\s*$"), _release),
    # mshyperv.c
    Kind(re.compile(r"\bHypervisor detected: ([\w .-]{1,40})"), _hypervisor_name),
    Kind(re.compile(r"^Hypervisor vendor:\s*([\w .-]{1,40})"), _hypervisor_name),
    kind(rf"\bHyper-V: features {_X}, hints {_X}", features=1, hints=2),
    kind(rf"\bHyper-V: privilege flags low {_X}, high {_X}, (?:ext {_X}, )?hints {_X}",
         features=1, priv_high=2, hints=4),
    kind(rf"\bHyper-V: privilege flags low {_X}, hints {_X}", features=1, hints=2),
    kind(rf"\bHyper-V: Nested features: {_X}", nested=1),
    kind(rf"\bHyper-V: Isolation Config: Group A {_X}, Group B {_X}", isolation=2),
    kind(r"\bparavirtualized kernel on bare hardware", ("hypervisor", False), weak=True),
    kind(r"\bparavirtualized kernel on KVM\b", ("detected", "KVM"), weak=True),
    kind(r"\bparavirtualized kernel on Hyper-V\b", ("detected", "Microsoft Hyper-V"), weak=True),
    kind(r"\bDMI: QEMU\b", ("place", "qemu")),
    kind(re.escape(AZURE_TAG), ("place", "azure")),
    # kvm-intel, in its forms from 4.19 on
    kind(r"\b[Uu]sing Hyper-V Enlightened VMCS\b", ("used_log", True), ("config_hyperv", True)),
    kind(r"\bno hardware support for 'kvm_intel'", ("vmx", False)),
    kind(r"\bkvm: no hardware support\s*$", ("vmx", False), weak=True),
    kind(r"\bVMX not supported by CPU \d+", ("vmx", False)),
    kind(r"\bVMX not enabled \(by BIOS\)|\bVMX \(outside TXT\) disabled by BIOS"
         r"|\bsupport for 'kvm_intel' disabled by bios", ("locked_out", True)),
    kind(r"\bkvm: disabled by bios\s*$", ("locked_out", True), weak=True),
    # which processor: only AMD's have SVM
    kind(r"\bCPU0: Intel\b|\bCPU0: Genuine Intel\b", ("vendor", INTEL), weak=True),
    kind(r"\bCPU0: AMD\b|\bSVM: kvm: Nested\b|\bkvm_amd: (?:Nested|TSC scaling|Virtual)",
         ("vendor", AMD), weak=True),
    kind(r"\bCPU0: Hygon\b", ("vendor", SVM_VENDORS[1]), weak=True),
    Kind(re.compile(r"^(?:vendor_id|Vendor ID)\s*:\s*(\w{1,12})\s*$"),
         lambda hit: [("vendor", hit[1])]),
    Kind(re.compile(r"^(?:flags|Flags)\s*:\s*([a-z0-9_ ]{20,})"), _flags),
    # what it was asked for, and what it does now
    Kind(re.compile(r"\bkvm[_-]intel\.enlightened_vmcs\b.*"), _asked),
    Kind(re.compile(r"^\s*options\s+kvm[_-]intel\b.*\benlightened_vmcs=(\S+)"), _option),
    Kind(re.compile(r"(?:^|/)enlightened_vmcs\s*[:=]\s*([YN])\s*$"), _now),
    # the kernel's configuration
    kind(r"^CONFIG_HYPERV=[ym]\s*$", ("config_hyperv", True)),
    kind(r"^# CONFIG_HYPERV is not set\s*$", ("config_hyperv", False)),
)
# A parameter of kvm_intel with its value, as `grep .` or `ls` and `cat` show it.
PARAMETER = re.compile(r"(?:^|/)(ept|vpid|unrestricted_guest|eptad|flexpriority|vnmi|ple_gap"
                       r"|enable_shadow_vmcs|emulate_invalid_guest_state)\s*[:=]\s*\w+\s*$")
NEW_BOOT = re.compile(r"\bLinux version \d")
KERNEL_LOG = re.compile(r"\bkvm(?:_intel|_amd)?: |\bHyper-V\b|\bCommand line: |^CONFIG_KVM\w*=")
MAX_LINE = 4096


def facts_of_line(line: str) -> Iterable[tuple[str, Any, bool]]:
    """(name, value, weak) of everything that a line tells."""
    for row in KINDS:
        if (hit := row.pattern.search(line)) is not None:
            for name, value in row.facts(hit):
                yield name, value, row.weak
