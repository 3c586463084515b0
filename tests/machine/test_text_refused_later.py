# SPDX-License-Identifier: GPL-2.0-only
"""A policy that comes after the load and makes no page executable: a line, and life goes on."""

import subprocess
import sys

import pytest

from kvm_vmx import Machine

# seccomp: mprotect() with PROT_EXEC is EACCES from here on
DENY = """
import ctypes, struct
def deny():
    step = lambda code, yes, no, k: struct.pack("HBBI", code, yes, no, k)
    program = b"".join([
        step(0x20, 0, 0, 0), step(0x15, 0, 4, 10), step(0x20, 0, 0, 32), step(0x54, 0, 0, 4),
        step(0x15, 0, 1, 4), step(6, 0, 0, 0x0005000d), step(6, 0, 0, 0x7fff0000)])
    steps = ctypes.create_string_buffer(program)
    filter = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(steps)))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
def unusual():
    return [line for line in open("/proc/self/maps")
            if "w" in line.split()[1] and "x" in line.split()[1]]
from kvm_vmx import Machine, MachineError
"""


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_text_stays_executable_where_a_policy_comes_later(insn):
    done = subprocess.run([sys.executable, "-c", DENY + f"""
machine = Machine(insn={insn!r})
kvm = machine.insmod()
vcpu = kvm.create_vm(code=b"\\xf4").create_vcpu()
deny()
print(vcpu.run().reason)
for call in (kvm.rmmod, machine.insmod, machine.close, machine.close):
    try:
        call()
    except (OSError, MachineError) as error:
        print(type(error).__name__, error)
assert not unusual()
"""], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    assert done.stdout.startswith("HLT")


def test_the_same_process_without_a_policy_loads_again():
    with Machine(cpus=1) as machine:
        machine.insmod().rmmod()
        assert machine.insmod().enable_evmcs
