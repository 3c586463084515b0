# SPDX-License-Identifier: GPL-2.0-only
"""Numbers with names: an int where one is wanted, and found by either."""

import enum
from typing import Any, ClassVar, Self

from kvm_vmx.words import NEAREST, meant


class Named(enum.IntEnum):
    """A number of 16 bits, or fewer, that has a name in the kernel's headers."""

    _what_: ClassVar[str]

    def __init_subclass__(cls, what: str = "", **_: Any) -> None:
        super().__init_subclass__()
        cls._what_ = what

    @classmethod
    def of(cls, value: int | str) -> int:
        """The member of a name, or of a number; a number without a name as it is. ValueError
        for a name that is none, with those that look like it."""
        if isinstance(value, str):
            return cls.named(value)
        return cls._value2member_map_.get(value, value)  # type: ignore[return-value]

    @classmethod
    def named(cls, name: str) -> Self:
        """The member of a name; ValueError with the nearest names."""
        try:
            return cls[name]
        except KeyError:
            guess = meant(name, cls.__members__, NEAREST)
            raise ValueError(f"no {cls._what_} {name!r}: " + (
                guess or f"kvm_vmx.{cls.__name__} names the {cls._what_}s")) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"
