# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: what CPUID and the capability MSRs of an emulated Hyper-V answer, read from TOML.

The shipped ones stand in kvm_vmx/profiles; a user's own is a file of the same form:

    title = "mine"
    base = "kvm-6.12"                 # what it does not say is as there
    maxphyaddr = 39                   # a value, or { value = 39, source = "..." }

    [cpuid.0x4000000a]                # a leaf: eax, ebx, ecx, edx; those left out are 0
    eax = 0x0101
    source = "the host in the corner"

    [msr.0x485]
    value = 0x401e5

    [policy]
    honour_msr_lists = true
"""

import dataclasses
import importlib.resources
import os
import pathlib
import stat
import tomllib

MASK_32 = 0xFFFFFFFF
MASK_64 = 0xFFFFFFFFFFFFFFFF
MAX_LEAVES = 40
MAX_MSRS = 64
MAX_BYTES = 1 << 20
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
    "marks_clean_at_entry",
    "honour_page_fault_filter",
    "honour_cr3_targets",
)

# The MSRs that say which bits must be 1, in the low half, and which may be, in the high one.
CONTROL_MSRS = (0x481, 0x482, 0x483, 0x484, 0x48B, 0x48D, 0x48E, 0x48F, 0x490)
REQUIRED_MSRS = tuple(range(0x480, 0x48A))


@dataclasses.dataclass(frozen=True)
class Profile:
    """One emulated Hyper-V: numbers, and where each comes from.

    cpuid maps a leaf to (eax, ebx, ecx, edx), 32 bits each; msrs an MSR index to its 64-bit
    value; policies names every choice of POLICIES. sources maps a key of the file, as in
    "msr.0x485", to its source. vmcs_revision is what a plain VMCS and the VMXON region must
    carry in their first word.
    """

    name: str
    cpuid: dict[int, tuple[int, int, int, int]]
    msrs: dict[int, int]
    policies: dict[str, bool]
    maxphyaddr: int = 46
    enforce_cpuid: bool = False
    title: str = ""
    sources: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def vmcs_revision(self) -> int:
        """Bits 30:0 of IA32_VMX_BASIC."""
        return self.msrs[0x480] & 0x7FFFFFFF


def _check(what: str, value: object, limit: int, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= limit:
        raise ValueError(f"{what} is {value!r}: give an integer from {low} to {limit:#x}")
    return value


def _flag(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {value!r}: give true or false")
    return value


class _Reader:
    """Reads the tables of one file; every complaint names the file and the key."""

    def __init__(self, where: str, data: dict):
        self.where, self.data, self.sources = where, data, {}
        self.cpuid, self.msrs, self.policies = {}, {}, {}
        self.maxphyaddr = self.enforce_cpuid = None

    def read(self) -> None:
        """Check every key."""
        known = ("title", "base", "maxphyaddr", "enforce_cpuid", "cpuid", "msr", "policy")
        self.only("", self.data, known)
        for key in ("title", "base"):
            if not isinstance(self.data.get(key, ""), str):
                raise ValueError(f"{key} is {self.data[key]!r}: give a text")
        if "maxphyaddr" in self.data:
            self.maxphyaddr = _check("maxphyaddr", self.value("maxphyaddr", self.data), 52, 32)
        if "enforce_cpuid" in self.data:
            self.enforce_cpuid = _flag("enforce_cpuid", self.value("enforce_cpuid", self.data))
        for name in self.table("cpuid"):
            self.leaf(name, self.data["cpuid"][name])
        for name in self.table("msr"):
            self.msr(name, self.data["msr"][name])
        policies = self.table("policy")
        self.only("policy.", policies, POLICIES)
        for name in policies:
            self.policies[name] = _flag(f"policy.{name}", self.value(name, policies, "policy."))

    def table(self, key: str) -> dict:
        """A table of the file, empty where it is not there."""
        found = self.data.get(key, {})
        if not isinstance(found, dict):
            raise ValueError(f"{key} is {found!r}: give a table")
        return found

    def only(self, prefix: str, table: dict, known) -> None:
        """Refuse a key that means nothing."""
        for key in table:
            if key not in known:
                raise ValueError(f"no key {prefix}{key}: there are {', '.join(known)}")

    def value(self, key: str, table: dict, prefix: str = ""):
        """The value of a key, given bare or in a table with its source."""
        found = table[key]
        if not isinstance(found, dict):
            return found
        self.only(f"{prefix}{key}.", found, ("value", "source", "note"))
        if "value" not in found:
            raise ValueError(f"{prefix}{key}.value is missing: give it")
        self.keep_source(f"{prefix}{key}", found)
        return found["value"]

    def keep_source(self, key: str, table: dict) -> None:
        """Remember where a value comes from."""
        for word in ("source", "note"):
            if not isinstance(table.get(word, ""), str):
                raise ValueError(f"{key}.{word} is {table[word]!r}: give a text")
        if "source" in table:
            self.sources[key] = table["source"]

    def number(self, kind: str, name: str) -> int:
        """The leaf or MSR that a table is named after."""
        try:
            return _check(f"{kind}.{name}", int(name, 0), MASK_32)
        except ValueError:
            raise ValueError(f"{kind}.{name}: name it by its number, as in {kind}.0x480") from None

    def leaf(self, name: str, table: object) -> None:
        """One CPUID leaf."""
        key = f"cpuid.{name}"
        number = self.number("cpuid", name)
        if not isinstance(table, dict):
            raise ValueError(f"{key} is {table!r}: give a table of eax, ebx, ecx, edx")
        self.only(f"{key}.", table, (*REGISTERS, "source", "note"))
        self.keep_source(key, table)
        self.cpuid[number] = tuple(
            _check(f"{key}.{register}", table.get(register, 0), MASK_32)
            for register in REGISTERS)

    def msr(self, name: str, table: object) -> None:
        """One MSR."""
        number = self.number("msr", name)
        value = _check(f"msr.{name}", self.value(name, self.data["msr"], "msr."), MASK_64)
        if number in CONTROL_MSRS and value & MASK_32 & ~(value >> 32):
            raise ValueError(
                f"msr.{name} is {value:#x}: a bit that must be 1 (low half) must be allowed "
                "(high half)")
        self.msrs[number] = value


def _parse(where: str, text: str, base=None) -> Profile:
    """The profile that a file's text describes; ValueError with one line that names the key."""
    try:
        data = tomllib.loads(text)
        reader = _Reader(where, data)
        reader.read()
        if base is None and "base" in data:
            base = _named(data["base"])
    except ValueError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from None
    profile = Profile(
        name=where,
        title=data.get("title", ""),
        cpuid={**(base.cpuid if base else {}), **reader.cpuid},
        msrs={**(base.msrs if base else {}), **reader.msrs},
        policies={**(base.policies if base else {}), **reader.policies},
        maxphyaddr=reader.maxphyaddr or (base.maxphyaddr if base else 46),
        enforce_cpuid=reader.enforce_cpuid if reader.enforce_cpuid is not None
        else bool(base and base.enforce_cpuid),
        sources={**(base.sources if base else {}), **reader.sources},
    )
    _check_complete(profile)
    return profile


