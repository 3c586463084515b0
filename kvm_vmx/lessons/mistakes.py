# SPDX-License-Identifier: GPL-2.0-only
"""Five ways to forget a clean bit, each done on the machine: the plan, and the steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field as of
from random import Random
from typing import TypeAlias

from kvm_vmx.abi import constants
from kvm_vmx import Machine
from kvm_vmx.lessons import witness
from kvm_vmx.lessons.evmcs import ALL_CLEAN, GROUPS, ROWS, Bench
from kvm_vmx.lessons.record import choice

# The accessor's AND is missing; it takes another group's bit; it comes before the store; the store
# goes past the accessors; the MSR bitmap changes, and nobody says so.
CASES = ("and", "group", "early", "store", "bitmap")
# {field: its value, or whether an MSR's access exits}
Side: TypeAlias = Mapping[str, int]
STEPS = ENTER, MOVE, WRONG, CLEAR, STORE = "enter", "move", "wrong", "clear", "store"
EXIT_REASON_MSR_READ = 31
# MSRs that KVM lets a guest read, and one that it does not.
PROBES = (constants.MSR_GS_BASE, constants.MSR_KERNEL_GS_BASE, constants.MSR_IA32_TSC,
          constants.MSR_IA32_CR_PAT)
# What else takes a group's bit away, where the guest sees no other field of the group.
ALONE = {"GUEST_RSP": "GUEST_INTERRUPTIBILITY_INFO"}
BESIDE_BITMAP = ("XSS_EXIT_BITMAP", "SECONDARY_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL")


@dataclass
class MistakePlan:
    """A seeded mistake: whose field, what hides it, what is written besides, and when."""

    case: str
    probe: int              # the MSR of the bitmap's mistake
    field: str              # a field of the eVMCS, or RDMSR and the probe
    hides: str
    other: str
    wrong: int              # the bit that is taken away instead
    turns: dict[str, list[int]]     # {field: what its nth write turns of its first value}
    program: list[str] = of(default_factory=list)

    @property
    def group(self) -> str:
        """The clean group of the field."""
        return group_of(self.field)

    @property
    def watched(self) -> list[str]:
        """What the guest can see of it all."""
        return [name for name in self.told if name == self.field or name in witness.LOOKS]

    @property
    def told(self) -> list[str]:
        """All fields of it, with what hides the mistake."""
        return [self.field, self.hides, self.other]

    @property
    def letters(self) -> list[str]:
        """The steps that a program may have, the entry first."""
        return [ENTER, *mistake(self.case), self.hides, self.other, MOVE]


def group_of(name: str) -> str:
    """The clean group of a field, or of an MSR's bit in the bitmap."""
    return ROWS[name]["clean_field"] if name in ROWS else "MSR_BITMAP"


def mistake(case: str) -> list[str]:
    """The steps of one wrong write."""
    return [CLEAR, STORE] if case == "early" else [WRONG]


def planned(seed: int, case: str | None) -> MistakePlan:
    """The seed's mistake, or that of a case."""
    case = case or choice("stale", seed).choice(CASES)
    dice = choice(f"stale {case}", seed)
    probe, name = dice.choice(PROBES), dice.choice(list(witness.LOOKS))
    beside = [other for other in witness.LOOKS
              if other != name and group_of(other) == group_of(name)]
    hides = dice.choice(beside or [ALONE[name]])
    if case == "bitmap":
        name, hides = f"RDMSR {probe:#x}", dice.choice(BESIDE_BITMAP)
    other = dice.choice([other for other in witness.LOOKS if group_of(other) != group_of(name)])
    bits = [bit for bit in range(15) if GROUPS[bit] != group_of(name)]
    turns = {field: [spread(number, mask) for number in dice.sample(
        range(1, 1 << mask.bit_count()), 8)] for field, mask in witness.TURNED.items()}
    plan = MistakePlan(case, probe, name, hides, other, dice.choice(bits), turns)
    plan.program = program(dice, plan)
    return plan


