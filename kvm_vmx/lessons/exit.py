# SPDX-License-Identifier: GPL-2.0-only
"""One exit step by step: which function of KVM's wants which field, under VMCS and under eVMCS."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from kvm_vmx import Machine
from kvm_vmx.lessons.record import (
    TRACED, UNDO, Cell, NothingShown, Picture, Record, choice, other_seed)
from kvm_vmx.lessons.student import judge
from kvm_vmx.machine import steps
from kvm_vmx.machine.steps import Moment

TITLE = "one exit step by step: which VMREAD is for whom"
MINUTES = 20
CASES = ()
KERNEL = [
    ("vmx_vcpu_run", "VM_EXIT_REASON"), ("vmx_handle_external_intr", "VM_EXIT_INTR_INFO"),
    ("vmx_get_rflags", "GUEST_RFLAGS"), ("skip_emulated_instruction", "VM_EXIT_INSTRUCTION_LEN"),
    ("vmx_set_interrupt_shadow", "GUEST_INTERRUPTIBILITY_INFO"),
]
# Instructions of L2 that always exit, and that KVM does in L2's place without user space.
CODE = {"cpuid": "31c0" "0fa2", "rdmsr": "b91b000000" "0f32", "wbinvd": "0f09", "vmcall": "0f01c1",
        "mov from cr8": "440f20c0", "mov to cr8": "31c0" "440f22c0"}
FIRST, LAST = bytes.fromhex("31c00fa2"), bytes.fromhex("31c00fa2" "f4")
ACCESS = {"vmread": "VMREAD", "vmwrite": "VMWRITE", "load": "load", "store": "store"}
TRAPPED = ("vmread", "vmwrite")
CLEAN = "hv_clean_fields"


class Exit(NamedTuple):
    """What KVM does from an exit to the next entry, in both modes."""

    kind: str
    plain: list[Moment]
    light: list[Moment]


def code(kinds: list[str]) -> bytes:
    """A program of L2: the instructions between one that exits and the end."""
    return FIRST + b"".join(bytes.fromhex(CODE[kind]) for kind in kinds) + LAST


def filmed(kinds: list[str], enlightened: bool) -> list[list[Moment]]:
    """The accesses of each of these exits, by single steps through the port."""
    if why := steps.can_step():
        raise NothingShown(f"no exit can be followed step by step here: {why}")
    with Machine(cpus=1, insn="trap") as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=code(kinds)).create_vcpu()
        vcpu.run(exits=1)
        with steps.filmed(machine, vcpu.vmcs_gpa if enlightened else None) as film:
            vcpu.run(exits=len(kinds) + 1)
    parts: list[list[Moment]] = [[]]
    for moment in film.moments:
        if moment.kind == "vmresume":
            parts.append([])
        elif moment.kind != "in":
            parts[-1].append(moment)
    if not film.complete or len(parts) < len(kinds) + 1:
        raise NothingShown(f"{len(parts)} entries for {len(kinds) + 1} exits: {UNDO}")
    return parts[-len(kinds) - 1:-1]


def exits(kinds: list[str]) -> list[Exit]:
    """Each exit in both modes."""
    found = [Exit(*one) for one in zip(kinds, filmed(kinds, False), filmed(kinds, True))]
    for one in found:
        here = [(moment.function, moment.what) for moment in one.plain]
        there = [(moment.function, moment.what) for moment in one.light if moment.what != CLEAN]
        if here != there or not here:
            raise NothingShown(f"{one.kind} has other accesses under eVMCS: {UNDO}")
    return found


def counted(kinds: list[str]) -> int:
    """VMREADs and VMWRITEs of a program's exits, without the first and without the last."""
    with Machine(cpus=1) as machine:
        vcpu = machine.insmod(enlightened_vmcs=False).create_vm(code=code(kinds)).create_vcpu()
        vcpu.run(exits=1)
        machine.start_trace(TRACED)
        vcpu.run(exits=len(kinds) + 1)
        names = [record.instruction for record in machine.trace]
    entries = [n for n, name in enumerate(names) if name == "vmresume"]
    return sum(name in TRAPPED for name in names[entries[0]:entries[len(kinds)]])


def program(dice: Random) -> tuple[list[str], list[str]]:
    """Two kinds of exit, and a program of both."""
    shown = dice.sample(list(CODE), 2)
    return shown, [*shown, *(dice.choice(shown) for _ in range(dice.randint(2, 9)))]


def alone(one: Exit) -> list[Moment]:
    """Accesses whose field and whose function come once in an exit: what can be asked."""
    fields = [moment.what for moment in one.plain]
    functions = [moment.function for moment in one.plain]
    return [moment for moment in one.plain if fields.count(moment.what) == 1
            and functions.count(moment.function) == 1]


