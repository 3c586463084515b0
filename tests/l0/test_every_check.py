# SPDX-License-Identifier: GPL-2.0-only
"""One test a check of VM entry, by its id, under a plain VMCS and an eVMCS; the vectors by the
check that each is to meet; and rows with a seeded fault, each of which its test notices."""

import contextlib
import ctypes
import functools
import json
import mmap
import struct

import pytest
from test_entry_vectors import LATER, MEMBERS, fields_of, is_covered
from test_named_checks import (
    ELSEWHERE, LISTS, NARROW_HOSTS, OTHER_PROCESSORS, POINTERS, STATES, UNCOVERED,
    enlightened, plain, why_enlightened, why_plain,
)
from test_named_instructions import STATES as INSTRUCTIONS
from test_named_instructions import ended
from world import BASE, DATA, FIELDS, ROOT, World

from kvm_vmx.l0 import hyperv
from kvm_vmx.machine.checks import checks, instruction_checks
from kvm_vmx.machine.outcome import VMfailValid
from kvm_vmx.machine.sections import headers, load_base

assert plain and enlightened                    # the fixtures
ROWS = {row["id"]: row for row in checks()}
ORDER = list(ROWS)
NAMED = json.loads((ROOT / "tests/data/entry_vector_checks.json").read_text())
VECTORS = [(NAMED[case][n], *DATA["cases"][case][n]) for case in DATA["cases"]
           for n in range(len(DATA["cases"][case]))]
# The state of each check: one of test_named_checks, else the first vector that is to meet it.
STATE = {id: (dict(fields), None) for id, fields in STATES.items()}
for _id, _base, _changes, _expected, _label in VECTORS:
    if _id and _id not in STATE and _expected != "PASS":
        STATE[_id] = fields_of(_base, _changes), _expected
TOLD_APART = (ELSEWHERE | set(LISTS) | set(OTHER_PROCESSORS) | set(NARROW_HOSTS)
              | set(UNCOVERED) | set(POINTERS))


def test_every_vector_names_its_check_and_every_check_has_a_state():
    assert sum(map(len, NAMED.values())) == len(VECTORS) == 1393
    assert all((id is None) == (expected == "ENTER") for id, _, _, expected, _ in VECTORS)
    assert {id for id, *_ in VECTORS} - {None} <= ROWS.keys()
    assert STATE.keys() | TOLD_APART == ROWS.keys()


@pytest.mark.parametrize("case", DATA["cases"])
def test_the_check_that_a_vector_meets(plain, enlightened, case):
    for id, (base, changes, _, label) in zip(NAMED[case], DATA["cases"][case], strict=True):
        fields = fields_of(base, changes)
        why = why_plain(plain, fields)
        assert (why and why.id) == id, label
        if all(name in MEMBERS or name in LATER for name in fields) and is_covered(base, changes):
            assert why_enlightened(enlightened, fields) == why, label


def end_of(id):
    """How the SDM has an entry end that a check of its section refuses: an error number, or exit
    reason and qualification."""
    section = ROWS[id]["section"]
    if section.startswith("27.2.1") or section in ("R14", "R62", "R63"):
        return 7
    if section.startswith("27.2"):
        return 8
    if section == "27.4":
        return 34, 1
    if id.startswith("link_"):
        return 33, 4
    return 33, 2 if id.startswith("pdpte") else 0


def shows(world, id):
    """The state of a check: refused by it, with the right end, value and limit."""
    fields = STATE[id][0]
    world.plain(**fields)
    outcome = world.cpu.vmlaunch()
    why = outcome.why
    assert why is not None and why.id == id
    if isinstance(end_of(id), int):
        assert isinstance(outcome, VMfailValid) and outcome.error == end_of(id)
    else:
        reason, qualification = end_of(id)
        assert outcome.ok and world.cpu.vmread(0x4402).value == 1 << 31 | reason
        assert world.cpu.vmread(0x6400).value == qualification
    assert why.field == ROWS[id]["field"]
    if why.field:
        assert why.value == fields.get(why.field, BASE.get(FIELDS[why.field], 0))
    if ROWS[id]["other"]:
        other = fields.get(ROWS[id]["other"], BASE.get(FIELDS[ROWS[id]["other"]], 0))
        assert "{other}" not in ROWS[id]["sentence"] or \
            f"{ROWS[id]['other']} is {other:#x}" in why.sentence
    assert "bit -1" not in why.sentence and "{" not in why.sentence
    # the DPL is the one limit that its sentence tells in words
    assert id != "ss_real" or why.may == ALL_ONES & ~0x60
    return why


@pytest.mark.parametrize("id", STATE)
def test_a_check_by_its_id(plain, enlightened, id):
    why = shows(plain, id)
    fields = STATE[id][0]
    if all(name in MEMBERS or name in LATER for name in fields) and is_covered(
            "BASE", {name: hex(value) for name, value in fields.items()}):
        assert why_enlightened(enlightened, fields) == why


WITH_BITS = [id for id in STATE if "{bits" in ROWS[id]["sentence"]]


def width(field):
    return (16, 64, 32, 64)[FIELDS[field] >> 13 & 3]


