# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's lines that a lesson explains, in the reader's tree, and the port's beside them."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

from kvm_vmx.compare.opening import open_tree
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.trees import Tree
from kvm_vmx.compare.units import Function
from kvm_vmx.lessons.record import Wanted


class Line(NamedTuple):
    """One line to read: of the kernel (line 0: no tree was given) and of the port, which the
    lesson's run has executed or not."""

    function: str
    kernel_file: str
    kernel_line: int
    kernel_text: str
    port_file: str
    port_line: int
    port_text: str
    executed: bool = True


@functools.cache
def port() -> Port:
    """The port's sources, parsed once."""
    return Port()


def opened(spec: str | None) -> Tree | None:
    """The tree of --tree, or None; the port is read here, too, and both are only looked up in from
    then on."""
    port()
    return open_tree(spec) if spec else None


def find(function: Function, needle: str) -> tuple[int, str]:
    """The first statement of a function with a word in it, or its head: (line, text)."""
    for unit in function.units:
        if needle in unit.text and not unit.text.startswith("global "):
            return unit.line, " ".join(unit.text.split())
    return function.line, f"{function.name}()"


def resolve(wanted: Iterable[Wanted], tree: Tree | None = None) -> list[Line]:
    """Each (function, word) as the line of that function where the word stands; a third part
    False says that the run does not come there."""
    lines = []
    for name, needle, *executed in wanted:
        subject = port().subjects[name]
        here = find(subject.function, needle)
        file, kernel = subject.kernel_file, (0, "")
        found = tree and tree.function(subject.kernel_name, file)
        if found:
            file, kernel = found.path, find(found, needle)
        elif tree:
            kernel = (0, "not in this tree")
        lines.append(Line(name, file, *kernel, subject.function.path, *here, *executed))
    return lines
