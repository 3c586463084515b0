# SPDX-License-Identifier: GPL-2.0-only
"""Reads the tables of a profile's file; whatever is wrong is one line that names the key."""

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from kvm_vmx.abi import constants
from kvm_vmx.l0.cpuid_dump import Four, Leaves
from kvm_vmx.l0.faults import FAULTS
from kvm_vmx.words import choices

MASK_32 = 0xFFFFFFFF
MASK_64 = 0xFFFFFFFFFFFFFFFF
# what may be said of a value: its source, what it is, and why it is not the open Hyper-V's
WORDS = ("source", "note", "leaves")
# a table of TOML
Table: TypeAlias = Mapping[str, Any]
REGISTERS = ("eax", "ebx", "ecx", "edx")

# The answers of the policy table; struct l0_profile has a member of each name.
POLICIES = (
    "bad_evmcs_pointer_is_ud",
    "vmread_serves_evmcs",
    "honour_msr_lists",
    "assist_overlay",
    "one_vp_per_evmcs",
    "aligned_evmcs_pointer",
    "reject_uncovered_controls",
    "announced_debugctl",
    "refuse_rep_start",
    "user_flush_is_ud",
    "marks_clean_at_entry",
    "honour_page_fault_filter",
    "honour_cr3_targets",
    *FAULTS,
)

# The MSRs that say which bits must be 1, in the low half, and which may be, in the high one.
CONTROL_MSRS = (
    constants.MSR_IA32_VMX_PINBASED_CTLS, constants.MSR_IA32_VMX_PROCBASED_CTLS,
    constants.MSR_IA32_VMX_EXIT_CTLS, constants.MSR_IA32_VMX_ENTRY_CTLS,
    constants.MSR_IA32_VMX_PROCBASED_CTLS2, constants.MSR_IA32_VMX_TRUE_PINBASED_CTLS,
    constants.MSR_IA32_VMX_TRUE_PROCBASED_CTLS, constants.MSR_IA32_VMX_TRUE_EXIT_CTLS,
    constants.MSR_IA32_VMX_TRUE_ENTRY_CTLS)


def check(what: str, value: object, limit: int, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= limit:
        raise ValueError(f"{what} is {value!r}: give an integer from {low} to {limit:#x}")
    return value


def flag(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {value!r}: give true or false")
    return value


class Reader:
    """Reads the tables of one file; every complaint names the file and the key."""

    def __init__(self, where: str, data: Table) -> None:
        self.where, self.data = where, data
        self.sources: dict[str, str] = {}
        self.leaves: dict[str, str] = {}
        self.cpuid: Leaves = {}
        self.msrs: dict[int, int] = {}
        self.policies: dict[str, bool] = {}
        self.maxphyaddr: int | None = None
        self.enforce_cpuid: bool | None = None

    def read(self) -> None:
        """Check every key."""
        known = ("title", "base", "maxphyaddr", "enforce_cpuid", "cpuid", "msr", "policy")
        self.only("", self.data, known)
        for key in ("title", "base"):
            if not isinstance(self.data.get(key, ""), str):
                raise ValueError(f"{key} is {self.data[key]!r}: give a text")
        if "maxphyaddr" in self.data:
            self.maxphyaddr = check("maxphyaddr", self.value("maxphyaddr", self.data), 52, 32)
        if "enforce_cpuid" in self.data:
            self.enforce_cpuid = flag("enforce_cpuid", self.value("enforce_cpuid", self.data))
        for name in self.table("cpuid"):
            self.leaf(name, self.data["cpuid"][name])
        for name in self.table("msr"):
            self.msr(name, self.data["msr"][name])
        policies = self.table("policy")
        self.only("policy.", policies, POLICIES)
        for name in policies:
            self.policies[name] = flag(f"policy.{name}", self.value(name, policies, "policy."))

    def table(self, key: str) -> Table:
        """A table of the file, empty where it is not there."""
        found = self.data.get(key, {})
        if not isinstance(found, dict):
            raise ValueError(f"{key} is {found!r}: give a table")
        return found

    def only(self, prefix: str, table: Table, known: Collection[str]) -> None:
        """Refuse a key that means nothing."""
        for key in table:
            if key not in known:
                raise ValueError(f"no key {prefix}{key}: {choices(key, known)}")

    def value(self, key: str, table: Table, prefix: str = "") -> object:
        """The value of a key, given bare or in a table with its source."""
        found = table[key]
        if not isinstance(found, dict):
            return found
        self.only(f"{prefix}{key}.", found, ("value", *WORDS))
        if "value" not in found:
            raise ValueError(f"{prefix}{key}.value is missing: give it")
        self.keep_source(f"{prefix}{key}", found)
        return found["value"]

    def keep_source(self, key: str, table: Table) -> None:
        """Remember where a value comes from, and why it is not the open Hyper-V's."""
        for word in WORDS:
            if not isinstance(table.get(word, ""), str):
                raise ValueError(f"{key}.{word} is {table[word]!r}: give a text")
        if "source" in table:
            self.sources[key] = table["source"]
        if "leaves" in table:
            self.leaves[key] = table["leaves"]

    def number(self, kind: str, name: str) -> int:
        """The leaf or MSR that a table is named after."""
        try:
            return check(f"{kind}.{name}", int(name, 0), MASK_32)
        except ValueError:
            raise ValueError(f"{kind}.{name}: name it by its number, as in {kind}.0x480") from None

    def leaf(self, name: str, table: object) -> None:
        """One CPUID leaf."""
        key = f"cpuid.{name}"
        number = self.number("cpuid", name)
        if not isinstance(table, dict):
            raise ValueError(f"{key} is {table!r}: give a table of eax, ebx, ecx, edx")
        for part in [part for part in table if part[:1].isdigit()]:
            self.subleaf(key, number, part, table[part])
        if any(not part[:1].isdigit() for part in table) or not table:
            self.cpuid[number] = self.registers(key, table)

    def subleaf(self, key: str, leaf: int, name: str, table: object) -> None:
        """One subleaf: a table of its own within the leaf's."""
        index = self.number(key, name)
        if not isinstance(table, dict):
            raise ValueError(f"{key}.{name} is {table!r}: give a table of eax, ebx, ecx, edx")
        self.cpuid[(leaf, index) if index else leaf] = self.registers(f"{key}.{name}", table)

    def registers(self, key: str, table: Table) -> Four:
        """The four registers of a leaf or a subleaf."""
        own = {part: value for part, value in table.items() if not part[:1].isdigit()}
        self.only(f"{key}.", own, (*REGISTERS, *WORDS))
        self.keep_source(key, own)
        eax, ebx, ecx, edx = (check(f"{key}.{register}", own.get(register, 0), MASK_32)
                              for register in REGISTERS)
        return eax, ebx, ecx, edx

    def msr(self, name: str, table: object) -> None:
        """One MSR."""
        number = self.number("msr", name)
        value = check(f"msr.{name}", self.value(name, self.data["msr"], "msr."), MASK_64)
        if number in CONTROL_MSRS and value & MASK_32 & ~(value >> 32):
            raise ValueError(
                f"msr.{name} is {value:#x}: a bit that must be 1 (low half) must be allowed "
                "(high half)")
        self.msrs[number] = value
