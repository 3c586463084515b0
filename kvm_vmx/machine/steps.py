# SPDX-License-Identifier: GPL-2.0-only
"""What L1 does between two looks at it, as it ran: kernel functions, VMX instructions, and the
loads and stores of an eVMCS that no instruction announces.

The thread is single-stepped; each step is put to its line of the port, by the compiled modules'
own line tables, and to the function that the line is of.
"""

import bisect
import contextlib
import ctypes
import functools
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from kvm_vmx.machine import stepping
from kvm_vmx.machine.fields import CLEAN_FIELDS, fields
from kvm_vmx.machine.line_table import LineTable, NoLines
from kvm_vmx.machine.operand import Operand, operand

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine

PACKAGE = pathlib.Path(__file__).parents[1]
L1 = PACKAGE / "l1"
HEAD = re.compile(r"(?:cdef|cpdef|def) (?:[\w\[\]*. ]+?[ *])?(\w+)\(")
# Doors and benchmarks, which are not the kernel's.
OURS = re.compile(r"(?:bench|call|probe)_|traced_")
# What a function reaches the VMCS by: whoever wants the field is the one that calls these.
ACCESSORS = re.compile(r"(?:__)?e?vmcs_(?:check|read|write|set|clear)|get_evmcs_offset|vmcs_load$")
VMX = {b"\x0f\x78": "vmread", b"\x0f\x79": "vmwrite", b"\x0f\x01\xc2": "vmlaunch",
       b"\x0f\x01\xc3": "vmresume"}
PAGE, LONGEST = 4096, 15
# {path: (start of its text, end, what its own addresses are moved by)} of loaded modules.
Spans = dict[str, tuple[int, int, int]]
NEAR = 12       # moments


class Moment(NamedTuple):
    """Something that L1 did: "in" a function of the kernel it came to, or, there, an instruction
    ("vmread", ...), a "load" or a "store" of the eVMCS, with the field."""

    kind: str
    function: str
    what: str = ""


@functools.cache
def can_step() -> str:
    """Why no run can be stepped here, or nothing."""
    from kvm_vmx import host

    if not host.has("single-step"):
        return host.absent("single-step")
    try:
        tables()
    except (NoLines, OSError) as error:
        return f"the port's modules have no line numbers: {error}"
    return ""


def texts() -> Spans:
    """Those of the port."""
    found: Spans = {}
    moved: dict[str, int] = {}
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[1:]
            name = "".join(path)
            if not name.startswith(f"{L1}/") or not name.endswith(".so"):
                continue
            span, flags, offset = line.split()[:3]
            start, end = (int(word, 16) for word in span.split("-"))
            if int(offset, 16) == 0:
                moved[name] = start
            if "x" in flags:
                low, high, _ = found.get(name, (start, end, 0))
                found[name] = min(low, start), max(high, end), moved.get(name, start)
    return found


@functools.cache
def table_of(path: str) -> LineTable:
    """The line table of a module."""
    return LineTable(path)


def tables() -> dict[str, LineTable]:
    """The line table of each module that is loaded."""
    return {path: table_of(path) for path in texts()}


class Source(NamedTuple):
    """A file of the port: the first lines of its functions, their names, and what each says."""

    starts: list[int]
    names: list[str]
    texts: dict[str, str]


@functools.cache
def source(file: str) -> Source:
    """The functions of a file; none where it ports nothing."""
    path = PACKAGE.parent / file
    lines = path.read_text().split("\n") if path.is_file() else []
    if len(lines) < 2 or not lines[1].startswith("# C: "):
        return Source([], [], {})
    found = [(n, hit[1]) for n, line in enumerate(lines, 1) if (hit := HEAD.match(line))]
    starts, names = [n for n, _ in found], [name for _, name in found]
    return Source(starts, names, {name: "\n".join(lines[start - 1:end - 1]) for name, start, end
                                  in zip(names, starts, [*starts[1:], len(lines) + 1])})


def function_of(place: tuple[str, int] | None) -> tuple[str, str]:
    """The function of the port that a line is of, and what it says; ("", "") where it is none."""
    if place is None or "kvm_vmx/l1/" not in place[0]:
        return "", ""
    file = source(place[0][place[0].find("kvm_vmx/l1/"):])
    n = bisect.bisect_right(file.starts, place[1]) - 1
    if n < 0 or OURS.match(file.names[n]):
        return "", ""
    return file.names[n], file.texts[file.names[n]]


