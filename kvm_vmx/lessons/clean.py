# SPDX-License-Identifier: GPL-2.0-only
"""Clean fields: which of sixteen bits a row of writes leaves, and what L0 reads again for it."""

import functools
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

from kvm_vmx import Machine
from kvm_vmx.lessons.evmcs import (
    ALL_CLEAN, GROUPS, ROWS, Bench, accessor, beats, lamps, named)
from kvm_vmx.lessons.record import Cell, Picture, Record, choice, other_seed
from kvm_vmx.lessons.student import judge
from kvm_vmx.machine.guests import CPUID_LOOP

TITLE = "sixteen clean bits, and the bytes that L0 reads again"
MINUTES = 20
CASES = ()
KERNEL = [
    ("evmcs_write64", "clean_fields"), ("evmcs_write32", "clean_fields"),
    ("vmx_vcpu_run", "clean_fields"), ("vmx_vcpu_load", "HOST_TR_BASE"),
    ("kvm_arch_vcpu_load", "kvm_vcpu_write_tsc_offset"),
]
# Fields that may have any value of 12 bits and the guest goes on as before; shifted by so much.
FREE = {"GUEST_RSP": 3, "GUEST_SYSENTER_CS": 0, "GUEST_SYSENTER_ESP": 3, "GUEST_SYSENTER_EIP": 0,
        "GUEST_FS_BASE": 4, "GUEST_GS_BASE": 4, "CR0_READ_SHADOW": 0, "CR4_READ_SHADOW": 0,
        "XSS_EXIT_BITMAP": 0, "EXCEPTION_BITMAP": 0, "VM_ENTRY_EXCEPTION_ERROR_CODE": 0,
        "VM_ENTRY_INSTRUCTION_LEN": 0, "IO_BITMAP_A": 12, "IO_BITMAP_B": 12}
# What a write may clear: a group, none, or all of them.
BY_GROUP: dict[str, list[str]] = {}
for _field, _row in ROWS.items():
    if int(_row["encoding"], 16) >> 10 & 3 != 1:        # exit information is L0's to write
        BY_GROUP.setdefault(_row["clean_field"], []).append(_field)
# Encodings that the table does not have: behind its end, and in a hole.
UNMAPPED = {"TSC_MULTIPLIER": 0x2032, "GUEST_IA32_PERF_GLOBAL_CTRL": 0x2808}
ENTER = "enter"
# a field, and its value or None: the same
Written: TypeAlias = tuple[str, int | None]
# does the vCPU move, and what is written then
Round: TypeAlias = tuple[bool, list[Written]]


@dataclass
class CleanBitsStep:
    """One step of the run, as the machine had it: clean is None where it is not asked for."""

    what: str
    clean: int
    fell: int = 0
    reread: tuple[int, int] | None = None
    sides: dict[str, tuple[str, int, int | None]] | None = None
    asked: bool = False
    groups: tuple[str, ...] = ()    # that L0 read here


@functools.cache
def weights() -> tuple[list[int], int, int, bool]:
    """Bytes that L0 reads for each bit alone that is 0, for none, and uncounted; does L0 set all
    bits at an entry: measured, with no KVM behind the VMRESUME."""
    with Machine(cpus=1) as machine:
        bench = Bench(machine, machine.insmod(), CPUID_LOOP)
        bench.vcpu.run(exits=1)
        read: list[int] = []
        left: set[int] = set()
        for dirty in (0, *(1 << bit for bit in range(16))):
            bench.clean = ALL_CLEAN & ~dirty
            bench.counted()
            bench.cpu.vmresume()
            grown = bench.counted()
            read.append(grown["bytes_reread"])
            left.add(bench.clean)
    return ([count - read[0] for count in read[1:]], read[0], grown["bytes_ungrouped"],
            left == {ALL_CLEAN})


def program(dice: Random) -> list[Round]:
    """What is done before each entry: (does the vCPU move, [(field, value or None: the same)])."""
    rounds = []
    for _ in range(dice.randint(2, 3)):
        kinds = [kind for kind in BY_GROUP if kind != "ALL" or dice.random() < 0.3]
        writes = []
        for _ in range(dice.randint(2, 4)):
            fields = BY_GROUP[dice.choice(kinds)]
            free = [field for field in fields if field in FREE]
            field = dice.choice(free if free and dice.random() < 0.6 else fields)
            value = dice.getrandbits(12) << FREE[field] if field in FREE else None
            writes.append((field, value))
        rounds.append((dice.random() < 0.2, writes))
    return rounds


