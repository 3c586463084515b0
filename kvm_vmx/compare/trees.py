# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree as the comparison sees it: files by path, functions by name."""

import re

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.preprocessor import CONFIG
from kvm_vmx.compare.report import stub_unit

HEAD = re.compile(r"^[A-Za-z_].*", re.M)
WORD = re.compile(r"\w+")
ENABLED = re.compile(r"#if IS_ENABLED\((CONFIG_\w+)\)")


def far(path: str) -> tuple:
    """The order in which files are searched: those of the other vendor last."""
    return "svm" in path, path


class Tree:
    """The files of a tree that KVM's path lies in; `read` gives the text of one, or None."""

    def __init__(self, title: str, files: dict, config=None):
        self.title, self.files = title, files
        self.config = {**CONFIG, **(config or {})}
        self.parsed, self.known, self.spoken = {}, {}, {}

    def file(self, path: str, **config) -> CFile | None:
        """One file with its definitions, under the tree's configuration or a changed one."""
        key = (path, *config.items())
        if key not in self.parsed:
            text = self.files.get(path)
            self.parsed[key] = None if text is None else CFile(
                path, text, {**self.config, **config})
        return self.parsed[key]

    def function(self, name: str, path: str):
        """A function by name: of the file it is said to be in, or of any other that has it."""
        if (name, path) not in self.known:
            self.known[name, path] = self.search(name, path)
        return self.known[name, path]

    def search(self, name: str, path: str):
        """Look into the file it is said to be in first, then into the others."""
        others = sorted((other for other in self.files if other != path), key=far)
        places = [path, *others]
        for place in places:
            if name in self.heads(place):
                found = self.file(place).function(name)
                if found is not None:
                    return found
        return None

    def heads(self, path: str) -> set[str]:
        """The words of a file's lines that begin in column 0: what it defines is among them."""
        if path not in self.spoken:
            lines = HEAD.findall(self.files.get(path, ""))
            self.spoken[path] = set(WORD.findall("\n".join(lines)))
        return self.spoken[path]

    def stub(self, function):
        """What a function is where its condition does not hold, if that is nothing at all."""
        hit = ENABLED.fullmatch(function.condition)
        if not hit:
            return None
        other = self.file(function.path, **{hit[1]: 0}).function(function.name)
        return stub_unit(function, hit[1], other)
