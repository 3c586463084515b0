# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on a host: does its KVM use enlightened VMCSs, why, what to change, what it costs."""

from typing import Any, NamedTuple

from kvm_vmx.conditions import ORDER, SVM_VENDORS, Finding, walk
from kvm_vmx.doctor.chart import Chart
from kvm_vmx.doctor.cures import KINDS, cure
from kvm_vmx.evidence import Evidence

# From which release on a kernel asks as the one that was read does.
FROM = (((6, 3), "6.12"), ((5, 17), "6.1"), ((0, 0), "4.19"))


class Verdict(NamedTuple):
    """used: None where it can't be told; cause is the first condition that does not hold, missing
    those of which nothing tells; kind is a key of KINDS."""

    used: bool | None
    answer: str
    kind: str
    kernel: str
    release: str
    cause: str
    findings: list[Finding]
    elsewhere: dict[str, str]
    missing: list[Finding]
    changes: list[str]


def judge(chart: Chart, kernel: str | None = None) -> Verdict:
    """The verdict by the conditions of a kernel, or of the nearest one to the host's."""
    facts = chart.settled()
    release = facts["release"].value if "release" in facts else ""
    chosen = kernel or nearest(release)
    findings = walk(facts, chosen)
    kind = kind_of(facts)
    used, cause, answer = decide(facts, findings)
    missing = [one for one in findings if one.holds is None and not used and not cause]
    wrong = [one for one in findings if one.holds is False]
    changes = [] if used else list(dict.fromkeys(
        text for one in first_of(wrong, cause) + missing if (text := cure(one, kind))))
    return Verdict(used, answer, kind, chosen, release, cause, findings,
                   {other: briefly(facts, other) for other in ORDER if other != chosen},
                   missing, changes)


def first_of(wrong: list[Finding], cause: str) -> list[Finding]:
    """The conditions that do not hold, the cause before the others; where nothing can mend the
    cause the others do not matter."""
    if cause in ("svm", "hypervisor"):
        return [one for one in wrong if one.id == ("vmx" if cause == "svm" else cause)]
    return sorted(wrong, key=lambda one: one.id != cause)


def nearest(release: str) -> str:
    """The kernel among those that were read that asks as this release does; 4.19 where there is
    none."""
    parts = release.split(".")
    try:
        version = int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return "4.19"
    return next(name for start, name in FROM if version >= start)


def decide(facts: dict[str, Evidence], findings: list[Finding]) -> tuple[bool | None, str, str]:
    """(used, the cause's id, a sentence)."""
    wrong = [one for one in findings if one.holds is False]
    vmx = next(one for one in findings if one.id == "vmx")
    svm = facts.get("vendor", Evidence("", "")).value in SVM_VENDORS
    logged = next((facts[name] for name in ("used_now", "used_log") if name in facts), None)
    # sysfs shows the default Y of a kvm_intel that is built in and has given up
    if logged is not None and logged.value and vmx.holds is not False:
        doubt = f"; but by what else is here {wrong[0].why}" if wrong else ""
        return True, "", f"KVM uses enlightened VMCSs: {logged.source}{doubt}"
    no = "KVM does not use enlightened VMCSs"
    if svm:         # whatever else is wrong, this can't be mended
        wrong.sort(key=lambda one: one.id != "vmx")
    if wrong:
        also = f"; also {'; '.join(one.why for one in wrong[1:])}" if wrong[1:] else ""
        return False, "svm" if svm else wrong[0].id, f"{no}: {wrong[0].why}{also}"
    if logged is not None:
        return False, "", f"{no}: {logged.source}; why is not in what was given"
    unknown = [one for one in findings if one.holds is None]
    needed = [one for one in unknown if one.id not in ("config", "assist", "bios", "isolation")]
    if needed:
        return None, "", f"what was given does not tell: {needed[0].why}"
    rest = ", ".join(one.what for one in unknown)
    return True, "", "KVM uses enlightened VMCSs when kvm_intel is loaded" + (
        f", unless something is wrong with what nothing tells of ({rest})" if rest else "")


def briefly(facts: dict[str, Evidence], kernel: str) -> str:
    """What another kernel would do here, in a line."""
    findings = walk(facts, kernel)
    wrong = next((one for one in findings if one.holds is False), None)
    if wrong is not None:
        return f"not used: {wrong.why}"
    unknown = [one.what for one in findings if one.holds is None]
    if len(unknown) > 4:
        return f"nothing speaks against it, and {len(unknown)} conditions are not told"
    return f"used, if these hold too: {', '.join(unknown)}" if unknown else "used"


def kind_of(facts: dict[str, Evidence]) -> str:
    """What kind of host this is."""
    def value(name: str) -> Any:
        return facts[name].value if name in facts else None

    place: str | None = value("place")
    name: str = value("signature") or value("detected") or ""
    svm = "-amd" if value("vendor") in SVM_VENDORS else ""
    hyperv = name in ("Microsoft Hv", "Microsoft Hyper-V") or value("hints") is not None
    if name == "Linux KVM Hv" or hyperv and (value("nested_kvm") or place == "qemu"):
        return "kvm-hyper-v" + svm
    if hyperv:
        return (place if place in ("wsl2", "azure") else "hyper-v") + svm
    if place == "wsl2":
        return place + svm
    if name.startswith("KVM"):
        return "kvm" + svm
    if name:
        return "other" + svm
    if value("hypervisor") is False or "detected" in facts:
        return "bare" + svm
    return "unknown" + svm


def kind_text(kind: str) -> str:
    """A kind of host in words."""
    return KINDS[kind.removesuffix("-amd")] + (
        ", AMD processor" if kind.endswith("-amd") else "")
