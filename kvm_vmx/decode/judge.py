# SPDX-License-Identifier: GPL-2.0-only
"""Puts a decoded VMCS into a scratch partition and has L0 say what it would refuse of it."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvm_vmx.abi.constants import (
    EFER_LMA, EFER_LME, HV_X64_MSR_VP_ASSIST_PAGE, HV_X64_MSR_VP_ASSIST_PAGE_ENABLE,
    MSR_IA32_FEATURE_CONTROL, MSR_IA32_VMX_BASIC, MSR_IA32_VMX_CR4_FIXED1, MSR_IA32_VMX_MISC,
    X86_CR4_VMXE)
from kvm_vmx.abi.numbers import Field
from kvm_vmx.decode.layouts import FEATURES, PAGE, evmcs, synthetic
from kvm_vmx.decode.memory_image import MemoryImage
from kvm_vmx.l0 import offers
from kvm_vmx.machine.checks import checks
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.partition import Partition, PhysicalMemory
from kvm_vmx.machine.refusal import Refusal

ANY = "any"
BASE = "kvm-6.12"
MEMORY_SIZE = 64 * PAGE
LONG_MODE = EFER_LME | EFER_LMA
HOST_IS_WIDE = 1 << 9
# What these checks look at stands in memory, which a page or a dump is not, and for one of them on
# the processor.
ON_THE_PROCESSOR = frozenset(("link_current",))
IN_MEMORY = frozenset(("tpr_above_priority", "link_missing", "link_revision", "link_current",
                       "pdptes_missing", "pdptes"))
ROWS = {row["id"]: row for row in checks()}
# A 64-bit host and guest that any processor takes: what stands for a field that is not known.
PLAUSIBLE = {
    "PIN_BASED_VM_EXEC_CONTROL": 0x16, "CPU_BASED_VM_EXEC_CONTROL": 0x401E172,
    "VM_EXIT_CONTROLS": 0x36FFF, "VM_ENTRY_CONTROLS": 0x13FF, "VMCS_LINK_POINTER": (1 << 64) - 1,
    "EPT_POINTER": 0x101E, "VIRTUAL_PROCESSOR_ID": 1, "TSC_MULTIPLIER": 1 << 48,
    "HOST_CR0": 0x80050033, "HOST_CR4": 0x2020, "HOST_CS_SELECTOR": 0x10, "HOST_SS_SELECTOR": 0x18,
    "HOST_TR_SELECTOR": 0x40, "HOST_IA32_EFER": 0xD01, "HOST_IA32_PAT": 0x7040600070406,
    "GUEST_CR0": 0x80050033, "GUEST_CR4": 0x2020, "GUEST_RFLAGS": 2, "GUEST_DR7": 0x400,
    "GUEST_IA32_EFER": 0xD01, "GUEST_IA32_PAT": 0x7040600070406, "GUEST_CS_SELECTOR": 0x10,
    "GUEST_CS_AR_BYTES": 0xA09B, "GUEST_CS_LIMIT": 0xFFFFFFFF, "GUEST_TR_AR_BYTES": 0x8B,
    "GUEST_TR_LIMIT": 0x67, "GUEST_LDTR_AR_BYTES": 0x10000,
    **{f"GUEST_{reg}_AR_BYTES": 0xC093 for reg in ("SS", "DS", "ES", "FS", "GS")},
    **{f"GUEST_{reg}_LIMIT": 0xFFFFFFFF for reg in ("SS", "DS", "ES", "FS", "GS")},
}
# Other guests and controls, each of which changes what other fields may hold. What refuses a VMCS
# with all of these for what is not known refuses it whatever that is.
FILLERS: tuple[dict[str, int], ...] = (
    PLAUSIBLE, {},
    {**PLAUSIBLE, "GUEST_RFLAGS": 0x20002, "VM_ENTRY_CONTROLS": 0x11FF},    # virtual-8086 mode
    # an unrestricted guest in real mode, with all that a virtual APIC can do
    {**PLAUSIBLE, "CPU_BASED_VM_EXEC_CONTROL": 0x8461E172, "SECONDARY_VM_EXEC_CONTROL": 0x382,
     "PIN_BASED_VM_EXEC_CONTROL": 0x3F, "GUEST_CR0": 0x30, "VM_ENTRY_CONTROLS": 0x11FF,
     "GUEST_CS_AR_BYTES": 0x93, "GUEST_IA32_EFER": 0},
)
NAMES = tuple(field.name for field in Field if not field.name.endswith("_HIGH"))


@dataclass(frozen=True)
class Judgement:
    """What L0 says of a VMCS: every check that refuses it, in the order of an entry, and what it
    lets pass and notices; unasked are checks that would need what is not known."""

    refusals: tuple[Refusal, ...] = ()
    lints: tuple[Lint, ...] = ()
    unasked: tuple[str, ...] = ()


@functools.cache
def base() -> Any:
    """The profile that a processor of no name is made of."""
    return Partition(PhysicalMemory(PAGE), profile=BASE).profile


@functools.cache
def any_msrs() -> dict[int, int]:
    """The capability MSRs of a processor that offers everything that has a name."""
    msrs = dict(base().msrs)
    for index, (rows, shift, _) in offers.CAPABILITIES.items():
        if index not in (MSR_IA32_VMX_BASIC, MSR_IA32_VMX_MISC):
            msrs[index] = msrs.get(index, 0) & 0xFFFFFFFF if shift else 0
            msrs[index] |= sum(1 << bit + shift for bit in rows)
    # HLT, shutdown, wait-for-SIPI, four CR3 targets, injection of length 0
    msrs[MSR_IA32_VMX_MISC] |= 0x1C0 | 1 << 30 | 4 << 16
    # CR4: all flags that a processor has had, up to FRED
    msrs[MSR_IA32_VMX_CR4_FIXED1] = 0x113FF7FFF
    return msrs


def processor(profile: str | None = None, cpuid: Any = None,
              msrs: Mapping[int, int] | None = None) -> dict[str, Any]:
    """The partition's options for a profile, or for whatever processor there is."""
    if profile not in (None, ANY):
        return {"profile": profile, "cpuid": cpuid, "msrs": dict(msrs or {})}
    options: dict[str, Any] = {"profile": BASE, "cpuid": cpuid,
                               "msrs": {**any_msrs(), **(msrs or {})}}
    if cpuid is None:
        # eight counters and four fixed ones; every nested enlightenment
        options["cpuid"] = {0x0: (0xA, *base().cpuid[0][1:]),
                            0xA: (0x8300805, 0, 0, 0x604), 0x4000000A: (0x2E0101, 1, 0, 0)}
        options["maxphyaddr"] = 52
    return options


