# SPDX-License-Identifier: GPL-2.0-only
"""Reads what `cpuid -r` prints on a host: its leaves and subleaves, as it has them."""

import os
import pathlib
import quopri
import re
from typing import TypeAlias

MAX_BYTES = 1 << 20
MASK_32 = 0xFFFFFFFF
# EAX, EBX, ECX and EDX
Four: TypeAlias = tuple[int, int, int, int]
# by leaf, or (leaf, subleaf) above 0
Leaves: TypeAlias = dict[int | tuple[int, int], Four]

# The leaves of which ECX chooses a part; of all others it does not count (SDM 2A, CPUID).
INDEXED = frozenset((
    0x4, 0x7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1D, 0x1E, 0x1F, 0x20, 0x23, 0x24,
    0x8000001D, 0x80000020, 0x80000026))
# A mapping with all of these is no change to a profile: it is a host's whole CPUID.
WHOLE = frozenset((0x0, 0x1, 0x40000000, 0x80000000))

_NUMBER = r"0x([0-9a-fA-F]{1,8})"
_LINE = re.compile(rf"{_NUMBER}\s+{_NUMBER}:\s*eax={_NUMBER}\s+ebx={_NUMBER}"
                   rf"\s+ecx={_NUMBER}\s+edx={_NUMBER}")
_PROCESSOR = re.compile(r"[\s>]*CPU(\s*\d+)?:\s*$")


def parse_cpuid(text: str) -> Leaves:
    """{leaf, or (leaf, subleaf) above 0: (eax, ebx, ecx, edx)} of the first processor of a
    `cpuid -r`, also where a mail has it in quoted-printable; ValueError where there is none."""
    if "=3D" in text:
        text = quopri.decodestring(text.encode()).decode(errors="replace")
    found: Leaves = {}
    processors = 0
    for line in text.splitlines():
        processors += _PROCESSOR.match(line) is not None
        if processors > 1 and found:
            break
        if (match := _LINE.search(line)) is not None:
            leaf, index, eax, ebx, ecx, edx = (int(number, 16) for number in match.groups())
            found.setdefault((leaf, index) if index else leaf, (eax, ebx, ecx, edx))
    if not found:
        raise ValueError("no line of a CPUID leaf: give what `cpuid -r` prints")
    return found


def read_cpuid(path: str | os.PathLike[str]) -> Leaves:
    """What parse_cpuid() makes of a file; ValueError with one line that names it."""
    try:
        with pathlib.Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: give a file that can be read") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES} bytes: give what `cpuid -r` prints")
    try:
        return parse_cpuid(data.decode(errors="replace"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def is_whole(cpuid: Leaves) -> bool:
    """Is this a host's whole CPUID, as it was found?"""
    return WHOLE <= cpuid.keys()


def check_leaves(cpuid: object) -> Leaves:
    """The leaves that a caller gives, with the keys of parse_cpuid(); ValueError."""
    if not isinstance(cpuid, dict):
        raise ValueError(f"cpuid is {cpuid!r}: give {{leaf or (leaf, subleaf): "
                         "(eax, ebx, ecx, edx)} or the name of a file of `cpuid -r`")
    found: Leaves = {}
    for key, registers in cpuid.items():
        parts = key if isinstance(key, tuple) and len(key) == 2 else (key, 0)
        for what, number in zip(("a CPUID leaf", "a CPUID subleaf"), parts):
            _check(what, number)
        name = f"CPUID leaf {parts[0]:#x}" + (f", {parts[1]}" if parts[1] else "")
        if not isinstance(registers, (tuple, list)) or len(registers) != 4:
            raise ValueError(f"{name} is {registers!r}: give (eax, ebx, ecx, edx)")
        eax, ebx, ecx, edx = (_check(name, register) for register in registers)
        found[parts if parts[1] else parts[0]] = eax, ebx, ecx, edx
    return found


def _check(what: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MASK_32:
        raise ValueError(f"{what} is {value!r}: give an integer from 0 to {MASK_32:#x}")
    return value


def rows(cpuid: Leaves) -> list[tuple[int, int, bool, Four]]:
    """(leaf, subleaf, does ECX choose, registers) in order; a leaf has subleaves where the
    processor maker says so, or where one is given."""
    split = sorted((*(key if isinstance(key, tuple) else (key, 0)), registers)
                   for key, registers in cpuid.items())
    chosen = INDEXED | {leaf for leaf, index, _ in split if index}
    return [(leaf, index, leaf in chosen, registers) for leaf, index, registers in split]
