# SPDX-License-Identifier: GPL-2.0-only
"""Three levels on one processor: what a guest's instruction sets going, crossing by crossing."""

from dataclasses import dataclass
from random import Random

from kvm_vmx import Machine
from kvm_vmx.lessons.record import (
    TRACED, UNDO, Cell, NothingShown, Picture, Record, choice, other_seed)
from kvm_vmx.lessons.student import judge
from kvm_vmx.machine.fields import fields
from kvm_vmx.machine.trace import TraceRecord

TITLE = "who runs when: L0, L1 and L2, and what an exit is"
MINUTES = 20
CASES = ()
KERNEL = [
    ("vmx_vcpu_run", "vmx->exit_reason"), ("vmx_handle_exit", "kvm_vmx_exit_handlers"),
    ("handle_cpuid", "kvm_emulate_cpuid"), ("skip_emulated_instruction", "kvm_rip_write"),
]
# What a guest may execute, and what it does: CPUID always exits, the others never do here.
CODE = {"cpuid": "0fa2", "rdtsc": "0f31", "nop": "90", "inc": "49ffc4", "pause": "f390",
        "xchg": "4893", "mov": "4889c2", "add": "4883c307"}
QUIET = [name for name in CODE if name != "cpuid"]
LEVELS = ("L2", "L1", "L0")
TITLES = ["crossing", "into", "where", "what it does there"]
FIELDS = {int(row["encoding"], 16): row["vmcs_field"] for row in fields()}


@dataclass
class Stay:
    """One stay of the processor in a level: where, and what it does there."""

    level: str
    does: str
    why: str


def program(dice: Random) -> list[str]:
    """The guest's instructions, with two to five CPUIDs among them and a HLT at the end."""
    found = ["cpuid"] * dice.randint(2, 5)
    for _ in range(dice.randint(3, 12)):
        found.insert(dice.randint(0, len(found)), dice.choice(QUIET))
    return [*found, "hlt"]


def code(names: list[str]) -> bytes:
    """The instructions' bytes."""
    return b"".join(bytes.fromhex(CODE.get(name, "f4")) for name in names)


def traced(names: list[str], enlightened: bool) -> list[TraceRecord]:
    """What L0 has seen from the first entry of the program up to the exit of its HLT."""
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        # a first exit is special: the one of a CPUID in front of the program
        vcpu = kvm.create_vm(code=code(["cpuid", *names])).create_vcpu()
        vcpu.run(exits=1)
        machine.start_trace(TRACED)
        vcpu.run(exits=len(names))
        records = machine.trace
    entries = [n for n, record in enumerate(records) if record.instruction == "vmresume"]
    if len(entries) != names.count("cpuid") + 1:
        raise NothingShown(f"{len(entries)} entries for {names.count('cpuid')} CPUIDs and a HLT: "
                           + UNDO)
    return records[entries[0]:entries[-1] + 1]


def asked_for() -> int:
    """The processor-based controls of KVM's: which instructions make L2 exit that need not."""
    with Machine(cpus=1) as machine:
        vcpu = machine.insmod(enlightened_vmcs=False).create_vm(
            code=code(["hlt"])).create_vcpu()
        vcpu.run(exits=1)
        return vcpu.vmcs["CPU_BASED_VM_EXEC_CONTROL"]


def moments(names: list[str], records: list[TraceRecord]) -> list[Stay]:
    """The stays, one after another; each but the first begins with a crossing."""
    found, left = [Stay("L1", "KVM is about to enter L2", "")], list(names)
    for record in records:
        name = record.instruction
        if name != "vmresume":
            field = FIELDS.get(int(record.operands[0]), f"{int(record.operands[0]):#x}")
            found += [Stay("L0", f"carries out {name.upper()}", f"{name.upper()} {field} traps"),
                      Stay("L1", "KVM goes on", "L0 returns")]
            continue
        ran, left = left[:record.l2_instructions], left[record.l2_instructions:]
        found += [Stay("L0", "loads the state of L2", "VMRESUME traps"),
                  Stay("L2", ", ".join(ran), "VM entry"),
                  Stay("L0", "saves the state of L2, loads L1's", f"{ran[-1].upper()} traps"),
                  Stay("L1", f"KVM handles {ran[-1].upper()}", "VM exit, handed on to L1")]
    return found


