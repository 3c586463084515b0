# SPDX-License-Identifier: GPL-2.0-only
"""Which source line each address of a compiled module is of: ELF and DWARF's line program, read.

Versions 4 and 5 of the line program (DWARF 5, 6.2), of a 64-bit little-endian file.
"""

import bisect
import struct
from typing import NamedTuple

DW_LNCT_PATH, DW_LNCT_DIRECTORY = 1, 2
DW_FORM_STRING, DW_FORM_DATA1, DW_FORM_DATA2, DW_FORM_UDATA = 0x08, 0x0B, 0x05, 0x0F
DW_FORM_BLOCK, DW_FORM_DATA16, DW_FORM_STRP, DW_FORM_LINE_STRP = 0x09, 0x1E, 0x0E, 0x1F


class NoLines(ValueError):
    """A file without line numbers, or with some that are not understood."""


class DebugSection(NamedTuple):
    """A section of an ELF file."""

    offset: int
    size: int


def sections(image: bytes) -> dict[str, DebugSection]:
    """The sections by name; NoLines where this is no ELF file of 64 bits."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise NoLines("no ELF file of 64 bits")
    start, = struct.unpack_from("<Q", image, 0x28)
    size, count, names = struct.unpack_from("<HHH", image, 0x3A)
    rows = [struct.unpack_from("<IIQQQQ", image, start + n * size) for n in range(count)]
    text = rows[names][4]
    return {image[text + row[0]:image.index(b"\0", text + row[0])].decode():
            DebugSection(row[4], row[5]) for row in rows}


class DwarfReader:
    """Numbers and strings one after another."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at

    def number(self, size: int, signed: bool = False) -> int:
        """A number of so many bytes."""
        self.at += size
        return int.from_bytes(self.data[self.at - size:self.at], "little", signed=signed)

    def leb(self, signed: bool = False) -> int:
        """A number of as many bytes as it needs, LEB128."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value

    def string(self) -> str:
        """Bytes up to a zero."""
        end = self.data.index(b"\0", self.at)
        text = self.data[self.at:end].decode(errors="replace")
        self.at = end + 1
        return text


class Program:
    """The line programs of one file: rows() has (address, file, line) in the order of addresses."""

    def __init__(self, image: bytes):
        self.image = image
        self.found = sections(image)
        if ".debug_line" not in self.found:
            raise NoLines("built without line numbers")

    def rows(self) -> list[tuple[int, str, int]]:
        """All rows; line 0 ends a piece of text."""
        where = self.found[".debug_line"]
        reader, rows = DwarfReader(self.image, where.offset), []
        while reader.at < where.offset + where.size:
            rows += self.unit(reader)
        return sorted(rows, key=lambda row: row[0])

    def text(self, reader: DwarfReader, form: int) -> int | str:
        """An attribute of a directory or a file."""
        if form == DW_FORM_STRING:
            return reader.string()
        if form in (DW_FORM_STRP, DW_FORM_LINE_STRP):
            name = ".debug_str" if form == DW_FORM_STRP else ".debug_line_str"
            return DwarfReader(self.image, self.found[name].offset + reader.number(4)).string()
        if form == DW_FORM_UDATA:
            return reader.leb()
        if form == DW_FORM_BLOCK:
            return reader.number(reader.leb())
        sizes = {DW_FORM_DATA1: 1, DW_FORM_DATA2: 2, DW_FORM_DATA16: 16}
        if form not in sizes:
            raise NoLines(f"form {form:#x} in the line table")
        return reader.number(sizes[form])

    def entries(self, reader: DwarfReader) -> list[tuple[str, int]]:
        """The directories or the files of a unit of version 5: name, and number of directory."""
        shape = [(reader.leb(), reader.leb()) for _ in range(reader.number(1))]
        found = [{kind: self.text(reader, form) for kind, form in shape}
                 for _ in range(reader.leb())]
        return [(str(one.get(DW_LNCT_PATH, "")), int(one.get(DW_LNCT_DIRECTORY, 0)))
                for one in found]

    def files(self, reader: DwarfReader, version: int) -> list[str]:
        """The paths of the files, as a row numbers them."""
        if version == 5:
            folders = [name for name, _ in self.entries(reader)]
            named = self.entries(reader)
        else:
            folders, named = [""], [("", 0)]
            while folder := reader.string():
                folders.append(folder)
            while name := reader.string():
                named.append((name, reader.leb()))
                reader.leb()
                reader.leb()
        return [f"{folders[n]}/{name}" if n < len(folders) else name for name, n in named]

    def unit(self, reader: DwarfReader) -> list[tuple[int, str, int]]:
        """The rows of one unit."""
        length = reader.number(4)
        end = reader.at + length
        version = reader.number(2)
        if version not in (4, 5):
            raise NoLines(f"a line table of version {version}")
        if version == 5:
            reader.number(2)
        program = reader.number(4) + reader.at
        least, _, _, base, span, opcodes = (
            reader.number(1), reader.number(1), reader.number(1), reader.number(1, signed=True),
            reader.number(1), reader.number(1))
        lengths = [0, *(reader.number(1) for _ in range(opcodes - 1))]
        names = self.files(reader, version)
        reader.at = program
        return self.run(reader, end, least, base, span, lengths, names)

    @staticmethod
    def run(reader: DwarfReader, end: int, least: int, base: int, span: int, lengths: list[int],
            names: list[str]) -> list[tuple[int, str, int]]:
        """Execute a line program (DWARF 5, 6.2.5)."""
        rows: list[tuple[int, str, int]] = []
        address, file, line = 0, 1, 1

        def row(number: int) -> None:
            rows.append((address, names[file] if file < len(names) else "", number))

        while reader.at < end:
            code = reader.number(1)
            if code >= len(lengths):
                address += (code - len(lengths)) // span * least
                line += base + (code - len(lengths)) % span
                row(line)
            elif code == 0:
                after = reader.leb() + reader.at
                kind = reader.number(1)
                if kind == 1:       # the end of a piece
                    row(0)
                    address, file, line = 0, 1, 1
                elif kind == 2:
                    address = reader.number(8)
                reader.at = after
            elif code == 1:
                row(line)
            elif code == 2:
                address += reader.leb() * least
            elif code == 3:
                line += reader.leb(signed=True)
            elif code == 4:
                file = reader.leb()
            elif code == 8:
                address += (255 - len(lengths)) // span * least
            elif code == 9:
                address += reader.number(2)
            else:
                for _ in range(lengths[code]):
                    reader.leb()
        return rows


class LineTable:
    """The lines of one compiled module."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            rows = Program(file.read()).rows()
        self.starts = [address for address, _, _ in rows]
        self.places = [(file, line) for _, file, line in rows]

    def at(self, address: int) -> tuple[str, int] | None:
        """(file, line) of an address as the file has it, or None."""
        n = bisect.bisect_right(self.starts, address) - 1
        return self.places[n] if n >= 0 and self.places[n][1] else None
