# SPDX-License-Identifier: GPL-2.0-only
"""The text of a loaded module as instructions: a function as it stands now, jump labels taken."""

import ctypes
import functools
import sys
from typing import Any, NamedTuple, TypeAlias

from kvm_vmx.console import Trouble, need
from kvm_vmx.machine.sections import load_base
from kvm_vmx.machine.sites import demangle, name_of, symbols

LONGEST_INSTRUCTION = 15
# (displacement, size, writes) of a memory operand, or ()
Operand: TypeAlias = tuple[int, int, bool] | tuple[()]


class Instruction(NamedTuple):
    """One instruction: where it is, what it says, where it may jump (None: nowhere)."""

    address: int
    size: int
    mnemonic: str
    operands: str
    target: int | None
    memory: Operand

    @property
    def is_nop(self) -> bool:
        """Does it do nothing?"""
        return self.mnemonic == "nop" or (self.mnemonic, self.operands) == ("xchg", "ax, ax")


@functools.cache
def decoder() -> Any:
    """capstone for x86-64; Trouble names what to install."""
    capstone = need("capstone", "asm")
    need("capstone.x86", "asm")
    made = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    made.detail = True
    return made


def decode(address: int) -> Instruction:
    """The instruction at an address of this process."""
    code = ctypes.string_at(address, LONGEST_INSTRUCTION)
    (raw,) = decoder().disasm(code, address, 1)
    capstone = sys.modules["capstone"]
    x86 = capstone.x86
    target: int | None = None
    memory: Operand = ()
    for operand in raw.operands:
        if raw.group(capstone.CS_GRP_JUMP) and operand.type == x86.X86_OP_IMM:
            target = operand.imm
        if operand.type == x86.X86_OP_MEM:
            writes = bool(operand.access & capstone.CS_AC_WRITE)
            memory = (operand.mem.disp, operand.size, writes)
    return Instruction(address, raw.size, raw.mnemonic, raw.op_str, target, memory)


def ranges(path: str, name: str) -> list[range]:
    """Where a function stands in memory: its body first, then what the compiler split off."""
    need("capstone", "asm")     # a decoder that is there already may be withheld since
    base = load_base(path)
    found = [(".cold" in raw, range(base + value, base + value + size))
             for value, size, raw, _ in symbols(path)[1] if size and demangle(raw) == name]
    if not found:
        raise Trouble(f"{path} has no function {name}: build it without stripping")
    return [span for _, span in sorted(found, key=lambda entry: entry[0])]


def function(path: str, name: str) -> list[Instruction]:
    """The instructions of a function that can be reached now, in the order of their addresses."""
    spans = ranges(path, name)
    seen, waiting = {}, [spans[0].start]
    while waiting:
        at = waiting.pop()
        while at not in seen and any(at in span for span in spans):
            here = seen[at] = decode(at)
            if here.target is not None:
                waiting.append(here.target)
            if here.mnemonic in ("ret", "jmp", "ud2", "hlt"):
                break
            at += here.size
    return [seen[address] for address in sorted(seen)]


def whole(path: str, name: str) -> list[Instruction]:
    """Every instruction of a function, reachable or not, in the order of their addresses."""
    found = []
    for span in ranges(path, name):
        at = span.start
        while at in span:
            found.append(decode(at))
            at += found[-1].size
    return found


def plain(path: str, instructions: list[Instruction]) -> list[str]:
    """The instructions as text without addresses, NOPs left out: what two builds can share."""
    real = [one for one in instructions if not one.is_nop]
    number = {}
    for i, one in enumerate(instructions):
        number[one.address] = sum(not earlier.is_nop for earlier in instructions[:i])
    return [f"{one.mnemonic} {_operands(path, one, number)}".strip() for one in real]


def _operands(path: str, one: Instruction, number: dict[int, int]) -> str:
    if one.target is not None:
        if one.target in number:
            return f".L{number[one.target]}"
        return name_of(path, one.target) if one.mnemonic == "jmp" else "elsewhere"
    if one.mnemonic == "call" and one.operands.startswith("0x"):
        return name_of(path, int(one.operands, 16))
    if "[rip " in one.operands and one.memory:
        where = one.address + one.size + one.memory[0]
        head, _, rest = one.operands.partition("[rip ")
        return f"{head}[{name_of(path, where)}{rest[rest.index(']'):]}"
    return one.operands


def straight(instructions: list[Instruction], start: int) -> list[Instruction]:
    """The instructions that follow one another where no forward branch is taken: the way that
    the compiler expects. Ends behind the return, or behind the jump that closes a loop."""
    at = {one.address: one for one in instructions}
    seen: list[Instruction] = []
    here: int | None = start
    while here is not None and here in at:
        one = at[here]
        if one in seen:
            break
        seen.append(one)
        if one.target is not None and any(one.target == earlier.address for earlier in seen):
            break
        here = one.target if one.mnemonic == "jmp" else one.address + one.size
    return seen


def expected(file: str, name: str) -> list[Instruction]:
    """The expected way through a function, or through the one that it only jumps to."""
    way = straight(function(file, name), ranges(file, name)[0].start)
    if len(way) == 1 and way[0].target is not None:
        return expected(file, name_of(file, way[0].target))
    return way


def loop(file: str, name: str) -> list[Instruction]:
    """What of a function is executed at each turn of its one loop; [] where it has none."""
    way = expected(file, name)
    for i, one in enumerate(way):
        if way[-1].target == one.address:
            return way[i:]
    return []
