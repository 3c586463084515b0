# SPDX-License-Identifier: GPL-2.0-only
"""What L0 noticed and let pass, explained: rule, field, processor, entry."""

from typing import TYPE_CHECKING, Any

from kvm_vmx.abi import constants
from kvm_vmx.l0.offers import uncovered_by_evmcs
from kvm_vmx.machine.fields import fields, other_members
from kvm_vmx.machine.writer import Writer

if TYPE_CHECKING:
    from kvm_vmx.l0.profile import Profile

# A lint's rule ("" where the processor maker's manual is the source), and what it means.
MEANINGS = {
    "msr_lists_ignored": ("R58", "the eVMCS has MSR lists, which this profile ignores"),
    "evmcs_on_two_cpus": ("R30", "an eVMCS was entered while it is active on another processor"),
    "vmcs_pointer_while_evmcs": ("K8", "VMPTRLD or VMPTRST while an eVMCS is active"),
    "vmcs_access_while_evmcs": ("R32", "VMREAD or VMWRITE while an eVMCS is active"),
    "evmcs_vanished": ("R27", "the page of the active eVMCS is no longer there"),
    "vmcs_vanished": ("", "the page of the current VMCS is no longer there"),
    "msr_list_aborted": ("R36", "an exit's MSR list could not be stored or loaded"),
    "stale_field": ("R39", "a field was changed while its group's clean bit stayed set"),
    "ungrouped_field": (
        "R58", "a field that has no group was changed while clean bits stayed set"),
    "exit_info_written": ("R35", "L1 stored into exit information, which L0 alone writes"),
    "page_not_zeroed": ("R28", "a reserved byte of the eVMCS was not zero at its first entry"),
    "clean_fields_reserved": ("R59", "reserved bits of the clean fields are set"),
    "version_changed": ("R60", "the version was changed while the eVMCS is active"),
    "pointer_misaligned": ("R27", "the eVMCS pointer is not page-aligned"),
    "switch_value": ("R24", "the entry switch of the assist page is neither 0 nor 1"),
    "assist_page_reserved": ("R23", "a reserved byte of the assist page is not zero"),
    "enlightenments_reserved": ("R100", "reserved bits of the nested enlightenments are set"),
    "msr_bitmap_unannounced": (
        "R10", "the MSR bitmap is enlightened, which leaf 0x4000000A does not offer"),
    "direct_flush_unannounced": (
        "R8", "direct virtual flush is on, which leaf 0x4000000A does not offer"),
    "exception_unannounced": (
        "R11", "virtualization exceptions are on, which leaf 0x4000000A does not offer"),
    "debugctl_unannounced": (
        "R12", "a debug control other than 0, which leaf 0x4000000A does not offer"),
    "direct_flush_incomplete": (
        "R78", "direct virtual flush is on without VM id or partition assist page"),
    "partition_page_misaligned": ("R81", "the partition assist page is not page-aligned"),
    "vmclear_elsewhere": ("R31", "VMCLEAR of an eVMCS that is active on another processor"),
    "entry_list_failed": (
        "", "an entry's MSR list could not be loaded: the qualification has the item's number"),
    "page_fault_filter_ignored": (
        "R58", "the eVMCS has a page-fault mask or match, which this profile ignores"),
    "entry_refused": ("", "an entry was refused"),
    "assist_page_unset": ("R20", "an entry without an assist page and without a VMCS"),
    "stale_translation": (
        "R74", "L2 used a translation of the second-level TLB whose EPT entry L1 has changed "
        "without a flush"),
    "flush_unknown_space": (
        "R87", "a flush names an address space that no VMCS has"),
    "flush_set_short": (
        "R90", "a flush of L2 names every processor that its short set can, and one that runs is "
        "beyond it"),
    "event_lost": (
        "", "an exit ended the delivery of an event, and the next entry does not inject it "
        "(SDM 3C 28.2.4)"),
    "event_doubled": (
        "", "an entry injects once more the event that the one before has delivered (SDM 3C 27.6)"),
    "write_unread": (
        "R39", "a field was written behind its clean bit, and VMCLEAR came before L0 read it"),
    "clean_unread": (
        "K7", "clean bits are set of groups that no entry has read which succeeded"),
    "cr3_targets_ignored": ("R58", "the eVMCS has CR3 targets, which this profile ignores"),
}

