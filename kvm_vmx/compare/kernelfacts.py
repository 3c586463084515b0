# SPDX-License-Identifier: GPL-2.0-only
"""The facts of a kernel tree: those of the files in scope, and of others what the port has."""

import copy
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from kvm_vmx.compare.csource import CFile
from kvm_vmx.compare.facts import CFacts, Fact, Names
from kvm_vmx.compare.folding import Definition
from kvm_vmx.compare.held import rules
from kvm_vmx.compare.portfacts import LAYOUTS
from kvm_vmx.compare.preprocessor import DIRECTIVE
from kvm_vmx.compare.renaming import alike, by_use
from kvm_vmx.compare.toplevel import TopLevel, squeezed

if TYPE_CHECKING:
    from kvm_vmx.compare.trees import Tree

WORD = re.compile(r"[A-Za-z_]\w*")
SYMBOL = re.compile(r"\bCONFIG_\w+|\bHAVE_JUMP_LABEL\b|\bCC_HAVE_ASM_GOTO\b")
FIXED = {"CONFIG_X86_64", "CONFIG_X86_32", "CONFIG_64BIT"}  # what the port is of
ALONE = {"condition", "inactive"}  # a configuration's, and so of one side


class KernelFacts:
    """The facts of a tree: those of the files in scope, and of others what `wanted` has.

    `more` is what names stand for that no file of the tree defines."""

    def __init__(self, tree: "Tree", wanted: AbstractSet[tuple[str, str]],
                 more: Mapping[str, Definition] | None = None):
        self.tree, self.wanted, self.more = tree, wanted, more or {}
        self.whole = [path for path in rules()["whole"] if path in tree.files]
        self.tops = {path: TopLevel(tree.present(path)) for path in self.whole}
        self.words = {name for _, name in wanted} | {name.partition(".")[0] for _, name in wanted}
        for path in sorted(tree.files):
            if path not in self.tops and any(hit.fullmatch(path) for hit in rules()["named"]) \
                    and not self.words.isdisjoint(WORD.findall(tree.files[path])):
                self.tops[path] = TopLevel(tree.present(path))
        names = self.names()
        self.others: dict[str, list[CFile]] = {}
        self.by_file = {path: self.facts_of(path, names) for path in self.tops}
        self.index()

    def names(self) -> Names:
        """The names of all files, then those that stand in none."""
        names = Names(self.tops.values())
        for name in self.more:
            names.defined.setdefault(name, self.more[name])
        return names

    def facts_of(self, path: str, names: Names) -> list[Fact]:
        """The facts of one file that a row can be of."""
        whole = path in self.whole
        found = CFacts(self.tops[path], names, path.endswith(LAYOUTS),
                       None if whole else self.words).facts
        return found if whole else [fact for fact in found
                                    if (fact.kind, fact.name) in self.wanted
                                    and fact.kind not in ALONE]

    def index(self) -> None:
        """The facts of all files by kind and name."""
        self.by_name: dict[tuple[str, str], list[Fact]] = {}
        for facts in self.by_file.values():
            for fact in facts:
                self.by_name.setdefault((fact.kind, fact.name), []).append(fact)

    @property
    def facts(self) -> list[Fact]:
        """All facts, in the order of the files."""
        return [fact for facts in self.by_file.values() for fact in facts]

    def with_file(self, tree: "Tree", path: str) -> "KernelFacts":
        """The facts of a tree of which one file is other than in this one."""
        other = copy.copy(self)
        other.tree, other.tops = tree, {**self.tops, path: TopLevel(tree.present(path))}
        other.others = {}
        other.by_file = {**self.by_file}
        other.by_file[path] = other.facts_of(path, other.names())
        other.index()
        return other

    def hidden(self, path: str) -> set[str]:
        """The kinds and names of the facts that another configuration gives a file."""
        found: set[str] = set()
        for file in self.otherwise(path):
            top = TopLevel(file)
            facts = CFacts(top, Names([top]), path.endswith(LAYOUTS)).facts
            found |= {f"{fact.kind} {fact.name}" for fact in facts}
        return found

    def otherwise(self, path: str) -> list[CFile]:
        """A file under the configurations' extremes."""
        if path not in self.others:
            self.others[path] = [
                CFile(path, self.tree.files[path], {**self.tree.config, **config})
                for config in extremes(self.tree)]
        return self.others[path]

    def alike(self, path: str, name: str) -> str | None:
        """The digest of a function's statements in any words, all branches of its #if in it."""
        top = self.tops[path]
        function = top.file.function(name)
        if function is None:
            return None
        here = range(function.line, function.end + 1)
        stripped = top.stripped.split("\n")
        if not any("#" in stripped[line - 1] for line in here):
            return alike([function])
        files = [top.file, *self.otherwise(path)]
        hidden = top.file.active.inactive.intersection(
            *(file.active.inactive for file in files[1:]))
        words = [stripped[line - 1] for line in here if line in hidden]
        words += [hit[0] for hit in DIRECTIVE.finditer("\n".join(
            stripped[line - 1] for line in here)) if hit[1] in ("define", "include", "undef")]
        found = [one for file in files if (one := file.function(name))]
        places = {own: f"${n}" for n, own in enumerate(by_use(function))}
        said = WORD.sub(lambda hit: places.get(hit[0], hit[0]), squeezed(" ".join(words)))
        return alike(found, said)


def extremes(tree: "Tree") -> list[dict[str, int]]:
    """A configuration with all that the files in scope ask for, and one with nothing of it."""
    texts = (tree.files[path] for path in rules()["whole"] if path in tree.files)
    symbols = set(SYMBOL.findall("\n".join(texts))) - FIXED
    return [dict.fromkeys(symbols, 1), dict.fromkeys(symbols, 0)]
