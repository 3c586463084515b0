# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: what CPUID and the capability MSRs of an emulated Hyper-V answer, read from TOML.

The shipped ones stand in kvm_vmx/profiles; a user's own is a file of the same form:

    title = "mine"
    base = "kvm-6.12"                 # what it does not say is as there
    maxphyaddr = 39                   # a value, or { value = 39, source = "..." }

    [cpuid.0x4000000a]                # a leaf: eax, ebx, ecx, edx; those left out are 0
    eax = 0x0101
    source = "the host in the corner"

    [cpuid.0x4.1]                     # a subleaf
    eax = 0x7c004122

    [msr.0x485]
    value = 0x401e5

    [policy]
    honour_msr_lists = true
"""

import dataclasses
import importlib.resources
import os
import pathlib
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping

from kvm_vmx.abi import constants
from kvm_vmx.l0.cpuid_dump import Four, Leaves, check_leaves, is_whole, read_cpuid, rows
from kvm_vmx.l0.faults import check_faults
from kvm_vmx.l0.offers import done_of, uncovered_by_evmcs, undone_leaves, undone_msrs
from kvm_vmx.l0.profile_reader import MASK_32, MASK_64, POLICIES, Reader, check
from kvm_vmx.words import unknown

MAX_BYTES = 1 << 20
REQUIRED_MSRS = tuple(range(constants.MSR_IA32_VMX_BASIC, constants.MSR_IA32_VMX_VMCS_ENUM))
LOAD_PERF_GLOBAL = {
    constants.MSR_IA32_VMX_EXIT_CTLS: 44, constants.MSR_IA32_VMX_TRUE_EXIT_CTLS: 44,
    constants.MSR_IA32_VMX_ENTRY_CTLS: 45, constants.MSR_IA32_VMX_TRUE_ENTRY_CTLS: 45}


@dataclasses.dataclass(frozen=True)
class Profile:
    """One emulated Hyper-V: numbers, and where each comes from.

    cpuid maps a leaf, or (leaf, subleaf) above 0, to (eax, ebx, ecx, edx), 32 bits each; msrs an
    MSR index to its 64-bit value; policies names every choice of POLICIES. sources maps a key of
    the file, as in "msr.0x485", to its source, departures to the reason why it is not what KVM
    6.12 has. undone names what the leaves of a real host offer and L0 does not do.
    """

    name: str
    cpuid: Leaves
    msrs: dict[int, int]
    policies: dict[str, bool]
    maxphyaddr: int = 46
    enforce_cpuid: bool = False
    title: str = ""
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    departures: dict[str, str] = dataclasses.field(default_factory=dict)
    undone: tuple[str, ...] = ()

    @property
    def vmcs_revision(self) -> int:
        """Bits 30:0 of IA32_VMX_BASIC: the first word of a plain VMCS and of the VMXON region."""
        return self.msrs[constants.MSR_IA32_VMX_BASIC] & 0x7FFFFFFF

    def leaves(self) -> list[tuple[int, int, bool, Four]]:
        """(leaf, subleaf, does ECX choose, registers) in order."""
        return rows(self.cpuid)


def _parse(where: str, text: str) -> Profile:
    """The profile that a file's text describes; ValueError with one line that names the key."""
    try:
        data = tomllib.loads(text)
        reader = Reader(where, data)
        reader.read()
        base = _named(data["base"]) if "base" in data else None
    except RecursionError:
        raise ValueError(f"{where}: nested too deep: give a profile in TOML") from None
    except ValueError as error:
        line = " ".join(str(error).split())
        line = line if len(line) <= 300 else f"{line[:150]} ... {line[-150:]}"
        raise ValueError(f"{where}: {line}") from None
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
        departures=reader.leaves,
    )
    _check_complete(profile)
    _refuse(f"{where}: ", undone_leaves(profile.cpuid) + undone_msrs(profile.msrs))
    return profile


def _refuse(where: str, undone: list[str]) -> None:
    """ValueError where something is on offer that L0 does not do."""
    if not undone:
        return
    named, last = [], ""
    for name in undone:
        # a leaf or an MSR is named once
        match = re.match(r"(CPUID leaf|MSR) \S+ ", name)
        assert match is not None
        place = match[0]
        named.append(name.removeprefix(place) if place == last else name)
        last = place
    verb, what, bits = ("is", "it", "bit") if len(named) == 1 else ("are", "them", "bits")
    raise ValueError(f"{where}{', '.join(named)} {verb} on offer, and L0 does not do {what}: "
                     f"clear the {bits}")


def _check_complete(profile: Profile) -> None:
    """A profile without a base must say everything that L0 asks."""
    missing = [f"msr.{index:#x}" for index in REQUIRED_MSRS if index not in profile.msrs]
    missing += [f"policy.{name}" for name in POLICIES if name not in profile.policies]
    missing += [f"cpuid.{leaf:#x}" for leaf in (0x1, 0x80000008) if leaf not in profile.cpuid]
    if missing:
        raise ValueError(
            f"{profile.name}: {missing[0]} is missing: give it, or a base such as kvm-6.12")


