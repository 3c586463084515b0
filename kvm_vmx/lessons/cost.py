# SPDX-License-Identifier: GPL-2.0-only
"""What a crossing costs: the mail's two numbers against counts, and what carries over."""

from random import Random

from kvm_vmx import Machine
from kvm_vmx.lessons.levels import QUIET, code
from kvm_vmx.lessons.record import Cell, NothingShown, Picture, Record, UNDO, choice, other_seed
from kvm_vmx.lessons.student import judge

TITLE = "what the patch saves: two numbers of a mail, and a count"
MINUTES = 20
CASES = ()
KERNEL = [
    ("vmcs_read32", "evmcs_read32"), ("vmcs_writel", "evmcs_write64"),
    ("vmx_vcpu_run", "VM_EXIT_REASON"),
]
# Cycles of a CPUID loop in L2, an exit: the mail's, which is Linux commit 773e8a0425c9.
MAIL = {"VMCS": 18890, "eVMCS": 8304}
TRAPPED = ("vmread", "vmwrite")
MOST = 4        # CPUIDs in a round of the loop


def loop(dice: Random) -> list[str]:
    """A round of L2's loop."""
    body = ["cpuid"] * dice.randint(1, MOST) + [dice.choice(QUIET)] * dice.randint(1, 3)
    dice.shuffle(body)
    return body


def counted(names: list[str], enlightened: bool, rounds: int) -> dict[str, int]:
    """What L1 has L0 do in so many rounds of the loop, steady: entries, VMREADs, VMWRITEs."""
    body = code(names)
    back = bytes([0xEB, 256 - len(body) - 2])
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=body + back).create_vcpu()
        each = names.count("cpuid")
        vcpu.run(exits=each)
        found = []
        # the entry into the kernel has VMWRITEs of its own: the difference of two runs has none
        for exits in (each * rounds, 2 * each * rounds):
            before = machine.counters
            vcpu.run(exits=exits)
            found.append({name: machine.counters[name] - before[name]
                          for name in ("vmresume", *TRAPPED)})
    return {name: found[1][name] - found[0][name] for name in found[0]}


def run(seed: int, case: str | None = None) -> Record:
    """The mail's loop counted in both modes, and another loop to say beforehand."""
    dice = choice("cost", seed)
    names, rounds = loop(dice), dice.randint(3, 60)
    known = {mode: counted(["cpuid"], mode == "eVMCS", 1) for mode in MAIL}
    asked = {mode: counted(names, mode == "eVMCS", rounds) for mode in MAIL}
    traps = {mode: sum(counts[name] for name in TRAPPED) for mode, counts in known.items()}
    if traps["VMCS"] == traps["eVMCS"] or known["VMCS"]["vmresume"] != 1:
        raise NothingShown(f"an exit has as many traps in either mode: {UNDO}")
    price = (MAIL["VMCS"] - MAIL["eVMCS"]) / (traps["VMCS"] - traps["eVMCS"])
    exits = asked["VMCS"]["vmresume"]
    cycles = {mode: round(exits * MAIL["eVMCS"] + price * sum(counts[name] for name in TRAPPED))
              for mode, counts in asked.items()}
    picture = drawn(known)
    solved = drawn({**known, **{f"{mode}, the other loop": counts for mode, counts in
                                asked.items()}})
    picture.hide(step.caption for step in solved.steps[1:])
    for each in (picture, solved):
        each.by_step()
    return Record(
        "cost", seed, "", TITLE,
        about=[
            "The mail that brought enlightened VMCSs into KVM has two numbers: a loop of CPUID in "
            f"L2, on Hyper-V, takes {MAIL['VMCS']} cycles an exit without the patch and "
            f"{MAIL['eVMCS']} with it. Each exit is handled by the same KVM in both.",
            "What differs is how KVM reaches the VMCS. Under VMCS each VMREAD and each VMWRITE "
            "traps to L0: a crossing there and one back. Under eVMCS the same access is a load "
            "or a store in a page that L1 and L0 share, which costs next to nothing. What both "
            "have is the exit, KVM's work, and the entry."],
        run=["The loop of the mail, CPUID and a jump, is counted here for one steady exit in both "
             "modes: the picture.",
             f"The other loop has {', '.join(names)} and a jump, and runs {rounds} rounds."],
        picture=picture, solved=solved,
        question="By the mail's numbers and this count, what does one trapped access cost, in "
                 "cycles? And by these two, what would the other loop's rounds take under VMCS, "
                 "and under eVMCS?",
        given={"mail": MAIL, "loop": names, "rounds": rounds,
               "traps": {mode: traps[mode] for mode in MAIL}},
        answer=[
            f"({MAIL['VMCS']} - {MAIL['eVMCS']}) / {traps['VMCS'] - traps['eVMCS']} = "
            f"{price:g} cycles an access: a VMREAD that would be some tens of cycles where "
            "nothing traps.",
            f"{exits} exits, with {asked['VMCS']['vmread']} VMREADs and "
            f"{asked['VMCS']['vmwrite']} VMWRITEs under VMCS: {cycles['VMCS']} cycles. Under "
            f"eVMCS {cycles['eVMCS']}, that is {exits} times {MAIL['eVMCS']}.",
            "What carries over is the count: any Hyper-V and any processor has these accesses. "
            "The cycles do not: they are the mail's machine's, of 2018. And the model says that "
            "an exit's rest costs the same whatever L2 does between, which holds while that is "
            "little."],
        values={"access": price, "exits": exits, "vmcs": cycles["VMCS"], "evmcs": cycles["eVMCS"]},
        change=[f"kvm-vmx lesson cost --seed {other_seed(seed)}",
                "kvm-vmx measure model        the same for other prices of an access",
                "kvm-vmx run --insn trap      what an access costs on this machine, where it traps",
                "kvm-vmx lesson cost --write mine.py    a file with",
                "  def cycles(exits, traps, enlightened):  # traps: trapped accesses under VMCS",
                "      return cycles                       # by the mail, rounded"],
        constant=("access",),
        kernel=KERNEL,
        leaves_out="The cycles themselves: nothing here runs on Hyper-V. kvm-vmx measure has what "
                   "this machine takes, by call and by trap, and says which kind each figure is.",
    )


def drawn(counts: dict[str, dict[str, int]]) -> Picture:
    """What an exit has of each, mode by mode: a bar chart's table."""
    picture = Picture(["what L0 is asked for", "VMCS", "eVMCS"], kind="amounts")
    rows = ("vmresume", *TRAPPED)
    columns = list(counts.items())
    for at in range(0, len(columns), 2):
        (_, plain), (_, light) = columns[at:at + 2]
        caption = "the mail's loop, one exit" if at == 0 else "the other loop, all rounds"
        picture.step(caption, [
            [Cell(name.upper()), Cell(str(plain[name]), "bad" if name in TRAPPED else ""),
             Cell(str(light[name]), "good" if name in TRAPPED else "")] for name in rows])
    return picture


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """A student's model on other counts than the page has."""
    dice = choice("cost grade", seed)
    price = (MAIL["VMCS"] - MAIL["eVMCS"]) / 8
    cases = []
    for _ in range(12):
        exits = dice.randint(1, 100)
        traps, on = exits * dice.randint(1, 12), dice.random() < 0.5
        cases.append(
            ((exits, traps, on), round(exits * MAIL["eVMCS"] + (0 if on else price * traps)),
             f"{exits} exits, {traps} accesses, {'eVMCS' if on else 'VMCS'}"))
    return judge(path, "cycles", ("exits", "traps", "enlightened"), cases, "the model")