def run(seed: int, case: str | None = None) -> Record:
    """A program under VMCS, crossing by crossing, and under eVMCS to compare."""
    names = program(choice("levels", seed))
    plain, light = (moments(names, traced(names, on)) for on in (False, True))
    first = next(n for n, one in enumerate(plain[3:], 3) if one.does == "loads the state of L2")
    cpuids = names.count("cpuid")
    each = first + 1 - 2    # from L2's first stay to its second
    picture = Picture(["level", "what it does"], kind="floors")
    draw(picture, plain[:first + 2])
    solved = picture.copy()
    picture.hide(
        [f"and so on: {len(names) - len(plain[2].does.split(', '))} instructions are left"])
    draw(solved, plain[first + 2:])
    picture.table = TITLES, lines(plain[:first + 2], cut=True)
    solved.table = TITLES, lines(plain, cut=False)
    longest = max(len(one.does.split(", ")) for one in plain if one.level == "L2")
    crossings = {"vmcs": len(plain) - 1, "evmcs": len(light) - 1}
    return Record(
        "levels", seed, "", TITLE,
        about=["Three programs share one processor. L2 is a guest: a program that takes what it "
               "has for a machine of its own. L1 is its hypervisor, here KVM: it makes that "
               "machine, a VM. And L1 is a guest too, of L0, here Hyper-V, to which the real "
               "machine "
               "belongs.",
               "Some instructions of L2 may not do what they say: CPUID would tell L2 of the real "
               "processor. The processor leaves L2 then, which is a VM exit, and L1 does in its "
               "place what L2 is to see. The processor knows one hypervisor alone, so the exit "
               "goes to L0 first, and L0 hands it on. A VM entry, VMRESUME, goes the other way.",
               "What L1 may ask about an exit stands in a VMCS, a structure that only the "
               "instructions VMREAD and VMWRITE may reach. L1 is a guest: each of these traps to "
               "L0 too, which looks into its copy and returns."],
        run=["L2 executes " + ", ".join(names) + ".",
             "CPUID exits always. HLT, RDTSC and PAUSE do where L1 asks for it in the VMCS, by "
             f"bits 7, 12 and 30 of a field that reads {asked_for():#x} here; the others never do.",
             f"The picture is under the plain VMCS, from the first VM entry to the second. A "
             f"crossing is a change of level; there are {each} from L2's first stay to its next."],
        picture=picture, solved=solved,
        question="L2 goes on up to its HLT. Which of its instructions make it exit? How many "
                 "crossings are there from the first VM entry until KVM has HLT to handle? And "
                 "how many would be left if no VMREAD and no VMWRITE crossed, as under eVMCS? How "
                 "many instructions has L2's longest stay, the one that makes it exit included?",
        given={"program": names, "first_exit": each},
        answer=[f"{cpuids} CPUIDs exit, and HLT: {cpuids + 1} exits. "
                "RDTSC and PAUSE could be made to exit, and KVM does not ask for it; the others "
                "never exit.",
                f"{crossings['vmcs']} crossings under VMCS: 2 into L2 at first, {each} for each "
                f"CPUID until L2 runs again, and 2 from HLT to L1.",
                f"{crossings['evmcs']} under eVMCS: 4 a CPUID, which are the exit and the entry. "
                "Under eVMCS the structure is a page that L1 and L0 share, and what was a VMREAD "
                "is a load: that is what the patch is for.",
                f"{longest} instructions in the longest stay."],
        values={"exits": cpuids + 1, **crossings, "longest": longest},
        change=[f"kvm-vmx lesson levels --seed {other_seed(seed)}",
                "kvm-vmx run --insn trap     the same loop, with each crossing a real trap",
                "kvm-vmx lesson levels --write mine.py    a file with",
                "  def crossings(program, enlightened):  # names of instructions, True or False",
                "      return count                      # up to L1's handling of the hlt"],
        kernel=KERNEL,
        leaves_out="L2 and L0 are this package's: L0 interprets L2 where a processor would run it. "
                   "L1 is the port, native code that really traps with --insn trap.",
    )


def draw(picture: Picture, stays: list[Stay]) -> None:
    """A step for each stay: the level that has the processor says what it does."""
    for stay in stays:
        at = len(picture.steps)
        caption = f"{at}: {stay.why}, {stay.level}" if stay.why else f"{stay.level} runs"
        picture.step(caption, [
            [Cell(level), Cell(stay.does, "good") if level == stay.level else Cell("", "dim")]
            for level in LEVELS])


def lines(stays: list[Stay], cut: bool) -> list[list[Cell]]:
    """The terminal's table: a crossing a line, as a path through the floors."""
    rows = []
    for n, stay in enumerate(stays):
        path = "".join(f"{'●' if level == stay.level else '·'}    " for level in LEVELS).rstrip()
        rows.append([Cell(f"{n}: {stay.why}" if n else "begin"), Cell(stay.level), Cell(path),
                     Cell(stay.does)])
    return rows + [[Cell("?", "dim")] * 4] * cut


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """Run a student's crossings() on programs that it has not seen, each also run for real."""
    dice = choice("levels grade", seed)
    programs = [["hlt"], ["cpuid", "hlt"], ["nop", "rdtsc", "hlt"],
                *(program(dice) for _ in range(9))]
    cases = [((names, on), len(moments(names, traced(names, on))) - 1,
              f"{', '.join(names)} under {'eVMCS' if on else 'VMCS'}")
             for names in programs for on in (False, True)]
    return judge(path, "crossings", ("program", "enlightened"), cases, "the run")