class _Shipped(Mapping[str, Profile]):
    """The profiles of the package by name, each read when somebody asks for it."""

    def __init__(self) -> None:
        self._files = {file.name.removesuffix(".toml"): file
                       for file in (importlib.resources.files("kvm_vmx") / "profiles").iterdir()
                       if file.name.endswith(".toml")}
        self._read: dict[str, Profile] = {}

    def __getitem__(self, name: str) -> Profile:
        if name not in self._read:
            text = self._files[name].read_text(encoding="utf-8")
            self._read[name] = _parse(name, text)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)


PROFILES: Mapping[str, Profile] = _Shipped()


def _named(name: str) -> Profile:
    if name not in PROFILES:
        raise ValueError(unknown(
            "profile", name, PROFILES, f"the profiles are {', '.join(sorted(PROFILES))}, "
            "or a file whose name ends in .toml"))
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


def _changed(base: Profile, cpuid: object, maxphyaddr: int) -> tuple[Leaves, bool, list[str]]:
    """The leaves of a profile with a caller's changes, whether they are a whole host's, and what
    was asked for and is not done."""
    given = check_leaves({} if cpuid is None else cpuid)
    if is_whole(given):
        return given, True, undone_leaves(given)
    leaves = dict(base.cpuid)
    leaves[0x80000008] = (0x3000 | maxphyaddr, *leaves[0x80000008][1:])
    leaves.update(given)
    undone = undone_leaves(leaves)
    return {leaf: done_of(leaf, registers) for leaf, registers in leaves.items()}, False, undone


def build(
    name: str = "kvm-6.12",
    cpuid: Leaves | str | os.PathLike[str] | None = None,
    msrs: dict[int, int] | None = None,
    maxphyaddr: int | None = None,
    enforce_cpuid: bool | None = None,
    unfinished: bool = False,
    faults: Iterable[str] = (),
) -> Profile:
    """The profile of that name, or in the file of that name, with single values replaced.

    A name that ends in .toml is a profile's file, one in .txt a host's `cpuid -r`, over kvm-6.12.
    cpuid maps a leaf or (leaf, subleaf) to (eax, ebx, ecx, edx), or names such a file; msrs an
    index to a value. An MSR that offers what is not done is refused; unfinished takes it: entry
    checks look at more than L0 does. A bit of cpuid that does so is not offered, and undone tells
    which; a host's whole CPUID (leaves 0, 1, 0x40000000 and 0x80000000 are in it) is taken as it
    is, instead of the profile's. maxphyaddr is in bits, 32 to 52. enforce_cpuid makes a synthetic
    MSR that no CPUID bit announces raise #GP. faults names policies of kvm_vmx.l0.faults that are
    on. Raises ValueError with one line.
    """
    if str(name).endswith(".txt"):
        name, cpuid = "kvm-6.12", name if cpuid is None else cpuid
    if isinstance(cpuid, (str, os.PathLike)):
        cpuid = read_cpuid(cpuid)
    if isinstance(name, pathlib.PurePath) or str(name).endswith(".toml"):
        base = load(str(name))
    else:
        base = _named(name)
    if maxphyaddr is None:
        maxphyaddr = base.maxphyaddr
    if not isinstance(maxphyaddr, int) or not 32 <= maxphyaddr <= 52:
        raise ValueError(f"maxphyaddr is {maxphyaddr!r}: give a number of bits from 32 to 52")
    leaves, whole, undone = _changed(base, cpuid, maxphyaddr)
    if whole and 32 <= leaves.get(0x80000008, (0,))[0] & 0xFF <= 52:
        maxphyaddr = leaves[0x80000008][0] & 0xFF
    values = dict(base.msrs)
    for index, value in (msrs or {}).items():
        check("an MSR index", index, MASK_32)
        values[index] = check(f"MSR {index:#x}", value, MASK_64)
    if not leaves.get(0x4000000A, (0, 0))[1] & 1 and not uncovered_by_evmcs(values):
        # as KVM does where the controls are those of an L1 that may use an eVMCS
        for index, bit in LOAD_PERF_GLOBAL.items():
            if index not in (msrs or {}) and index in values:
                values[index] &= ~(1 << bit)
    _refuse("", [] if unfinished else undone_msrs(values))
    return dataclasses.replace(
        base, cpuid=leaves, msrs=values, maxphyaddr=maxphyaddr, undone=tuple(undone),
        policies=base.policies | dict.fromkeys(check_faults(faults), True),
        enforce_cpuid=base.enforce_cpuid if enforce_cpuid is None else bool(enforce_cpuid))
