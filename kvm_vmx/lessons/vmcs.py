# SPDX-License-Identifier: GPL-2.0-only
"""A VMCS filled by hand, with one field wrong: what VMLAUNCH says, and which check said it."""

from random import Random
from typing import TypeAlias

from kvm_vmx import Machine, Outcome, VMfailValid
from kvm_vmx.abi.constants import (
    MSR_IA32_FEATURE_CONTROL, MSR_IA32_VMX_BASIC, MSR_IA32_VMX_CR0_FIXED0, MSR_IA32_VMX_CR4_FIXED0,
    MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_PINBASED_CTLS,
    MSR_IA32_VMX_PROCBASED_CTLS, X86_CR4_PAE, X86_CR4_VMXE)
from kvm_vmx.lessons.record import Cell, NothingShown, Picture, Record, UNDO, choice, other_seed
from kvm_vmx.lessons.student import judge
from kvm_vmx.machine.cpu import Cpu
from kvm_vmx.machine.guests import HALT

TITLE = "a VMCS by hand, and the field that VMLAUNCH refuses"
MINUTES = 20
CASES = ()
KERNEL = [
    ("setup_vmcs_config", "MSR_IA32_VMX_BASIC"), ("vmx_vcpu_setup", "vm_exit_controls_init"),
    ("vmx_set_constant_host_state", "HOST_CR0"), ("vmx_vcpu_run", "VM_INSTRUCTION_ERROR"),
]
# Far from what the kernel has taken as it booted: its assist page is at 0x2000.
PAGE, VMXON, VMCS, TABLES, CODE = 4096, 0x101000, 0x102000, 0x104000, 0x108000
HLT_EXITING, WIDE, ALL_ONES = 1 << 7, 1 << 9, (1 << 64) - 1
# each area's fields with their values
Areas: TypeAlias = dict[str, dict[str, int]]
INVALID_STATE = 33 | 1 << 31
AREAS = {"controls": "what makes L2 exit, and how", "host": "the state of L1 after an exit",
         "guest": "the state of L2"}
# What is looked at of what a mistake can be in: SDM volume 3C, 27.2 and 27.3.
RULES = (
    "Of the controls: at most 4 CR3 targets. Of the host: in 64-bit mode bit 9 of the exit "
    "controls is 1; a selector's low three bits are 0, and HOST_CS_SELECTOR and HOST_TR_SELECTOR "
    "are not 0 in all; an address is canonical, which is that its bits 63 to 47 are alike.",
    "Of the guest: RFLAGS has bit 1 and none of 3, 5, 15 and 22 and up; the activity state is at "
    "most 3; of the interruptibility bits 0 and 1 not both are 1; no bit of CR3 is beyond the "
    "processor's physical addresses; a link pointer that is not used is all ones; bits 63 to "
    "48 of RIP are alike.",
    "A segment's access rights have the type in bits 3:0 (code 9, 11, 13 or 15; data that are "
    "accessed 3 or 7; the task register 11), bit 4 for code and data, the ring in 6:5, bit 7 when "
    "it is there, bit 13 for 64-bit code, whose bit 14 is 0, and bit 16 when it is not used. "
    "GUEST_GDTR_LIMIT and GUEST_IDTR_LIMIT have 16 bits; GUEST_TR_LIMIT is below 2^20 where bit 15 "
    "of its rights is 0.",
)
SEGMENTS = {"ES": 0xC093, "CS": 0xA09B, "SS": 0xC093, "DS": 0xC093, "FS": 0xC093, "GS": 0xC093,
            "LDTR": 0x10000, "TR": 0x8B}


def number(outcome: Outcome) -> int:
    """What an instruction has read, where it has read."""
    assert outcome.value is not None
    return outcome.value


def controls(cpu: Cpu) -> dict[str, int]:
    """The bits that must be 1, as the capability MSRs say, HLT exits, both sides in 64-bit mode."""
    def must(msr: int) -> int:
        return number(cpu.rdmsr(msr)) & 0xFFFFFFFF

    return {
        "PIN_BASED_VM_EXEC_CONTROL": must(MSR_IA32_VMX_PINBASED_CTLS),
        "CPU_BASED_VM_EXEC_CONTROL": must(MSR_IA32_VMX_PROCBASED_CTLS) | HLT_EXITING,
        "VM_EXIT_CONTROLS": must(MSR_IA32_VMX_EXIT_CTLS) | WIDE,
        "VM_ENTRY_CONTROLS": must(MSR_IA32_VMX_ENTRY_CTLS) | WIDE,
        **dict.fromkeys(("CR3_TARGET_COUNT", "EXCEPTION_BITMAP", "VM_ENTRY_INTR_INFO_FIELD"), 0)}


