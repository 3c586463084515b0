# SPDX-License-Identifier: GPL-2.0-only
"""Stale state: a clean bit is forgotten, and an entry later the guest sees what is no more."""

from dataclasses import replace

from kvm_vmx import Machine
from kvm_vmx.lessons.evmcs import ALL_CLEAN, GROUPS, beats
from kvm_vmx.lessons.mistakes import (
    CASES as CASES, CLEAR, ENTER, MOVE, STEPS, STORE, WRONG, MistakePlan, MistakeStep, Play,
    group_of, planned)
from kvm_vmx.lessons.record import (
    UNDO, Cell, Named, NothingShown, Picture, PictureStep, Record, Wanted, other_cases,
    other_seed)
from kvm_vmx.lessons.shrink import shortest

TITLE = "a forgotten clean bit, and the entry that trusts it"
MINUTES = 25
KERNEL: list[Wanted] = [
    ("evmcs_write64", "clean_fields"), ("vmx_vcpu_run", "clean_fields"),
    ("vmx_vcpu_run", "host_rsp"), ("evmcs_touch_msr_bitmap", "clean_fields", False),
    ("vmx_enable_intercept_for_msr", "evmcs_touch_msr_bitmap", False),
]
WORDS = {"and": "the accessor's AND is missing", "group": "another group's bit is taken",
         "early": "the bit is taken too early", "store": "a store past the accessors",
         "bitmap": "the MSR bitmap"}
MISTAKES = {
    "and": "The accessor stores {field}, and forgets to take the clean bit away.",
    "group": "The accessor stores {field}, and takes the bit of {wrong} away instead of its own.",
    "early": "The bit is taken away first and {field} stored later; an entry may come between, "
             "also on another CPU.",
    "store": "{field} is stored into the struct itself, past the accessors.",
    "bitmap": "The MSR bitmap is changed without evmcs_touch_msr_bitmap(): {field} is to exit, or "
              "is no longer to.",
}
# Leaf 0x4000000A: version 1 to 1, and the enlightened MSR bitmap.
NESTED = {0x4000000A: (0x101 | 1 << 19, 0, 0, 0)}


def experiment(plan: MistakePlan, seed: int) -> tuple[
        list[MistakeStep], tuple[list[str], str], list[str]]:
    """The moments before and in the program, the shortest program that breaks, and the groups with
    which L0 reads the MSR bitmap; NothingShown where none breaks."""
    with Machine(cpus=2, cpuid=NESTED) as machine:
        play = Play(machine, plan)
        moments = [play.moment("at first"), *(play.step(letter) for letter in plan.program)]
        if not any(moment.differs() for moment in moments):
            raise NothingShown(f"no entry goes on with an old {plan.field}: {UNDO}")
        found = shortest(plan.letters, play.fails, seed)
        return moments, found, play.bitmap_groups() if plan.case == "bitmap" else []


def run(seed: int, case: str | None = None) -> Record:
    """The mistake over some entries; the first one that trusts it is asked for."""
    plan = planned(seed, case)
    moments, found, bitmap = experiment(plan, seed)
    sets = all(moment.left == ALL_CLEAN for moment in moments if moment.left is not None)
    broken = next(moment for moment in moments if moment.differs())
    name, bit = plan.field, bit_of(plan.field)
    last = max(moment.entry for moment in moments)
    return Record(
        "stale", seed, plan.case, TITLE,
        about=["The clean bits are a cache's coherence protocol that is kept by hand: who changes "
               "a field takes its group's bit away, or L0 goes on with its copy. A forgotten bit "
               "does no harm as long as something else makes L0 read the group again; the guest "
               "goes wrong later, at the next VMRESUME that trusts the bit.",
               MISTAKES[plan.case].format(field=name, wrong=GROUPS[plan.wrong])
               + " Everything else is done as it should be."],
        run=["In each round the guest looks at its registers and MSRs, writes down what it sees, "
             f"and exits; {last} entries. The first one on a CPU is a KVM_RUN. The VMRESUMEs are "
             "made here, as inside one KVM_RUN, and the store behind them as well: vcpu_load() "
             "would write TSC_OFFSET each time, and hide some.",
             beats(sets),
             *([f"L0 reads the MSR bitmap again where the bit of one of these is 0: "
                f"{', '.join(bitmap)}."] if bitmap else []),
             "Groups: " + ", ".join(f"{other} {group_of(other)} (bit {bit_of(other)})"
                                    for other in plan.told) + "."],
        picture=drawn(plan, moments, sets, hidden=True),
        solved=drawn(plan, moments, sets, hidden=False),
        question="Page and clean bits are all there. Which entry is the first at which L0 goes on "
                 "with an old value, of which field and group, and what does the guest see there "
                 "instead of what the page says?",
        given=given(plan, moments),
        answer=explained(plan, moments, broken, found),
        values={"entry": broken.entry, "field": name, "group": plan.group, "bit": bit,
                "page": broken.page[name], "copy": broken.copy[name],
                "guest": broken.guest[name], "shortest": found[0]},
        change=[*other_cases("stale", seed, plan.case, WORDS),
                f"kvm-vmx lesson stale --seed {other_seed(seed)}",
                "With Machine(lints=True) L0 compares, and m.lints names the stale field."],
        kernel=KERNEL,
        leaves_out="A real Hyper-V may read a clean group again at any time, so that such a bug "
                   "shows once in a while; this L0 relies on every bit, and it shows each time.",
    )


def bit_of(name: str) -> int:
    """The clean bit of a field."""
    return next(bit for bit, group in GROUPS.items() if group == group_of(name))


def text(value: int | None) -> str:
    """A field's value, or whether an MSR's access exits."""
    if isinstance(value, bool):
        return "exits" if value else "runs on"
    return "" if value is None else f"{value:#x}"


