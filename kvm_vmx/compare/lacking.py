# SPDX-License-Identifier: GPL-2.0-only
"""What a partial tree cannot say: the files of v4.19 that it lacks, and what speaks of them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kvm_vmx.compare.facts import Fact, Names
from kvm_vmx.compare.folding import Definition
from kvm_vmx.compare.found import BASELINE, is_baseline
from kvm_vmx.compare.held import HeldRecord, held
from kvm_vmx.compare.lexer import C, tokens
from kvm_vmx.compare.opening import version_of

if TYPE_CHECKING:
    from kvm_vmx.compare.assembly import Block
    from kvm_vmx.compare.pairing import Units
    from kvm_vmx.compare.port import Port, Subject
    from kvm_vmx.compare.portfacts import PortFacts
    from kvm_vmx.compare.trees import Tree

ABSENT = "a file that this tree lacks would say what it is"


class Lacking:
    """The recorded files that a tree of v4.19 has not; another version may keep them elsewhere."""

    def __init__(self, tree: "Tree", record: HeldRecord):
        self.files = [path for path in record["kernel"] if path not in tree.files] \
            if is_baseline(version_of(tree.files.get("Makefile", "")) or BASELINE) else []
        self.foreign = set(record.get("foreign", ()))  # no file of v4.19's that is read has these
        self.macros = {key.rpartition(" ")[2] for path in self.files
                       for key in record["kernel"][path]}

    def known(self, port: "PortFacts") -> dict[str, Definition]:
        """What names stand for that only the files define, as the port has them."""
        names = port.names().defined if self.files else {}
        return {name: names[name] for name in names if name not in self.foreign}

    def name(self, fact: Fact | None, names: Callable[[], Names]) -> str:
        """A name in what a fact of the kernel says that nothing at hand defines, "" if none;
        `names` gives the definitions."""
        if not self.files or fact is None:
            return ""
        defined = names().defined
        return next((name for name in named(fact.value) if name not in defined), "")

    def block(self, block: "Block") -> "Block":
        """A block of assembly; without a verdict where it speaks of what the files define."""
        if any(token.text in self.macros for row in block.rows
               for token in tokens(row.kernel, C)):
            for row in block.loose:
                row.kind, row.why = "omitted", f"not compared: {ABSENT}"
        return block


def named(tree: object) -> Iterator[str]:
    """The names in a tree."""
    if not isinstance(tree, tuple):
        return
    if len(tree) == 2 and tree[0] == "name":
        yield tree[1]
    for part in tree:
        yield from named(part)


def home(name: str, subject: "Subject") -> str:
    """The file in which v4.19 has what a function of the port stands for."""
    return held().get("homes", {}).get(name, subject.kernel_file)


def absent_functions(port: "Port", tree: "Tree") -> dict[str, str]:
    """The functions of which the tree lacks the whole file, each with that file. Another version,
    or none that is known, may have it by another name: it lacks what it has none of elsewhere."""
    by_file: dict[str, list[str]] = {}
    for name, subject in port.subjects.items():
        if not subject.ours and (path := home(name, subject)) not in tree.files:
            by_file.setdefault(path, []).append(name)
    ours = is_baseline(version_of(tree.files.get("Makefile", "")))
    return {
        name: path for path, names in by_file.items() for name in names
        if ours or not any(tree.function(port.subjects[other].kernel_name, path)
                           for other in names)}


def absent_files(functions: dict[str, str], units: "Units | None") -> dict[str, str]:
    """{file that the tree lacks: how much of it is left out}, in order."""
    lost: dict[str, list[str]] = {
        path: [] for path in sorted({*functions.values(),
                                     *(units.lacking.files if units else ())})}
    for path, of in lost.items():
        count = sum(other == path for other in functions.values())
        more = len(units.record["kernel"].get(path, ())) if units else 0
        of += [f"{number:,} {word}{'s' * (number > 1)}" for number, word in (
            (count, "function"), (more, "unit")) if number]
    return {path: " and ".join(of) or "what the port has of it" for path, of in lost.items()}
