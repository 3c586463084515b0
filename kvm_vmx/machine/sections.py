# SPDX-License-Identifier: GPL-2.0-only
"""Where the sections of a loaded extension module are, as a module loader would find them."""

import ctypes
import functools
import os
import struct
import sys
from typing import NamedTuple

RTLD_DI_LINKMAP = 2

_dlinfo = ctypes.CDLL(None).dlinfo
_dlinfo.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
_dladdr = ctypes.CDLL(None).dladdr
_dladdr.argtypes = [ctypes.c_void_p, ctypes.c_void_p]


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
    """Where the file's first byte is in this process, as the loader says, whatever the path is
    spelled like; LookupError where it is not loaded."""
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        raise LookupError(f"{path} is not loaded in this process") from None
    link_map = ctypes.POINTER(ctypes.c_size_t)()
    if _dlinfo(library._handle, RTLD_DI_LINKMAP, ctypes.byref(link_map)):
        raise LookupError(f"the loader does not say where {path} is")
    # l_addr, the first member of struct link_map
    return int(link_map[0])


def module_of(address: int) -> str | None:
    """The file that an address of this process was loaded from, as the loader says, or None."""
    found = (ctypes.c_char_p * 4)()
    return os.fsdecode(found[0]) if _dladdr(address, found) and found[0] else None


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
    # a list, as another thread may import; a program has a thousand modules, of which few are these
    names = sorted(name for name in list(sys.modules) if name.startswith("kvm_vmx.l1."))
    return [
        str(module.__file__) for module in map(sys.modules.__getitem__, names)
        if hasattr(module, "__pyx_capi__") and "vmx_module" not in module.__pyx_capi__
        and loaded(str(module.__file__)).key
    ]
