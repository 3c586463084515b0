# SPDX-License-Identifier: GPL-2.0-only
"""The C signatures of an image's functions, as its debug information has them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kvm_vmx.kernel.debug_info import NAME, DebugInfo, DebugEntry, CompiledFile

# tags
POINTER, STRUCT, TYPEDEF, UNION, BASE, CONST = 0x0F, 0x13, 0x16, 0x17, 0x24, 0x26
MEMBER, PARAMETER, ENUM, VARIADIC, SUBPROGRAM, VOLATILE = 0x0D, 0x05, 0x04, 0x18, 0x2E, 0x35
PROTOTYPE, ARRAY = 0x15, 0x01
# attributes
SIZE, LOW_PC, INLINE, ORIGIN, TYPE, OFFSET, ENCODING, RANGES, DECLARATION = (
    0x0B, 0x11, 0x20, 0x31, 0x49, 0x38, 0x3E, 0x55, 0x3C)
INLINED = (1, 3)
SIGNED_ENCODINGS = (0x05, 0x06, 0x0D)
# gcc's names of types, as kernels write them
WRITTEN = {"long unsigned int": "unsigned long", "long int": "long", "_Bool": "bool",
           "short unsigned int": "unsigned short", "short int": "short",
           "long long unsigned int": "unsigned long long", "long long int": "long long"}
WORDS = {STRUCT: "struct ", UNION: "union ", ENUM: "enum "}
TRANSPARENT = (TYPEDEF, CONST, VOLATILE)


class CType(NamedTuple):
    """A type as a call has to know it: its words in C, its bits in a register, 0 for void and -1
    for what no register holds; of a pointer what it points to, and how many bytes that is. A
    structure of 8 bytes or fewer is passed as a number."""

    text: str
    bits: int
    signed: bool = False
    pointer: bool = False
    target: str = ""
    target_size: int = 0
    # what begins at the same address: the first member of the structure, and its own
    first: tuple[str, ...] = ()


class Signature(NamedTuple):
    """A function: its result, and name and type of each argument."""

    name: str
    result: CType
    arguments: tuple[tuple[str, CType], ...]
    variadic: bool = False

    def __str__(self) -> str:
        inside = [declared(kind.text, name) for name, kind in self.arguments]
        inside += ["..."] if self.variadic else []
        return declared(self.result.text, f"{self.name}({', '.join(inside) or 'void'})")


def declared(text: str, name: str) -> str:
    """A name with its type before it."""
    return f"{text}{'' if text.endswith('*') else ' '}{name}".rstrip()


class FunctionEntries(NamedTuple):
    """What a unit says of one name: its text, whether it is part of others' text, and what the
    source says of it, all that is left of a function which only jumps to one like it."""

    placed: list[DebugEntry]
    inlined: list[DebugEntry]
    said: list[DebugEntry]


NOWHERE = FunctionEntries([], [], [])


class Signatures(DebugInfo):
    """What each function of an image takes and gives."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._functions: dict[int, dict[str, FunctionEntries]] = {}

    def functions(self, unit: CompiledFile) -> dict[str, FunctionEntries]:
        """All functions that a unit defines, by name."""
        if unit.start not in self._functions:
            found: dict[str, FunctionEntries] = {}
            for entry in self.children(unit, unit.first, (SUBPROGRAM,)):
                about = self.whole(unit, entry)
                if DECLARATION in about:
                    continue
                known = found.setdefault(str(about.get(NAME, "")), FunctionEntries([], [], []))
                if about.get(INLINE) in INLINED:
                    known.inlined.append(entry)
                if LOW_PC in entry.attributes or RANGES in entry.attributes:
                    known.placed.append(entry)
                elif NAME in entry.attributes:
                    known.said.append(entry)
            self._functions[unit.start] = found
        return self._functions[unit.start]

    def signature(self, name: str, address: int, also: Iterable[str] = ()) -> Signature | None:
        """The function of that name that begins at an address, or None where that is none of C's;
        also are other names of the same text, which the compiler may tell of instead.
        """
        unit = self.unit_at(address)
        if unit is None or unit.name.endswith(".S"):
            return None
        functions = self.functions(unit)
        # one in several pieces has no address of its own; a copy that the compiler made has another
        entry = next((one for called in (name, *also)
                      for one in functions.get(called, NOWHERE).placed
                      if one.attributes.get(LOW_PC, address) == address), None)
        entry = entry or next(iter(functions.get(name, NOWHERE).said), None)
        if entry is None:
            return None
        about = self.whole(unit, entry)
        found, variadic = [], False
        if entry.parent:
            for one in self.children(unit, entry.after, (PARAMETER, VARIADIC)):
                variadic = variadic or one.tag == VARIADIC
                if one.tag == PARAMETER:
                    says = self.whole(unit, one)
                    found.append((str(says.get(NAME, "")), self.type(unit, says.get(TYPE))))
        return Signature(name, self.type(unit, about.get(TYPE)), tuple(found), variadic)

    def whole(self, unit: CompiledFile, entry: DebugEntry) -> dict[int, int | str]:
        """The attributes of an entry, with those of the one that it is an instance of."""
        origin = entry.attributes.get(ORIGIN)
        if not isinstance(origin, int):
            return entry.attributes
        return self.whole(unit, self.entry(unit, origin)) | entry.attributes

    def type(self, unit: CompiledFile, at: int | str | None) -> CType:
        """The type at a place of the file; void where there is none."""
        if not isinstance(at, int):
            return CType("void", 0)
        entry = self.entry(unit, at)
        inner, name = entry.attributes.get(TYPE), str(entry.attributes.get(NAME, ""))
        if entry.tag == POINTER:
            return self._pointer(unit, inner)
        if entry.tag in TRANSPARENT:
            word = {CONST: "const ", VOLATILE: "volatile "}.get(entry.tag, "")
            kind = self.type(unit, inner)
            if entry.tag == TYPEDEF:
                return kind._replace(text=name)
            return kind._replace(
                text=f"{kind.text} {word.strip()}" if kind.pointer else word + kind.text)
        size = int(entry.attributes.get(SIZE, 0) or 0)
        if entry.tag in (BASE, ENUM):
            signed = entry.attributes.get(ENCODING) in SIGNED_ENCODINGS
            return CType(WORDS.get(entry.tag, "") + WRITTEN.get(name, name),
                         8 * size if size <= 8 else -1, signed)
        return CType(WORDS.get(entry.tag, "") + name, 8 * size if 0 < size <= 8 else -1,
                     target_size=size, first=self._first(unit, entry))

    def _pointer(self, unit: CompiledFile, inner: int | str | None) -> CType:
        tag = self.entry(unit, inner).tag if isinstance(inner, int) else 0
        if tag == PROTOTYPE:
            return CType("void (*)()", 64, pointer=True)
        if tag == ARRAY:
            return CType("void *", 64, pointer=True)
        kind = self.type(unit, inner)
        star = "*" if kind.text.endswith("*") else " *"
        size = max(kind.bits // 8, 0) or kind.target_size
        return CType(kind.text + star, 64, pointer=True, target=kind.text.removeprefix("const "),
                     target_size=0 if kind.pointer else size, first=kind.first)

    def _first(self, unit: CompiledFile, entry: DebugEntry) -> tuple[str, ...]:
        """The structures that begin where one does, the outermost first."""
        inner = entry.attributes.get(TYPE)
        if entry.tag in TRANSPARENT and isinstance(inner, int):
            return self._first(unit, self.entry(unit, inner))
        if entry.tag != STRUCT:
            return ()
        own = (WORDS[STRUCT] + str(entry.attributes.get(NAME, "")),)
        member = next(self.children(unit, entry.after, (MEMBER,)), None) if entry.parent else None
        if member is None or member.attributes.get(OFFSET, 0):
            return own
        return own + self._first(unit, self.entry(unit, int(member.attributes[TYPE])))