def host(cpu: Cpu, dice: Random) -> dict[str, int]:
    """What L1 goes on with: a kernel's addresses, and selectors of ring 0."""
    kernel = 0xFFFFFFFF81000000
    return {"HOST_CR0": cpu.cr0, "HOST_CR3": dice.randrange(16, 256) << 12, "HOST_CR4": cpu.cr4,
            "HOST_CS_SELECTOR": 0x10, "HOST_TR_SELECTOR": 0x40, "HOST_SS_SELECTOR": 0x18,
            "HOST_RSP": kernel + (dice.randrange(1 << 10) << 12),
            "HOST_RIP": kernel + (dice.randrange(1 << 16) << 4),
            "HOST_TR_BASE": kernel + (dice.randrange(1 << 10) << 12),
            **dict.fromkeys(("HOST_ES_SELECTOR", "HOST_FS_BASE", "HOST_IA32_SYSENTER_CS"), 0)}


def guest(cpu: Cpu, dice: Random) -> dict[str, int]:
    """Flat segments in 64-bit mode, at a HLT."""
    cr0, cr4 = (number(cpu.rdmsr(msr))
                for msr in (MSR_IA32_VMX_CR0_FIXED0, MSR_IA32_VMX_CR4_FIXED0))
    state = {"GUEST_CR0": cr0, "GUEST_CR3": TABLES, "GUEST_CR4": cr4 | X86_CR4_PAE,
             "GUEST_RIP": CODE, "GUEST_RSP": CODE + 8 * dice.randrange(64, 256),
             "GUEST_RFLAGS": 2, "GUEST_DR7": 0x400, "VMCS_LINK_POINTER": ALL_ONES,
             "GUEST_GDTR_LIMIT": 0x7F, "GUEST_IDTR_LIMIT": 0xFFF, "GUEST_TR_LIMIT": 0x67}
    state |= dict.fromkeys(("GUEST_ACTIVITY_STATE", "GUEST_INTERRUPTIBILITY_INFO",
                            "GUEST_CS_BASE", "GUEST_LDTR_LIMIT", "GUEST_IA32_DEBUGCTL"), 0)
    for name, rights in SEGMENTS.items():
        state[f"GUEST_{name}_AR_BYTES"] = rights
        if name not in ("LDTR", "TR"):
            state[f"GUEST_{name}_LIMIT"] = 0xFFFFFFFF
            state[f"GUEST_{name}_SELECTOR"] = 0x10 if name == "CS" else 0x18
    return state


def mistakes(state: dict[str, int], dice: Random) -> list[tuple[str, int]]:
    """Fields and wrong values, 0 where a field was forgotten."""
    odd = 1 << dice.randrange(47, 63)       # no canonical address: bits 63:47 are not all alike
    return [
        *((name, 0) for name in (
            "PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "VM_EXIT_CONTROLS",
            "HOST_CR0", "HOST_CR4", "HOST_CS_SELECTOR", "HOST_TR_SELECTOR", "GUEST_CR0",
            "GUEST_CR4", "GUEST_RFLAGS", "VMCS_LINK_POINTER", "GUEST_TR_AR_BYTES",
            "GUEST_LDTR_AR_BYTES", "GUEST_CS_AR_BYTES", "GUEST_SS_AR_BYTES",
            "GUEST_DS_AR_BYTES")),
        ("VM_EXIT_CONTROLS", state["VM_EXIT_CONTROLS"] & ~WIDE),
        ("HOST_RIP", odd), ("HOST_TR_BASE", odd), ("GUEST_RIP", max(odd, 1 << 48)),
        *((f"HOST_{name}_SELECTOR", 0x10 | dice.randrange(1, 8)) for name in ("CS", "SS")),
        ("GUEST_TR_LIMIT", dice.randrange(1, 16) << 20 | 0x67),
        ("GUEST_GDTR_LIMIT", dice.randrange(1, 16) << 16 | 0x7F),
        ("GUEST_RFLAGS", 2 | 1 << dice.choice((3, 5, 15, 22, 30))),
        ("GUEST_CS_AR_BYTES", 0xE09B), ("GUEST_ACTIVITY_STATE", dice.randrange(4, 16)),
        ("GUEST_INTERRUPTIBILITY_INFO", 3), ("CR3_TARGET_COUNT", dice.randrange(5, 16)),
        ("GUEST_CR3", ALL_ONES << 52 & ALL_ONES | TABLES)]


