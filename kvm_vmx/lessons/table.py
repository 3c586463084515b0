# SPDX-License-Identifier: GPL-2.0-only
"""The field table: from an encoding's bits to an offset in the eVMCS and a clean group."""

from collections.abc import Sequence
from typing import Any, TypedDict

from kvm_vmx import Machine, fields
from kvm_vmx.lessons.record import Cell, Picture, Record, choice
from kvm_vmx.lessons.student import judge
from kvm_vmx.machine.fields import CLEAN_FIELDS
from kvm_vmx.machine.guests import HALT

TITLE = "the table behind evmcs_write64(): ROL16 by 6"
MINUTES = 20
CASES = ()
KERNEL = [
    ("get_evmcs_offset", "ROL16"), ("get_evmcs_offset", "NR_EVMCS_1_FIELDS"),
    ("evmcs_write64", "get_evmcs_offset"), ("evmcs_write64", "clean_fields"),
]
ASKED = 5
WIDTHS = ("16 bits", "64 bits", "32 bits", "natural")
TYPES = ("control", "exit info", "guest", "host")
# Fields that version 1 has no slot for, in the table's range and beyond its end.
UNMAPPED = {"GUEST_IA32_PERF_GLOBAL_CTRL": 0x2808, "POSTED_INTR_NV": 0x0002,
            "TSC_MULTIPLIER": 0x2032, "ENCLS_EXITING_BITMAP": 0x202E, "PML_ADDRESS": 0x200E,
            "APIC_ACCESS_ADDR": 0x2014}
PATTERN = 0x5A


class Lookup(TypedDict):
    """Where a write of a field lands, and what it does to the clean bits and the log."""

    field: str
    encoding: int
    slot: int
    offset: int | None
    cleared: int
    warned: bool


def slot(encoding: int) -> int:
    """ROL16(encoding, 6)."""
    return (encoding << 6 | encoding >> 10) & 0xFFFF


def warned(machine: Machine) -> int:
    """How many warnings the kernel's log has."""
    return sum(line.startswith("WARNING") for line in machine.dmesg)


def look_up(seed: int, asked: list[tuple[str, int]]) -> list[Lookup]:
    """Where a write through the port's accessor lands: the byte of the page that changes, the
    clean bits that fall."""
    found: list[Lookup] = []
    with Machine(cpus=1) as machine:
        kvm = machine.insmod()
        vcpu = kvm.create_vm(code=HALT).create_vcpu()
        gpa = vcpu.vmcs_gpa
        for name, encoding in asked:
            width = encoding >> 13 & 3
            kind = {0: "16", 1: "64", 2: "32", 3: "l"}[width]
            page = machine.memory.read(gpa, 4096)
            warnings = warned(machine)
            with machine.cpu(0):
                machine.memory.write(gpa + CLEAN_FIELDS, b"\xff\xff\0\0")
                old = getattr(kvm.port, f"vmcs_read{kind}")(encoding)
                getattr(kvm.port, f"vmcs_write{kind}")(encoding, old ^ PATTERN)
            after = machine.memory.read(gpa, 4096)
            changed = [n for n in range(4096) if page[n] != after[n]
                       and not CLEAN_FIELDS <= n < CLEAN_FIELDS + 4]
            clean = int.from_bytes(after[CLEAN_FIELDS:CLEAN_FIELDS + 4], "little")
            machine.memory.write(gpa, page)
            found.append({"field": name, "encoding": encoding, "slot": slot(encoding),
                          "offset": changed[0] if changed else None, "cleared": 0xFFFF & ~clean,
                          "warned": warned(machine) > warnings})
    return found


def run(seed: int, case: str | None = None) -> Record:
    """Write some fields through the accessors and see which bytes change."""
    dice = choice("table", seed)
    rows = fields()
    writable = [row for row in rows if int(row["encoding"], 16) >> 10 & 3 != 1
                and row["clean_field"] != "ALL"]
    asked = [(row["vmcs_field"], int(row["encoding"], 16))
             for row in dice.sample(writable, ASKED - 1)]
    mapped = {int(row["encoding"], 16) for row in rows}
    asked.append(dice.choice([one for one in UNMAPPED.items() if one[1] not in mapped]))
    found = look_up(seed, asked)
    last = max(slot(int(row["encoding"], 16)) for row in rows)
    hidden = found[dice.randrange(ASKED - 1)]
    hole = found[-1]
    return Record(
        "table", seed, "", TITLE,
        about=["A VMCS encoding says width (bits 14:13), type (11:10), index (9:1), and whether it "
               "is the high half (0). Rotated left by 6, width and type come to the low bits and "
               "the small index above them: "
               f"{len(rows)} fields fit into {last + 1} slots of four bytes, "
               f"{100 * len(rows) / (last + 1):.1f} % of them "
               "used. A slot is an offset in the eVMCS and the clean bits that a write must "
               "clear. The table is an array of C, so a slot of no field is zeros, and a lookup "
               "beyond its end finds nothing."],
        run=["Each field is written through the port's accessor with its bits 1, 3, 4 and 6 "
             "turned, and the page compared: the first byte that changed is the field's offset."],
        picture=drawn(found, [hidden, hole], rows),
        solved=drawn(found, [], rows),
        question=f"{hidden['field']} has the encoding {hidden['encoding']:#06x}. Which slot, which "
                 "offset, which clean bits does a write clear? And "
                 f"{hole['field']} ({hole['encoding']:#06x}) is not in the table: what does a "
                 "write to it do?",
        given={"encoding": hidden["encoding"], "unmapped": hole["encoding"], "slots": last + 1},
        answer=[f"Slot {hidden['slot']:#06x}"
                + (f", offset {hidden['offset']:#x}, clean bits {hidden['cleared']:#06x}."
                   if hidden["offset"] is not None else ": the write changed nothing."),
                f"{hole['field']} has slot {hole['slot']:#06x}: {unmapped(hole, last)}",
                f"Without the rotation the largest index would be {max_encoding(rows):#x}, and the "
                "table more than nine times as long. A rotation loses no bit, so no key has to be "
                "compared."],
        values={"slot": hidden["slot"], "offset": hidden["offset"], "clean": hidden["cleared"],
                "unmapped_slot": hole["slot"], "unmapped_offset": hole["offset"]},
        change=["kvm-vmx lesson table --write mine.py    a file with",
                "  def lookup(encoding, table):          # 16 bits; [(offset, clean mask), ...] by "
                "slot",
                "      return offset, mask               # None beyond the table",
                "kvm-vmx fields                          "
                f"all {len(rows)} of them"],
        kernel=KERNEL,
    )


