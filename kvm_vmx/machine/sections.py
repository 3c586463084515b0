# SPDX-License-Identifier: GPL-2.0-only
"""Where the sections of a loaded extension module are, as a module loader would find them."""

import functools
import struct
import sys
from typing import NamedTuple


class Header(NamedTuple):
    """A section header, as far as anyone here asks: addresses are the file's own."""

    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int


class Loaded(NamedTuple):
    """What the form of a module's instructions needs, by address in this process: spans of text,
    exception table, jump table and entries; its key, 0 without."""

    text: tuple[int, int]
    extable: tuple[int, int]
    jump_table: tuple[int, int]
    entries: tuple[int, int]
    key: int


@functools.cache
def headers(path: str) -> list[Header]:
    """The section headers of an ELF file of 64 bits."""
    with open(path, "rb") as file:
        file.seek(0x28)
        table, = struct.unpack("<Q", file.read(8))
        file.seek(0x3A)
        size, count, names = struct.unpack("<HHH", file.read(6))
        file.seek(table)
        raw = [struct.unpack_from("<IIQQQQI", file.read(size)) for _ in range(count)]
        file.seek(raw[names][4])
        text = file.read(raw[names][5])
    return [Header(text[name:text.index(b"\0", name)].decode(), kind, address, offset, length, link)
            for name, kind, _, address, offset, length, link in raw]


@functools.cache
def load_base(path: str) -> int:
    """Where the file's first byte is mapped in this process."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(path):
                span, _, offset = line.split()[:3]
                return int(span.split("-")[0], 16) - int(offset, 16)
    raise LookupError(f"{path} is not mapped")


@functools.cache
def loaded(path: str) -> Loaded:
    """What a loaded extension module has of the sections above."""
    base = load_base(path)
    found = {header.name: (base + header.address, base + header.address + header.size)
             for header in headers(path)}
    nothing = 0, 0
    return Loaded(
        found[".text"], found.get("__ex_table", nothing), found.get("__jump_table", nothing),
        found.get("vm_return", nothing), found.get("insn_form", nothing)[0])


def kernel_proper() -> list[str]:
    """The files of L1 that are no loadable module and execute instructions that may trap."""
    return [
        str(module.__file__) for name, module in sorted(sys.modules.items())
        if name.startswith("kvm_vmx.l1.") and hasattr(module, "__pyx_capi__")
        and "vmx_module" not in module.__pyx_capi__ and loaded(str(module.__file__)).key
    ]