def in_vmx_operation(machine: Machine) -> Cpu:
    """CPU 0 behind VMXON, with an empty VMCS that is current, and a HLT for L2."""
    cpu, memory = machine.cpu(0), machine.memory
    revision = (number(cpu.rdmsr(MSR_IA32_VMX_BASIC)) & 0x7FFFFFFF).to_bytes(4, "little")
    for page in (VMXON, VMCS):
        memory.write(page, revision)
    memory.write(TABLES, (TABLES + PAGE | 3).to_bytes(8, "little"))
    memory.write(TABLES + PAGE, (0x83).to_bytes(8, "little"))    # a page of 1 GByte at 0
    memory.write(CODE, b"\xf4")
    cpu.wrmsr(MSR_IA32_FEATURE_CONTROL, 5)
    cpu.mov_to_cr(4, cpu.cr4 | X86_CR4_VMXE)
    for outcome in (cpu.vmxon(VMXON), cpu.vmclear(VMCS), cpu.vmptrld(VMCS)):
        if not outcome.ok:
            raise NothingShown(f"{outcome!r} before there is a VMCS: {UNDO}")
    return cpu


def film(seed: int) -> tuple[Areas, str, int, tuple[Outcome, int, int], int | None, list[int]]:
    """(fields by area with the wrong one, its name and right value, VMLAUNCH's outcomes, the bits
    that CR0 and CR4 must have)."""
    dice = choice("vmcs", seed)
    with Machine(cpus=1) as machine:
        cpu = in_vmx_operation(machine)
        areas = {"controls": controls(cpu), "host": host(cpu, dice), "guest": guest(cpu, dice)}
        right = {name: value for area in areas.values() for name, value in area.items()}
        for name, value in right.items():
            cpu.vmwrite(name, value)
        wrong, value = dice.choice(mistakes(right, dice))
        next(names for names in areas.values() if wrong in names)[wrong] = value
        cpu.vmwrite(wrong, value)
        refused = cpu.vmlaunch()
        told = (refused, number(cpu.vmread("VM_EXIT_REASON")),
                number(cpu.vmread("EXIT_QUALIFICATION")))
        cpu.vmwrite(wrong, right[wrong])
        mended = cpu.vmlaunch()
        reason = cpu.vmread("VM_EXIT_REASON").value if mended.ok else None
        fixed = [number(cpu.rdmsr(msr))
                 for msr in (MSR_IA32_VMX_CR0_FIXED0, MSR_IA32_VMX_CR4_FIXED0)]
    return areas, wrong, right[wrong], told, reason, fixed


def of_kvm() -> int:
    """VMWRITEs that KVM makes for a vCPU of its own, up to the first exit."""
    with Machine(cpus=1) as machine:
        vm = machine.insmod(enlightened_vmcs=False).create_vm(code=HALT)
        before = machine.counters["vmwrite"]
        vm.create_vcpu().run(exits=1)
        return machine.counters["vmwrite"] - before


