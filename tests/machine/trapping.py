# SPDX-License-Identifier: GPL-2.0-only
"""Machine code of L1 for the tests of traps: built from parts, run on a CPU, looked at after."""

import re
import threading

from kvm_vmx.machine.guests import CPUID_LOOP as CPUID_LOOP
from kvm_vmx.machine.kernel import call_function
from kvm_vmx.trap.engine import Text

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
GUEST_RSP, HOST_RSP, HOST_RIP = 0x681C, 0x6C14, 0x6C16
# again: inc %rdi; mov $0, %eax; cpuid; jmp again
COUNTING_LOOP = bytes.fromhex("48ffc7" "b800000000" "0fa2" "ebf4")

PUSH = bytes.fromhex("53 55 4154 4155 4156 4157")
POP = bytes.fromhex("415f 415e 415d 415c 5d 5b")
STATUS = 0x8D5      # CF, PF, AF, ZF, SF, OF


def mov(register, value):
    """mov $value, %register"""
    return bytes([0x48 | register >> 3, 0xB8 | register & 7]) + value.to_bytes(8, "little")


def rex(reg=0, rm=0, index=0):
    """A REX prefix for the high bits of three registers; always there, as W is ignored."""
    return bytes([0x48 | (reg >> 3) << 2 | (index >> 3) << 1 | rm >> 3])


def modrm(reg, rm):
    """The register form."""
    return bytes([0xC0 | (reg & 7) << 3 | rm & 7])


def at(reg, base, disp=None):
    """ModRM, SIB where the base needs one, and the displacement in as few bytes as it takes."""
    if disp is None and base & 7 != RBP:
        mod, tail = 0, b""
    elif disp is None or -128 <= disp < 128:
        mod, tail = 1, (disp or 0).to_bytes(1, "little", signed=True)
    else:
        mod, tail = 2, disp.to_bytes(4, "little", signed=True)
    sib = b"\x24" if base & 7 == RSP else b""
    return bytes([mod << 6 | (reg & 7) << 3 | base & 7]) + sib + tail


def indexed(reg, base, index, scale, disp):
    """ModRM and SIB with a displacement of 32 bits."""
    sib = {1: 0, 2: 1, 4: 2, 8: 3}[scale] << 6 | (index & 7) << 3 | base & 7
    return bytes([0x84 | (reg & 7) << 3, sib]) + disp.to_bytes(4, "little", signed=True)


def execute(machine, instruction, registers=(), result=RAX, cpu=0):
    """(a register, the status flags) after an instruction, all flags set before it."""
    code = PUSH + b"".join(mov(*pair) for pair in dict(registers).items())
    code += bytes.fromhex("68 d5080000 9d") + instruction           # push $0x8d5; popfq
    code += bytes.fromhex("9c 415b")                                # pushfq; pop %r11
    if result != RAX:
        code += bytes([0x48 | (result >> 3) << 2, 0x89, 0xC0 | (result & 7) << 3])
    keep = Text(code + POP + b"\xc3")
    flags = Text(code + bytes.fromhex("4c89d8") + POP + b"\xc3")    # mov %r11, %rax
    return (call_function(machine._kernel, cpu, keep.address, ()),
            call_function(machine._kernel, cpu, flags.address, ()) & STATUS)


def caught():
    """The mask of signals that the process catches."""
    with open("/proc/self/status") as status:
        return int(re.search(r"SigCgt:\s+(\w+)", status.read())[1], 16)


def driven(vcpu, exits=None):
    """A thread that runs a vCPU, in pieces until `stop` is set, or for so many exits."""
    stop = threading.Event()

    def drive():
        while not stop.is_set():
            vcpu.run(exits=exits or 500)
            if exits:
                return

    thread = threading.Thread(target=drive, daemon=True)
    thread.stop = stop.set
    thread.start()
    return thread
