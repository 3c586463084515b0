# SPDX-License-Identifier: GPL-2.0-only
"""Names for addresses of a loaded extension module, from its ELF symbol table."""

import bisect
import functools
import re
import struct
from typing import Any, TypeAlias

from kvm_vmx.machine.sections import headers, load_base

# a site of a static branch, as Machine.keys() has it
Site: TypeAlias = dict[str, Any]

SHT_SYMTAB = 2
STT_OBJECT, STT_FUNC = 1, 2

# Cython writes a function f of module a.b as __pyx_f_1a_1b_f: each part with its length before it.
MANGLED = re.compile(r"__pyx_(?:fuse_\d+)?[fvp]w?_")
CLONE = re.compile(r"\.(?:cold|part|isra|constprop|lto_priv)(?:\.\d+)*")


@functools.cache
def demangle(name: str) -> str:
    """The name as the source has it; a name that Cython did not make is left alone."""
    name = CLONE.sub("", name)
    match = MANGLED.match(name)
    if not match:
        return name
    rest = name[match.end():]
    while part := re.match(r"(\d+)", rest):
        length = int(part[1])
        rest = rest[len(part[1]) + length:]
        rest = rest.removeprefix("_")
    return rest


@functools.cache
def symbols(path: str) -> tuple[list[int], list[tuple[int, int, str, int]]]:
    """(addresses, (address, size, name, type)) of the functions and objects of an ELF file."""
    with open(path, "rb") as file:
        image = file.read()
    sections = headers(path)
    found = []
    for section in sections:
        if section.type != SHT_SYMTAB:
            continue
        names = sections[section.link].offset
        for at in range(section.offset, section.offset + section.size, 24):
            name, info, _, shndx, value, size = struct.unpack_from("<IBBHQQ", image, at)
            if shndx and info & 15 in (STT_OBJECT, STT_FUNC):
                end = image.index(b"\0", names + name)
                found.append((value, size, image[names + name:end].decode(), info & 15))
    found.sort()
    return [entry[0] for entry in found], found


@functools.lru_cache(maxsize=1 << 14)
def name_of(path: str, address: int) -> str:
    """The function or variable of a loaded module that an address lies in; "?" if stripped."""
    addresses, found = symbols(path)
    offset = address - load_base(path)
    i = bisect.bisect_right(addresses, offset) - 1
    while i >= 0 and offset - found[i][0] < 1 << 20:
        value, size, name, _ = found[i]
        if value <= offset < value + max(size, 1):
            return demangle(name)
        i -= 1
    return "?"