def film(seed: int) -> tuple[list[CleanBitsStep], Round]:
    """The program on the machine, step by step; the last round's writes."""
    rounds = program(choice("clean", seed))
    moments: list[CleanBitsStep] = []
    latest: dict[str, str] = {}
    sets = weights()[-1]
    with Machine(cpus=2) as machine:
        bench = Bench(machine, machine.insmod(), CPUID_LOOP)

        def note(what: str, clean: int | None = None, **more: Any) -> None:
            """Read the machine; clean: what the bits were, where they are no more."""
            moments.append(CleanBitsStep(what, bench.clean if clean is None else clean, sides={
                group: (field, bench.in_page(field), bench.in_copy(field))
                for group, field in latest.items()}, **more))

        def enter(number: int, asked: bool) -> None:
            """KVM_RUN for one exit, in three beats."""
            found = bench.clean
            note("", asked=asked)
            bench.counted()
            bench.vcpu.run(exits=1)
            grown = bench.counted()
            how = "VMLAUNCH" if grown["vmlaunch"] else "VMRESUME"
            moments[-1].what = f"entry {number}: {how} finds"
            groups = named(ALL_CLEAN if grown["vmlaunch"] else ALL_CLEAN & ~found)
            note("  L0 reads" + " and sets all bits" * sets, ALL_CLEAN if sets else found,
                 asked=asked, reread=(grown["groups_reread"], grown["bytes_reread"]),
                 groups=tuple(groups) if len(groups) == grown["groups_reread"] else ())
            note("  vmx_vcpu_run() sets all bits", asked=asked)

        note("the vCPU is created")
        enter(1, False)
        for number, (moves, writes) in enumerate(rounds, 2):
            asked = number == len(rounds) + 1
            bench.vcpu.cpu ^= moves
            for field, value in [(None, None), *writes]:
                before = bench.clean
                if field is None:
                    bench.load()
                    what = f"vcpu_load() on cpu {bench.vcpu.cpu}"
                else:
                    bench.write(field, value)
                    what = written(field, value)
                    if value is not None:
                        latest[ROWS[field]["clean_field"]] = field
                note(what, fell=before & ~bench.clean, asked=asked)
            enter(number, asked)
    return moments, rounds[-1]


def written(field: str, value: int | None) -> str:
    """A write in few words."""
    return f"{field}, the same" if value is None else f"{field} = {value:#x}"


def run(seed: int, case: str | None = None) -> Record:
    """A few rounds of writes and an entry; the last round's bits are asked for."""
    moments, (moves, writes) = film(seed)
    before, entry = moments[-3:-1]
    assert entry.reread is not None
    groups, read = entry.reread
    launched = "VMLAUNCH" in before.what
    dirty = ALL_CLEAN & ~before.clean
    sizes, always, ungrouped, sets = weights()
    number = before.what.partition(":")[0]
    return Record(
        "clean", seed, "", TITLE,
        about=["L0 keeps a copy of the eVMCS, and hv_clean_fields says which parts of the page are "
               "still as L0 has them: sixteen bits, one for each clean group of fields. A write "
               "through "
               "the accessors stores, and takes its group's bit away.",
               f"{beats(sets)} A VMLAUNCH trusts no bit.",
               "KVM_RUN writes too: as Hyper-V's guests call the TSC unstable, each vcpu_load() "
               "sets TSC_OFFSET, and on another CPU than before HOST_TR_BASE, HOST_GDTR_BASE and "
               "HOST_IA32_SYSENTER_ESP as well."],
        run=["Each write is vmcs_write16(), 32(), 64() or l() of the port, by the field's width. "
             "Bit, group, and the bytes that L0 reads for it, measured:",
             *("".join(f"{bit:2} {GROUPS[bit]} {sizes[bit]}".ljust(23)
                       for bit in range(at, at + 4)) for at in range(0, 16, 4)),
             f"{always} bytes more, GUEST_RIP and TPR_THRESHOLD, are in no group and are read at "
             "each entry."],
        picture=drawn(moments, hidden=True),
        solved=drawn(moments, hidden=False),
        question=f"The last round is dark. Which of the sixteen bits are 0 as {number} finds "
                 "them, how many groups does L0 read again there, and how many bytes, with the "
                 f"{always}? (kvm-vmx fields tells each field's group.)",
        given={"entry": number, "moved": moves,
               "writes": [{"accessor": accessor(field), "field": field} for field, _ in writes],
               "groups": [{"bit": bit, "group": GROUPS[bit], "bytes": sizes[bit]}
                          for bit in range(16)], "always": always},
        answer=explained(before.clean, dirty, groups, read, launched, writes),
        values={"clean": before.clean, "dirty": named(dirty), "groups": groups, "bytes": read},
        change=[f"kvm-vmx lesson clean --seed {other_seed(seed)}",
                "kvm-vmx lesson clean --write mine.py    a file with",
                "  def clean_mask(writes, table):  # writes: names of fields, and 'enter'",
                "      return mask                 # table: {field: clean mask}, but for some",
                "  Before the first write all sixteen are clean."],
        kernel=KERNEL,
        leaves_out="A Hyper-V may read more than it must, and at other times. This one relies on "
                   f"every clean bit, so that a forgotten one shows. Not counted are {ungrouped} "
                   "bytes that Hyper-V gives no group, such as the CR3 targets: it reads them at "
                   "each entry.",
    )


