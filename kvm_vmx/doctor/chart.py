# SPDX-License-Identifier: GPL-2.0-only
"""The chart of a host: what its files tell, each fact with the line that it stands in."""

from typing import Any

from kvm_vmx.evidence import Evidence
from kvm_vmx.streams import plain

QUOTE = 90


class Chart:
    """Facts by name. Beside those of kvm_vmx.evidence:

    release   str: the kernel's version          loaded    set of "kvm_intel", "kvm_amd"
    used_log  bool: the kernel has logged its use; used_now bool: sysfs says so now
    place     str: "wsl2", "azure" or "qemu"     nested_kvm bool: KVM stands behind Hyper-V's leaves

    What a file says weakly counts where nothing else speaks.
    """

    def __init__(self) -> None:
        self.facts: dict[str, Evidence] = {}
        self.weak: dict[str, Evidence] = {}
        self.contradictions: list[str] = []
        self.files: list[str] = []
        self.unread: list[str] = []

    def note(self, name: str, value: Any, source: str, weak: bool = False) -> None:
        """A fact; the first one stands, and another value for it is a contradiction."""
        kept = self.weak if weak else self.facts
        if name not in kept:
            kept[name] = Evidence(value, source)
        elif kept[name].value != value and not weak:
            self.contradict(name, Evidence(value, source))

    def contradict(self, name: str, other: Evidence) -> None:
        """Remember that two places say two things."""
        kept = self.facts[name]
        line = f"{name} is {shown(kept.value)} in {kept.source}, {shown(other.value)} in " \
               f"{other.source}"
        if line not in self.contradictions and len(self.contradictions) < 20:
            self.contradictions.append(line)

    def take(self, other: "Chart") -> None:
        """What another file tells."""
        for name, fact in other.facts.items():
            self.note(name, fact.value, fact.source)
        for name, fact in other.weak.items():
            self.note(name, fact.value, fact.source, weak=True)
        self.contradictions += other.contradictions

    def settled(self) -> dict[str, Evidence]:
        """All facts: the weak ones where no other speaks, and what follows from two."""
        facts = self.weak | self.facts
        vmx = facts.get("vmx")
        if "cpuinfo_vmx" in facts:
            seen = facts.pop("cpuinfo_vmx")
            if vmx is None or vmx is self.weak.get("vmx"):
                facts["vmx"] = seen
            elif vmx.value and not seen.value:
                # the kernel takes the flag away where the firmware has locked VMX
                facts.setdefault("locked_out", Evidence(True, seen.source))
        return facts

    def value(self, name: str) -> Any:
        """The value of a fact, or None."""
        fact = self.facts.get(name) or self.weak.get(name)
        return fact.value if fact else None

    @property
    def empty(self) -> bool:
        """Does it tell nothing?"""
        return not self.facts and not self.weak


def shown(value: Any) -> str:
    """A value as a line shows it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    return plain(repr(value)) if isinstance(value, str) else str(value)


def quoted(where: str, number: int | None, text: str) -> str:
    """Where a line stands, and what it says."""
    line = plain(" ".join(text.split()))
    place = plain(where) + (f":{number}" if number else "")
    return f"{place}: {line if len(line) <= QUOTE else line[:QUOTE - 1].rstrip() + '…'}"
