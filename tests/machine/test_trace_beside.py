# SPDX-License-Identifier: GPL-2.0-only
"""Tracing begins and ends while nobody is filling the records: L0 writes where it was told to."""

import itertools
import os

import nursery
import pytest

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_tracing_beside_a_running_vcpu_is_refused_and_the_process_lives(kernel, insn):
    if not kernel.is_port and insn == "call":
        pytest.skip("a tree's own KVM has its instructions trap")
    options = {"insn": insn} if kernel.is_port else {"kernel": os.fspath(kernel.image)}
    done = nursery.python(f"""
import threading, time
from kvm_vmx import Machine, MachineError
machine = Machine(cpus=2, **{options!r})
vcpu = machine.insmod().create_vm(code={CPUID_LOOP!r}).create_vcpu()
stop, refused, done = [], 0, 0
def run():
    while not stop:
        try:
            vcpu.run(exits=2_000)
        except MachineError:
            pass
thread = threading.Thread(target=run)
thread.start()
end = time.monotonic() + 60
while done < 10 or refused < 10:
    assert time.monotonic() < end, (done, refused)
    for call in (lambda: machine.start_trace(1000), lambda: machine.trace, machine.stop_trace,
                 lambda: machine.start_trace(100_000)):
        try:
            call()
            done += 1
        except MachineError as error:
            assert "in use" in str(error)
            refused += 1
stop.append(True)
thread.join()
machine.close()
""")
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])


def test_tracing_works_where_nobody_runs(kernel):
    with kernel(cpus=1) as machine:
        machine.start_trace(10)
        machine.cpu(0).rdmsr(0x10)
        machine.stop_trace()
        assert len(machine.trace) == 1


def test_a_vcpu_is_no_obstacle_once_it_is_back(kernel):
    with kernel(cpus=2) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=10)
        machine.start_trace(100)
        vcpu.run(exits=10)
        assert machine.trace


STEPS = {
    "fail": lambda machine: machine.fail("msr", 50),
    "no fail": lambda machine: machine.fail("msr", 0),
    "preempt": lambda machine: machine.preempt(50),
    "trace": lambda machine: machine.start_trace(10),
    "trace one": lambda machine: machine.start_trace(10, cpu=0),
    "no trace": lambda machine: machine.stop_trace(),
}


def test_traces_and_failures_in_any_order():
    """Either may come over the other: each instruction is written down once while a trace runs.
    Of the port: what a tree's own KVM lets fail are its stand-ins, and no instruction of L0's."""
    for steps in itertools.chain.from_iterable(itertools.product(STEPS, repeat=n) for n in (2, 3)):
        with Machine(cpus=1, memory=1 << 20, insn="call") as machine:
            for step in steps:
                STEPS[step](machine)
            before = len(machine.trace)
            machine.cpu(0).rdmsr(0x10)
            traced = [step for step in steps if "trace" in step][-1:] not in ([], ["no trace"])
            assert len(machine.trace) - before == traced or before == 10, steps
            machine.fail("msr", 1)
            assert not machine.cpu(0).rdmsr(0x10).ok
            assert machine.cpu(0).rdmsr(0x10).ok
