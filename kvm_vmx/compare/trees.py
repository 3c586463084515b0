# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree as the comparison sees it: files by path, functions by name."""

import re
from collections.abc import Mapping

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.preprocessor import CONFIG
from kvm_vmx.compare.report import stub_unit
from kvm_vmx.compare.units import Function, Unit

HEAD = re.compile(r"^[A-Za-z_].*", re.M)
WORD = re.compile(r"\w+")
ENABLED = re.compile(r"#if IS_ENABLED\((CONFIG_\w+)\)")


def far(path: str) -> tuple[bool, str]:
    """The order in which files are searched: those of the other vendor last."""
    return "svm" in path, path


class Tree:
    """The files of a tree that KVM's path lies in; `read` gives the text of one, or None."""

    def __init__(self, title: str, files: dict[str, str], config: Mapping[str, int] | None = None):
        self.title, self.files = title, files
        self.config = {**CONFIG, **(config or {})}
        self.parsed: dict[tuple[object, ...], CFile | None] = {}
        self.known: dict[tuple[str, str], Function | None] = {}
        self.spoken: dict[str, set[str]] = {}

    def file(self, path: str, **config: int) -> CFile | None:
        """One file with its definitions, under the tree's configuration or a changed one."""
        key = (path, *config.items())
        if key not in self.parsed:
            text = self.files.get(path)
            self.parsed[key] = None if text is None else CFile(
                path, text, {**self.config, **config})
        return self.parsed[key]

    def present(self, path: str) -> CFile:
        """One of the files that the tree has."""
        file = self.file(path)
        assert file, path
        return file

    def function(self, name: str, path: str) -> Function | None:
        """A function by name: of the file it is said to be in, or of any other that has it."""
        if (name, path) not in self.known:
            self.known[name, path] = self.search(name, path)
        return self.known[name, path]

    def search(self, name: str, path: str) -> Function | None:
        """Look into the file it is said to be in first, then into the others."""
        others = sorted((other for other in self.files if other != path), key=far)
        places = [path, *others]
        for place in places:
            if name in self.heads(place):
                found = self.present(place).function(name)
                if found is not None:
                    return found
        return None

    def heads(self, path: str) -> set[str]:
        """The words of a file's lines that begin in column 0: what it defines is among them."""
        if path not in self.spoken:
            lines = HEAD.findall(self.files.get(path, ""))
            self.spoken[path] = set(WORD.findall("\n".join(lines)))
        return self.spoken[path]

    def stub(self, function: Function) -> Unit | None:
        """What a function is where its condition does not hold, if that is nothing at all."""
        hit = ENABLED.fullmatch(function.condition)
        if not hit:
            return None
        file = self.file(function.path, **{hit[1]: 0})
        return stub_unit(function, hit[1], file.function(function.name) if file else None)