def unmapped(hole: Lookup, last: int) -> str:
    """What a write to a field did that the table does not have."""
    warned = "The kernel warns once, and" if hole["warned"] else "Nothing warns, and"
    if hole["slot"] > last:
        return f"beyond the table's end. {warned} " + (
            "the write is lost." if hole["offset"] is None else
            f"the write lands at offset {hole['offset']:#x}.")
    if hole["offset"] is None:
        return ("a hole, which is a row of zeros, and the write is lost: this port tells a hole "
                "from a field. It has been mended (v4.19 has the erratum holes).")
    return (f"a hole, which is a row of zeros. The write lands at offset {hole['offset']:#x}"
            + (", where revision_id is" if hole["offset"] == 0 else "")
            + f"; {'the kernel warns' if hole['warned'] else 'nothing warns'} (erratum holes).")


def max_encoding(rows: list[dict[str, Any]]) -> int:
    """The largest encoding of the table."""
    return max(int(row["encoding"], 16) for row in rows)


def bits(number: int, groups: Sequence[int]) -> str:
    """16 bits, parted as groups says, the highest first."""
    text, at = f"{number:016b}", 0
    parts = []
    for width in groups:
        parts.append(text[at:at + width])
        at += width
    return " ".join(parts)


def drawn(found: list[Lookup], asked: list[Lookup], rows: list[dict[str, Any]]) -> Picture:
    """Encoding, its bits, its bits rotated, slot, offset, clean bits: field by field, and "?" for
    those that are asked for; the strip has no dot for them either."""
    picture = Picture(["field", "encoding", "-ww-tt   index   a", "  index   a -ww-tt", "slot",
                       "offset", "clears"], kind="bits")
    lines = [[Cell(row["field"]), Cell(f"{row['encoding']:#06x}"),
              Cell(bits(row["encoding"], (6, 9, 1))), *[Cell("", "dim")] * 4]
             for row in found]
    picture.step("the encodings' bits", lines)
    for n, row in enumerate(found):
        lines[n] = lines[n][:3]
        if any(row is other for other in asked):
            lines[n] += [Cell("?", "dim")] * 4
        else:
            offset = "none" if row["offset"] is None else f"{row['offset']:#x}"
            lines[n] += [Cell(bits(row["slot"], (9, 1, 6))), Cell(f"{row['slot']:#06x}"),
                         Cell(offset), Cell(f"{row['cleared']:#06x}")]
        picture.step(f"{row['field']}: {WIDTHS[row['encoding'] >> 13 & 3]}, "
                     f"{TYPES[row['encoding'] >> 10 & 3]}", lines)
    hidden = [row["slot"] for row in asked]
    picture.slots = [(at, row["clean_field"]) for row in rows
                     if (at := slot(int(row["encoding"], 16))) not in hidden]
    return picture


def grade(path: str, seed: int) -> tuple[list[str], bool]:
    """Run a student's lookup() on encodings in the table, in its holes and beyond."""
    rows = fields()
    last = max(slot(int(row["encoding"], 16)) for row in rows)
    table = [[0, 0] for _ in range(last + 1)]
    for row in rows:
        table[slot(int(row["encoding"], 16))] = [row["offset"], int(row["clean_mask"], 16)]
    known = [(row["vmcs_field"], int(row["encoding"], 16)) for row in rows]
    known += UNMAPPED.items()
    choice("table grade", seed).shuffle(known)
    cases = []
    for name, encoding in known:
        index = slot(encoding)
        cases.append(((encoding, table), table[index] if index <= last else None,
                      f"{name} ({encoding:#x})"))
    return judge(path, "lookup", ("encoding", "table"), cases, "the table")