def run(seed: int, case: str | None = None) -> Record:
    """Two exits step by step, and a program of such exits counted."""
    dice = choice("exit", seed)
    shown, names = program(dice)
    first, second = exits(shown)
    asked = dice.choice(alone(first))
    wanted = dice.choice([one for one in alone(second) if one.function != asked.function])
    accesses = counted(names)
    light = sum(len((first if name == shown[0] else second).light) for name in names)
    cleans = sum(moment.what == CLEAN for moment in first.light)
    picture, solved = drawn((first, second), asked, wanted), drawn((first, second))
    values = {"field": asked.what, "function": wanted.function, "accesses": accesses,
              "evmcs": light}
    return Record(
        "exit", seed, "", TITLE,
        about=["L1 is entered behind its VMRESUME, and all that it knows is that there was an "
               "exit. "
               "The rest it asks for, field by field: the exit reason, which says why; whether an "
               "event was under way; where L2 stands, which is RIP, the address of its "
               "instruction; how long that instruction is, so that L2 goes on behind it. RFLAGS "
               "are L2's flags, and one of them would have it interrupted after each instruction.",
               "Each question is of a function of KVM's that needs it. Here L1 is followed "
               "instruction by instruction, by the processor's own single step, and each access "
               "of the VMCS is put to the function that wants it.",
               "Under eVMCS the same functions want the same fields, by a load or a store in the "
               "page. One store is new: behind each exit KVM sets the clean bits, one for each "
               "group of fields, and so promises that what it does not write has not changed."],
        run=[f"L2 executes {', '.join(names)}, each of which exits, and a HLT.",
             f"The picture has the exits of its first {shown[0]} and of its first {shown[1]}, "
             f"without "
             "the two things that are asked for. The fields of the first one, by the alphabet: "
             + ", ".join(sorted({moment.what for moment in first.plain})) + "."],
        picture=picture, solved=solved,
        question=f"Which field does {asked.function}() want at the exit of {shown[0]}, and which "
                 f"function wants {wanted.what} at that of {shown[1]}? How many VMREADs and "
                 "VMWRITEs do all exits of the program make under VMCS, without the HLT's? And how "
                 "many loads and stores of the eVMCS, the clean bits' included?",
        given={"program": names, "shown": shown},
        answer=[f"{asked.function}() wants {asked.what}, and {wanted.what} is for "
                f"{wanted.function}().",
                f"{accesses} under VMCS, each of them a trap to L0 and back: "
                + f"{len(first.plain)} for each {first.kind}, {len(second.plain)} for each "
                  f"{second.kind}.",
                f"{light} loads and stores under eVMCS, none of them a trap: {cleans} store of the "
                "clean bits more at each exit."],
        values=values,
        change=[f"kvm-vmx lesson exit --seed {other_seed(seed)}",
                "kvm-vmx run --exits 20 --trace run.json     the same as a timeline for Perfetto",
                "kvm-vmx lesson exit --write mine.py    a file with",
                "  def accesses(instruction):  # 'cpuid', 'rdmsr', 'vmcall' and the like",
                "      return ['VMREAD VM_EXIT_REASON', ...]   # in order, under VMCS"],
        kernel=[line for line in KERNEL if line[0] not in (asked.function, wanted.function)],
        leaves_out="A function that the compiler has put into another is found by its lines; "
                   "where it left none of them in front of an access, by who names the field.",
    )


def drawn(found: Sequence[Exit], asked: Moment | None = None,
          wanted: Moment | None = None) -> Picture:
    """Access by access, each exit's after the other's, without the field of the one that is asked
    for and the function of the one that is wanted."""
    rows = [(one.kind, moment, light) for one in found
            for moment, light in zip(one.plain, [moment for moment in one.light
                                                 if moment.what != CLEAN])]
    picture = Picture(["exit", "function", "field", "under VMCS", "under eVMCS"], kind="lanes")
    for told in range(len(rows) + 1):
        lines = []
        for n, (kind, moment, light) in enumerate(rows):
            row = [Cell("?", "dim") if same(moment, wanted) else Cell(f"{moment.function}()"),
                   Cell("?", "dim") if same(moment, asked) else Cell(moment.what),
                   Cell(f"{ACCESS[moment.kind]}, a trap", "bad"), Cell(ACCESS[light.kind], "good")]
            lines.append([Cell(kind), *row] if n < told else
                         [Cell(kind, "dim"), *[Cell("", "dim")] * 4])
        caption = (f"{rows[told - 1][0]}: access {told}" if told else
                   f"{rows[0][0]} has made L2 exit")
        picture.step(caption, lines)
    picture.paper = len(rows)
    return picture


def same(moment: Moment, other: Moment | None) -> bool:
    """Is it this function's access of this field?"""
    return other is not None and moment[1:] == other[1:]


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """A student's list of accesses for each instruction, each also followed for real."""
    kinds = list(CODE)
    choice("exit grade", seed).shuffle(kinds)
    cases = [((kind,), [f"{ACCESS[moment.kind]} {moment.what}" for moment in accesses], kind)
             for kind, accesses in zip(kinds, filmed(kinds, False))]
    return judge(path, "accesses", ("instruction",), cases, "the run")
