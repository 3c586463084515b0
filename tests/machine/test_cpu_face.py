# SPDX-License-Identifier: GPL-2.0-only
"""Cpu as a class that tools read: every instruction and register of L0's processor is there."""

import inspect
import pydoc
import re
import threading

import pytest

from kvm_vmx import Cpu, Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.processor import Processor

PUBLIC = sorted(name for name in dir(Processor) if not name.startswith("_"))
METHODS = [name for name in PUBLIC if callable(getattr(Processor, name))]
REGISTERS = [name for name in PUBLIC if name not in METHODS + ["index"]]
SETTABLE = {
    "registers": list(range(16)), "rip": 0x1234, "rsp": 0x5678, "rflags": 0x46, "cpl": 3,
    "cr0": 0x80000031, "cr2": 0x1000, "cr3": 0x2000, "cr4": 0x2020, "cr8": 7, "dr7": 0x455,
    "debug_registers": [1, 2, 3, 4, 0xFFFF0FF0], "efer": 0xD00, "mov_ss_shadow": True,
    "pending_interrupt": 0x30, "pending_nmi": True}


@pytest.fixture
def machine(face):
    with face(cpus=2) as machine:
        yield machine


@pytest.mark.parametrize("name", METHODS)
def test_an_instruction_is_a_method_with_its_types(name):
    found = inspect.getattr_static(Cpu, name)
    assert inspect.isfunction(found)
    signature = inspect.signature(found)
    assert signature.return_annotation is not inspect.Parameter.empty
    assert all(one.annotation is not inspect.Parameter.empty
               for one in list(signature.parameters.values())[1:])
    assert len(inspect.getdoc(found)) > 10
    # as many operands as L0's, by the same names
    theirs = inspect.signature(getattr(Processor, name))
    assert list(signature.parameters) == list(theirs.parameters)
    assert [one.default for one in signature.parameters.values()] == [
        one.default for one in theirs.parameters.values()]


@pytest.mark.parametrize("name", REGISTERS)
def test_a_register_is_an_attribute_with_a_text(machine, name):
    found = inspect.getattr_static(Cpu, name)
    assert inspect.isdatadescriptor(found) and len(inspect.getdoc(found)) > 5
    assert getattr(machine.cpu(0), name) == getattr(machine._processor(0), name)


def test_nothing_is_looked_up_by_a_proxy(machine):
    assert "__getattr__" not in vars(Cpu) and "__dir__" not in vars(Cpu)
    assert set(PUBLIC) <= set(dir(Cpu)) and set(PUBLIC) <= set(dir(machine.cpu(0)))


def test_help_shows_all_of_it():
    text = pydoc.plain(pydoc.render_doc(Cpu))
    for name in set(PUBLIC) - {"index"}:
        assert re.search(rf"^ \|  {name}\b", text, re.M), name


@pytest.mark.parametrize("name", SETTABLE)
def test_a_register_that_is_set_is_the_processor_s(machine, name):
    cpu = machine.cpu(1)
    setattr(cpu, name, SETTABLE[name])
    assert getattr(cpu, name) == SETTABLE[name] == getattr(machine._processor(1), name)
    machine.close()
    for attempt in (lambda: getattr(cpu, name), lambda: setattr(cpu, name, SETTABLE[name])):
        with pytest.raises(MachineError):
            attempt()


@pytest.mark.parametrize("name", sorted(set(REGISTERS) - set(SETTABLE)) + ["cr5", "rax", "vmraed"])
def test_what_nobody_sets_is_refused(machine, name):
    with pytest.raises(AttributeError, match=name):
        setattr(machine.cpu(0), name, 1)


def test_what_an_instruction_may_not_share():
    """While another thread runs a guest there, a CPU executes nothing; it is watched."""
    with Machine(cpus=2) as machine:
        refused_beside_a_run(machine)


def refused_beside_a_run(machine):
    vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    ended, cpu = threading.Event(), machine.cpu(0)
    attempts = {"vmptrst": cpu.vmptrst, "cr2": lambda: setattr(cpu, "cr2", 1)}
    refused = {}

    def run():
        while not ended.is_set():
            try:
                vcpu.run(exits=100_000)
            except MachineError:
                pass        # the other thread was first

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while set(refused) != set(attempts):
            assert cpu.counters()["vmresume"] >= 0 and cpu.mode and cpu.exit_reasons
            for name, attempt in attempts.items():
                try:
                    attempt()
                except MachineError as error:
                    refused[name] = str(error)
    finally:
        ended.set()
        thread.join()
    assert all("in use by another thread" in text for text in refused.values())
