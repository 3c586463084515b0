# SPDX-License-Identifier: GPL-2.0-only
"""Where what a patch says outside functions stands: in a tree, and on the port's side."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kvm_vmx.compare.layout import field_table
from kvm_vmx.compare.lexer import C, tokens
from kvm_vmx.compare.patch_lines import uncommented
from kvm_vmx.compare.rows import likeness
from kvm_vmx.compare.units import Function, Unit

if TYPE_CHECKING:
    from kvm_vmx.compare.mail import Hunk
    from kvm_vmx.compare.patch_lines import Statement
    from kvm_vmx.compare.port import Port
    from kvm_vmx.compare.trees import Tree

LONGEST = 12  # lines of a declaration
MOST = 400  # places of a name that are looked at


class Spot(NamedTuple):
    """A statement of one side: its file, its line, its text, how it agrees, and why."""

    path: str
    line: int
    text: str
    how: str = ""
    why: str = ""


# The tree's and the port's, and whether the tree's, or without one the port's, is the same.
Places: TypeAlias = tuple[Spot | None, Spot | None, bool]


class PatchPlaces:
    """Finds what stands in no function by its name."""

    def __init__(self, tree: "Tree | None", port: "Port"):
        self.tree, self.port = tree, port

    @property
    def kernel(self) -> "Tree":
        """The tree, for who has seen that there is one."""
        assert self.tree
        return self.tree

    def find(self, hunk: "Hunk", item: "Statement") -> Places:
        """Where what a statement says stands."""
        key = item.unit.key
        if key[0] == "entry":
            return self.entry(*key[2:])
        words: tuple[str, ...] = key[1:]
        name = name_of(words)
        if key[1:2] == ("#",) and words[1:2] not in (("define",), ("undef",)):
            return self.line(hunk, item)
        ours = self.in_port(name)
        if not self.tree:
            return None, ours, ours is not None
        best, score = None, 0.4
        for path, line, text in self.pieces(name):
            theirs = tuple(token.text for token in tokens(text, C))
            ratio = 2.0 if theirs == words else likeness(set(words), set(theirs))
            if name_of(theirs) == name and ratio > score:
                best, score = Spot(path, line, " ".join(text.split())), ratio
        return best, ours, score == 2.0

    def line(self, hunk: "Hunk", item: "Statement") -> Places:
        """A line of the preprocessor that defines nothing: is it in the file?"""
        if not self.tree:
            return None, None, False
        text = item.unit.text
        for path in (hunk.file, *self.tree.files):
            for n, row in enumerate(self.rows(path), 1):
                if row.startswith("#") and " ".join(row.split()) == text:
                    return Spot(path, n, text), None, path == hunk.file
        return None, None, False

    @functools.cache
    def rows(self, path: str) -> list[str]:
        """The lines of a file of the tree."""
        return self.kernel.files.get(path, "").split("\n")

    def pieces(self, name: str) -> Iterator[tuple[str, int, str]]:
        """(path, line, text) of what begins in column 0 with a name in it, VMX's files first."""
        word, count = re.compile(rf"\b{re.escape(name)}\b"), 0
        order = sorted(self.kernel.files, key=lambda path: ("vmx" not in path, "svm" in path, path))
        for path in order if name else ():
            if name not in self.kernel.files[path]:
                continue
            rows = self.rows(path)
            for n, row in enumerate(rows):
                if row[:1].strip() and row[0] not in "}/*" and word.search(row) and count < MOST:
                    count += 1
                    yield path, n + 1, piece(rows, n)

    def entry(self, field: str, member: str, group: str) -> Places:
        """A row of the field table."""
        ours = self.table.get(field)
        spot = Spot("include/asm/evmcs_fields.h", ours[2],
                    f"EVMCS_FIELD({field}, {ours[0]}, {ours[1]})") if ours else None
        if not self.tree:
            return None, spot, ours is not None and ours[:2] == (member, group)
        theirs = self.theirs.get(field)
        if theirs is None:
            return None, spot, False
        path, line = self.place_of(field)
        return (Spot(path, line, f"{field}, {theirs[0]}, {theirs[1]}"), spot,
                theirs == (member, group))

    @functools.cached_property
    def theirs(self) -> dict[str, tuple[str, str]]:
        """The tree's field table."""
        return field_table(self.kernel)

    def place_of(self, field: str) -> tuple[str, int]:
        """Where the tree's table has a field."""
        for path, text in self.kernel.files.items():
            hit = re.search(rf"EVMCS1_FIELD\({field},", text)
            if hit:
                return path, text.count("\n", 0, hit.start()) + 1
        return "", 0

    @functools.cached_property
    def table(self) -> dict[str, tuple[str, str, int]]:
        """The port's field table: {field: (member, group, line in the header or 0)}."""
        from kvm_vmx import fields

        source = self.source("include/asm/evmcs_fields.h")
        lines = {hit[1]: source.count("\n", 0, hit.start()) + 1
                 for hit in re.finditer(r"EVMCS_FIELD\((\w+),", source)}
        return {row["vmcs_field"]: (row["evmcs_field"], row["clean_field"],
                                    lines.get(row["vmcs_field"], 0)) for row in fields()}

    def source(self, name: str) -> str:
        """A file of the package's checkout, empty where there is none."""
        path = self.port.root.parents[1] / name
        return path.read_text() if path.is_file() else ""

    @functools.cached_property
    def ours(self) -> dict[str, list[str]]:
        """The lines of the port and of the headers that it includes, by file."""
        root = self.port.root.parents[1]
        found = [*self.port.root.rglob("*.p[yx][xd]"), *(root / "include").rglob("*.h"),
                 *(root / "kvm_vmx" / "abi").rglob("*.pxd")]
        return {path.relative_to(root).as_posix(): path.read_text().split("\n")
                for path in sorted(found, key=lambda path: ("vmx" not in path.name, path))}

    def in_port(self, name: str) -> Spot | None:
        """The line that defines a name on the port's side."""
        if not name:
            return None
        define = re.compile(
            rf"(?:#define {name}\b|\b{name} = |_KEY_(?:FALSE|TRUE)\({name}\)"
            rf"|\bcdef [\w *]+\b{name}\s*$|\w+[ *]+\b{name}\[\]|\bu?int\w* {name}$)")
        for path, rows in self.ours.items():
            for n, row in enumerate(rows, 1):
                if name in row and define.search(row.split("  # ")[0]):
                    return Spot(path, n, " ".join(row.strip().rstrip("\\").split()), "place")
        return None


