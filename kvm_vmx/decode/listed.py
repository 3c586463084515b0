# SPDX-License-Identifier: GPL-2.0-only
"""Reads a VMCS that is listed field by field: by encoding, as HAXM logs it, or by name."""

import re

from kvm_vmx.abi.numbers import Field
from kvm_vmx.decode.dumps import MOST, Dump, cleaned, endings
from kvm_vmx.decode.layouts import width

# "4016 VMX_ENTRY_INTERRUPT_INFO: 80000b0e": whoever lists it names it as he likes, the encoding
# tells; without one the name is the kernel's.
BY_ENCODING = re.compile(
    r"\b(?:0x)?([0-9a-fA-F]{4})\s+[A-Z][A-Z0-9_]{2,}\s*[:=]\s*(?:0x)?([0-9a-fA-F]{1,16})\s*$", re.M)
BY_NAME = re.compile(r"\b([A-Z][A-Z0-9_]{2,})(?:\s*[:=]\s*(?:0x)?|\s+0x)([0-9a-fA-F]{1,16})\b")
ENCODINGS = {field.value: field.name for field in Field}
HIGH = "_HIGH"


def read_listed(text: str) -> list[Dump]:
    """Every VMCS that a text lists, in order: one ends where its first field comes again."""
    found: list[Dump] = []
    values: dict[str, int] = {}
    notes: list[str] = []
    first = ""
    rows = ((number, row) for number, line in enumerate(cleaned(text).splitlines(), 1)
            for row in _rows(line))
    for number, (name, value) in rows:
        if name == first or not found:
            if len(found) == MOST:
                break
            first, values, notes = name, {}, []
            found.append(Dump(number, values))
        _put(name, value, values, notes)
        found[-1] = found[-1]._replace(notes=tuple(notes))
    told = endings(text) if found else ()
    return [one._replace(notes=one.notes + told) for one in found if one.values]


def _rows(line: str) -> list[tuple[str, int]]:
    """The fields of a line, by the kernel's names."""
    rows = [(ENCODINGS.get(int(code, 16), ""), int(value, 16))
            for code, value in BY_ENCODING.findall(line)]
    rows = rows or [(name, int(value, 16)) for name, value in BY_NAME.findall(line)]
    return [(name, value) for name, value in rows if name in Field.__members__]


def _put(name: str, value: int, values: dict[str, int], notes: list[str]) -> None:
    if value >> 8 * width(name.removesuffix(HIGH)):
        notes.append(f"{name}: {value:#x} has more than {8 * width(name)} bits, and is left out")
    elif name.endswith(HIGH):
        low = name.removesuffix(HIGH)
        values[low] = values.get(low, 0) & 0xFFFFFFFF | (value & 0xFFFFFFFF) << 32
    else:
        values.setdefault(name, value)