class Scratch:
    """A partition of one processor in VMX operation; with an image of memory its own pages stand
    behind that."""

    def __init__(self, options: dict[str, Any], image: MemoryImage | None = None) -> None:
        self.image = image
        start = image.size if image else 0
        self.vmxon, self.vmcs, self.assist = (start + n * PAGE for n in (1, 2, 3))
        self.memory = PhysicalMemory(start + 4 * PAGE if image else MEMORY_SIZE)
        self.partition = Partition(self.memory, lints=True, unfinished=True, **options)
        self.cpu = self.partition.processor(0)
        revision = self.partition.profile.vmcs_revision.to_bytes(4, "little")
        self.memory.write(self.vmxon, revision)
        self.memory.write(self.vmcs, revision)
        self.cpu.wrmsr(MSR_IA32_FEATURE_CONTROL, FEATURES)
        self.cpu.cr4 |= X86_CR4_VMXE
        why = self.cpu.vmxon(self.vmxon).why
        if why is not None and why.id == "vmxon_address":
            raise ValueError(f"memory {image.path if image else ''}: it is larger than this "
                             "processor's addresses reach")
        if why is not None:
            raise ValueError("this profile's processor has no VMX: give one that has")

    def host(self, values: Mapping[str, int]) -> None:
        """The host is as wide as the VMCS has it: which one it is, no VMCS says. Memory is what
        the image has at the fields' addresses."""
        if self.image:
            self.image.show(self.memory, values)
        wide = values.get("VM_EXIT_CONTROLS", HOST_IS_WIDE) & HOST_IS_WIDE
        self.cpu.efer = self.cpu.efer | LONG_MODE if wide else self.cpu.efer & ~LONG_MODE

    def plain(self, values: Mapping[str, int]) -> list[Refusal]:
        """What L0 refuses of these fields in a VMCS of its own."""
        self.host(values)
        self.cpu.vmclear(self.vmcs)
        self.cpu.vmptrld(self.vmcs)
        for name in NAMES:
            self.cpu.vmwrite(Field[name], values.get(name, 0))
        return self.cpu.refusals()

    def enlightened(self, page: bytes, values: Mapping[str, int]) -> list[Refusal]:
        """What L0 refuses of an enlightened VMCS: first its pointer, then its fields."""
        self.host(values)
        self.cpu.wrmsr(HV_X64_MSR_VP_ASSIST_PAGE,
                       self.assist | HV_X64_MSR_VP_ASSIST_PAGE_ENABLE)
        self.memory.write(self.assist + 40, b"\1")
        self.memory.write_u64(self.assist + 48, self.vmcs)
        self.memory.write(self.vmcs, page)
        why = self.cpu.vmlaunch(stop_after=0).why
        if why is not None and not why.field and not self.cpu.refusals():
            # the rest is that of a page whose first word L0 takes
            self.memory.write(self.vmcs, b"\1\0\0\0" + page[4:])
            self.cpu.vmlaunch(stop_after=0)
            return [why, *self._refusals()]
        return self._refusals()

    def _refusals(self) -> list[Refusal]:
        return [] if self.cpu.stopped else self.cpu.refusals()

    def lints(self) -> list[Lint]:
        """What L0 noticed at the entry; not what it says of its own profile."""
        return [lint for lint in self.partition.lints() if lint.entry]


