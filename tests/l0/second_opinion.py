# SPDX-License-Identifier: GPL-2.0-only
"""unicorn as a second processor: the same instruction on both, and where they differ.

Both see two pages that are read and written, and code in a page that the instruction cannot
reach by chance; all else is absent. A fault is told by its kind: memory, #DE, #UD, #GP.
"""

from typing import NamedTuple

import needed
from guest import CODE, DATA, MTF, PML4, PROC, Guest
from random_program import COUNTER, MOST, counter
from random_insn import BASE_FS, BASE_GS, PAGES, SIZE, State, repeats

from kvm_vmx.l0.profile import build

unicorn = needed.module("unicorn")
x86 = needed.module("unicorn.x86_const")

NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
UC_REGISTERS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in NAMES]
RIP, EFLAGS = x86.UC_X86_REG_RIP, x86.UC_X86_REG_EFLAGS


def with_bmi1(leaves):
    """Leaves with CPUID.7:EBX[3]."""
    eax, ebx, ecx, edx = leaves[7]
    return {**leaves, 7: (eax, ebx | 8, ecx, edx)}


class Found(NamedTuple):
    """The state behind one instruction, and the fault that it raised instead, if any."""

    state: State
    fault: str | None
    vector: int | None = None


class Unicorn:
    """QEMU's processor, as unicorn packs it."""

    def __init__(self):
        self.uc = uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_HASWELL)
        uc.mem_map(CODE, 0x1000, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        uc.mem_map(COUNTER, 0x1000, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        uc.mem_map(PAGES, SIZE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        uc.reg_write(x86.UC_X86_REG_FS_BASE, BASE_FS)
        uc.reg_write(x86.UC_X86_REG_GS_BASE, BASE_GS)
        self.vector = None

    def _interrupt(self, uc, vector, _):
        self.vector = vector
        uc.emu_stop()

    def step(self, code, before):
        """Run one instruction."""
        self._set(code, before)
        # a repeated string instruction counts once an element: let it come to the next byte
        return self._run(CODE + len(code), 0 if repeats(code) else 1)

    def _set(self, code, before):
        uc = self.uc
        uc.mem_write(CODE, code + b"\x90" * 16)
        uc.ctl_remove_cache(CODE, CODE + 0x1000)
        uc.mem_write(PAGES, before.memory)
        for register, value in zip(UC_REGISTERS, before.registers):
            uc.reg_write(register, value)
        uc.reg_write(EFLAGS, before.flags)

    def run(self, code, before, passes):
        """Run a program that ends with a fault."""
        self._set(code, before)
        self.uc.mem_write(COUNTER, counter(passes))
        found = self._run(CODE + 4095, MOST)
        return found if found.fault else found._replace(fault=UNSAID)

    def _run(self, until, count):
        uc = self.uc
        self.vector = fault = None
        try:
            uc.emu_start(CODE, until, count=count)
        except unicorn.UcError as error:
            if error.errno == unicorn.UC_ERR_INSN_INVALID:
                fault = "UD"
            elif error.errno in MEMORY_ERRORS:
                fault = "memory"
            elif error.errno == unicorn.UC_ERR_EXCEPTION:
                fault = "other"
            else:
                raise
        if self.vector is not None:
            fault = {0: "DE", 6: "UD", 8: "DE", 12: "memory", 13: "memory",
                     14: "memory"}.get(self.vector, str(self.vector))
        if fault is None and uc.reg_read(RIP) == CODE:
            fault = UNSAID
        return Found(State(
            tuple(uc.reg_read(register) for register in UC_REGISTERS), uc.reg_read(RIP),
            uc.reg_read(EFLAGS), bytes(uc.mem_read(PAGES, SIZE))), fault)


MTF_EXIT = 37
# unicorn stops at some faults, and at a division inside another's handling, without a word
UNSAID = "unsaid"
MEMORY_ERRORS = {getattr(unicorn, f"UC_ERR_{what}_{why}") for what in ("READ", "WRITE", "FETCH")
                 for why in ("UNMAPPED", "PROT")}


class Ours:
    """The processor of L2, every exception an exit."""

    def __init__(self, mode="plain"):
        # unicorn's has BMI1: a host's whole CPUID, which is taken as it is, makes TZCNT of BSF
        self.guest = g = Guest(
            mode, options=dict(cpuid=with_bmi1(build().cpuid)),
            CPU_BASED_VM_EXEC_CONTROL=PROC | MTF, EXCEPTION_BITMAP=0xFFFFFFFF,
            GUEST_FS_BASE=BASE_FS, GUEST_GS_BASE=BASE_GS)
        # small pages: code for reading, data for writing; nothing else is there
        table, pd = 0xB000, 0x3000
        g.memory.write(pd, bytes(4096))
        g.memory.write(table, bytes(8192))
        g.write(pd + 8 * (CODE >> 21), table | 7)
        g.write(pd + 8 * (DATA >> 21), (table + 0x1000) | 7)
        g.write(table + 8 * (CODE >> 12 & 511), CODE | 5)
        for page in (*range(PAGES, PAGES + SIZE, 4096), COUNTER):
            g.write(table + 0x1000 + 8 * (page >> 12 & 511), page | 7)

    def step(self, code, before):
        """Run one instruction, however many elements it has."""
        g = self.guest
        g.memory.write(CODE, code + b"\x90" * 16)
        g.memory.write(PAGES, before.memory)
        g.cpu.registers = list(before.registers)
        self.enter(GUEST_RSP=before.registers[4], GUEST_RFLAGS=before.flags, GUEST_RIP=CODE)
        while (reason := g.get("VM_EXIT_REASON")) == MTF_EXIT and g.get("GUEST_RIP") == CODE:
            assert repeats(code), code.hex()
            self.enter()
        assert reason in (0, MTF_EXIT), reason
        return self._found(reason)

    def run(self, code, before, passes):
        """Run a program that ends with a fault, with no exit on its way."""
        g = self.guest
        g.memory.write(CODE, code + b"\x90" * 16)
        g.memory.write(PAGES, before.memory)
        g.memory.write(COUNTER, counter(passes))
        g.cpu.registers = list(before.registers)
        self.enter(GUEST_RSP=before.registers[4], GUEST_RFLAGS=before.flags, GUEST_RIP=CODE,
                   CPU_BASED_VM_EXEC_CONTROL=PROC)
        g.set(CPU_BASED_VM_EXEC_CONTROL=PROC | MTF)
        assert (reason := g.get("VM_EXIT_REASON")) == 0, reason
        return self._found(reason)

    def _found(self, reason):
        g, vector, fault = self.guest, None, None
        if reason == 0:
            vector = g.get("VM_EXIT_INTR_INFO") & 0xFF
            fault = {0: "DE", 6: "UD", 12: "memory", 13: "memory", 14: "memory"}.get(
                vector, str(vector))
        registers = list(g.cpu.registers)
        registers[4] = g.get("GUEST_RSP")
        return Found(State(tuple(registers), g.get("GUEST_RIP"), g.get("GUEST_RFLAGS"),
                           g.memory.read(PAGES, SIZE)), fault, vector)

    def enter(self, **fields):
        """Enter, and do without all that the exit could tell."""
        g = self.guest
        if fields:
            g.set(**fields)
        assert (g.cpu.vmresume() if g.launched else g.cpu.vmlaunch()).ok
        g.launched = True


assert PML4 == 0x1000 and CODE >> 21 != DATA >> 21
