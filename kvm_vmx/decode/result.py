# SPDX-License-Identifier: GPL-2.0-only
"""A decoded VMCS as a value: its fields, its clean bits, and what L0 would refuse of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvm_vmx.abi.numbers import Field
from kvm_vmx.decode.layouts import (
    ASSIST, EVMCS_SIZE, Place, clean_masks, evmcs, synthetic)
from kvm_vmx.decode.pages import ALWAYS
from kvm_vmx.decode.inputs import FoundPage
from kvm_vmx.l0 import offers
from kvm_vmx.machine.checks import checks, control_bits
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.refusal import Refusal

TITLES = {"evmcs": "an enlightened VMCS", "vmcs12": "KVM's vmcs12",
          "vmcs": "a plain VMCS of this L0", "assist": "a VP assist page",
          "dump": "dump_vmcs()", "fields": "fields"}
# What stands in a text, its place being a line.
OF_LINES = ("dump", "fields")
# The areas of a VMCS by bits 11:10 of a field's encoding (SDM 3D B), in the order of a page.
AREAS = ("controls", "exit information", "guest state", "host state")
ORDER = ("guest state", "host state", "controls", "exit information")
ENDS = {row["id"]: row["ends"] for row in checks()}
# How an entry that is refused so ends, as KVM reports it to its user.
REPORTED = {"VMfailInvalid": "hardware error 0x0", "VMfailValid 7": "hardware error 0x7",
            "VMfailValid 8": "hardware error 0x8", "exit 33": "hardware error 0x80000021",
            "exit 33, qualification 2": "hardware error 0x80000021",
            "exit 33, qualification 4": "hardware error 0x80000021",
            "exit 34": "hardware error 0x80000022"}
CONTROL_BITS = control_bits()
# The capability MSR of each control word.
WORDS = {"PIN_BASED_VM_EXEC_CONTROL": 0x481, "CPU_BASED_VM_EXEC_CONTROL": 0x482,
         "VM_EXIT_CONTROLS": 0x483, "VM_ENTRY_CONTROLS": 0x484, "SECONDARY_VM_EXEC_CONTROL": 0x48B}
# The fields that a check looks at.
LOOKED_AT = {row[part] for row in checks() for part in ("field", "other") if row[part]}


def area(name: str) -> str:
    """The area of the VMCS that a field belongs to."""
    return AREAS[Field[name] >> 10 & 3]


def bits_of(name: str, value: int) -> list[str]:
    """The controls that are 1 in a control word, by their names, a bit without one by number; not
    those that are always 1."""
    names = CONTROL_BITS.get(name)
    if names is None:
        return []
    return [names[bit] if bit in names else f"bit {bit}{_offered(name, bit)}"
            for bit in range(32) if value >> bit & 1 and not ALWAYS.get(name, 0) >> bit & 1]


def _offered(name: str, bit: int) -> str:
    """What a bit without a name of the kernel's is called, where it is known."""
    said = offers.CAPABILITIES[WORDS[name]][0].get(bit, ("", ""))[0]
    return f" ({said})" if said else ""


def wrong_bits(refusal: Refusal) -> list[str]:
    """Every bit of the field that is not as the check wants it."""
    if refusal.value is None or (refusal.must == 0 and refusal.may in (0, (1 << 64) - 1)):
        return []
    wrong = refusal.must & ~refusal.value | refusal.value & ~refusal.may
    names = CONTROL_BITS.get(refusal.field, {})
    return [f"{bit} ({names[bit]})" if bit in names else str(bit)
            for bit in range(64) if wrong >> bit & 1]


def ends(check: str) -> str:
    """How an entry ends that this check refuses: by the manual, and as KVM tells it."""
    how = ENDS.get(check, "")
    return f"{how}: {REPORTED[how]}" if how in REPORTED else how