def spread(number: int, mask: int) -> int:
    """The bits of a number at the places of a mask's bits."""
    places = [bit for bit in range(32) if mask >> bit & 1]
    return sum(1 << place for n, place in enumerate(places) if number >> n & 1)


def program(dice: Random, plan: MistakePlan) -> list[str]:
    """Rounds in which the mistake is hidden, the one where it breaks, and what comes after."""
    wrong = mistake(plan.case)
    kinds = {"quiet": [plan.other], "beside": [*wrong, plan.hides], "moved": [MOVE, *wrong]}
    if plan.case == "early":
        kinds["beside"] = wrong
    hidden = [dice.choice(["beside", "moved"])]
    hidden += dice.choices(["quiet", "beside", "moved"], [2, 2, 1], k=dice.randint(0, 1))
    dice.shuffle(hidden)
    rounds = [[*wrong], *(list(kinds[kind]) for kind in hidden), [wrong[-1], plan.other]]
    if plan.case == "early":
        rounds[-2] += [CLEAR, *dice.choice([[], [MOVE]])]
    for kind in dice.choices(["quiet", "beside"], k=dice.randint(1, 2)):
        rounds.append(list(kinds[kind]))
    return [step for steps in rounds for step in (*steps, ENTER)]


@dataclass
class MistakeStep:
    """What one step did, and what each side has: guest is empty but at an entry, where page and
    clean are as L0 found them, left is clean as L0 left it (None: KVM stored behind it before
    anybody looked), and after and then are page and clean when all is done."""

    what: str
    do: str
    name: str
    clean: int
    page: Side
    copy: Mapping[str, int | None]
    guest: Side = of(default_factory=dict)
    left: int | None = None
    after: Side = of(default_factory=dict)
    then: int = 0
    entry: int = 0
    launched: bool = False

    def differs(self) -> list[str]:
        """The fields in which the guest saw something else than L1's page said."""
        return [name for name in self.guest
                if not self.page[name] == self.copy[name] == self.guest[name]]


