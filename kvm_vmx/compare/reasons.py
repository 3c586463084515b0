# SPDX-License-Identifier: GPL-2.0-only
"""The reasons of the port's marks: a vocabulary kept as data, and what holds each of them true.

`faults()` gives a line for each reason that is of no class, or that is not true: of the port's
text, of the processors that the profiles describe, and, where there is a tree, of the statements
that the mark stands for.
"""

import pathlib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from kvm_vmx.compare import scope
from kvm_vmx.compare.marks import Mark

if TYPE_CHECKING:
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.report import Pair, Report
    from kvm_vmx.compare.rows import Row

FILE = pathlib.Path(__file__).with_suffix(".toml")
WORD = re.compile(r"[A-Za-z_]\w*")
NUMBER = re.compile(r"\b(?:0x[0-9a-fA-F]+|\d+)\b")


class ReasonClass(TypedDict, total=False):
    """One class of reasons, as reasons.toml has it: what a part of a reason looks like, and what
    holds it true."""

    match: re.Pattern[str]
    kinds: str
    port: list[str]
    never: str
    kernel: str
    some: str
    names: str
    feature: bool
    topic: bool
    values: bool


class ProcessorBit(TypedDict, total=False):
    """A bit of CPUID, by leaf and register, or of an MSR; `clear` where 0 is what announces it."""

    leaf: int
    reg: str
    msr: int
    bit: int
    clear: bool


class Given(NamedTuple):
    """One part of a mark's reason: whose mark it is, and where a tree is, row and function."""

    pair: str
    mark: Mark
    part: str
    row: "Row | None" = None
    whole: "Pair | None" = None

    def __str__(self) -> str:
        return f"{self.pair}, line {self.mark.line}: {self.mark.what}: {self.part}"