def name_of(words: tuple[str, ...]) -> str:
    """The name that a declaration or a #define is of."""
    if words[:2] == ("#", "define"):
        return words[2] if len(words) > 2 else ""
    if "(" in words and (words[0].isupper() or words[0].startswith("module_")):
        return next((word for word in words[2:] if re.match(r"[A-Za-z_]\w", word)), "")
    before = words[:next((n for n, word in enumerate(words) if word in ("=", ";", "(", "[")),
                         len(words))]
    return next((word for word in reversed(before) if re.match(r"[A-Za-z_]", word)
                 and not word.startswith("__")), "")


def piece(rows: Sequence[str], n: int) -> str:
    """What begins at a line, up to its end."""
    found = []
    for row in rows[n:n + LONGEST]:
        found.append(row.rstrip("\\") if rows[n][:1] == "#" else row)
        if rows[n][:1] == "#" and not row.endswith("\\") or rows[n][:1] != "#" \
                and row.rstrip().endswith((";", "{")):
            break
    return " ".join(uncommented(found))


def spot_of(function: Function, unit: Unit) -> Spot:
    """Where a statement of a function stands."""
    return Spot(function.path, unit.line, unit.text)


def moved_to(hunk: "Hunk", spot: Spot | None) -> str:
    """A word where something stands in another file than the patch had it in."""
    return f"to {spot.path}" if spot and hunk.file and spot.path != hunk.file else ""
