# SPDX-License-Identifier: GPL-2.0-only
"""repr() of everything that a user holds: one short line with its state, and never an exception."""

import os
import threading

import pytest

from kvm_vmx import Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.memory import PhysicalMemory
from kvm_vmx.machine.static_keys import StaticKeys


@pytest.fixture
def machine():
    with Machine(cpus=2) as machine:
        yield machine


@pytest.fixture
def vcpu(machine):
    return machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()


@pytest.fixture
def any_vcpu(face):
    """Of the port, and of a tree's own KVM."""
    with face(cpus=2) as machine:
        yield machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()


def held(vcpu):
    """Everything that a user may hold once a vCPU is there."""
    vm, kvm = vcpu.vm, vcpu.vm.module
    machine = kvm.machine
    return [machine, machine.cpu(0), machine.cpu(1), machine.memory, kvm, kvm.port, vm, vm.memory,
            vcpu, vcpu.regs, vcpu.evmcs, vcpu.vmcs]


def shown(things):
    """The repr of each by its class, and that it is one: a line in brackets, without a bare id."""
    for thing in things:
        text = repr(thing)
        name = type(thing).__name__
        assert text.startswith((f"<{name}", f"<{name.removeprefix('Kernel')}")), text
        assert text.endswith(">"), text
        assert "\n" not in text and " object at " not in text and "half made" not in text, text
        assert len(text) < (600 if text.startswith("<Registers") else 120), text
    return {type(thing).__name__: repr(thing) for thing in things}


def test_a_machine_its_module_and_its_vms(machine):
    assert repr(machine) == "<Machine 2 CPUs, kvm-6.12, no module>"
    assert repr(machine.cpu(0)) == "<Cpu 0, no VMX>"
    kvm = machine.insmod()
    assert repr(machine) == "<Machine 2 CPUs, kvm-6.12, kvm_intel loaded>"
    assert repr(kvm) == "<Module kvm_intel, enlightened VMCS on, 0 VMs>"
    vm = kvm.create_vm(code=CPUID_LOOP, memory=64 << 10)
    assert repr(vm) == "<Vm of 0x10000 bytes, 0 vCPUs>"
    assert repr(vm.memory) == "<GuestMemory, 0x10000 bytes>"
    vcpu = vm.create_vcpu(cpu=1)
    assert repr(vm) == "<Vm of 0x10000 bytes, 1 vCPU>"
    assert repr(kvm) == "<Module kvm_intel, enlightened VMCS on, 1 VM>"
    assert repr(machine.cpu(1)) == "<Cpu 1, VMX root>"
    assert repr(vcpu) == f"<Vcpu on CPU 1, VMCS at {vcpu.vmcs_gpa:#x}>"
    assert repr(vcpu.evmcs) == (
        f"<EvmcsView at {vcpu.vmcs_gpa:#x}, clean fields {vcpu.evmcs.clean_fields:#x}>")
    assert repr(vcpu.vmcs) == f"<VmcsView at {vcpu.vmcs_gpa:#x}, enlightened>"
    assert repr(vcpu.regs).startswith("<Registers, rax=0x0, ")
    assert repr(kvm.port) == f"<PortFunctions of kvm_vmx.l1.vmx, {len(dir(kvm.port))} functions>"
    shown(held(vcpu))


def test_a_plain_vmcs_and_a_cpu_that_is_offline(machine):
    kvm = machine.insmod(enlightened_vmcs=False)
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
    machine.offline(1)
    assert repr(kvm) == "<Module kvm_intel, enlightened VMCS off, 1 VM>"
    assert repr(vcpu.vmcs).endswith("plain>") and "not enlightened" in repr(vcpu.evmcs)
    assert repr(machine) == "<Machine 2 CPUs, kvm-6.12, 1 online, kvm_intel loaded>"
    assert repr(machine.cpu(1)) == "<Cpu 1, offline, no VMX>"
    shown(held(vcpu))


