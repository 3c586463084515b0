# SPDX-License-Identifier: GPL-2.0-only
"""What a Machine is made of: the Hyper-V underneath, and the L1 that boots on it."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, TypeVar, cast

from kvm_vmx.errors import counted
from kvm_vmx.machine.partition import MAX_CPUS
from kvm_vmx.words import unknown

# A CPU's page for hypercall input and its assist page: without the first v4.19 does not come up.
LEAST_PER_CPU = 2 * 4096
Leaves = Mapping[Any, tuple[int, int, int, int]]


class Group:
    """Options that belong together; its repr is what was chosen."""

    def __repr__(self) -> str:
        fields = dataclasses.fields(cast(Any, self))
        chosen = ((field.name, getattr(self, field.name), field.default) for field in fields)
        said = ", ".join(f"{name}={value!r}" for name, value, usual in chosen if value != usual)
        return f"{type(self).__name__}({said})"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class HyperV(Group):
    """The emulated Hyper-V, and how closely it looks at what L1 does.

    profile is the Hyper-V to be ("kvm-6.12", "tlfs-strict", "ice-lake", a TOML file's name, or
    that of a host's `cpuid -r` in .txt), which msrs {index: value}, cpuid {leaf or (leaf, subleaf):
    (eax, ebx, ecx, edx)}, maxphyaddr (bits) and enforce_cpuid change; cpuid may also name a file
    of `cpuid -r`, or be what read_cpuid() makes of one: a host's whole CPUID is taken as it is; of
    other leaves a bit that offers what L0 does not do is left out, and Machine.undone tells which.
    An MSR that does so is a ValueError; unfinished takes it, for who only reads it or looks at
    entry checks. cache_policy is how L0 uses clean fields ("always", "never", "commit_on_success",
    "random" by seed, or "random(SEED)"). lints looks, at a cost, for what L1 may not do; strict
    does too, and stops at the first. faults names what a Hyper-V has done wrong and this one is to
    do: kvm_vmx.FAULTS has each.
    """

    profile: str | os.PathLike[str] = "kvm-6.12"
    msrs: Mapping[int, int] | None = None
    cpuid: Leaves | str | os.PathLike[str] | None = None
    maxphyaddr: int | None = None
    enforce_cpuid: bool | None = None
    unfinished: bool = False
    cache_policy: str = "always"
    seed: int = 0
    lints: bool = False
    strict: bool = False
    faults: Iterable[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int):
            raise ValueError(f"seed {self.seed!r}: give a number")


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class L1(Group):
    """The L1 kernel, and what it finds when it boots.

    possible_cpus is how many CPUs it can have online (as many as it boots with by default); memory
    is what it has, in bytes. insn is the form of privileged instructions: "call", or "trap" for
    the opcodes themselves; the environment's KVM_VMX_INSN by default, else "call". CPUs in
    no_assist_page find no memory for their assist page, and fail {point: nth} lets the nth step of
    a kind fail during the boot, as Machine.fail() does after it.
    """

    possible_cpus: int | None = None
    memory: int | None = None
    insn: str | None = None
    no_assist_page: Iterable[int] = ()
    fail: Mapping[str, int] | None = None

    def checked(self, cpus: int) -> "L1":
        """The same with nothing left to be chosen, for so many CPUs at the start."""
        possible = cpus if self.possible_cpus is None else self.possible_cpus
        for number in (cpus, possible):
            if not isinstance(number, int) or not 1 <= number <= MAX_CPUS:
                raise ValueError(f"{number} CPUs: give a number from 1 to {MAX_CPUS}")
        if possible < cpus:
            raise ValueError(f"{cpus} CPUs of {possible} possible ones: raise possible_cpus")
        if self.memory is not None and (
                not isinstance(self.memory, int) or self.memory < 4096 or self.memory % 4096
                or self.memory > 1 << 40):
            raise ValueError(f"memory of {self.memory!r} bytes: give a multiple of 4096, at most "
                             "1 << 40")
        if self.memory is not None and self.memory < cpus * LEAST_PER_CPU:
            raise ValueError(f"memory of {self.memory} bytes for {counted(cpus, 'CPU')}: the "
                             f"kernel comes up with {cpus * LEAST_PER_CPU} or more")
        without = tuple(int(cpu) if isinstance(cpu, int) else cpu for cpu in self.no_assist_page)
        for cpu in without:
            if not isinstance(cpu, int) or not 0 <= cpu < possible:
                raise ValueError(f"no CPU {cpu} to go without an assist page: "
                                 f"there are {possible}, from 0")
        return dataclasses.replace(
            self, possible_cpus=possible, no_assist_page=without, fail=self.fail or {})


class Options(TypedDict, total=False):
    """The members of both groups by their own names."""

    profile: str | os.PathLike[str]
    msrs: Mapping[int, int] | None
    cpuid: Leaves | str | os.PathLike[str] | None
    maxphyaddr: int | None
    enforce_cpuid: bool | None
    unfinished: bool
    cache_policy: str
    seed: int
    lints: bool
    strict: bool
    faults: Iterable[str]
    possible_cpus: int | None
    memory: int | None
    insn: str | None
    no_assist_page: Iterable[int]
    fail: Mapping[str, int] | None


Kind = TypeVar("Kind", HyperV, L1)


def members(kind: type[HyperV] | type[L1]) -> tuple[str, ...]:
    """What a group consists of."""
    return tuple(field.name for field in dataclasses.fields(kind))


def of_group(kind: type[Kind], given: Kind | None, options: Mapping[str, Any]) -> Kind:
    """A group as it was given, with those of its members that were named by themselves."""
    if given is not None and not isinstance(given, kind):
        raise ValueError(f"{given!r} is no {kind.__name__}: give kvm_vmx.{kind.__name__}(...)")
    mine = {name: value for name, value in options.items() if name in members(kind)}
    return dataclasses.replace(kind() if given is None else given, **mine)


def check_names(options: Mapping[str, Any]) -> None:
    """TypeError for an option that is of neither group."""
    known = ("cpus", "hypervisor", "l1", "kernel", *members(HyperV), *members(L1))
    for name in options:
        if name not in known:
            raise TypeError(unknown("option of Machine", name, known))


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with each chosen member of a group by its own name, for whoever knows no groups."""
    found = {name: value for name, value in options.items() if name not in ("hypervisor", "l1")}
    for kind, given in ((HyperV, options.get("hypervisor")), (L1, options.get("l1"))):
        if given is not None:
            usual, chosen = kind(), of_group(kind, given, options)
            found |= {name: getattr(chosen, name) for name in members(kind)
                      if getattr(chosen, name) != getattr(usual, name)}
    return found
