# SPDX-License-Identifier: GPL-2.0-only
"""However many machines, loads and VMs come and go: memory, mappings and descriptors stay."""

import gc
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from command import started

from kvm_vmx import Machine, host
from kvm_vmx.machine.guests import CPUID_LOOP

pytestmark = pytest.mark.usefixtures("frozen")


def held():
    """Bytes of memory, mappings and descriptors of this process."""
    gc.collect()
    return (int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096,
            len(pathlib.Path("/proc/self/maps").read_text().splitlines()),
            len(os.listdir("/proc/self/fd")))


def machines(insn, count):
    for n in range(count):
        with Machine(cpus=2, insn=insn, memory=1 << 20) as machine:
            vm = machine.insmod(enlightened_vmcs=n % 2 == 0).create_vm(code=CPUID_LOOP,
                                                                       memory=1 << 16)
            assert vm.create_vcpu().run(exits=2).exits == 2


def lifetimes(insn, count):
    with Machine(cpus=2, insn=insn) as machine:
        module = machine.insmod()
        for _ in range(count):
            vm = module.create_vm(code=CPUID_LOOP, memory=1 << 16)
            assert vm.create_vcpu().run(exits=2).exits == 2
            vm.destroy()


def loads(insn, count):
    with Machine(cpus=2, insn=insn) as machine:
        for n in range(count):
            machine.insmod(enlightened_vmcs=n % 2 == 0).rmmod()


# How many of each in the plain run, and in a soak.
COUNTS = {machines: (24, 100_000), lifetimes: (80, 1_000_000), loads: (24, 10_000)}


@pytest.mark.soak
@pytest.mark.parametrize("insn", ["call", "trap"])
@pytest.mark.parametrize("what", COUNTS, ids=lambda what: what.__name__)
def test_flat(what, insn, soak):
    count = COUNTS[what][soak]
    what(insn, 2000 if soak else count // 4)
    found = [held()]
    for _ in range(4):
        what(insn, count // 4)
        found.append(held())
        print(*found[-1])
    memory, maps, files = (set(each) for each in zip(*found))
    # an arena of the allocator may be new; a leak of a page each would be far more
    assert max(memory) - found[0][0] < 4 << 20
    assert max(maps) - min(maps) <= 4 and len(files) == 1


RUNS = """
import signal
import sys
from kvm_vmx import Machine, guests
rung = []
if sys.argv[3] == "alarms":
    for timer, number in ((signal.ITIMER_REAL, signal.SIGALRM), (signal.ITIMER_PROF,
                                                                 signal.SIGPROF)):
        signal.signal(number, lambda *_: rung.append(1))
        signal.setitimer(timer, 0.0005, 0.0005)
with Machine(cpus=1, insn=sys.argv[1]) as machine:
    vcpu = machine.insmod().create_vm(code=guests.CPUID_LOOP).create_vcpu()
    print("runs", flush=True)
    before = machine.counters["exits"]
    exits = vcpu.run(exits=int(sys.argv[2]))
    assert machine.counters["exits"] - before == exits.exits == int(sys.argv[2])
    assert sum(exits.reasons.values()) == exits.exits
    for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    assert bool(rung) == (sys.argv[3] == "alarms")
"""


@pytest.mark.soak
@pytest.mark.sweep(2)
@pytest.mark.parametrize("insn", ["call", "trap"])
@pytest.mark.parametrize("how", ["stopped", "alarms", pytest.param(
    "debugger", marks=pytest.mark.host("debugger"))])
def test_counts_are_whole_where_it_is_stopped_and_looked_at(how, insn, soak):
    exits = 2_000_000 if insn == "call" else 60_000
    # a debugger takes a while to begin; the others are there at once
    exits = exits * 30 if soak else exits if how == "debugger" else exits // 3
    with started([sys.executable, "-c", RUNS, insn, str(exits), how],
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "runs\n"
        for _ in range(200 if soak else 1):
            if child.poll() is not None:
                break
            if how == "stopped":
                child.send_signal(signal.SIGSTOP)
                child.send_signal(signal.SIGCONT)
            elif how == "debugger":
                # it is only to stop it: no symbols
                subprocess.run([host.find("debugger"), "-nx", "-batch", "-iex",
                                "set auto-solib-add off", "-p", str(child.pid),
                                "-ex", "detach"], capture_output=True, timeout=120)
        _, error = child.communicate(timeout=1200)
        assert (child.returncode, error) == (0, "")