# What a lint that is about no field has found.
DETAILS = {
    "stale_translation": "guest-physical {found:#x} is read at {kept:#x} of L1's memory, as before",
    "flush_unknown_space": "EPT pointer {found:#x}",
    "flush_set_short": "VP {found} is beyond 0 to {kept}",
    "event_lost": "interruption information {found:#x}, at the exit for reason {kept}",
    "event_doubled": "interruption information {found:#x}, and no instruction of L2 between",
}
# Those that tell of a check of VM entry.
REFUSED = ("entry_refused", "assist_page_unset")

_ROWS = {row["offset"]: row for row in fields()}
_GROUPS = {row["vmcs_field"]: "" if row["clean_field"] in ("NONE", "ALL") else row["clean_field"]
           for row in fields()}
# The synthetic members that the field table does not have.
_SYNTHETIC = {row["offset"]: (name, row["clean_field"]) for name, row in other_members().items()}


class ConformanceError(RuntimeError):
    """A strict machine met its first lint and stopped; lint is it. An entry that was refused is
    told and stops nothing, as the refusal tells L1."""

    def __init__(self, lint: "Lint") -> None:
        super().__init__(f"{lint.explain()}; the machine is strict and has stopped")
        self.lint = lint


class Lint(str):
    """One thing that L0 noticed, by its name, with what is known of it.

    rule is the id of the rule, meaning what it says in a sentence; field and group name the
    eVMCS field and its clean group ("" where there is none); cpu is the processor (None: it is
    about the profile), entry and last_entry the number of its first and its last entry in
    question, count how often; found is the value in the page, kept the one L0 goes on with.
    writer says who wrote the field last and when, "" where no field is in question: a function of
    the port and its line, or its name where Python called it, the address of an instruction that
    trapped, "Python" for a store of Machine.memory, and "L1" where nobody was seen to write what
    stands there. L0 compares with what its own last exit left: any other value is L1's.
    """

    count: int  # type: ignore[assignment]  # and not str.count()

    def __new__(cls, name: str, *_: object, **__: object) -> "Lint":
        return super().__new__(cls, name)

    def __init__(self, name: str, rule: str, meaning: str, cpu: int | None = None, count: int = 1,
                 entry: int = 0, last_entry: int = 0, field: str = "", group: str = "",
                 found: int = 0, kept: int = 0, writer: Writer | None = None) -> None:
        self.rule, self.meaning, self.cpu, self.count = rule, meaning, cpu, count
        self.entry, self.last_entry, self.field, self.group = entry, last_entry, field, group
        self.found, self.kept, self._writer = found, kept, writer

    @property
    def writer(self) -> str:
        """Who wrote the field last, before the last entry in question."""
        if self.name == "stale_translation":
            return f"L1, between entries {self.entry - 1} and {self.entry}"
        if not self.field or not self.last_entry:
            return ""
        if self.name in REFUSED:
            return self._refused_writer()
        last = self.last_entry + (self.name == "write_unread")
        seen = self._writer
        if seen is None or not seen.is_between(self.cpu, last):
            seen = None
        who = seen.who if seen else "L1"
        if self.name == "clean_unread" and not seen:
            return ""
        if self.name == "write_unread":
            return f"{who}, after entry {self.last_entry}"
        if self.name == "page_not_zeroed":
            return f"{who}, before entry {self.last_entry}"
        return f"{who}, between entries {self.last_entry - 1} and {self.last_entry}"

    def _refused_writer(self) -> str:
        """Of a field that a check has refused: "" where nobody was seen to write its value."""
        seen = self._writer
        if seen is None:
            return ""
        return seen.who if seen.cpu is None else f"{seen.who}, after entry {seen.entry}" + (
            "" if seen.cpu == self.cpu else f" of processor {seen.cpu}")

    @property
    def name(self) -> str:
        """The lint's name, in plain text."""
        return str.__str__(self)

    def explain(self) -> str:
        """One line for a reader."""
        text = f"{self.rule}: {self.meaning}" if self.rule else self.meaning
        if self.name in DETAILS:
            text += ": " + DETAILS[self.name].format(found=self.found, kept=self.kept)
        elif self.field and self.name not in REFUSED:
            text += f": {self.field}"
            if self.group:
                text += f" ({self.group})"
            text += f" is {self.found:#x}, L0 has {self.kept:#x}"
        if self.writer:
            text += f"; written last by {self.writer}"
        if self.cpu is None:
            return text
        text += f"; processor {self.cpu}, entry {self.entry}"
        return f"{text}, {self.count} times" if self.count > 1 else text

    def __repr__(self) -> str:
        return f"<Lint {self.name}: {self.explain()}>"


