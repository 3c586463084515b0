# SPDX-License-Identifier: GPL-2.0-only
"""Each system call that the package makes is refused once, at its nth time, and from there on: one
line, nothing half open, no page that is writable and executable, and the next machine works."""

import os
import pathlib
import re
import subprocess
import sys

import needed
import pytest
from command import started

HERE = pathlib.Path(__file__).parent
CALLS = re.findall(r"[A-Z]\w+", re.search(
    r"enum \{(.*?)\}", (HERE / "refused_calls.h").read_text(), re.S)[1])
# What a thread that has to go back to what it was cannot do without.
ONCE_ALONE = ("MPROTECT", "ARCH_PRCTL")
# Made where a machine is by trap, and by the first run of a process that handles signals.
BY_TRAP, BY_THE_FIRST = ("SIGALTSTACK", "SIGACTION"), ("THREAD", "PIPE")
OF_FILES = ("MEMFD", "FTRUNCATE")

SESSION = """
import ctypes, gc, os, signal, sys
from kvm_vmx import KernelBug, Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP
# each line is a session, in a child that nothing was refused to before
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
signal.alarm(3600)
without, insns, afresh, *numbers = line.split(";")
os.environ["KVM_VMX_WITHOUT"] = without
what, most, *counts = map(int, numbers)
ours = ctypes.CDLL(None)
value = lambda name: ctypes.c_int.in_dll(ours, "refuse_" + name)

def one_line(error):
    text = str(error)
    assert text and "\\n" not in text and len(text) < 400, repr(error)

def attempt(call):
    try:
        return call()
    except (KernelBug, MachineError, MemoryError, OSError) as error:
        one_line(error)

def session(machine):
    for enlightened in (True, False):
        kvm = attempt(lambda: machine.insmod(enlightened_vmcs=enlightened))
        if kvm:
            vm = attempt(lambda: kvm.create_vm(code=CPUID_LOOP, memory=1 << 16))
            vcpu = vm and attempt(lambda: vm.create_vcpu(cpu=1))
            if vcpu:
                attempt(lambda: vcpu.run(exits=3))
                attempt(lambda: machine.cpu(0).rdmsr(0x10))
                attempt(lambda: machine.cpu(0).cpuid(0))
                attempt(lambda: setattr(vcpu, "cpu", 0))
                attempt(lambda: vcpu.run(exits=3))
            attempt(lambda: machine.offline(1))
            attempt(lambda: machine.online(1))
            attempt(kvm.rmmod)

def whole(insn):
    bad = [line for line in open("/proc/self/maps") if line.split()[1][1:3] == "wx"]
    assert not bad, bad
    value("nth").value = 0
    left = Machine.current()
    if left is not None:
        attempt(left.close)
    gc.collect()
    assert Machine.current() is None
    with Machine(cpus=2, insn=insn) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=1 << 16).create_vcpu()
        assert vcpu.run(exits=5).exits == 5

def refuse(insn, count, nth):
    print(insn, count, nth, file=sys.stderr)
    value("made").value, value("count").value, value("nth").value = 0, count, nth
    machine = attempt(lambda: Machine(cpus=2, insn=insn))
    if machine:
        session(machine)
        attempt(machine.close)
    machine = None
    assert value("made").value, "was never made"
    whole(insn)

def made_by(insn):
    whole(insn)
    value("made").value = 0
    machine = Machine(cpus=2, insn=insn)
    session(machine)
    machine.close()
    made = value("made").value
    assert made or insn not in insns.split(","), "is never made"
    return made

value("what").value = what
for insn in ("call", "trap"):
    made = 1 if afresh else made_by(insn)
    for count in counts:
        for nth in range(1, made + 1, max(1, made // most)):
            if not afresh:
                refuse(insn, count, nth)
            elif child := os.fork():
                assert os.waitpid(child, 0)[1] == 0
            else:
                refuse(insn, count, nth)
                sys.exit()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    target = tmp_path_factory.mktemp("refused") / "refused.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-x", "c", str(HERE / "refused_calls.h"),
                    "-o", str(target), "-ldl"], check=True)
    return target


@pytest.fixture(scope="module")
def sessions(library, tmp_path_factory):
    """A process that the library is in, which makes a child for each session; what these say."""
    said = tmp_path_factory.mktemp("refused") / "said"
    with said.open("w") as error, started(
            [sys.executable, "-c", SESSION], text=True, stdin=subprocess.PIPE, bufsize=1,
            stdout=subprocess.PIPE, stderr=error,
            env=os.environ | {"LD_PRELOAD": str(library)}) as process:
        yield process, said
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.host("compiler")
@pytest.mark.parametrize("what", CALLS)
def test_each_call_refused(sessions, what, soak):
    process, said = sessions
    if what in OF_FILES:
        needed.capability("memfd")
    without = os.environ.get("KVM_VMX_WITHOUT", "")
    if what == "ARCH_PRCTL":
        without = "fsgsbase,cpuid-faulting"
    counts = (1,) if what in ONCE_ALONE else (1, 1 << 30)
    insns = "trap" if what in BY_TRAP else "call,trap"
    print(without, insns, "afresh" if what in BY_THE_FIRST else "", CALLS.index(what),
          1000 if soak else 2, *counts, sep=";", file=process.stdin)
    status = process.stdout.readline()
    assert status == "0\n", (status, said.read_text()[-600:])
