# SPDX-License-Identifier: GPL-2.0-only
"""One exit in L1 by single steps: which instructions execute, what they load and store, and the
function that each is of.

The instructions of one exit are the difference of a longer run and a shorter one. An address
belongs to the innermost function, inlined or not, whose name both sides have, so that what one
compiler run inlines and another does not is counted alike.
"""

import collections
import ctypes
import dataclasses
import subprocess
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from kvm_vmx.console import Trouble, need
from kvm_vmx.machine import stepping
from kvm_vmx.machine.sites import demangle
from kvm_vmx.measure.machine_code import LONGEST_INSTRUCTION, decoder

SHORT, LONG = 5, 15
ROOM = 1 << 18
# What moves the stack without a memory operand.
STORES, LOADS = ("push", "call", "pushfq", "pushf"), ("pop", "ret", "leave", "popfq", "popf")
# Behind these the thread goes on elsewhere, in L0 or in the host's half.
LEAVES = ("vmread", "vmwrite", "vmlaunch", "vmresume", "vmptrld", "vmclear", "rdmsr", "wrmsr",
          "ud2")
FEATURE = "_static_cpu_has"


@dataclasses.dataclass(frozen=True)
class SteppedInsn:
    """One instruction of an exit: how often it executes, how often it loads and stores each time,
    its mnemonic, and the functions that it is in, the innermost first."""

    count: float
    loads: int
    stores: int
    mnemonic: str
    chain: tuple[str, ...]


class Sum(NamedTuple):
    """What executes in a function at one exit."""

    instructions: float = 0
    loads: float = 0
    stores: float = 0

    def plus(self, step: SteppedInsn) -> "Sum":
        """With one more instruction."""
        return Sum(self.instructions + step.count, self.loads + step.count * step.loads,
                   self.stores + step.count * step.stores)


class Raw:
    """An instruction as it stands in memory: its length, mnemonic, target, loads and stores."""

    def __init__(self, address: int):
        capstone, x86 = need("capstone", "asm"), need("capstone.x86", "asm")
        code = ctypes.string_at(address, LONGEST_INSTRUCTION)
        found = next(decoder().disasm(code, address, 1), None)
        if found is None:
            raise Trouble(f"no instruction at {address:#x}: a single step went astray")
        self.address, self.size = address, found.size
        self.mnemonic = found.mnemonic.split()[-1]
        self.jumps = any(found.group(kind) for kind in (
            capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL, capstone.CS_GRP_RET))
        self.loads = int(self.mnemonic in LOADS)
        self.stores = int(self.mnemonic in STORES)
        self.targets = {address + found.size}
        for operand in found.operands:
            if self.jumps and operand.type == x86.X86_OP_IMM:
                self.targets.add(operand.imm)
            if operand.type == x86.X86_OP_MEM and self.mnemonic not in ("lea", "nop"):
                self.loads += bool(operand.access & capstone.CS_AC_READ)
                self.stores += bool(operand.access & capstone.CS_AC_WRITE)
                if self.jumps:
                    self.targets.clear()
        if self.mnemonic == "ret" or found.group(capstone.CS_GRP_JUMP) and \
                any(operand.type == x86.X86_OP_REG for operand in found.operands):
            self.targets.clear()
        if self.mnemonic == "call" and found.operands[0].type == x86.X86_OP_REG:
            self.targets.clear()

    def goes_on(self, at: int) -> bool:
        """May the next instruction of the text be there?"""
        return not self.targets or at in self.targets or self.mnemonic in LEAVES


def steps_of(run: Callable[[int], Any], texts: list[tuple[int, int]]) -> list[list[int]]:
    """The addresses in these texts that a shorter and a longer run execute, in their order."""
    found = []
    for exits in (SHORT, LONG):
        stepping.start(texts, ROOM)
        try:
            run(exits)
        finally:
            full = stepping.full()
            taken = [address for address, _ in stepping.stop()]
        if full:
            raise Trouble(f"{exits} exits are more than {ROOM} instructions")
        found.append(taken)
    return found


def counted(run: Callable[[int], Any], texts: list[tuple[int, int]],
            chains: Callable[[Iterable[int]], dict[int, tuple[str, ...]]]) -> list[SteppedInsn]:
    """The instructions of one exit of run(exits); chains names the functions of addresses.
    Trouble where a step is missing."""
    short, long = steps_of(run, texts)
    raw = {address: Raw(address) for address in {*short, *long}}
    for at, after in zip(long, long[1:]):
        if not raw[at].goes_on(after):
            raise Trouble(f"single steps were lost behind {raw[at].mnemonic} at {at:#x}")
    more = collections.Counter(long)
    more.subtract(collections.Counter(short))
    rows = {address: count for address, count in more.items() if count}
    names = _brought_home(chains(rows), list(zip(long, long[1:])), raw)
    return [SteppedInsn(count / (LONG - SHORT), raw[address].loads, raw[address].stores,
                 raw[address].mnemonic, names[address]) for address, count in rows.items()]


def _brought_home(names: dict[int, tuple[str, ...]], pairs: list[tuple[int, int]],
                  raw: dict[int, Raw]) -> dict[int, tuple[str, ...]]:
    """What v4.19's static_cpu_has() has out of line stands behind another function's end, and no
    line is of it: it belongs where the jump to it is."""
    found, away = dict(names), set()
    for at, after in pairs:
        if at not in found or after not in found:
            continue
        jumps = raw[at].mnemonic == "jmp" and at not in away and found[at][0] == FEATURE
        if jumps or at in away and after == at + raw[at].size:
            found[after] = found[at]
            away.add(after)
    return found


def chains_of(file: str, moved: int, addresses: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """{address: the functions that it is in, the innermost first}, by a file's debug information;
    moved is what its own addresses are moved by."""
    asked = list(addresses)
    try:
        said = subprocess.run(
            ["addr2line", "-f", "-i", "-a", "-e", file],
            input="".join(f"{address - moved:#x}\n" for address in asked),
            capture_output=True, text=True, check=True).stdout.splitlines()
    except FileNotFoundError:
        raise Trouble("no addr2line here: apt-get install binutils") from None
    except subprocess.CalledProcessError as error:
        raise Trouble(f"addr2line: {error.stderr.strip()}") from None
    found: dict[int, tuple[str, ...]] = {}
    at, i = 0, 0
    while i < len(said):
        if said[i].startswith("0x"):
            at, i = int(said[i], 16) + moved, i + 1
            found[at] = ()
        else:
            found[at] += (demangle(said[i]),)
            i += 2
    return found


def by_function(steps: list[SteppedInsn], names: Collection[str]) -> dict[str, Sum]:
    """What each function executes: an instruction is that of the innermost one with a name of
    names, else of the outermost."""
    found: dict[str, Sum] = {}
    for step in steps:
        name = next((name for name in step.chain if name in names), step.chain[-1])
        found[name] = found.get(name, Sum()).plus(step)
    return found


def total(steps: Iterable[SteppedInsn]) -> Sum:
    """What they come to."""
    found = Sum()
    for step in steps:
        found = found.plus(step)
    return found