def from_record(name: str, cpu: int, offset: int | None,
                refused: tuple[dict[str, Any], str] | None = None, **numbers: Any) -> Lint:
    """The lint of one record of L0; offset is the field's in the eVMCS, or None; refused the row
    and the sentence of the check that refused an entry."""
    rule, meaning = MEANINGS[name]
    if refused is not None:
        row, sentence = refused
        section, field = row["section"], row["field"]
        return Lint(name, f"SDM 3C {section}" if section[0].isdigit() else section,
                    f"{meaning}: {sentence}", cpu, field=field,
                    group=_GROUPS.get(field, ""), **numbers)
    field, group = "", ""
    if offset in _ROWS:
        field, group = _ROWS[offset]["vmcs_field"], _ROWS[offset]["clean_field"]
        group = "" if group in ("NONE", "ALL") else group
    elif offset is not None:
        field, group = _SYNTHETIC.get(offset, (f"offset {offset:#x}", ""))
    return Lint(name, rule, meaning, cpu, field=field, group=group, **numbers)


def of_profile(profile: "Profile") -> list[Lint]:
    """Where a profile offers what no Hyper-V does, or contradicts itself."""
    def leaf(number: int) -> tuple[int, int, int, int]:
        return profile.cpuid.get(number, (0, 0, 0, 0))

    highest, nested = leaf(0x40000000)[0], leaf(0x4000000A)
    version, recommended = nested[0] & 0xFFFF, leaf(0x40000004)[0] >> 14 & 1
    perf_global = (profile.msrs[constants.MSR_IA32_VMX_EXIT_CTLS] >> 44 & 1
                   or profile.msrs[constants.MSR_IA32_VMX_ENTRY_CTLS] >> 45 & 1)
    found = [
        (highest < 0x40000005, "highest_leaf", "R2", "the highest leaf is below 0x40000005"),
        (any(nested) and highest < 0x4000000A, "leaf_above_highest", "R4",
         "leaf 0x4000000A stands above the highest leaf"),
        (version and not recommended, "version_unrecommended", "R5",
         "leaf 0x4000000A has a version that leaf 0x40000004 does not recommend"),
        (version not in (0, 0x0101), "version_range", "R7",
         f"the versions {version & 255} to {version >> 8}: there is version 1 alone"),
        (nested[0] >> 22 & 1, "amd_feature", "R13", "leaf 0x4000000A EAX[22] is AMD's"),
        (nested[0] & 0xFF810000 or nested[1] & ~1 or nested[2] or nested[3], "leaf_reserved",
         "R15", "reserved bits of leaf 0x4000000A are set"),
        (recommended and not nested[1] & 1 and perf_global, "perf_global_unannounced", "R14",
         "PERF_GLOBAL_CTRL is offered without leaf 0x4000000A EBX[0]"),
        (recommended and uncovered_by_evmcs(profile.msrs), "uncovered_controls", "R64",
         "controls are offered whose fields an eVMCS has no place for"),
        (profile.undone, "offered_undone", "",
         f"the CPUID that was asked for offers what L0 does not do: {', '.join(profile.undone)}"),
    ]
    return [Lint(name, rule, meaning) for is_so, name, rule, meaning in found if is_so]