@pytest.mark.parametrize("id", WITH_BITS)
def test_each_bit_of_a_rows_limit_is_the_checks(plain, id):
    """From a value that the row allows, each bit turned alone: refused by the check where the row
    says so, and nowhere else; but for what another check has refused before."""
    why = shows(plain, id)
    fields = STATE[id][0]
    allowed = (why.value | why.must) & why.may
    for bit in range(width(why.field)):
        value = allowed ^ 1 << bit
        breaks = value & why.must != why.must or value & ~why.may
        found = why_plain(plain, {**fields, why.field: value})
        got = found.id if found else None
        if breaks:
            assert got == id or got and ORDER.index(got) < ORDER.index(id), (bit, got)
        else:
            assert got != id, bit


# struct l0_check_row: two pointers, error, end, field, other, kind, must and may, four pointers.
ROW = struct.Struct("<QQIIII I4xQQ QQQQ")
ERROR, END, FIELD, KIND, MAY = 2, 3, 4, 6, 8
BITS, LIST = 1, 8               # LIMIT_BITS, END_LIST
ALL_ONES = (1 << 64) - 1
WRITE = mmap.PROT_READ | mmap.PROT_WRITE


@functools.cache
def table():
    """Where the rows are in this process; 0 where the symbols of the module were stripped."""
    path = hyperv.__file__
    sections = {header.name: header for header in headers(path)}
    if ".symtab" not in sections:
        return 0
    with open(path, "rb") as file:
        file.seek(sections[".symtab"].offset)
        symbols = file.read(sections[".symtab"].size)
        file.seek(sections[".strtab"].offset)
        names = file.read(sections[".strtab"].size)
    wanted = names.index(b"\0l0_check_rows\0") + 1
    return next(load_base(path) + value
                for name, _, _, _, value, _ in struct.iter_unpack("<IBBHQQ", symbols)
                if name == wanted)


@functools.cache
def protection(page):
    """How a page of this process is mapped, as mprotect() takes it."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, rights, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= page < end:
                return sum(bit for letter, bit in zip("rwx", (1, 2, 4)) if letter in rights)


@contextlib.contextmanager
def seeded(number, **changes):
    """The row of that number with members changed, while it lasts."""
    at = table() + number * ROW.size
    libc = ctypes.CDLL(None, use_errno=True)
    # what is behind the table in its last page may be written as before
    pages = {page: protection(page) for page in {at & ~4095, (at + ROW.size - 1) & ~4095}}
    old = ctypes.string_at(at, ROW.size)
    members = list(ROW.unpack(old))
    for member, value in changes.items():
        members[globals()[member]] = value
    for page in pages:
        assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4096), WRITE) == 0
    try:
        ctypes.memmove(at, ROW.pack(*members), ROW.size)
        yield
    finally:
        ctypes.memmove(at, old, ROW.size)
        for page, rights in pages.items():
            libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4096), rights)


def members_of(number):
    return ROW.unpack(ctypes.string_at(table() + number * ROW.size, ROW.size))


def wrong_rows(number):
    """The faults that one row can have: how it ends, which field, what it allows, its error."""
    old = members_of(number)
    # an entry's list fails in the middle of the entry, which knows how that ends
    if old[END] != LIST:
        yield {"END": {3: 4, 4: 3, 5: 4, 6: 5, 7: 5, 9: 10}.get(old[END], 9)}
    if old[FIELD]:
        yield {"FIELD": FIELDS["GUEST_RIP" if old[FIELD] != FIELDS["GUEST_RIP"] else "GUEST_CR3"]}
    if old[KIND] == BITS:
        yield {"KIND": 0}
    if old[ERROR]:
        yield {"ERROR": old[ERROR] + 20}


def test_a_seeded_wrong_row_fails_its_test(plain):
    if not table():
        pytest.skip("the module has no symbols: its rows cannot be found")
    kept, noticed, before = [], 0, plain.cpu.save()
    for id in STATE:
        number = ORDER.index(id) + 1
        shows(plain, id)
        for fault in wrong_rows(number):
            with seeded(number, **fault):
                try:
                    shows(plain, id)
                    kept.append((id, fault))
                except AssertionError:
                    noticed += 1
            # an entry that ends otherwise leaves another processor behind
            plain.cpu.restore(before)
    assert not kept
    assert noticed > 2 * len(STATE)


def test_a_seeded_wrong_row_of_an_instruction_fails_its_test():
    if not table():
        pytest.skip("the module has no symbols: its rows cannot be found")
    rows = instruction_checks()
    kept = []
    for number, row in enumerate(rows, len(ORDER) + 1):
        if row["id"] not in INSTRUCTIONS:
            continue
        expected, act, options = INSTRUCTIONS[row["id"]]
        for fault in wrong_rows(number):
            # a hypercall that goes on ends with the row's status, whatever its end is called
            if "END" in fault and row["ends"].startswith("status"):
                continue
            with seeded(number, **fault):
                why = (outcome := act(World(**options))).why
                if why is not None and why.id == row["id"] and "bit -1" not in str(why) and \
                        ended(outcome, row) == expected:
                    kept.append((row["id"], fault))
    assert not kept
