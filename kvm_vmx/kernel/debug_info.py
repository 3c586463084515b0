# SPDX-License-Identifier: GPL-2.0-only
"""The entries of an image's .debug_info, of DWARF's versions 4 and 5, in a linked 64-bit file."""

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kvm_vmx.machine.line_table import DwarfReader, NoLines, sections

SIBLING, NAME = 0x01, 0x03
# forms by their size; those that say their own are read
SIZES = {0x01: 8, 0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x0E: 4, 0x11: 1, 0x12: 2, 0x13: 4,
         0x14: 8, 0x17: 4, 0x19: 0, 0x1E: 16, 0x1F: 4, 0x21: 0}
STRP, LINE_STRP, IMPLICIT, IN_UNIT = 0x0E, 0x1F, 0x21, (0x11, 0x12, 0x13, 0x14, 0x15)
STRING, SDATA, UDATA, REF_UDATA = 0x08, 0x0D, 0x0F, 0x15
# {a form with bytes of its own: how many bytes say how many, 0 for LEB128}
BLOCKS = {0x03: 2, 0x04: 4, 0x09: 0, 0x0A: 1, 0x18: 0}
DWARF4, DWARF5 = 4, 5


class Shape(NamedTuple):
    """What an entry of one kind looks like: its tag, whether entries follow that are its own, its
    attributes as (attribute, form, value where the form has none), and its size where that is
    always the same, else -1."""

    tag: int
    parent: bool
    attributes: list[tuple[int, int, int]]
    size: int


class DebugEntry(NamedTuple):
    """One entry: where it is, and its attributes."""

    at: int
    tag: int
    attributes: dict[int, int | str]
    after: int
    parent: bool


class CompiledFile(NamedTuple):
    """One compiled file: its name, where its entries begin and end, and its shapes."""

    name: str
    start: int
    first: int
    end: int
    shapes: dict[int, Shape]


class DebugInfo:
    """The entries of an image's .debug_info by the compiled files that they are of."""

    def __init__(self, path: str | Path) -> None:
        self.data = Path(path).read_bytes()
        found = sections(self.data)
        if ".debug_info" not in found or ".debug_aranges" not in found:
            raise NoLines(f"{path} was built without debug information")
        self.found, self.info = found, found[".debug_info"].offset
        self._units: dict[int, CompiledFile] = {}
        self._shapes: dict[int, dict[int, Shape]] = {}
        self.ranges = sorted(self._ranges())

    def _ranges(self) -> Iterator[tuple[int, int, int]]:
        """(address, length, unit) of each piece of text."""
        where = self.found[".debug_aranges"]
        reader = DwarfReader(self.data, where.offset)
        while reader.at < where.offset + where.size:
            begin, length = reader.at, reader.number(4)
            end = reader.at + length
            reader.number(2)
            unit = reader.number(4)
            reader.number(2)
            reader.at += -(reader.at - begin) % 16
            while reader.at < end:
                address, size = reader.number(8), reader.number(8)
                if size:
                    yield address, size, unit

    def unit_at(self, address: int) -> CompiledFile | None:
        """The unit of an address, or None."""
        at = bisect.bisect_right(self.ranges, (address, 1 << 64, 0)) - 1
        if at < 0 or address >= self.ranges[at][0] + self.ranges[at][1]:
            return None
        return self.unit(self.ranges[at][2])

    def units(self) -> list[CompiledFile]:
        """Each unit that has text."""
        return [self.unit(offset) for offset in sorted({unit for _, _, unit in self.ranges})]

    def unit(self, offset: int) -> CompiledFile:
        """The unit that begins at an offset of .debug_info."""
        if offset not in self._units:
            reader = DwarfReader(self.data, self.info + offset)
            length = reader.number(4)
            end = reader.at + length
            version = reader.number(2)
            if version not in (DWARF4, DWARF5):
                raise NoLines(f"debug information of version {version}")
            reader.number(2 if version == DWARF5 else 0)
            shapes = reader.number(4)
            reader.number(0 if version == DWARF5 else 1)
            unit = CompiledFile("", self.info + offset, reader.at, end, self.shapes(shapes))
            top = self.entry(unit, reader.at)
            self._units[offset] = unit._replace(
                name=str(top.attributes.get(NAME, "")), first=top.after)
        return self._units[offset]

    def shapes(self, offset: int) -> dict[int, Shape]:
        """The shapes of a unit's entries, by number."""
        if offset in self._shapes:
            return self._shapes[offset]
        reader = DwarfReader(self.data, self.found[".debug_abbrev"].offset + offset)
        found: dict[int, Shape] = {}
        while number := reader.leb():
            tag, parent, attributes = reader.leb(), bool(reader.number(1)), []
            while True:
                attribute, form = reader.leb(), reader.leb()
                if not form:
                    break
                attributes.append((attribute, form,
                                   reader.leb(signed=True) if form == IMPLICIT else 0))
            sizes = [SIZES.get(form, -1) for _, form, _ in attributes]
            found[number] = Shape(tag, parent, attributes, -1 if -1 in sizes else sum(sizes))
        self._shapes[offset] = found
        return found

    def _value(self, reader: DwarfReader, unit: CompiledFile, form: int) -> int | str:
        if form in (STRP, LINE_STRP):
            section = self.found[".debug_str" if form == STRP else ".debug_line_str"]
            return DwarfReader(self.data, section.offset + reader.number(4)).string()
        if form in SIZES:
            value = reader.number(SIZES[form])
        elif form in (UDATA, REF_UDATA):
            value = reader.leb()
        elif form == SDATA:
            value = reader.leb(signed=True)
        elif form == STRING:
            return reader.string()
        elif form in BLOCKS:
            # where something lies, which nobody asks here
            size = reader.number(BLOCKS[form]) if BLOCKS[form] else reader.leb()
            reader.at += size
            return 0
        else:
            raise NoLines(f"form {form:#x} in the debug information")
        return value + unit.start if form in IN_UNIT else value

    def entry(self, unit: CompiledFile, at: int) -> DebugEntry:
        """The entry at a place of the file; its tag is 0 where it ends a list."""
        reader = DwarfReader(self.data, at)
        number = reader.leb()
        if not number:
            return DebugEntry(at, 0, {}, reader.at, False)
        shape = unit.shapes[number]
        found: dict[int, int | str] = {}
        for attribute, form, value in shape.attributes:
            found[attribute] = value if form == IMPLICIT else self._value(reader, unit, form)
        return DebugEntry(at, shape.tag, found, reader.at, shape.parent)

    def children(self, unit: CompiledFile, at: int,
                 only: tuple[int, ...] = ()) -> Iterator[DebugEntry]:
        """The entries of one list, of some tags alone where they are named."""
        while at < unit.end:
            number, reader = self.data[at], None
            if number >= 0x80:
                reader = DwarfReader(self.data, at)
                number = reader.leb()
            if not number:
                return
            shape = unit.shapes[number]
            if only and shape.tag not in only and shape.size >= 0 and not shape.parent:
                at = (reader.at if reader else at + 1) + shape.size
                continue
            entry = self.entry(unit, at)
            if not only or entry.tag in only:
                yield entry
            at = self.behind(unit, entry)

    def behind(self, unit: CompiledFile, entry: DebugEntry) -> int:
        """Where the entry after one and all that is its own begins."""
        if not entry.parent:
            return entry.after
        if SIBLING in entry.attributes:
            return int(entry.attributes[SIBLING])
        at = entry.after
        while (inner := self.entry(unit, at)).tag:
            at = self.behind(unit, inner)
        return inner.after