def _check_complete(profile: Profile) -> None:
    """A profile without a base must say everything that L0 asks."""
    missing = [f"msr.{index:#x}" for index in REQUIRED_MSRS if index not in profile.msrs]
    missing += [f"policy.{name}" for name in POLICIES if name not in profile.policies]
    missing += [f"cpuid.{leaf:#x}" for leaf in (0x1, 0x80000008) if leaf not in profile.cpuid]
    if missing:
        raise ValueError(
            f"{profile.name}: {missing[0]} is missing: give it, or a base such as kvm-6.12")
    if len(profile.cpuid) > MAX_LEAVES or len(profile.msrs) > MAX_MSRS:
        raise ValueError(
            f"{profile.name}: a profile has at most {MAX_LEAVES} CPUID leaves and {MAX_MSRS} MSRs")


def _shipped() -> dict[str, Profile]:
    """The profiles of the package by name."""
    folder = importlib.resources.files("kvm_vmx") / "profiles"
    texts = {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
             for file in folder.iterdir() if file.name.endswith(".toml")}
    found = {}

    def load(name):
        if name not in found:
            base = tomllib.loads(texts[name]).get("base")
            found[name] = _parse(name, texts[name], load(base) if base else None)
        return found[name]

    return {name: load(name) for name in sorted(texts)}


PROFILES = _shipped()


def _named(name: str) -> Profile:
    if name not in PROFILES:
        raise ValueError(
            f"no profile {name!r}: the profiles are {', '.join(sorted(PROFILES))}, "
            "or a file whose name ends in .toml")
    return PROFILES[name]


def load(path: str) -> Profile:
    """The profile in a user's TOML file; ValueError with one line that names file and key."""
    try:
        # nothing that could block or never end is read
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path}: not a regular file: give a profile in TOML")
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES} bytes: give a profile in TOML")
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8: give a profile in TOML") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: give a file that can be read") from None
    return _parse(str(path), text)


def build(
    name: str = "kvm-6.12",
    cpuid: dict[int, tuple[int, int, int, int]] | None = None,
    msrs: dict[int, int] | None = None,
    maxphyaddr: int | None = None,
    enforce_cpuid: bool | None = None,
) -> Profile:
    """The profile of that name, or in the file of that name, with single values replaced.

    A name that ends in .toml is a file's. cpuid maps a leaf to (eax, ebx, ecx, edx); msrs an
    index to a value; both are taken as they are, also where they contradict each other.
    maxphyaddr is in bits, 32 to 52. enforce_cpuid makes a synthetic MSR that no CPUID bit
    announces raise #GP. Raises ValueError with one line.
    """
    if isinstance(name, pathlib.PurePath) or str(name).endswith(".toml"):
        base = load(str(name))
    else:
        base = _named(name)
    if maxphyaddr is None:
        maxphyaddr = base.maxphyaddr
    if not isinstance(maxphyaddr, int) or not 32 <= maxphyaddr <= 52:
        raise ValueError(f"maxphyaddr is {maxphyaddr!r}: give a number of bits from 32 to 52")
    leaves = dict(base.cpuid)
    leaves[0x80000008] = (0x3000 | maxphyaddr, *leaves[0x80000008][1:])
    for leaf, registers in (cpuid or {}).items():
        _check("a CPUID leaf", leaf, MASK_32)
        if not isinstance(registers, (tuple, list)) or len(registers) != 4:
            raise ValueError(f"CPUID leaf {leaf:#x} is {registers!r}: give (eax, ebx, ecx, edx)")
        leaves[leaf] = tuple(_check(f"CPUID leaf {leaf:#x}", r, MASK_32) for r in registers)
    values = dict(base.msrs)
    for index, value in (msrs or {}).items():
        _check("an MSR index", index, MASK_32)
        values[index] = _check(f"MSR {index:#x}", value, MASK_64)
    if len(leaves) > MAX_LEAVES or len(values) > MAX_MSRS:
        raise ValueError(f"a profile has at most {MAX_LEAVES} CPUID leaves and {MAX_MSRS} MSRs")
    return dataclasses.replace(
        base, cpuid=leaves, msrs=values, maxphyaddr=maxphyaddr,
        enforce_cpuid=base.enforce_cpuid if enforce_cpuid is None else bool(enforce_cpuid))
