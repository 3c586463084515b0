# SPDX-License-Identifier: GPL-2.0-only
"""Detection: the ladder from the hypervisor's signature to the static key."""

import contextlib
from collections.abc import Iterator
from random import Random
from typing import TypeAlias

from kvm_vmx import Machine
from kvm_vmx.lessons.record import Cell, Picture, Record, choice, other_seed
from kvm_vmx.machine.guests import HALT
from kvm_vmx.machine.partition import Partition, PhysicalMemory

TITLE = "how KVM finds out that it may use enlightened VMCSs"
MINUTES = 15
# The rungs that can be taken away; "none" takes none.
CASES = ("none", "hypervisor", "signature", "leaves", "registers", "hint", "version", "page",
         "parameter")
# Lines, and the rungs that must be there for a run to come to them.
KERNEL = [
    ("ms_hyperv_platform", "HYPERV_CPUID_MIN", {0}),
    ("ms_hyperv_init_platform", "nested_features", {0, 1, 2, 5}),
    ("hv_cpu_init", "HV_X64_MSR_VP_ASSIST_PAGE", {0, 1, 2, 3}),
    ("vmx_init", "KVM_EVMCS_VERSION", set()),
    ("vmx_init", "hv_get_vp_assist_page", {0, 1, 2, 4, 5, 6}),
    ("vmx_init", "static_branch_enable", set(range(8))),
]
MICROSOFT = b"Microsoft Hv"
LEAVES = (1, 0x40000000, 0x40000003, 0x40000004, 0x4000000A)
# (what is looked at, what it says, may KVM go on)
Rung: TypeAlias = tuple[str, str, bool]


@contextlib.contextmanager
def booted(case: str, cpus: int, without: int) -> Iterator[Machine]:
    """A machine with one rung taken away, by what its CPUID says or by memory that is short."""
    processor = Partition(PhysicalMemory(1 << 20)).processor(0)     # nothing boots on this one
    leaf = {n: list(processor.cpuid(n)) for n in LEAVES}
    if case == "hypervisor":
        leaf[1][2] &= ~(1 << 31)
    elif case == "signature":
        leaf[0x40000000][1:] = (int.from_bytes(word, "little")
                                for word in (b"KVMK", b"VMKV", b"M\0\0\0"))
    elif case == "leaves":
        leaf[0x40000000][0] = 0x40000004
    elif case == "registers":
        leaf[0x40000003][0] &= ~(0x60 | 1 << 13)     # and so no re-enlightenment either
    elif case == "hint":
        leaf[0x40000004][0] &= ~(1 << 14)
    elif case == "version":
        leaf[0x4000000A][0] &= ~0xFF
    cpuid = {n: (eax, ebx, ecx, edx) for n, (eax, ebx, ecx, edx) in leaf.items()}
    with Machine(cpus=cpus, cpuid=cpuid,
                 no_assist_page=(without,) if case == "page" else ()) as machine:
        yield machine


def rungs(machine: Machine, parameter: bool) -> list[Rung]:
    """(what is looked at, what it says, may KVM go on) as the processor and the kernel have it."""
    cpu = machine.cpu(0)
    read = {leaf: cpu.cpuid(leaf) for leaf in LEAVES}
    name = b"".join(word.to_bytes(4, "little") for word in read[0x40000000][1:])
    top, hints = read[0x40000000][0], read[0x40000004][0]
    have = [machine.assist_page(n) is not None for n in range(machine.cpus)]
    version = read[0x4000000A][0] & 0xFF
    return [
        ("CPUID 1 ECX[31]: a hypervisor", str(read[1][2] >> 31), bool(read[1][2] >> 31)),
        ("CPUID 0x40000000: its name", name.rstrip(b"\0").decode(), name == MICROSOFT),
        ("CPUID 0x40000000 EAX: its highest leaf", f"{top:#x}", 0x40000005 <= top <= 0x4000FFFF),
        ("CPUID 0x40000003 EAX[6:5]: VP index, hypercalls", f"{read[0x40000003][0] >> 5 & 3:02b}",
         read[0x40000003][0] & 0x60 == 0x60),
        ("enlightened_vmcs= of the module", str(int(parameter)), parameter),
        ("CPUID 0x40000004 EAX[14]: recommended", str(hints >> 14 & 1), bool(hints >> 14 & 1)),
        ("CPUID 0x4000000A EAX[7:0]: version", str(version), version >= 1),
        ("VP assist page of each online CPU", " ".join(
            f"cpu{n} {'yes' if page else 'no'}" for n, page in enumerate(have)), all(have)),
    ]


def second(dice: Random) -> list[Rung]:
    """Another L1's ladder."""
    case, cpus = dice.choice(CASES), dice.randint(2, 4)
    with booted(case, cpus, dice.randrange(cpus)) as machine:
        return rungs(machine, case != "parameter")


def stop(ladder: list[Rung]) -> int:
    """The first rung that is missing, from 1; 0 where none is."""
    return next((n for n, (_, _, good) in enumerate(ladder, 1) if not good), 0)