def given(plan: MistakePlan, moments: list[MistakeStep]) -> Named:
    """What a student's program may start from: page and clean bits, step by step."""
    return {"first": moments[0].page, "wrong_bit": plan.wrong,
            "groups": {name: group_of(name) for name in plan.told},
            "steps": [{"do": moment.do if moment.do in STEPS else "write", "field": moment.name,
                       "clean": moment.clean, "page": moment.page} for moment in moments[1:]]}


def words(plan: MistakePlan, letter: str) -> str:
    """A step of a program in words."""
    known = {ENTER: "enter", MOVE: "move to the other CPU", WRONG: f"{plan.field}, wrongly",
             CLEAR: f"the AND for {plan.field}", STORE: f"the store of {plan.field}"}
    return known.get(letter, letter)


def explained(plan: MistakePlan, moments: list[MistakeStep], broken: MistakeStep,
              found: tuple[list[str], str]) -> list[str]:
    """The answer, as the run had it."""
    name, (program, how) = plan.field, found
    says = [f"Entry {broken.entry}, {name}, group {plan.group}, bit {bit_of(name)}. The page: "
            f"{text(broken.page[name])}; L0's copy: {text(broken.copy[name])}; the guest saw: "
            f"{text(broken.guest[name])}."]
    says += hidden_before(plan, moments, broken)
    if broken.after[name] != broken.page[name]:
        says.append(f"The exit wrote the group back: the page has {text(broken.after[name])} "
                    "again, and what KVM had stored is lost.")
    says.append("The shortest reproducer, " + how + ": "
                + "; ".join(words(plan, letter) for letter in program) + ".")
    return says


def hidden_before(plan: MistakePlan, moments: list[MistakeStep], broken: MistakeStep) -> list[str]:
    """Why the same mistake did no harm at the entries before."""
    again = "bitmap" if plan.case == "bitmap" else "group"
    says, made = [], False
    for moment in moments[:moments.index(broken)]:
        made = made or moment.do in (WRONG, STORE)
        if moment.do != ENTER or not made:
            continue
        why = "it was a VMLAUNCH, which trusts no bit" if moment.launched else (
            "no entry came between the AND and the store" if plan.case == "early" else
            f"{plan.hides} was written too, for which L0 read the {again} once more")
        says.append(f"Entry {moment.entry} hid the mistake: {why}.")
        made = False
    return says


def drawn(plan: MistakePlan, moments: list[MistakeStep], sets: bool, hidden: bool) -> Picture:
    """Three lanes field by field: the page, L0's copy, what the guest saw; an entry in its three
    beats. hidden hides the last two of the three sides from the second entry on."""
    picture = Picture(["field", "group", "clean", "page", "L0's copy", "the guest saw"])
    titles, lines = ["step", "field", "clean", "page", "L0's copy", "the guest saw"], []
    before, dark = moments[0], False
    for moment in moments:
        dark = dark or hidden and moment.entry > 1
        for caption, one in beat_by_beat(moment, before, sets):
            picture.step(caption, [lane(one, name, dark) for name in plan.watched])
        if moment is not moments[0]:
            lines += table_rows(moment, picture.steps)
        before = moment if moment.entry else replace(moment, guest=before.guest)
    picture.table = titles, lines
    return picture


def beat_by_beat(moment: MistakeStep, before: MistakeStep,
                 sets: bool) -> list[tuple[str, MistakeStep]]:
    """(caption, moment) of each state that a step goes through: one, or an entry's three; before is
    the step before, with what the guest saw last."""
    if not moment.entry:
        return [(moment.what, replace(moment, guest=before.guest))]
    number = moment.what.partition(":")[0]
    left = moment.left
    if left is None:
        left = ALL_CLEAN if sets else moment.clean
    return [
        (moment.what, replace(moment, copy=before.copy, guest=before.guest, entry=0)),
        (f"{number}: L0 reads{' and sets all bits' * sets}, the guest runs",
         replace(moment, clean=left)),
        (f"{number}: all bits set, {'' if moment.launched else 'as '}by vmx_vcpu_run()",
         replace(moment, clean=moment.then, page=moment.after, entry=0))]


def lane(moment: MistakeStep, name: str, dark: bool) -> list[Cell]:
    """One field in one state; wrong in the beat in which the guest saw something else."""
    seen = moment.guest.get(name)
    kind = "bad" if moment.entry and moment.copy[name] == seen != moment.page[name] else ""
    sides = [Cell("?", "dim")] * 2 if dark else [
        Cell(text(moment.copy[name]), kind), Cell(text(seen), kind)]
    return [Cell(name), Cell(group_of(name)), Cell(str(moment.clean >> bit_of(name) & 1)),
            Cell(text(moment.page[name])), *sides]


def table_rows(moment: MistakeStep, steps: list[PictureStep]) -> list[list[Cell]]:
    """A step's rows on the terminal: what was written, or an entry's beats."""
    if not moment.entry:
        bit = str(moment.clean >> bit_of(moment.name) & 1) if moment.name else ""
        return [[Cell(moment.what), Cell(moment.name), Cell(bit),
                 Cell(text(moment.page.get(moment.name))), Cell(""), Cell("")]]
    found, read, last = steps[-3:]
    rows = [[Cell(found.caption if n == 0 else "  and L0 reads" if n == 1 else ""), one[0],
             *one[2:4], *other[4:]] for n, (one, other) in enumerate(zip(found.rows, read.rows))]
    bits = Cell(str(int(moment.then == ALL_CLEAN)))
    return [*rows, [Cell("  " + last.caption.partition(": ")[2]), Cell(""), bits,
                    *[Cell("")] * 3]]
