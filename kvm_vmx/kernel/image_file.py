# SPDX-License-Identifier: GPL-2.0-only
"""The sections and symbols of an image, read from its ELF file."""

import bisect
import functools
import os
import struct
from pathlib import Path
from typing import NamedTuple

from kvm_vmx.errors import BuildError

SHF_ALLOC, SHT_SYMTAB, SHT_NOBITS = 2, 2, 8
STT_FUNC = 2

# Instructions of the tables that user space reads and should not: others are emulated for them.
REPLACED = ("sidt", "sgdt", "sldt", "str")


class Section(NamedTuple):
    """One section: where it is to lie, how long it is, and what stands in it."""

    name: str
    address: int
    size: int
    data: bytes
    loaded: bool


class Elf:
    """An image as it lies in its file; BuildError where it is none."""

    def __init__(self, path: str | Path) -> None:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise BuildError(f"no image {str(path)!r}: {error.strerror}: build one first") from None
        if data[:6] != b"\x7fELF\x02\x01":
            raise BuildError(f"{path} is no image: give what kvm-vmx kernel build has made")
        try:
            self._read(data)
            self.listed = []
            for line in Path(f"{path}.sites").read_text().splitlines():
                kind, address, code = line.split()
                self.listed.append((kind, int(address, 16), bytes.fromhex(code)))
        except FileNotFoundError:
            raise BuildError(f"{path}.sites is missing: build the image again") from None
        except (struct.error, IndexError, StopIteration, UnicodeDecodeError):
            raise BuildError(f"{path} is cut short: build it again") from None

    def _read(self, data: bytes) -> None:
        offset, = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        raw = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]

        def name(table: int, at: int) -> str:
            start = raw[table][4] + at
            return data[start:data.index(b"\0", start)].decode()

        self.sections = [
            Section(name(names, head[0]), head[3], head[5],
                    b"" if head[1] == SHT_NOBITS else data[head[4]:head[4] + head[5]],
                    bool(head[2] & SHF_ALLOC)) for head in raw]
        table = next(head for head in raw if head[1] == SHT_SYMTAB)
        self.symbols: dict[str, int] = {}
        found = []
        for at in range(table[4], table[4] + table[5], 24):
            where, info, _, section, value, length = struct.unpack_from("<IBBHQQ", data, at)
            if not where or not section:
                continue
            symbol = name(table[6], where)
            if info >> 4 or symbol not in self.symbols:
                self.symbols[symbol] = value
            if info & 15 == STT_FUNC and value:
                found.append((value, length, symbol))
        self._functions = sorted(found)

    def sites(self) -> list[tuple[int, bytes]]:
        """(address, bytes) of each instruction that must not be executed as it stands, as the
        build has found them by disassembly."""
        return [(address, code) for name, address, code in self.listed if name in REPLACED]

    @property
    def silent(self) -> list[tuple[str, str]]:
        """(instruction, function) of what user space executes without a trap, and which is left:
        named, since what it finds is this process's and not L1's."""
        return [(name, self.function(address) or hex(address))
                for name, address, _ in self.listed if name not in REPLACED]

    @functools.cached_property
    def variables(self) -> dict[int, str]:
        """{address: name} of what is no function."""
        functions = {value for value, _, _ in self._functions}
        return {value: name for name, value in self.symbols.items()
                if value and value not in functions}

    def functions(self) -> list[tuple[str, int]]:
        """(name, address) of every function, by address."""
        return [(name, value) for value, _, name in self._functions]

    def section(self, name: str) -> Section:
        """A section by its name; BuildError where there is none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise BuildError(f"the image has no section {name}: build it again")

    def function(self, address: int) -> str | None:
        """The function that an address lies in, as function+0x12, or None."""
        at = bisect.bisect_right(self._functions, (address, 1 << 64, "")) - 1
        if at < 0:
            return None
        start, length, name = self._functions[at]
        if address > start + max(length, 1):
            return None
        return f"{name}+{address - start:#x}" if address > start else name


@functools.lru_cache(maxsize=4)
def _kept(path: str, *_stamps: tuple[int, int, int]) -> Elf:
    return Elf(path)


def elf_of(path: str | Path) -> Elf:
    """An image as it lies in its file, which is read again when it has changed: most of what a
    boot takes is that. It is not to be changed."""
    try:
        found = [os.stat(name) for name in (path, f"{path}.sites")]
    except OSError:
        return Elf(path)        # who says what is missing
    return _kept(str(path), *((one.st_ino, one.st_size, one.st_mtime_ns) for one in found))