class Play:
    """The steps on the machine: stores, the port's accessors, VM entries."""

    def __init__(self, machine: Machine, plan: MistakePlan):
        self.plan = plan
        self.bench = Bench(machine, machine.insmod(), witness.code(plan.probe), cpu=1)
        self.bench.vcpu.run(exits=1)
        self.first = {name: self.bench.in_page(name) for name in witness.LOOKS}
        bitmap, high = self.bench.in_page("MSR_BITMAP"), plan.probe >> 31
        self.bit = bitmap + 0x400 * high + (plan.probe & 0x1FFF) // 8, plan.probe & 7
        self.exits_at_first = self.exits_in_page()
        self.restart()

    def restart(self) -> None:
        """Everything as at first, on another CPU, where L0 has no copy yet."""
        self.entries, self.pending = 0, False
        self.written: dict[str, int] = {}
        if self.exits_in_page() != self.exits_at_first:
            self.flip()
        self.move()
        for name in self.plan.watched:
            if name in ROWS:
                self.bench.write(name, self.first[name])

    def flip(self) -> None:
        """Turn the probe's bit in the MSR bitmap."""
        memory, (address, bit) = self.bench.machine.memory, self.bit
        memory.write(address, bytes([memory.read(address, 1)[0] ^ 1 << bit]))

    def exits_in_page(self) -> bool:
        """Does the MSR bitmap ask for an exit?"""
        address, bit = self.bit
        return bool(self.bench.machine.memory.read(address, 1)[0] >> bit & 1)

    def page(self) -> Side:
        """What L1's memory has."""
        return {name: self.bench.in_page(name) if name in ROWS else self.exits_in_page()
                for name in self.plan.watched}

    def copy(self) -> Mapping[str, int | None]:
        """What L0 goes on with; None where it has no copy."""
        if self.bench.cpu.evmcs_copy is None:
            return dict.fromkeys(self.plan.watched)
        return {name: self.bench.in_copy(name) if name in ROWS else
                self.bench.cpu.msr_exits(self.plan.probe) for name in self.plan.watched}

    def guest(self) -> Side:
        """What the guest saw in the last round."""
        seen = witness.report(self.bench.vm)
        return {name: seen[name] if name in ROWS else
                self.bench.in_page("VM_EXIT_REASON") == EXIT_REASON_MSR_READ
                for name in self.plan.watched}

    def step(self, letter: str) -> MistakeStep:
        """Do one step and look."""
        if letter == ENTER:
            return self.enter()
        what, name = getattr(self, letter, lambda: self.right(letter))()
        return self.moment(what, letter, name)

    def moment(self, what: str, letter: str = "", name: str = "") -> MistakeStep:
        """What each side has now."""
        return MistakeStep(what, letter, name, self.bench.clean, self.page(), self.copy())

    def next_value(self, name: str) -> int:
        """A value that the field has not had."""
        self.written[name] = self.written.get(name, -1) + 1
        turns = self.plan.turns[name]
        return self.first[name] ^ turns[self.written[name] % len(turns)]

    def right(self, name: str) -> tuple[str, str]:
        """A write as it should be."""
        self.bench.write(name, self.next_value(name) if name in witness.LOOKS else None)
        return "write", name

    def wrong(self) -> tuple[str, str]:
        """The mistake, but for that of two halves."""
        plan, bench, before = self.plan, self.bench, self.bench.clean
        if plan.case == "bitmap":
            self.flip()
            return "the bitmap changes", plan.field
        if plan.case == "store":
            bench.store(plan.field, self.next_value(plan.field))
            return "struct store", plan.field
        bench.write(plan.field, self.next_value(plan.field))
        if plan.case == "and":
            bench.clean = before
            return "write without the AND", plan.field
        bench.clean = before & ~(1 << plan.wrong)
        return f"write, AND with ~{1 << plan.wrong:#06x}", plan.field

    def clear(self) -> tuple[str, str]:
        """The AND before the store."""
        self.bench.clean &= ~int(ROWS[self.plan.field]["clean_mask"], 16)
        self.pending = True
        return "the AND", self.plan.field

    def store(self) -> tuple[str, str]:
        """The store behind it."""
        if self.pending:
            self.bench.store(self.plan.field, self.next_value(self.plan.field))
        self.pending = False
        return "the store", self.plan.field

    def move(self) -> tuple[str, str]:
        """The vCPU goes to the other CPU: VMCLEAR here, vcpu_load() there."""
        self.bench.vcpu.cpu ^= 1
        self.bench.load()
        self.launched = False
        return f"vCPU moves to cpu {self.bench.vcpu.cpu}", ""

    def enter(self) -> MistakeStep:
        """One round of the guest. The first entry on a CPU is KVM_RUN's, by VMLAUNCH; what follows
        stays inside, as vcpu_load() would write TSC_OFFSET and so hide much."""
        bench, page, clean = self.bench, self.page(), self.bench.clean
        self.entries += 1
        launched, self.launched = not self.launched, True
        left = None
        if launched:
            bench.vcpu.regs["rip"] = witness.START
            bench.vcpu.run(exits=1)
        else:
            bench.write("GUEST_RIP", witness.START)
            bench.cpu.vmresume()
            left = bench.clean
            bench.clean |= ALL_CLEAN        # as vmx_vcpu_run() does behind the entry
        how = "VMLAUNCH" if launched else "VMRESUME"
        return MistakeStep(
            f"entry {self.entries}: {how} finds", ENTER, "", clean, page, self.copy(),
            self.guest(), left, self.page(), bench.clean, self.entries, launched)

    def bitmap_groups(self) -> list[str]:
        """The groups with which L0 reads the MSR bitmap again: each bit alone taken away."""
        self.restart()
        self.enter()
        found = []
        for bit in range(16):
            self.flip()
            self.bench.clean = ALL_CLEAN & ~(1 << bit)
            self.enter()
            if self.bench.cpu.msr_exits(self.plan.probe) == self.exits_in_page():
                found.append(GROUPS[bit])
            self.bench.clean = 0        # and all is as it should be
            self.enter()
        return found

    def fails(self, program: list[str]) -> bool:
        """Does a program end in a state that the guest can tell from the right one?"""
        self.restart()
        return any(self.step(letter).differs() for letter in program)