def run(seed: int, case: str | None = None) -> Record:
    """Boot with one rung taken away, walk the ladder, load the module."""
    dice = choice("detect", seed)
    case = case or dice.choice(CASES)
    cpus = dice.randint(2, 4)
    without = dice.randrange(cpus)
    parameter = case != "parameter"
    with booted(case, cpus, without) as machine:
        ladder = rungs(machine, parameter)
        try:
            kvm, error = machine.insmod(enlightened_vmcs=parameter), 0
        except OSError as refused:
            kvm, error = None, -(refused.errno or 0)
        on = bool(kvm and kvm.enable_evmcs)
        left = kvm.parameters["enlightened_vmcs"] if kvm else None
        mode = "eVMCS" if on else "plain VMCS"
        exits = kvm.create_vm(code=HALT).create_vcpu().run() if kvm else None
        log = list(machine.dmesg)
    others = second(choice("detect second", seed))
    further = stop(others)
    ended = exits.reason if exits else "-"
    missing = stop(ladder)
    return Record(
        "detect", seed, case, TITLE,
        about=["An enlightenment is what a guest does otherwise because it knows its hypervisor. "
               "KVM uses enlightened VMCSs where Hyper-V recommends them, speaks version 1, and "
               "every online CPU has a VP assist page. Each rung of this ladder is read from the "
               "processor of this run; one of them may be missing.",
               "The highest leaf must be from 0x40000005 to 0x4000ffff, and of the leaf that has "
               "VP index and hypercalls both bits 1."],
        run=[f"{cpus} CPUs; insmod kvm-intel enlightened_vmcs={int(parameter)}; a guest that "
             "halts.",
             "A second L1 is not loaded: only its ladder was read. From the first rung on: "
             + "; ".join(says for _, says, _ in others) + "."],
        picture=walk(ladder),
        solved=climb(ladder, on),
        question="At which rung does KVM stop, counted from 1 (0: at none), and at which would it "
                 "in the second L1? Does insmod fail, is "
                 "enable_evmcs on, and what does the module's parameter enlightened_vmcs read "
                 "afterwards?",
        given={"cpus": cpus, "parameter": parameter, "rungs": [
            {"rung": what, "found": found} for what, found, _ in ladder],
            "second": [found for _, found, _ in others]},
        answer=[(f"Rung {missing} is missing: {ladder[missing - 1][0]}." if missing else
                 "No rung is missing."),
                f"insmod returns {error}. enable_evmcs is {'on' if on else 'off'}, the parameter "
                f"reads {int(bool(left))}; the guest ran on a {mode} and ended with {ended}.",
                f"The kernel's log ends: {log[-1] if log else '(empty)'}",
                "In the second L1 " + (f"rung {further} is missing: {others[further - 1][0]}."
                                       if further else "no rung is missing."),
                "A rung that is missing is no error: KVM falls back, and says nothing of it."],
        constant=("enable_evmcs", "insmod", "parameter"),
        values={"rung": missing, "second": further, "enable_evmcs": on, "insmod": error,
                "parameter": bool(left)},
        change=[f"kvm-vmx lesson detect --seed {other_seed(seed)}",
                "With --case one names what is missing: kvm-vmx lesson --json has the names."],
        kernel=[(function, word, all(ladder[rung][2] for rung in needed))
                for function, word, needed in KERNEL],
        leaves_out="Nothing that detection reads. What else Hyper-V offers, such as its clocks and "
                   "its APIC, this kernel does not take up.",
        telling=True,
    )


def walk(ladder: list[Rung]) -> Picture:
    """The ladder as it is read, rung by rung, without where it ends."""
    picture = Picture(["rung", "found", "go on"], kind="ladder")
    found = [[Cell(what), Cell(""), Cell("?", "dim")] for what, _, _ in ladder]
    picture.step("before the boot", [*found, last(None)])
    for n, (what, says, _) in enumerate(ladder):
        found[n] = [Cell(what), Cell(says), Cell("?", "dim")]
        picture.step(what, [*found, last(None)])
    picture.step("the module is loaded", [*found, last(None)])
    picture.table = picture.columns, found
    return picture


def climb(ladder: list[Rung], on: bool) -> Picture:
    """The ladder, lit rung by rung as far as it goes; on is the key."""
    picture = Picture(["rung", "found", "go on"], kind="ladder")
    standing = True
    lit = [[Cell(what, "dim"), Cell("", "dim"), Cell("", "dim")] for what, _, _ in ladder]
    picture.step("before the boot", [*lit, last(None)])
    for n, (what, found, good) in enumerate(ladder):
        kind = ("good" if good else "bad") if standing else "dim"
        lit[n] = [Cell(what, "" if standing else "dim"), Cell(found, kind),
                  Cell("yes" if good else "no", kind)]
        standing = standing and good
        picture.step(what, [*lit, last(None)])
    picture.step("the module is loaded", [*lit, last(on)])
    picture.table = picture.columns, picture.steps[-2].rows[:-1]
    return picture


def last(on: bool | None) -> list[Cell]:
    """The key, at the top of the ladder."""
    text, kind = ("?", "dim") if on is None else ("on", "good") if on else ("off", "bad")
    return [Cell("static key enable_evmcs"), Cell(text, kind), Cell("")]