def run(seed: int, case: str | None = None) -> Record:
    """Fill, launch, be refused; then the right value, and launch again."""
    areas, wrong, right, (refused, reason, qualification), mended, fixed = film(seed)
    if refused.why is None or mended is None:
        raise NothingShown(f"L0 refuses another VMCS than the one with {wrong} wrong: {UNDO}")
    failed = isinstance(refused, VMfailValid)
    error = refused.error if isinstance(refused, VMfailValid) else 0
    values = {"field": wrong, "error": error,
              "exit_reason": 0 if failed else reason}
    picture = drawn(areas)
    solved = drawn(areas, wrong)
    ends = (f"VMLAUNCH fails with VM-instruction error {error}, and L1 goes on behind it"
            if failed else f"VMLAUNCH leads to an exit at once, with reason {reason:#x} and "
            f"qualification {qualification}")
    return Record(
        "vmcs", seed, "", TITLE,
        about=["VMX is the processor's extension for virtual machines, and VMXON turns it on. A "
               "VMCS is a page that belongs to the processor. VMCLEAR prepares it, VMPTRLD makes "
               "it current, and then VMWRITE fills the current one field by field. A field is "
               "named by a number, its encoding. Only VMLAUNCH looks at what is there.",
               "It looks in order: at the controls, which fails with VM-instruction error 7; at "
               "the host's state, to which an exit would lead, error 8; and when these are good at "
               "the guest's state. The last can't fail as an instruction fails: the entry has "
               "begun, so it ends as an exit, with bit 31 of the exit reason set, to 0x80000021."],
        run=["VMXON, VMCLEAR, VMPTRLD, then a VMWRITE for each field of the table; all others are "
             "0. L2 is to run one HLT in 64-bit mode, as L1 is.",
             "Bits that must be 1 are in the low half of MSR 0x481 (pin), 0x482 (processor), 0x483 "
             "(exit) and 0x484 (entry): "
             + ", ".join(f"{value:#x}" for value in needed(areas, wrong, right)) + ".",
             *RULES, "CR0 must have the bits of MSR 0x486, CR4 those of 0x488: "
             + ", ".join(f"{value:#x}" for value in fixed) + ".",
             f"KVM needs {of_kvm()} VMWRITEs for a vCPU of its own, up to its first exit."],
        picture=picture, solved=solved,
        question="One field is wrong. Which? Does VMLAUNCH fail, and with which error, or does it "
                 "lead to an exit?",
        given={"fields": {name: value for area in areas.values() for name, value in area.items()}},
        answer=[f"{wrong}. {ends}.",
                f"The check is {refused.why.id}: {refused.why.sentence}.",
                f"With {wrong} = {right:#x} the same VMLAUNCH enters, and L2's HLT ends it: exit "
                f"reason {mended}."],
        values=values,
        change=[f"kvm-vmx lesson vmcs --seed {other_seed(seed)}",
                "In Python: with Machine(cpus=1) as m: cpu = m.cpu(0), and cpu.vmxon(), "
                "cpu.vmwrite(field, value), cpu.vmlaunch().why",
                "kvm-vmx lesson vmcs --write mine.py    a file with",
                "  def vmlaunch(wrong):    # names of fields, each with a value that is refused",
                "      return told         # 7, 8, 0x80000021, or 0 where VMLAUNCH enters"],
        kernel=KERNEL,
        leaves_out="A processor says no more than the number. The name of the check and its "
                   "sentence are this L0's.",
    )


def needed(areas: Areas, wrong: str, right: int) -> list[int]:
    """What the four MSRs ask for."""
    names = ("PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "VM_EXIT_CONTROLS",
             "VM_ENTRY_CONTROLS")
    extra = (0, HLT_EXITING, WIDE, WIDE)
    return [(right if name == wrong else areas["controls"][name]) & ~more
            for name, more in zip(names, extra)]


def written(value: int, bad: bool) -> Cell:
    """A field's value, and whether that is the one that VMLAUNCH refuses."""
    return Cell(f"{value:#x}, refused", "bad") if bad else Cell(f"{value:#x}")


def drawn(areas: Areas, wrong: str = "") -> Picture:
    """The VMCS as it fills, area by area; the wrong field bad where it is told."""
    rows = [(area, name, value) for area, names in areas.items()
            for name, value in sorted(names.items())]
    picture = Picture(["field", "area", "value"], kind="areas")
    done: list[str] = []
    for caption, area in (("VMCLEAR, VMPTRLD: an empty VMCS is current", None),
                          *((f"VMWRITE of the {area}: {words}", area)
                            for area, words in AREAS.items())):
        done += [area] if area else []
        picture.step(caption, [
            [Cell(name), Cell(where), written(value, name == wrong) if where in done
             else Cell("0", "dim")] for where, name, value in rows])
    return picture


def told(outcome: Outcome, cpu: Cpu) -> int:
    """The error of a VMLAUNCH, or the exit reason of one that led to an exit; 0: it entered."""
    if isinstance(outcome, VMfailValid):
        return outcome.error
    return 0 if outcome.why is None else number(cpu.vmread("VM_EXIT_REASON"))


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """Run a student's vmlaunch() on mistakes of several areas at once, each also launched."""
    dice = choice("vmcs grade", seed)
    cases = []
    with Machine(cpus=1) as machine:
        cpu = in_vmx_operation(machine)
        right = controls(cpu) | host(cpu, dice) | guest(cpu, dice)
        # one that is good as a control, and that the host's state does not go with, has no area
        pool = [one for one in mistakes(right, dice) if one[0] != "VM_EXIT_CONTROLS" or not one[1]]
        for count in (0, *[1] * 8, *[2] * 8, *[3] * 8):
            wrong = dict(dice.sample(pool, count))
            for outcome in (cpu.vmclear(VMCS), cpu.vmptrld(VMCS)):
                if not outcome.ok:
                    raise NothingShown(f"{outcome!r} before there is a VMCS: {UNDO}")
            for name, value in (right | wrong).items():
                cpu.vmwrite(name, value)
            names = dice.sample(list(wrong), len(wrong))
            cases.append(((names,), told(cpu.vmlaunch(), cpu), ", ".join(names) or "nothing"))
    return judge(path, "vmlaunch", ("wrong",), cases, "the run")