class Reasons:
    """The vocabulary, and the port that it is asked of."""

    def __init__(self, port: "Port", text: str | None = None):
        data = tomllib.loads(FILE.read_text() if text is None else text)
        for entry in data["class"].values():
            entry["match"] = re.compile(entry["match"], re.S)
        self.classes: dict[str, ReasonClass] = data["class"]
        self.features: dict[str, list[ProcessorBit]] = data["feature"]
        self.topics: dict[str, str] = data["topic"]
        self.values: dict[str, dict[str, list[int]]] = data.get("values", {})
        self.port = port
        self.sources = {path.name: path.read_text()
                        for path in [*port.root.rglob("*.pyx"), *port.root.rglob("*.pxd")]}

    def class_of(self, given: Given) -> tuple[str, ReasonClass, re.Match[str]] | None:
        """(name, entry, match) of the first class that a part is of, or None."""
        for name, entry in self.classes.items():
            hit = entry["match"].fullmatch(given.part)
            if hit and given.mark.kind in entry.get("kinds", "-~+"):
                return name, entry, hit
        return None

    def faults(self, report: "Report | None" = None,
               processors: Iterable["MarkedProcessor"] = ()) -> list[str]:
        """What is wrong with the reasons of all marks, a line each."""
        found: list[str] = []
        used: set[str] = set()
        for given in parts(self.port, report):
            match = self.class_of(given)
            if match is None:
                found.append(f"{given}: no class of reasons has this: say one that {FILE.name} has")
                continue
            name, entry, hit = match
            used.add(name)
            found.extend(f"{given}: {fault}" for fault in self.check(given, entry, hit, processors))
        found.extend(f"[class.{name}] is of no mark" for name in self.classes if name not in used)
        return found

    def check(self, given: Given, entry: ReasonClass, hit: re.Match[str],
              processors: Iterable["MarkedProcessor"]) -> Iterator[str]:
        """What is not true of one part."""
        if "port" in entry:
            name, text = entry["port"]
            if text not in self.sources[name]:
                yield f"{name} does not say {text.strip()!r}"
        if "never" in entry:
            for name, text in self.sources.items():
                if bad := re.search(entry["never"], text, re.M):
                    yield f"{name} has {bad[0]!r}"
        if entry.get("feature"):
            yield from self.lacking(hit[1], processors)
        if entry.get("topic") and self.topics.get(hit[1]) not in scope.topics():
            yield f"{hit[1]!r} is no topic that --scope leaves out"
        if given.row is not None and given.row.kernel:
            yield from self.statements(given, given.row, entry)

    def lacking(self, feature: str, processors: Iterable["MarkedProcessor"]) -> Iterator[str]:
        """Which processors have a feature that a mark says they have not."""
        bits = self.features.get(feature)
        if bits is None:
            yield f"[feature] does not say how {feature!r} is announced"
            return
        for processor in processors:
            if any(processor.has(bit) for bit in bits):
                yield f"{processor.name} has {feature}"

    def statements(self, given: Given, row: "Row", entry: ReasonClass) -> Iterator[str]:
        """What is not true of the kernel's statements that a mark stands for."""
        units = [unit for unit in row.kernel if unit.kind != "#"]
        texts = [unit.text for unit in units]
        if "kernel" in entry:
            for text in texts:
                if not re.search(entry["kernel"], text):
                    yield f"the kernel has {text!r}"
        if "some" in entry and not any(re.search(entry["some"], text) for text in texts):
            yield f"nothing of {'; '.join(texts)!r} is about that"
        if entry.get("names") == "label" and not any(unit.kind == "label" for unit in units):
            yield f"{texts[0]!r} is no label"
        if entry.get("values"):
            yield from self.numbers(given, row)
        if entry.get("names") == "out":
            yield from self.names(given, row)

    def names(self, given: Given, left: "Row") -> Iterator[str]:
        """Whether the variables that a mark names serve what is left out alone."""
        declared = {unit.key[2] for unit in left.kernel if unit.kind == "decl"}
        rows = given.whole.rows if given.whole else ()
        for name in WORD.findall(given.mark.what):
            if name not in declared:
                continue
            if bad := [unit for row in rows for unit in row.kernel
                       if name in WORD.findall(unit.text) and unit not in left.kernel
                       and row.kind in ("same", "idiom", "moved")]:
                yield f"{name} serves {bad[0].text!r}, which is not left out"

    def numbers(self, given: Given, row: "Row") -> Iterator[str]:
        """Whether the port's numbers are those that stand in [values], and the kernel's."""
        known = self.values.get(given.pair)
        if known is None:
            yield "[values] does not have this function"
            return
        ours = sorted({int(number, 0) for unit in row.port
                       for number in NUMBER.findall(unit.text)})
        if ours != sorted(known["numbers"]):
            yield f"the port has {[hex(n) for n in ours]}"


def parts(port: "Port", report: "Report | None" = None) -> list[Given]:
    """Every part of every mark's reason; with a report, beside the row that it explains."""
    rows: dict[tuple[int, str], tuple[Row, Pair]] = {}
    for pair in report.pairs if report else ():
        for row in pair.rows:
            if row.mark is not None:
                rows[row.mark.line, pair.port.path] = row, pair
    found: list[Given] = []
    for name, subject in port.subjects.items():
        for mark in subject.function.marks:
            beside = rows.get((mark.line, subject.function.path), (None, None))
            found.extend(Given(name, mark, part, *beside) for part in mark.reason.split("; "))
    return found


class MarkedProcessor:
    """A processor as a mark speaks of it: its CPUID and its MSRs, by profile or by instruction."""

    def __init__(self, name: str, cpuid: Callable[[int], Sequence[int]],
                 rdmsr: Callable[[int], int]):
        self.name, self.cpuid, self.rdmsr = name, cpuid, rdmsr

    def has(self, bit: ProcessorBit) -> bool:
        """Whether a bit of CPUID or of an MSR is there; `clear` where 0 is what announces it."""
        if "leaf" in bit:
            value = self.cpuid(bit["leaf"])["eax ebx ecx edx".split().index(bit["reg"])]
        else:
            value = self.rdmsr(bit["msr"])
        return bool(value >> bit["bit"] & 1) != bit.get("clear", False)
