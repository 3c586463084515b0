# SPDX-License-Identifier: GPL-2.0-only
"""The MSR bitmap: which RDMSR and WRMSR of L2 make it exit, and where that is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from kvm_vmx import Machine
from kvm_vmx.abi.constants import (
    MSR_CSTAR, MSR_EFER, MSR_FS_BASE, MSR_GS_BASE, MSR_IA32_APICBASE, MSR_IA32_CR_PAT,
    MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_EIP, MSR_IA32_SYSENTER_ESP, MSR_IA32_TSC,
    MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_STAR, MSR_SYSCALL_MASK)
from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.lessons.record import (
    TRACED, UNDO, Cell, NothingShown, Picture, Record, choice, other_seed)
from kvm_vmx.lessons.student import judge

TITLE = "the MSR bitmap: exit or not"
MINUTES = 15
CASES = ()
KERNEL = [
    ("vmx_disable_intercept_for_msr", "msr_bitmap"), ("vmx_create_vcpu", "MSR_FS_BASE"),
]
# Which are executed where an access of the kind exits.
HANDLERS = {31: ("handle_rdmsr", "kvm_get_msr"), 32: ("handle_wrmsr", "kvm_set_msr")}
NAMED = {MSR_IA32_TSC: "IA32_TSC", MSR_IA32_APICBASE: "IA32_APIC_BASE",
         MSR_IA32_SYSENTER_CS: "IA32_SYSENTER_CS", MSR_IA32_SYSENTER_ESP: "IA32_SYSENTER_ESP",
         MSR_IA32_SYSENTER_EIP: "IA32_SYSENTER_EIP", MSR_IA32_CR_PAT: "IA32_PAT",
         MSR_EFER: "IA32_EFER", MSR_STAR: "IA32_STAR", MSR_LSTAR: "IA32_LSTAR",
         MSR_CSTAR: "IA32_CSTAR", MSR_SYSCALL_MASK: "IA32_FMASK", MSR_FS_BASE: "IA32_FS_BASE",
         MSR_GS_BASE: "IA32_GS_BASE", MSR_KERNEL_GS_BASE: "IA32_KERNEL_GS_BASE"}
# L2 may write 0 to these without a fault, and goes on as before.
WRITABLE = [msr for msr in NAMED if msr not in (MSR_IA32_APICBASE, MSR_EFER)]
CPUID = bytes.fromhex("31c0" "0fa2")
HIDDEN = 3      # of the accesses, the last
LOW_END, HIGH, HIGH_END, WRITES, HALF = 0x2000, 0xC0000000, 0xC0002000, 2048, 1024


@dataclass(frozen=True)
class Access:
    """One access of L2 to an MSR."""

    msr: int
    write: bool

    @property
    def words(self) -> str:
        """The access in words."""
        return f"{'WRMSR' if self.write else 'RDMSR'} {self.msr:#x}, {NAMED[self.msr]}"

    @property
    def code(self) -> bytes:
        """mov msr, ecx; (xor eax, eax; xor edx, edx; wrmsr) or rdmsr; and a CPUID, which always
        exits, behind it: xor eax, eax; cpuid."""
        return (b"\xb9" + self.msr.to_bytes(4, "little")
                + bytes.fromhex("31c031d20f30" if self.write else "0f32")
                + CPUID)


def program(dice: Random, count: int = 8) -> list[Access]:
    """Some accesses, of which none before is the last one, which is asked for."""
    writes = [dice.random() < 0.5 for _ in range(count)]
    *found, last = [Access(dice.choice(WRITABLE if write else list(NAMED)), write)
                    for write in writes]
    return [one for one in found if one != last] + [last]


def place(msr: int, write: bool) -> tuple[int, int] | None:
    """Byte and bit of an MSR in the bitmap, SDM volume 3C, 25.6.9; None where it has none."""
    if msr < LOW_END:
        number, half = msr, 0
    elif HIGH <= msr < HIGH_END:
        number, half = msr - HIGH, HALF
    else:
        return None
    return half + (WRITES if write else 0) + number // 8, number % 8


def film(accesses: Sequence[Access]) -> tuple[list[list[int]], bytes]:
    """The exits of each access, and the bitmap as KVM has filled it."""
    code = b"".join(access.code for access in accesses) + b"\xf4"
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        vcpu = kvm.create_vm(code=CPUID + code).create_vcpu()
        machine.start_trace(TRACED)
        end = vcpu.run(exits=3 * len(accesses) + 3)
        if end.reason != "HLT":
            raise NothingShown(f"L2 ends by {end.reason}: {UNDO}")
        bitmap = machine.memory.read(vcpu.vmcs["MSR_BITMAP"], 4096)
        reasons = [record.results[0] & 0xFFFF for record in machine.trace
                   if record.instruction in ("vmlaunch", "vmresume")]
    exits: list[list[int]] = [[]]
    for reason in reasons:
        if reason == ExitReason.CPUID:
            exits.append([])
        else:
            exits[-1].append(int(reason))
    if len(exits) != len(accesses) + 2:
        raise NothingShown(f"{len(exits)} CPUIDs exited of {len(accesses) + 2}: {UNDO}")
    return exits[1:-1], bitmap


def said(exits: list[int]) -> str:
    """Exits in words."""
    return ", ".join(f"exit {reason} {ExitReason(reason).name}" for reason in exits) or "no exit"


def run(seed: int, case: str | None = None) -> Record:
    """Accesses one by one, the last ones withheld."""
    accesses = program(choice("bitmap", seed))
    exits, bitmap = film(accesses)
    asked = accesses[-1]
    spot = place(asked.msr, asked.write)
    assert spot is not None         # each that is named has one
    byte, bit = spot
    picture, solved = drawn(accesses, exits, HIDDEN), drawn(accesses, exits)
    odd = {at: value for at, value in enumerate(bitmap) if value != 0xFF}
    executed = {reason for found in exits for reason in found}
    total = sum(map(len, exits[-HIDDEN:]))
    return Record(
        "bitmap", seed, "", TITLE,
        about=["Not every instruction that could exit does. For RDMSR and WRMSR the processor asks "
               "the MSR bitmap, a page of 4096 bytes whose address is in the VMCS: a bit of 1 "
               "means exit. Its quarters are for reads of MSRs 0 to 0x1fff, reads of 0xc0000000 to "
               "0xc0001fff, then writes of both; an MSR elsewhere always exits.",
               "KVM begins with all bits 1 and clears those of MSRs that it gives to L2, as the "
               "processor switches them with the VMCS or as no harm can come of them."],
        run=[f"{len(accesses)} accesses of L2, each with a CPUID behind it that marks its end. "
             "RDMSR is exit 31, WRMSR exit 32.",
             "All bytes of KVM's bitmap are 0xff, but "
             + ", ".join(f"{at:#05x}: {value:#04x}" for at, value in odd.items()) + "."],
        picture=picture, solved=solved,
        question=f"The last access is {asked.words}. Which byte of the bitmap decides, and which "
                 f"bit of it? How many exits do the last {HIDDEN} accesses make, without the "
                 "CPUIDs?",
        given={"accesses": [[access.msr, access.write] for access in accesses],
               "bitmap": {f"{at:#05x}": value for at, value in odd.items()}},
        answer=[f"Byte {byte:#05x}, bit {bit}: it is {bitmap[byte] >> bit & 1}, and so "
                f"{asked.words} makes {said(exits[-1])}.",
                f"{total} exit{'s' * (total != 1)}: " + "; ".join(
                    f"{access.words}: {said(found)}" for access, found in
                    zip(accesses[-HIDDEN:], exits[-HIDDEN:])) + ".",
                "An MSR behind 0xc0001fff or between the two ranges has no bit, and always exits."],
        values={"byte": byte, "bit": bit, "exits": total},
        change=[f"kvm-vmx lesson bitmap --seed {other_seed(seed)}",
                "kvm-vmx lesson bitmap --write mine.py    a file with",
                "  def exits(msr, write, bitmap):  # write: True for WRMSR; bitmap: 4096 bytes, "
                "hex",
                "      return 1 or 0"],
        kernel=[*KERNEL, *((*line, reason in executed) for reason, line in HANDLERS.items())],
        leaves_out="For memory the second table that decides is EPT, the page tables below L2's "
                   "own. This port's KVM fills them as it makes the VM, and so no access to L2's "
                   "memory exits; v4.19 fills them as L2 goes, by an exit a page.",
    )


def drawn(accesses: Sequence[Access], exits: Sequence[list[int]], hidden: int = 0) -> Picture:
    """A row an access, told one after another; the last ones not at all where they are hidden."""
    picture = Picture(["access", "byte", "bit", "what happens"], kind="bitmap")
    told = len(accesses) - hidden
    for at in range(-1, len(accesses)):
        rows = []
        for n, (access, found) in enumerate(zip(accesses, exits)):
            spot = place(access.msr, access.write)
            where = [Cell(f"{spot[0]:#05x}"), Cell(str(spot[1]))] if spot else [Cell("none")] * 2
            end = Cell(said(found), "bad" if found else "good")
            row = [*where, end] if n <= at else [Cell("", "dim")] * 3
            rows.append([Cell(access.words), *([Cell("?", "dim")] * 3 if n <= at and n >= told
                                               else row)])
        picture.step(accesses[at].words if at >= 0 else "before the first", rows)
    return picture


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """Run a student's exits() on every MSR of the lesson, each also accessed for real."""
    accesses = [Access(msr, False) for msr in NAMED] + [Access(msr, True) for msr in WRITABLE]
    choice("bitmap grade", seed).shuffle(accesses)
    found, bitmap = film(accesses)
    cases = [((access.msr, access.write, bitmap.hex()), len(exits), access.words)
             for access, exits in zip(accesses, found)]
    cases += [((msr, write, "00" * 4096), 1, f"MSR {msr:#x}, which the bitmap does not have")
              for msr in (0x2000, 0x40000000, 0xC0002000) for write in (False, True)]
    return judge(path, "exits", ("msr", "write", "bitmap"), cases, "the run")
