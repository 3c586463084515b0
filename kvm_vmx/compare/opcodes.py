# SPDX-License-Identifier: GPL-2.0-only
"""What one VMX instruction in the kernel's assembly does, as the call that stands for it here.

An asm statement is one of the known shapes as a whole, operands, flags and clobbers, or none: what
is written in another way is no idiom.
"""

import functools
from typing import NamedTuple

from kvm_vmx.compare.expressions import parse
from kvm_vmx.compare.lexer import C, tokens
from kvm_vmx.compare.types import Syntax

WHY = "the instruction: a function of asm/vmx_insn.h"


class AsmShape(NamedTuple):
    """One shape: what the template names and how it is guarded, the registers of its inputs in the
    order of the function's arguments, whether the first is an address that the instruction reads,
    what it gives back (CF or ZF, a register, nothing), and what it clobbers."""

    function: str
    template: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    memory: bool = False
    result: str = ""
    clobbers: tuple[str, ...] = ("cc",)


def guarded(name: str) -> tuple[str, ...]:
    """The template of an instruction whose fault is forgiven while the machine reboots."""
    return ("__ex", "(", name, ")")


FLAGS = ("CC_SET", "(", "na", ")")
INSTRUCTIONS = (
    AsmShape("asm_vmxon", ("ASM_VMX_VMXON_RAX",), ("a",), True, "", ("memory", "cc")),
    AsmShape("asm_vmxoff", guarded("ASM_VMX_VMXOFF")),
    AsmShape("asm_vmclear", guarded("ASM_VMX_VMCLEAR_RAX") + FLAGS, ("a",), True, "flags",
                ("memory",)),
    AsmShape("asm_vmptrld", guarded("ASM_VMX_VMPTRLD_RAX") + FLAGS, ("a",), True, "flags",
                ("memory",)),
    AsmShape("asm_vmread", ("__ex_clear", "(", "ASM_VMX_VMREAD_RDX_RAX", ",", '"%0"', ")"),
                ("d",), False, "=a"),
    AsmShape("asm_vmwrite", guarded("ASM_VMX_VMWRITE_RAX_RDX") + FLAGS, ("d", "a"), False,
                "flags", ()),
)


@functools.cache
def meaning(key: Syntax) -> Syntax | None:
    """The tree of the call that an asm unit stands for, with its assignment; None if unknown."""
    words = list(key[1:])
    if words[:3] not in (["asm", "volatile", "("], ["__asm__", "__volatile__", "("]) \
            or words[-1] != ")":
        return None
    parts = [operands(part) for part in cut(words[3:-1], ":")]
    parts += [[] for _ in range(4 - len(parts))]
    for known in INSTRUCTIONS:
        call = matched(known, parts)
        if call is not None:
            return call
    return None


def matched(known: AsmShape, parts: list[list[list[str]]]) -> Syntax | None:
    """The call of one instruction, if the parts of an asm statement are its shape."""
    if len(parts) != 4 or tuple(word for each in parts[0] for word in each) != known.template:
        return None
    outputs, inputs = (pairs(part) for part in parts[1:3])
    clobbers = tuple(word.strip('"') for each in parts[3] for word in each)
    if outputs is None or inputs is None or clobbers != known.clobbers:
        return None
    places = dict(inputs)
    if {*places} != {*known.inputs} | ({"m"} if known.memory else set()) \
            or len(places) != len(inputs):
        return None
    if known.memory and places[known.inputs[0]] != ("addr", places["m"]):
        return None
    call = ("call", ("name", known.function), *(places[name] for name in known.inputs))
    if not known.result:
        return None if outputs else call
    if len(outputs) != 1 or outputs[0][0] != known.result:
        return None
    return ("=", "=", outputs[0][1], call)


def pairs(part: list[list[str]]) -> list[tuple[str, Syntax]] | None:
    """(constraint, tree of its operand) of each operand; None if one is no such thing."""
    found = []
    for words in part:
        if words[:4] == ["CC_OUT", "(", "na", ")"]:
            constraint, rest = "flags", words[4:]
        else:
            constraint, rest = words[0].strip('"'), words[1:]
        if rest[:1] != ["("] or rest[-1] != ")":
            return None
        found.append((constraint, parse(tokens(" ".join(rest[1:-1]), C))))
    return found


def operands(words: list[str]) -> list[list[str]]:
    """The words of one part of an asm statement, cut at its commas."""
    return [each for each in cut(words, ",") if each] if words else []


def cut(words: list[str], separator: str) -> list[list[str]]:
    """Words cut at a separator that stands in no brackets."""
    pieces: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == separator and not depth:
            pieces.append([])
        else:
            pieces[-1].append(word)
    return pieces
