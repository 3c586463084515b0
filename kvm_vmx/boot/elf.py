# SPDX-License-Identifier: GPL-2.0-only
"""What an ELF file says of itself: entry, segments, symbols. 32 and 64 bits, x86 alone."""

import dataclasses
import struct

PT_LOAD, SHT_SYMTAB, ET_EXEC = 1, 2, 2
MACHINES = {1: 3, 2: 62}        # class: EM_386, EM_X86_64


@dataclasses.dataclass(frozen=True)
class LoadSegment:
    """Bytes to load: where in physical and linear memory, and how much it takes there."""

    physical: int
    linear: int
    data: bytes
    size: int


@dataclasses.dataclass(frozen=True)
class Executable:
    """An executable: its width in bits, its entry and its segments."""

    bits: int
    entry: int
    segments: tuple[LoadSegment, ...]
    symbols: dict[str, int]


def is_elf(data: bytes) -> bool:
    """Does it begin like an ELF file?"""
    return data[:4] == b"\x7fELF"


def parse(data: bytes) -> Executable:
    """The executable in a file's bytes; ValueError for what is none, or is cut off."""
    try:
        return _parse(data)
    except (struct.error, IndexError) as error:
        raise ValueError("an ELF file that is cut off: give a whole one") from error


def _parse(data: bytes) -> Executable:
    kind, order = data[4], data[5]
    wide = kind == 2
    if kind not in MACHINES or order != 1:
        raise ValueError("an ELF file of no x86 processor: give one for i386 or x86-64")
    head = struct.unpack_from("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", data, 16)
    type_, machine, _, entry, programs, sections = head[:6]
    if type_ != ET_EXEC or machine != MACHINES[kind]:
        raise ValueError("no executable for x86: link it to fixed addresses (-no-pie -static)")
    entry_size, count = head[8], head[9]
    segments = []
    for at in range(programs, programs + count * entry_size, entry_size):
        if wide:
            what, _, offset, linear, physical, length, size, _ = struct.unpack_from(
                "<IIQQQQQQ", data, at)
        else:
            what, offset, linear, physical, length, size, _, _ = struct.unpack_from(
                "<IIIIIIII", data, at)
        if what != PT_LOAD:
            continue
        if offset + length > len(data) or size < length:
            raise struct.error
        segments.append(LoadSegment(physical, linear, data[offset:offset + length], size))
    return Executable(64 if wide else 32, entry, tuple(segments),
                      _symbols(data, wide, sections, head[11], head[10]))


def _section(data: bytes, wide: bool, at: int) -> tuple[int, int, int, int]:
    """(type, offset, size, link) of the section header at an offset."""
    if wide:
        _, kind, _, _, offset, size, link = struct.unpack_from("<IIQQQQI", data, at)
    else:
        _, kind, _, _, offset, size, link = struct.unpack_from("<IIIIIII", data, at)
    return kind, offset, size, link


def _symbols(data: bytes, wide: bool, sections: int, count: int, entry: int) -> dict[str, int]:
    found = {}
    for n in range(count):
        kind, offset, size, link = _section(data, wide, sections + n * entry)
        if kind != SHT_SYMTAB:
            continue
        _, names, names_size, _ = _section(data, wide, sections + link * entry)
        text = data[names:names + names_size]
        step = 24 if wide else 16
        for at in range(offset, offset + size - step + 1, step):
            if wide:
                name, _, _, where, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            else:
                name, value, _, _, _, where = struct.unpack_from("<IIIBBH", data, at)
            if name and where:
                found[text[name:text.index(b"\0", name)].decode("latin-1")] = value
    return found
