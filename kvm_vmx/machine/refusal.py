# SPDX-License-Identifier: GPL-2.0-only
"""Why an instruction of L1 was refused, as a value and in one sentence."""

from dataclasses import dataclass
from typing import Any

ALL_ONES = (1 << 64) - 1
# Where the sentence of an MSR's limit ends: which says what must be, and what may be 1.
SAYS = {"must": "requires", "may": "allows"}


@dataclass(frozen=True)
class Refusal:
    """The check that refused a VM entry or another instruction: its id; field and value are the
    VMCS field, the MSR or the control register that it looked at ("" and None where it looked at
    none), must and may the bits that must be and may be 1 there, section where that is said (of
    the SDM, volume 3C, or a rule), sentence all of it."""

    id: str
    field: str
    value: int | None
    must: int
    may: int
    section: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence

    @property
    def allowed(self) -> str:
        """What is allowed, in words; "" where it is no matter of bits."""
        if self.must == 0 and self.may in (0, ALL_ONES):
            return ""
        return f"bits {self.must:#x} must be 1, bits {self.may:#x} may be"

    def as_json(self) -> dict[str, Any]:
        """The refusal for a program; numbers of 64 bits as text."""
        return {"id": self.id, "field": self.field,
                "value": None if self.value is None else hex(self.value),
                "must": hex(self.must), "may": hex(self.may), "section": self.section,
                "sentence": self.sentence}

    @classmethod
    def made(cls, row: dict[str, str], bits: dict[int, str], value: int, other: int, a: int,
             b: int, must: int, may: int, msr: int) -> "Refusal":
        """From a check's row, the names of the field's bits, and what L0 noted."""
        text = row["sentence"].format(
            bits=WrongBit(value, must, may, bits), a=a, b=b, may=may, value=value,
            other=f"{row['other']} is {other:#x}" if row["other"] else "")
        if "head" in row:
            text = f"{row['head']}: {text}"
        elif row["field"]:
            text = f"{row['field']} is {value:#x}: {text}"
        section = row["section"]
        where = section if not section[0].isdigit() else f"SDM 3C {section}"
        if msr:
            kind = "must" if must & ~value and must else "may"
            limit = {"must": must, "may": may}[kind]
            source = f"MSR {msr:#x}"
            if limit not in (0, ALL_ONES):
                source += f" {SAYS[kind]} {limit:#x}"
            where = f"{source}, {where}"
        return cls(row["id"], row["field"], value if row["field"] else None, must, may, section,
                   f"{text} ({where})")


class WrongBit:
    """The lowest bit that is not as it must be, for a sentence; a format gives it another name."""

    def __init__(self, value: int, must: int, may: int, names: dict[int, str]) -> None:
        wrong = (must & ~value) | (value & ~may)
        self.number = (wrong & -wrong).bit_length() - 1
        self.name = names.get(self.number, "")
        self.must = must >> self.number & 1 if wrong else 0

    def __format__(self, name: str) -> str:
        name = name or self.name
        return (f"bit {self.number}{f' ({name})' if name else ''} "
                f"{'must be' if self.must else 'may not be'} 1")
