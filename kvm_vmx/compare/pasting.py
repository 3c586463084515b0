# SPDX-License-Identifier: GPL-2.0-only
"""Functions that a macro defines by pasting their names: each call of the macro, written out."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.units import Function

if TYPE_CHECKING:
    from kvm_vmx.compare.trees import Tree

DEFINE = re.compile(r"^#[ \t]*define[ \t]+(\w+)\(([\w ,]*)\)"
                    r"((?:[^\n\\]|\\.)*(?:\\\n(?:[^\n\\]|\\.)*)*)", re.M)
LONGEST, MOST = 20_000, 400  # characters of a macro, calls of all of them


def pasted(tree: "Tree") -> dict[str, Function]:
    """{name: function} of what macros with ## define in VMX's part of a tree."""
    found: dict[str, Function] = {}
    left = MOST
    for path, text in tree.files.items():
        if "/kvm/" not in path or "svm" in path or "##" not in text:
            continue
        for hit in DEFINE.finditer(text):
            body = hit[3].replace("\\\n", "\n")
            if "##" not in body or "{" not in body or len(body) > LONGEST:
                continue
            names = [part.strip() for part in hit[2].split(",")]
            for line, given in calls(text, hit[1]):
                if left and len(given) == len(names):
                    left -= 1
                    add(found, path, line, written(body, dict(zip(names, given))), tree.config)
    return found


def calls(text: str, macro: str) -> Iterator[tuple[int, list[str]]]:
    """(line, arguments) of each use of a macro in column 0."""
    for hit in re.finditer(rf"^{macro}\(([^()\n]*)\)", text, re.M):
        yield text.count("\n", 0, hit.start()) + 1, [part.strip() for part in hit[1].split(",")]


def written(body: str, given: dict[str, str]) -> str:
    """A macro's body with its arguments in, pasted where it says so."""
    body = re.sub(r"\w+", lambda hit: given.get(hit[0], hit[0]), body)
    return re.sub(r"\s*##\s*", "", body)


def add(found: dict[str, Function], path: str, line: int, text: str,
        config: Mapping[str, int]) -> None:
    """The functions of a body that was written out, all of them on the line of the macro's use."""
    file = CFile(path, text, config)
    for name in file.names():
        function = file.defined(name)
        function.line = function.end = line
        for unit in function.units:
            unit.line = unit.end = line
        found.setdefault(name, function)
