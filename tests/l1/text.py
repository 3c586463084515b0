# SPDX-License-Identifier: GPL-2.0-only
"""The text of this very process: its bytes, its instructions, its mappings."""

import ctypes
import functools
import re
from typing import NamedTuple

import needed

NOP5 = bytes.fromhex("0f1f440000")


@functools.cache
def decoder():
    """capstone for 64-bit code."""
    capstone = needed.module("capstone")
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def read(address, length):
    """Bytes of this process's memory."""
    return ctypes.string_at(address, length)


def decode(code, address):
    """The first instruction of code that stands at address."""
    return next(decoder().disasm(code, address))


def decode_all(code, address):
    """Every instruction of code, to its last byte."""
    found = list(decoder().disasm(code, address))
    assert sum(insn.size for insn in found) == len(code), "capstone stopped early"
    return found


def state(site):
    """"nop" or "jmp", by what the processor would fetch at a site; anything else fails."""
    code = read(site["address"], 5)
    insn = decode(code, site["address"])
    assert insn.size == 5, f"{insn.mnemonic} {insn.op_str} at {site}"
    if code == NOP5:
        assert insn.mnemonic == "nop"
        return "nop"
    assert code[0] == 0xE9 and insn.mnemonic == "jmp"
    assert int(insn.op_str, 16) == site["target"]
    return "jmp"


class Mapping(NamedTuple):
    """One line of /proc/self/maps."""

    start: int
    end: int
    protection: str
    path: str


def mappings():
    """Every mapping of this process."""
    with open("/proc/self/maps") as maps:
        return [
            Mapping(int(start, 16), int(end, 16), protection, path.strip())
            for start, end, protection, path in re.findall(
                r"^(\w+)-(\w+) (\S{4}) \S+ \S+ \d+(.*)$", maps.read(), re.M)
        ]


def writable_and_executable():
    """The mappings that break W^X. Text and guest memory are mappings of files; one without a file
    is another library's, as unicorn's callbacks are."""
    return [entry for entry in mappings() if entry.protection[1:3] == "wx" and entry.path]