@dataclass(frozen=True)
class State:
    """One VMCS, or assist page, of a source.

    form is "evmcs", "vmcs12", "vmcs", "assist", "dump" or "fields"; fields has the VMCS fields
    that the source tells, by name, others what else stands in a page. refusals are the checks
    that refuse an entry with it, in the order of an entry, asked of `against`; lints what L0
    lets pass and notices. missing are fields that are not known, unasked checks that need
    memory; notes say what else was found, and what could not be read.
    """

    source: str
    form: str
    fields: Mapping[str, int]
    others: Mapping[str, int]
    against: str
    refusals: tuple[Refusal, ...] = ()
    lints: tuple[Lint, ...] = ()
    missing: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    at: int | None = None
    page: bytes = b""

    def __repr__(self) -> str:
        first = f", refused by {self.refusals[0].id}" if self.refusals else ""
        return f"<{type(self).__name__} {self.form}, {len(self.fields)} fields{first}>"

    @property
    def why(self) -> Refusal | None:
        """The check that an entry fails by, None where L0 would take it."""
        return self.refusals[0] if self.refusals else None

    @property
    def clean_fields(self) -> int | None:
        """hv_clean_fields; None of what has none."""
        return self.others.get("hv_clean_fields") if self.form == "evmcs" else None

    @property
    def groups(self) -> dict[str, bool]:
        """Of each clean group, is its bit 1? Nothing for what has no clean bits."""
        found = self.clean_fields
        return {} if found is None else {
            name: bool(found & mask) for name, mask in clean_masks().items()}

    @property
    def controls(self) -> dict[str, list[str]]:
        """Of each control word the controls that are 1, by name."""
        return {name: bits_of(name, value) for name, value in self.fields.items()
                if name in CONTROL_BITS}

    def group(self, name: str) -> str:
        """The clean group of a field, "" where it has none."""
        if self.form != "evmcs" or name not in evmcs():
            return ""
        found = evmcs()[name].group
        return "" if found in ("NONE", "ALL") else found

    def clean(self, name: str) -> str:
        """What the clean bits say of a field: "clean" or "dirty", "" where none does."""
        group = self.group(name)
        if group not in self.groups:
            return ""
        return "clean" if self.groups[group] else "dirty"

    def by_area(self) -> dict[str, list[str]]:
        """The names of the fields by area, each in the order of the encodings."""
        found: dict[str, list[str]] = {name: [] for name in ORDER}
        for name in sorted(self.fields, key=lambda name: Field[name]):
            found[area(name)].append(name)
        return {name: names for name, names in found.items() if names}

    def as_json(self) -> dict[str, Any]:
        """Everything for a program; numbers of 64 bits as text."""
        return {
            "source": self.source, "form": self.form, "at": self.at,
            "fields": {name: hex(value) for name, value in self.fields.items()},
            "others": {name: hex(value) for name, value in self.others.items()},
            "controls": self.controls, "groups": self.groups, "against": self.against,
            "refusals": [{**one.as_json(), "ends": ENDS.get(one.id, ""),
                          "wrong_bits": wrong_bits(one)} for one in self.refusals],
            "lints": [{"name": one.name, "rule": one.rule, "sentence": one.explain()}
                      for one in self.lints],
            "missing": list(self.missing), "unasked": list(self.unasked),
            "notes": list(self.notes),
        }


def others_of(found: FoundPage) -> dict[str, int]:
    """What stands in a page that is no VMCS field."""
    if found.form == "evmcs":
        places = synthetic()
    elif found.form == "assist":
        places = {name: Place(offset, size) for offset, size, name in ASSIST}
    else:
        places = {"revision_id": Place(0, 4), "abort": Place(4, 4)} if found.page else {}
    return {name: place.of(found.page) for name, place in places.items()
            if place.offset + place.size <= len(found.page)}


def stray_bytes(found: FoundPage) -> list[str]:
    """Notes on bytes of an eVMCS page that belong to no member."""
    if found.form != "evmcs":
        return []
    known = {n for places in (evmcs(), synthetic()) for place in places.values()
             for n in range(place.offset, place.offset + place.size)}
    inside = [n for n, byte in enumerate(found.page[:EVMCS_SIZE]) if byte and n not in known]
    behind = sum(map(bool, found.page[EVMCS_SIZE:]))
    notes = []
    if inside:
        notes.append(f"{len(inside)} bytes that belong to no member are not 0, the first at "
                     f"{inside[0]:#x}")
    if behind:
        notes.append(f"{behind} bytes behind the {EVMCS_SIZE} of an eVMCS are not 0")
    return notes