class Address:
    """What is to know of an address of the port, looked up once."""

    def __init__(self, address: int, spans: Spans):
        code = ctypes.string_at(address, LONGEST)
        rex = code[0] if code[0] & 0xF0 == 0x40 else 0
        at = 1 if rex else 0
        self.operand = operand(code)
        self.insn = VMX.get(code[at:at + 2]) or VMX.get(code[at:at + 3], "")
        # the register that has the field
        self.field = code[at + 2] >> 3 & 7 | (rex & 4) << 1
        path, moved = next((path, moved) for path, (start, end, moved) in spans.items()
                           if start <= address < end)
        self.function, self.text = function_of(table_of(path).at(address - moved))
        self.accessor = bool(ACCESSORS.match(self.function))


class Film:
    """Steps in the making: moments has what they came to, once it is over."""

    def __init__(self, machine: "Machine", evmcs: int | None):
        self.spans = texts()
        self.pages = () if evmcs is None else machine.memory.mapped(evmcs)
        self.moments: list[Moment] = []
        self.texts: dict[str, str] = {}
        self.complete = True

    def develop(self, steps: list[tuple[int, tuple[int, ...]]]) -> None:
        """Put each step to its function, and each access to the one that names the field."""
        known: dict[int, Address] = {}
        for rip, gpr in steps:
            here = known.get(rip) or known.setdefault(rip, Address(rip, self.spans))
            if here.function and not here.accessor:
                self.come_to(here.function, here.text)
            if here.insn in ("vmread", "vmwrite"):
                self.say(here.insn, named(gpr[here.field] & 0xFFFFFFFF))
            elif here.insn:
                self.say(here.insn)
            elif here.operand and self.pages:
                self.touch(here.operand, gpr)
        self.moments = [self.put_right(n) for n in range(len(self.moments))]

    def touch(self, where: Operand, gpr: tuple[int, ...]) -> None:
        """A load or a store, if it is of the eVMCS."""
        address = where.address(gpr)
        for page in self.pages:
            if page <= address < page + PAGE:
                self.say("store" if where.store else "load", member(address - page))

    def come_to(self, function: str, text: str) -> None:
        """The function that the steps are in."""
        self.texts[function] = text
        if not self.moments or self.moments[-1].function != function:
            self.moments.append(Moment("in", function))

    def say(self, kind: str, what: str = "") -> None:
        """Something that is done there."""
        function = self.moments[-1].function if self.moments else ""
        self.moments.append(Moment(kind, function, what))

    def put_right(self, n: int) -> Moment:
        """An access where the compiler has left no step in the function that wants it: it is the
        nearest one's that names the field."""
        moment = self.moments[n]
        if not moment.what or re.search(rf"\b{moment.what}\b", self.texts.get(moment.function, "")):
            return moment
        for away in range(1, NEAR):
            for at in (n - away, n + away):
                function = self.moments[at].function if 0 <= at < len(self.moments) else ""
                if re.search(rf"\b{moment.what}\b", self.texts.get(function, "")):
                    return moment._replace(function=function)
        return moment


@functools.cache
def names() -> dict[int, str]:
    """The fields that the table has, by encoding."""
    return {int(row["encoding"], 16): row["vmcs_field"] for row in fields()}


def named(encoding: int) -> str:
    """A field's name, or its encoding where the table has none."""
    return names().get(encoding, f"{encoding:#x}")


@functools.cache
def members() -> list[tuple[int, int, str]]:
    """(offset, end, name) of what an eVMCS has."""
    rows = [(row["offset"], row["offset"] + row["size"], row["vmcs_field"]) for row in fields()]
    return sorted([*rows, (CLEAN_FIELDS, CLEAN_FIELDS + 4, "hv_clean_fields")])


def member(offset: int) -> str:
    """The member of an eVMCS at an offset."""
    return next((name for start, end, name in members() if start <= offset < end),
                f"offset {offset}")


@contextlib.contextmanager
def filmed(machine: "Machine", evmcs: int | None = None) -> Iterator[Film]:
    """with filmed(machine, gpa) as film: what this thread does in the port there is in film.moments
    behind it; evmcs is where the enlightened VMCS is, if there is one."""
    film = Film(machine, evmcs)
    stepping.start([(start, end) for start, end, _ in film.spans.values()])
    try:
        yield film
    finally:
        steps = stepping.stop()
    film.complete = not stepping.full()
    film.develop(steps)
