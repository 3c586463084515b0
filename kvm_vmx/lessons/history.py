# SPDX-License-Identifier: GPL-2.0-only
"""The patch before and after its review: which remark was taken up, and what none of them saw."""

import errno
import pathlib
import tomllib
from typing import Any, TypeAlias

from kvm_vmx import Machine, fields
from kvm_vmx.lessons import errata
from kvm_vmx.lessons.record import Cell, NothingShown, Picture, Record, UNDO, choice, other_seed
from kvm_vmx.lessons.sources import port
from kvm_vmx.lessons.student import judge
from kvm_vmx.lessons.table import UNMAPPED, slot
from kvm_vmx.machine.guests import HALT

TITLE = "the patch, its review, and six years: which remark found what"
MINUTES = 25
CASES = ()
ASKED = 5
WHEN = ("version 3", "the review", "v4.19", "6.1", "6.12")
TSC_MULTIPLIER = 0x2032
Remark: TypeAlias = dict[str, Any]      # as history.toml has it


def remarks() -> dict[str, Remark]:
    """The remarks by name."""
    return tomllib.loads(pathlib.Path(__file__).with_name("history.toml").read_text())


def seen() -> dict[str, bool]:
    """Whether this port does as asked, where a run or the table can tell."""
    with Machine(cpus=1) as machine:
        hints = machine.cpu(0).cpuid(0x40000004)
        kvm = machine.insmod()
        kvm.create_vm(code=HALT).create_vcpu().vmcs["GUEST_RIP"]
        with machine.cpu(0):
            beyond = kvm.port.vmcs_read64(TSC_MULTIPLIER)
        warned = any("unsupported EVMCS field" in line for line in machine.dmesg)
    with Machine(cpus=1, cpuid={0x40000004: (hints[0] & ~(1 << 14), *hints[1:])}) as machine:
        left = machine.insmod().parameters["enlightened_vmcs"]
    sites = port().subjects
    return {
        "cr3_target": not any(row["vmcs_field"].startswith("CR3_TARGET") for row in fields()),
        "lookup": beyond == 0 and warned,
        "clear": not left,
        "name": "evmcs_load" in sites,
        "header": sites["get_evmcs_offset"].kernel_file.endswith("vmx_evmcs.h"),
        "enodev": "ENODEV" in " ".join(unit.text for unit in
                                       sites["hardware_enable"].function.units),
    }


def run(seed: int, case: str | None = None) -> Record:
    """Some of the remarks, each from the mail to 6.12, v4.19 and later withheld."""
    dice = choice("history", seed)
    there, weak = remarks(), [name for name, one in remarks().items() if "erratum" in one]
    blind = dice.choice(weak)
    names = [blind, *dice.sample([name for name in there if name not in weak], ASKED - 2),
             dice.choice([name for name in weak if name != blind])]
    dice.shuffle(names)
    shown = [there[name] for name in names]
    wrong = [name for name, done in seen().items() if done != there[name]["taken"]]
    if wrong:
        raise NothingShown(f"of the review's remarks this port treats {wrong[0]} otherwise than "
                           f"v4.19: {UNDO}")
    taken = [n for n, one in enumerate(shown, 1) if one["taken"]]
    later = [n for n, one in enumerate(shown, 1) if one.get("later")]
    symptom = errata.load()[there[blind]["erratum"]].symptom
    at = names.index(blind) + 1
    picture, solved = drawn(shown, 2), drawn(shown, len(WHEN))
    lines = [(*one["line"],) for one in shown if "line" in one]
    return Record(
        "history", seed, "", TITLE,
        about=["The eVMCS path came to KVM as a mail, in March 2018: a series of seven patches, "
               "the "
               "last of which is the one that you have seen run. Its third version was reviewed; "
               "v4.19 has what came of that, and 6.1 and 6.12 what came of it in the years behind.",
               "A review is a list of remarks, each at a place. Some are taken up, some are "
               "answered, some come back years later. And some places were looked at, by people "
               "who know the code, and a weakness stayed there: this package calls it an erratum "
               "of v4.19."],
        run=["Remarks on version 3: " + "; ".join(
            f"{n}, {one['by']}: {one['asked']}" for n, one in enumerate(shown, 1)) + ".",
             "What the port does is asked of it in a run where a run can tell: a field beyond the "
             "table, a Hyper-V that recommends nothing, the field table."],
        picture=picture, solved=solved,
        question="Which of these remarks does v4.19 do as asked? Which that it does not do does "
                 f"6.1 do? And at the place of which of them is this left in v4.19: {symptom}?",
        given={"remarks": names},
        answer=[f"As asked: {', '.join(map(str, taken))}. In 6.1, but not in v4.19: "
                f"{', '.join(map(str, later)) or 'none'}.",
                f"{at}: {there[blind]['asked']}. The remark made that place what it is, v4.19: "
                f"{there[blind]['v419']}; the weakness was found by none of the remarks. "
                f"6.1: {there[blind]['v61']}."],
        values={"taken": taken, "later": later, "left": at},
        change=[f"kvm-vmx lesson history --seed {other_seed(seed)}",
                "kvm-vmx compare --patch MAIL     the mail beside v4.19, hunk by hunk",
                "kvm-vmx drift TREE TREE     what changed between two kernels, by function",
                "kvm-vmx lesson history --write mine.py    the lookup as the review asked for it:",
                "  def get_evmcs_offset(field, table):  # table: {slot: offset}, no holes in it",
                f"      return offset or {-errno.ENOENT}"],
        kernel=lines,
        leaves_out="The mail itself, which is its authors': docs/review.md has every remark of it.",
    )


def drawn(shown: list[Remark], told: int) -> Picture:
    """The remarks as lanes, from the mail on; told is how many of the moments are."""
    picture = Picture(["no.", *WHEN], kind="timeline")
    for at in range(len(WHEN)):
        rows = []
        for n, one in enumerate(shown, 1):
            states = (one["v3"], one["asked"], one["v419"], one["v61"], one["v612"])
            kinds = ("", "", "good" if one["taken"] else "bad",
                     *(["good" if one["taken"] or one.get("later") else "bad"] * 2))
            rows.append([Cell(str(n)), *(
                Cell("", "dim") if m > at else Cell("?", "dim") if m >= told
                else Cell(state, kind)
                for m, (state, kind) in enumerate(zip(states, kinds)))])
        picture.step(WHEN[at], rows)
    # a line for each remark at each time: the last step has all
    picture.table = ["remark", "when", "how it is"], [
        [Cell(row[0].text if n == 0 else ""), Cell(when), cell]
        for row in picture.steps[-1].rows
        for n, (when, cell) in enumerate(zip(WHEN, row[1:]))]
    return picture


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """A student's lookup, for fields, holes and what is beyond the table."""
    dice = choice("history grade", seed)
    table = {slot(int(row["encoding"], 16)): row["offset"] for row in fields()}
    offsets = {row["vmcs_field"]: (int(row["encoding"], 16), row["offset"]) for row in fields()}
    cases = [((encoding, table), offset, f"{name} {encoding:#06x}")
             for name, (encoding, offset) in dice.sample(sorted(offsets.items()), 24)]
    holes = [n for n in range(max(table)) if n not in table]
    beyond = [*UNMAPPED.values(), *((n >> 6 | n << 10) & 0xFFFF for n in dice.sample(holes, 8))]
    cases += [((encoding, table), -errno.ENOENT, f"{encoding:#06x}, which has no slot")
              for encoding in beyond if slot(encoding) not in table]
    dice.shuffle(cases)
    return judge(path, "get_evmcs_offset", ("field", "table"), cases, "the table")