def test_a_profile_of_a_file_is_its_name(tmp_path):
    folder = tmp_path / ("long " * 20)
    folder.mkdir()
    (folder / "mine.toml").write_text('base = "kvm-6.12"\n')
    with Machine(cpus=1, profile=folder / "mine.toml") as machine:
        assert repr(machine) == "<Machine 1 CPU, mine.toml, no module>"


def test_each_is_a_line_with_its_state(any_vcpu):
    vcpu, machine = any_vcpu, any_vcpu.vm.module.machine
    things = held(vcpu)
    before = shown(things)
    assert before["Registers"].startswith("<Registers, rax=0x0, ")
    vcpu.vm.destroy()
    gone = shown(things)
    assert sum("the VM is destroyed" in text for text in gone.values()) == 5
    assert sum(text.endswith("bytes, destroyed>") for text in gone.values()) == 1
    vcpu.vm.module.rmmod()
    assert sum("unloaded" in text for text in shown(things).values()) >= 3
    machine.close()
    assert sum("closed" not in text for text in shown(things).values()) == 1


def test_what_is_gone_says_so(machine, vcpu):
    kvm, things, keys = vcpu.vm.module, held(vcpu), StaticKeys(machine)
    assert repr(keys) == "<StaticKeys, loaded>"
    vcpu.vm.destroy()
    assert repr(vcpu.vm) == "<Vm of 0x10000 bytes, destroyed>"
    of_vcpu = shown(things)
    assert {name for name, text in of_vcpu.items() if "the VM is destroyed" in text} == {
        "GuestMemory", "Vcpu", "Registers", "EvmcsView", "VmcsView"}
    kvm.rmmod()
    keys.rmmod()
    assert repr(kvm) == "<Module kvm_intel, unloaded>"
    assert repr(keys) == "<StaticKeys, test_static_keys is unloaded>"
    assert "kvm_intel is unloaded" in repr(things[5]) and "unloaded" in shown(things)["Vm"]
    machine.close()
    assert repr(machine) == "<Machine 2 CPUs, kvm-6.12, closed>"
    # L1's memory is Python's to read for as long as it is held
    assert {name for name, text in shown(things).items() if "closed" not in text} == {
        "PhysicalMemory"}


def test_memory_that_is_not_backed_is_no_exception(any_vcpu):
    vcpu, machine = any_vcpu, any_vcpu.vm.module.machine
    machine.memory.unback(vcpu.vmcs_gpa)
    assert "are not backed" in shown([vcpu.evmcs])["EvmcsView"]
    machine.memory.back(vcpu.vmcs_gpa)


def test_in_a_child_of_fork_each_is_its_parent_s(any_vcpu):
    vcpu = any_vcpu
    things, owner = held(vcpu), os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            texts = [repr(thing) for thing in things]
            shown(things)
            status = sum(f"process {owner}" not in text for text in texts)
        finally:
            os._exit(status)
    # all but the memory, of which only the size is told
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    shown(things)


def test_beside_a_run(any_vcpu):
    vcpu, ended = any_vcpu, threading.Event()

    def run():
        try:
            while not ended.is_set():
                vcpu.run(exits=20_000)
        except MachineError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(200):
            shown(held(vcpu))
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("name", [
    "Machine", "Cpu", "Module", "PortFunctions", "Vm", "GuestMemory", "Vcpu", "Registers",
    "EvmcsView", "VmcsView"])
def test_what_is_half_made(vcpu, name):
    kind = {type(thing).__name__: type(thing) for thing in held(vcpu)}[name]
    assert repr(kind.__new__(kind)) == f"<{name}, half made>"


def test_what_is_half_made_of_each(any_vcpu):
    for kind in {type(thing) for thing in held(any_vcpu)} - {Machine, PhysicalMemory}:
        assert repr(kind.__new__(kind)) == f"<{kind.__name__}, half made>"
