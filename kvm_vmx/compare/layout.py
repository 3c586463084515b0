# SPDX-License-Identifier: GPL-2.0-only
"""The field table and the layout of the enlightened VMCS, read from a tree's own headers."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvm_vmx.compare.lexer import C, Token, tokens
from kvm_vmx.compare.types import parse_type

if TYPE_CHECKING:
    from kvm_vmx.compare.trees import Tree

ENTRY = re.compile(
    r"\bEVMCS1_FIELD\(\s*([A-Z]\w*)\s*,\s*(\w+)\s*,"
    r"\s*HV_VMX_ENLIGHTENED_CLEAN_FIELD_(\w+)\s*\)")
NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[1-9]\d*|0")
STRUCT = re.compile(r"\bstruct\s+hv_enlightened_vmcs\s*\{")
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "uint": 4, "int": 4, "ulong": 8, "s32": 4,
         "s64": 8, "hv_vp_assist_page": 8, "gpa": 8, "hv_gpa": 8}
DEEPEST = 16  # structures in one another


def field_table(tree: "Tree") -> dict[str, tuple[str, str]]:
    """Each VMCS field of the table: its member and its clean group."""
    found: dict[str, tuple[str, str]] = {}
    for path, text in tree.files.items():
        if "EVMCS1_FIELD" in text and "svm" not in path:
            for name, member, group in ENTRY.findall(tree.present(path).active.text):
                found.setdefault(name, (member, group))
    return found


def layout(tree: "Tree") -> tuple[dict[str, tuple[int, int]], int]:
    """Each member of struct hv_enlightened_vmcs: offset and size; and the size of it all."""
    for path, text in tree.files.items():
        if "struct hv_enlightened_vmcs" in text and STRUCT.search(text):
            active = tree.present(path).active.text
            reader = MemberReader(active)
            place = STRUCT.search(active)
            if place:
                inside = tokens(active, C, place.end(), reader.close(place.end()))
                try:
                    return reader.structure(inside)
                except RecursionError:  # nested deeper than any reader follows
                    return {}, 0
    return {}, 0


class MemberReader:
    """Offsets by C's own rules: natural alignment, or none where a structure is packed."""

    def __init__(self, text: str):
        self.text = text
        self.known: dict[str, tuple[int, int]] = {}
        self.depth = 0

    def close(self, at: int) -> int:
        """Where the brace that is open at a place is closed."""
        depth = 1
        while depth and at < len(self.text):
            depth += (self.text[at] == "{") - (self.text[at] == "}")
            at += 1
        return at - 1

    def size_of(self, name: str) -> tuple[int, int]:
        """Size and alignment of a type by name: a number, or a structure of the same file."""
        if name in SIZES:
            return SIZES[name], SIZES[name]
        if name not in self.known:
            self.known[name] = (8, 8)
            hit = re.search(rf"\b(struct|union)\s+{re.escape(name)}\s*\{{", self.text)
            if hit:
                end = self.close(hit.end())
                inside = tokens(self.text, C, hit.end(), end)
                packed = "__packed" in self.text[end:end + 60].partition(";")[0]
                self.known[name] = self.extent(inside, hit[1] == "union", packed)
        return self.known[name]

    def structure(self, inside: list[Token]) -> tuple[dict[str, tuple[int, int]], int]:
        """The members of a structure, and its size."""
        members, size, _ = self.place(inside, False, False)
        return members, size

    def extent(self, inside: list[Token], union: bool, packed: bool) -> tuple[int, int]:
        """Size and alignment of what stands between braces."""
        _, size, align = self.place(inside, union, packed)
        return size, align

    def place(self, inside: list[Token], union: bool,
              packed: bool) -> tuple[dict[str, tuple[int, int]], int, int]:
        """Walk the members; bits share the storage unit of their type."""
        members: dict[str, tuple[int, int]] = {}
        offset, widest, end, bits = 0, 1, 0, (0, 0)
        for name, size, align, width in self.members(inside):
            align = 1 if packed else align
            if width and bits[0] == size and bits[1] + width <= 8 * size:
                bits = (size, bits[1] + width)
                continue
            bits = (size, width) if width else (0, 0)
            offset = -(-offset // align) * align
            members[name] = (offset, size)
            end = max(end, offset + size)
            widest = max(widest, align)
            if not union:
                offset += size
        return members, -(-end // widest) * widest, widest

    def members(self, inside: list[Token]) -> Iterator[tuple[str, int, int, int]]:
        """(name, size, alignment, width in bits) of each declared member."""
        at = 0
        while at < len(inside):
            end, depth = at, 0
            while end < len(inside) and (depth or inside[end].text != ";"):
                depth += (inside[end].text == "{") - (inside[end].text == "}")
                end += 1
            part = inside[at:end]
            at = end + 1
            if any(token.text == "{" for token in part):
                yield self.nested(part)
            elif part:
                yield from self.plain(part)

    def nested(self, part: list[Token]) -> tuple[str, int, int, int]:
        """A structure or union declared where it is used."""
        first = next(n for n, token in enumerate(part) if token.text == "{")
        last = max((n for n, token in enumerate(part) if token.text == "}"), default=len(part))
        behind = [token.text for token in part[last + 1:] if token.kind == "id"]
        names = [word for word in behind if not word.startswith("__")]
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        size, align = self.extent(
            part[first + 1:last], part[0].text == "union", "__packed" in behind)
        self.depth -= 1
        return (names[0] if names else f"({part[0].offset})", size, align, 0)

    def plain(self, part: list[Token]) -> Iterator[tuple[str, int, int, int]]:
        """`type a, b[2];` or `type a : 3;`"""
        commas = [n for n, token in enumerate(part) if token.text == ","]
        ends = (n for n, token in enumerate(part) if token.text in (",", "[", ":"))
        first = next(ends, len(part))
        base = parse_type(part[:first - 1])
        size, align = (8, 8) if base[2] else self.size_of(base[1])
        for begin, end in zip([first - 1, *(n + 1 for n in commas)], [*commas, len(part)]):
            words = [token.text for token in part[begin:end]]
            if words:
                yield words[0], size * behind(words, "[", 1), align, behind(words, ":", 0)


def behind(words: list[str], mark: str, otherwise: int) -> int:
    """The number behind a mark, where there is one."""
    following = words[words.index(mark) + 1:] if mark in words else []
    return int(following[0], 0) if following and NUMBER.fullmatch(following[0]) else otherwise