def page_of(page: bytes, values: Mapping[str, int]) -> bytes:
    """An eVMCS page: what is given of it, and these fields."""
    made = bytearray(page[:PAGE].ljust(PAGE, b"\0"))
    for name, place in evmcs().items():
        if name in values and place.offset + place.size > len(page):
            made[place.offset:place.offset + place.size] = values[name].to_bytes(
                place.size, "little")
    if len(page) < synthetic()["revision_id"].size:
        made[:4] = b"\1\0\0\0"
    return bytes(made)


class Judge:
    """Asks an L0 of these options, again and again: for plain VMCSs one processor is enough, as
    none is entered with one."""

    def __init__(self, options: dict[str, Any], image: MemoryImage | None = None) -> None:
        self.options, self.image = options, image
        self._plain = Scratch(options, image)
        self.out_of_sight = ON_THE_PROCESSOR if image else IN_MEMORY

    def judge(self, form: str, values: Mapping[str, int], page: bytes,
              enlightened: bool) -> Judgement:
        """What L0 says of a VMCS of which these fields are known. A check is told of that refuses
        whatever the others hold, and of whose fields none is a guess."""
        if form == "assist":
            return Judgement()
        missing = set(evmcs() if enlightened else NAMES) - values.keys()
        answers: list[list[Refusal]] = []
        lints: list[Lint] = []
        for filler in FILLERS if missing else ({},):
            whole = {**{name: value for name, value in filler.items() if name in missing}, **values}
            if enlightened:
                scratch = Scratch(self.options, self.image)
                answers.append(scratch.enlightened(page_of(page, whole), whole))
                lints = lints or scratch.lints()
            else:
                answers.append(self._plain.plain(whole))
        certain = set.intersection(*({one.id for one in found} for found in answers))
        told = [one for one in answers[0] if one.id in certain - self.out_of_sight
                and not {ROWS[one.id]["field"], ROWS[one.id]["other"]} & missing]
        unasked = {one.id for one in answers[0]} & self.out_of_sight
        return Judgement(tuple(told), tuple(lints), tuple(sorted(unasked)))