def explained(clean: int, dirty: int, groups: int, read: int, launched: bool,
              writes: list[Written]) -> list[str]:
    """The answer in words, from the run."""
    bits = ", ".join(f"{bit} {GROUPS[bit]}" for bit in range(16) if dirty >> bit & 1)
    if dirty == ALL_CLEAN:
        bits = "all sixteen"
    says = [f"hv_clean_fields is {clean:#06x}, {lamps(clean)}: 0 are {bits}.",
            f"L0 read {groups} group{'s' * (groups != 1)} again, {read} bytes."]
    if launched:
        says.append("The vCPU had moved: KVM cleared the VMCS on the old CPU, and entered by "
                    "VMLAUNCH, at which the bits count for nothing.")
    if any(value is None for _, value in writes):
        says.append("A bit falls also where the value stays the same: nobody compares.")
    if any(ROWS[field]["clean_field"] == "NONE" for field, _ in writes):
        says.append("A field without a group takes no bit away: L0 reads it at each entry.")
    if any(ROWS[field]["clean_field"] == "ALL" for field, _ in writes):
        says.append("A field that Hyper-V gives no group takes all sixteen away in v4.19's table.")
    return says


def drawn(moments: list[CleanBitsStep], hidden: bool) -> Picture:
    """Bits, page and copy group by group, step by step; hidden hides what is asked for."""
    picture = Picture(["bit", "group", "clean", "page", "L0's copy"], kind="page")
    lines = []
    for moment in moments:
        dark = hidden and moment.asked
        names, caption = named(moment.fell), moment.what
        effect = Cell(", ".join(names) if len(names) < 4 else f"{len(names)} groups")
        if moment.reread and not dark:
            effect = Cell("{} groups, {} bytes".format(*moment.reread), "good")
            caption += f": {effect.text}"
        picture.step(caption.strip(), [sides(moment, bit, dark) for bit in range(16)],
                     () if dark else moment.groups)
        bits = Cell(lamps(moment.clean))
        lines.append([Cell(moment.what), *([Cell("?", "dim")] * 2 if dark else [bits, effect])])
    picture.table = ["step", "15 ... clean ... 0", "falls to 0, or is read"], lines
    picture.paper = picture.told() - 2      # as an entry finds them, where there are some to read
    return picture


def sides(moment: CleanBitsStep, bit: int, dark: bool) -> list[Cell]:
    """A group's row: its lamp, and its field that was written last as page and copy have it."""
    group = GROUPS[bit]
    field, page, copy = (moment.sides or {}).get(group, ("", None, None))
    lit = moment.clean >> bit & 1
    lamp = Cell("?", "dim") if dark else Cell(str(lit), "good" if lit else "hot")
    there = Cell(f"{field} {page:#x}" if field else "")
    if dark and field:
        return [Cell(str(bit)), Cell(group), lamp, there, Cell("?", "dim")]
    known = Cell("" if copy is None else f"{copy:#x}", "" if copy == page else "hot")
    return [Cell(str(bit)), Cell(group), lamp, there, known]


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """Run a student's clean_mask() on sequences of writes and entries, each also made for real."""
    table = {field: int(row["clean_mask"], 16) for field, row in ROWS.items()}
    cases = [((writes, table), mask, ", ".join(writes) or "no write")
             for writes, mask in made(sequences(choice("clean grade", seed)))]
    return judge(path, "clean_mask", ("writes", "table"), cases, "the run")


def sequences(dice: Random) -> list[list[str]]:
    """What to judge by: the odd ones, and random ones."""
    some = {kind: dice.choice(fields) for kind, fields in BY_GROUP.items()}
    basic, host = dice.sample(BY_GROUP["GUEST_BASIC"], 2), some["HOST_GRP1"]
    odd = [[], [ENTER], [some["NONE"]], [some["ALL"]], [host], [host, host], basic,
           [host, ENTER], [host, ENTER, basic[0]], [some["ALL"], ENTER, some["NONE"]],
           *([field] for field in UNMAPPED)]
    names = [*(field for fields in BY_GROUP.values() for field in fields), *UNMAPPED]
    drawn = [[ENTER if dice.random() < 0.15 else dice.choice(names)
              for _ in range(dice.randint(2, 5))] for _ in range(20)]
    return odd + drawn


def made(sequences: list[list[str]]) -> list[tuple[list[str], int]]:
    """Each sequence with hv_clean_fields as it leaves it."""
    results = []
    with Machine(cpus=1) as machine:
        bench = Bench(machine, machine.insmod(), CPUID_LOOP)
        for writes in sequences:
            bench.vcpu.run(exits=1)
            for field in writes:
                if field == ENTER:
                    bench.vcpu.run(exits=1)
                elif field in UNMAPPED:
                    with bench.cpu:
                        value = bench.port.vmcs_read64(UNMAPPED[field])
                        bench.port.vmcs_write64(UNMAPPED[field], value)
                else:
                    bench.write(field)
            results.append((writes, bench.clean))
    return results
