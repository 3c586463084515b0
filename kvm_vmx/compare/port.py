# SPDX-License-Identifier: GPL-2.0-only
"""The port's side: its files, its functions, and what of the kernel each stands for."""

import copy
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from kvm_vmx.compare import marks
from kvm_vmx.compare.pysource import KERNEL_FILE, PortFile
from kvm_vmx.compare.types import Syntax
from kvm_vmx.compare.units import Function, Unit

L1 = pathlib.Path(__file__).parents[1] / "l1"


@dataclasses.dataclass(slots=True, eq=False)
class Subject:
    """One function of the port, and the name and file of what it stands for."""

    function: Function
    kernel_name: str
    kernel_file: str

    @property
    def ours(self) -> str:
        """Why the whole function is ours, as a mark without a pin says."""
        return next((mark.reason for mark in self.function.marks
                     if mark.kind == "+" and not mark.pin), "")


class Port:
    """The ported files under one directory."""

    def __init__(self, root: pathlib.Path = L1, pins: Mapping[str, Sequence[str]] | None = None):
        self.root = root
        pins = marks.pins() if pins is None else pins
        self.files: dict[str, PortFile] = {}
        for path in sorted([*root.rglob("*.pyx"), *root.rglob("*.pxd")]):
            source = path.read_text()
            head = source.split("\n", 2)
            if len(head) > 1 and KERNEL_FILE.match(head[1]):
                name = str(path.relative_to(root.parents[1]))
                self.files[name] = PortFile(name, source, pins)
        self.subjects: dict[str, Subject] = {}
        for file in self.files.values():
            for name, (function, *_) in file.functions.items():
                self.subjects[name] = self.subject(file, name, function)

    @property
    def kernel_files(self) -> list[str]:
        """The kernel files that the port names, each once."""
        names = (subject.kernel_file for subject in self.subjects.values())
        return list(dict.fromkeys(names))

    def subject(self, file: PortFile, name: str, function: Function) -> Subject:
        """What a function stands for, by its marks."""
        kernel_name = file.kernel_name.get(name, name)
        return Subject(function, kernel_name, file.kernel_file[name])


def with_labels(subject: Subject, kernel: Function,
                subjects: Mapping[str, Subject]) -> tuple[Function, list[str]]:
    """A function together with those that stand for its labels, and the names of these."""
    name = subject.function.name
    labels = [unit.key[1] for unit in kernel.units if unit.kind == "label"]
    parts = {label: named(subjects[f"{name}_{label}"].function)
             for label in labels if f"{name}_{label}" in subjects}
    whole = copy.copy(subject.function)
    whole.units = jumps(subject.function.units, name, parts)
    if parts:
        whole.units = falling(whole.units, [*parts][0])
    whole.marks = list(subject.function.marks)
    known = declared(subject.function)
    for n, label in enumerate(parts):
        part = subjects[f"{name}_{label}"].function
        head = part.units[0]
        alike = head.key[1] == whole.units[0].key[1] and all(
            known.get(other, kind) == kind for other, kind in declared(part).items())
        whole.units.append(Unit(("label", label, *(() if alike else ("of other types",))),
                                head.line, head.end, head.text))
        body = jumps(part.units[1:], name, parts)
        if n + 1 < len(parts):
            body = falling(body, [*parts][n + 1])
        for unit in body:
            if unit.kind == "decl":
                unit.silent = "label"
        whole.units.extend(body)
        whole.marks.extend(part.marks)
    return whole, [f"{name}_{label}" for label in parts]


def falling(units: list[Unit], label: str) -> list[Unit]:
    """The units before a label: a jump to it at their end is what falls into it, and where they
    just end there is the return that C has not."""
    last = units[-1]
    if last.key == ("goto", label) and last.parent is None:
        return [*units[:-1], dataclasses.replace(last, silent="label")]
    if last.kind not in ("goto", "return") or last.parent:
        return [*units, Unit(("return", None), last.end, last.end, "return")]
    return units


def declared(function: Function) -> dict[str, Syntax]:
    """The types of a function's parameters and locals by name."""
    found = {part[2]: part[1] for part in function.units[0].key[2:] if part[0] == "decl"}
    return found | {unit.key[2]: unit.key[1] for unit in function.units if unit.kind == "decl"}


def named(function: Function) -> Syntax:
    """A function's parameters as the arguments of a call that hands on what is called the same."""
    return tuple(("name", part[2]) for part in function.units[0].key[2:] if part[0] == "decl")


def jumps(units: list[Unit], name: str, labels: Mapping[str, Syntax]) -> list[Unit]:
    """The units with each call of a label's function as the goto that it is, if the function
    that calls it ends there and hands on what is called the same: `labels` has the parameters."""
    result: list[Unit] = []
    for n, unit in enumerate(units):
        tree = unit.key[1] if unit.kind == "return" and unit.key[1] else unit.key
        after = units[n + 1] if n + 1 < len(units) else None
        ends = unit.kind == "return" or after is None or (
            after.key == ("return", None) and after.parent is unit.parent)
        if ends and tree[0] == "call" and tree[1][0] == "name":
            label = tree[1][1].removeprefix(name + "_")
            if label in labels and tree[1][1] != label and tree[2:] == labels[label]:
                result.append(dataclasses.replace(unit, key=("goto", label)))
                continue
        if unit.key == ("return", None) and result and result[-1].kind == "goto" \
                and result[-1].parent is unit.parent:
            result[-1].end = unit.end
            continue
        result.append(unit)
    return result
