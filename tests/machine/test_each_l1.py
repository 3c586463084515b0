# SPDX-License-Identifier: GPL-2.0-only
"""Machine(kernel=TREE): a tree's own KVM has the face of the port."""

import gc
import inspect

import pytest
from images import image_of

from kvm_vmx import ExitReason, Machine
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel.guest import GuestMemory, KernelVcpu, KernelVm
from kvm_vmx.kernel.kernel import Kernel, KernelModule
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.options import L1, HyperV, members
from kvm_vmx.machine.vcpu import Vcpu
from kvm_vmx.machine.vm import GuestMemory as PortMemory
from kvm_vmx.machine.vm import Vm

PAIRS = [(Machine, Kernel), (Module, KernelModule), (Vm, KernelVm), (Vcpu, KernelVcpu),
         (PortMemory, GuestMemory)]
# What only the port has: which machine is open, by whoever, an image that needs none, and the
# struct behind a name.
ONLY_THE_PORT = {"current", "used", "boot", "path"}
OF_THE_OBJECT = {"module", "why_not_evmcs"}


@pytest.fixture(scope="session")
def image(request):
    """v4.19's."""
    return image_of("tree-4.19", request)


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("port, kernel", PAIRS, ids=[port.__name__ for port, _ in PAIRS])
def test_every_name_of_the_port_s_face_is_there(port, kernel):
    assert public(port) - ONLY_THE_PORT - OF_THE_OBJECT - public(kernel) == set()


def test_the_options_of_a_machine_are_told():
    named = inspect.signature(Machine).parameters
    assert next(iter(named)) == "cpus" and "kernel" in named
    assert set(named) >= {"hypervisor", "l1"}
    assert {*members(HyperV), *members(L1)} >= {"profile", "lints", "strict", "faults", "insn"}


def test_a_tree_is_booted_and_is_no_machine_of_the_port(image):
    with Machine(cpus=2, kernel=image, lints=True) as machine:
        assert isinstance(machine, Kernel) and Machine.current() is None
        assert repr(machine) == "<Kernel of 2 CPUs, no module>"
        with Machine(cpus=1) as port:
            assert port.insmod().enable_evmcs
    assert repr(machine) == "<Kernel of 2 CPUs, the machine is closed>"


@pytest.mark.parametrize("mode", [False, True], ids=["vmcs", "evmcs"])
def test_a_life_is_the_same_on_each(kernel, mode):
    """insmod, a guest, its registers and fields, hotplug, a processor saved, rmmod."""
    with kernel(2, lints=True) as machine:
        module = machine.insmod(enlightened_vmcs=mode)
        assert machine.module is module and module.enable_evmcs is mode
        assert module.parameters["enlightened_vmcs"] == mode and module.parameters["ept"] == 1
        assert [one.id for one in module.why_not_evmcs] == ([] if mode else ["parameter"])
        vm = module.create_vm(CPUID_LOOP)
        vcpu = vm.create_vcpu(1)
        vcpu.trace_exits()
        assert vcpu.run(exits=5).exits == 5
        assert [reason for reason, *_ in vcpu.exit_log] == [ExitReason.CPUID] * 5
        assert vcpu.vmcs["GUEST_RIP"] == vcpu.exit_log[-1][2]
        assert vcpu.vmcs["GUEST_CR3"] == vcpu.sregs["cr3"] and len(vcpu.vmcs) == len(set(vcpu.vmcs))
        assert machine.cpu(1).mode == "VMX root" and vcpu.why_not is None
        vcpu.cpu = 0
        assert vcpu.run(exits=2).exits == 2
        machine.offline(1)
        assert (machine.cpus, machine.is_online(1)) == (1, False)
        machine.online(1)
        blob = machine.cpu(0).save()
        machine.cpu(0).restore(blob)
        assert vcpu.run(exits=2).exits == 2 and vm.memory[0x1000:0x1002] == CPUID_LOOP[:2]
        said = repr(vcpu), repr(vm), repr(module)
        assert all(word in line for word, line in zip(("VMCS at", "1 vCPU", "1 VM"), said))
        module.rmmod()
        assert "unloaded" in repr(module) and machine.module is None
        assert machine.counters["vmxoff"] == machine.counters["vmxon"] > 0
        assert machine.warnings == 0 and machine.failures_left == {}


def test_what_cannot_be_is_one_line(image):
    with Machine(cpus=1, kernel=image) as machine:
        vm = machine.insmod().create_vm(CPUID_LOOP)
        for wrong in (1, -1, "0"):
            with pytest.raises(ValueError, match="no CPU"):
                machine.cpu(wrong)
            with pytest.raises(ValueError, match="VM exit|CPUs"):
                machine.preempt(-1) if wrong == 1 else machine.reboot(wrong)
        with pytest.raises(IndexError):
            vm.move_page(vm.memory.size)


def test_the_sites_of_the_key_are_told_in_the_kernel_s_own_table(kernel):
    """Each is five bytes, or two, in a function of the module, as the key stands."""
    with kernel(1) as machine:
        assert machine.keys() == []
        for on in (False, True):
            kvm = machine.insmod(enlightened_vmcs=on)
            keys = machine.keys()
            names = {site["key"] for site in keys}
            key, = names & {"enable_evmcs", "__kvm_is_using_evmcs"}
            for site in keys:
                jumps = site["bytes"][0] in (0xE9, 0xEB)
                assert site["state"] == ("jmp" if jumps else "nop")
                if jumps:
                    size = len(site["bytes"])
                    distance = int.from_bytes(site["bytes"][1:], "little", signed=True)
                    assert site["address"] + size + distance == site["target"]
                if site["key"] == key:
                    assert jumps == (on != site["likely"])
            assert {site["function"] for site in keys if site["key"] == key} >= {
                "vmx_vcpu_run", "vmcs_load"} or not kernel.is_port
            kvm.rmmod()


@pytest.mark.parametrize("mode", [False, True], ids=["vmcs", "evmcs"])
def test_a_task_that_loses_its_cpu_gets_it_back(kernel, mode):
    """Another vCPU is current by then: the VMCS is loaded again."""
    if kernel.is_port:
        pytest.skip("the port loses its CPU before a VMWRITE, which tests of its own ask")
    with kernel(1, lints=True) as machine:
        vcpu = machine.insmod(enlightened_vmcs=mode).create_vm(CPUID_LOOP).create_vcpu(0)
        assert vcpu.run(exits=5).exits == 5
        machine.preempt(3)
        assert machine.failures_left == {"preempt": 3}
        assert vcpu.run(exits=10).exits == 10
        assert machine.failures_left == {} and machine.warnings == 0


def test_the_fault_that_a_guest_dies_of_is_told(kernel):
    with kernel(1) as machine:
        vcpu = machine.insmod().create_vm(bytes.fromhex("0fa20f0b")).create_vcpu(0)
        fault = vcpu.run(exits=50).fault
        assert (fault.event.name, fault.rip, fault.triple) == ("#UD", 0x1002, True)


def test_an_option_of_the_port_is_refused(image):
    with pytest.raises(ValueError, match="a kernel's own KVM has no option 'insn': give "):
        Machine(kernel=image, insn="call")
    with pytest.raises(BuildError, match="no kernel tree '/nowhere'"):
        Machine(kernel="/nowhere")


def test_an_interrupt_goes_through_l1_s_own_gate(kernel):
    """KVM calls the handler of what ended its guest's turn: each of the vectors, on any stack. By
    VMCS: under eVMCS v4.19 does not say that its stack has moved (erratum: host_rsp)."""
    with kernel(cpus=1) as machine:
        vcpu = machine.insmod(enlightened_vmcs=False).create_vm(code=b"\xeb\xfe").create_vcpu()
        for depth in (0, 8, 16, 24, 1000):
            for vector in (0x20, 0x80, 0xFF):
                machine.cpu(0).pending_interrupt = vector
                summary = vcpu.run(exits=1, stack_depth=depth)
                assert summary.reasons[ExitReason.EXTERNAL_INTERRUPT] == 1
                assert machine.cpu(0).pending_interrupt is None


@pytest.mark.parametrize("mode", [False, True], ids=["vmcs", "evmcs"])
def test_a_guest_runs_on_shadow_pages(kernel, mode):
    """Without EPT the first page fault is an exit; the port says that it has no such tables."""
    with kernel(cpus=1) as machine:
        if kernel.is_port:
            with pytest.raises(OSError, match="without EPT"):
                machine.insmod(enlightened_vmcs=mode, ept=False)
            return
        vcpu = machine.insmod(enlightened_vmcs=mode, ept=False).create_vm(CPUID_LOOP).create_vcpu()
        reasons = vcpu.run(exits=50).reasons
        assert reasons.keys() == {ExitReason.EXCEPTION_NMI, ExitReason.CPUID}
        assert reasons[ExitReason.EXCEPTION_NMI] < 5 and machine.warnings == 0


def test_vms_of_any_size_come_and_go(image):
    """An object of kmalloc's two odd sizes had room for a word, and wrote into its neighbours."""
    with Machine(cpus=1, kernel=image) as machine:
        kvm = machine.insmod()
        for size in (64 << 10, 4 << 20, 16 << 20, 64 << 10, 16 << 20):
            vm = kvm.create_vm(CPUID_LOOP, memory=size)
            assert vm.create_vcpu().run(exits=3).exits == 3
            vm.destroy()
        kvm.rmmod()
        held = machine.allocations
        machine.insmod().rmmod()
        assert machine.allocations == held


def test_a_machine_that_is_forgotten_is_closed(image):
    machine = Machine(cpus=1, kernel=image)
    machine.insmod().create_vm(CPUID_LOOP).create_vcpu().run(exits=1)
    del machine
    gc.collect()
    with Machine(cpus=1, kernel=image) as machine:
        assert machine.traps["vmxon"] == 0


def test_the_fixture_names_each_kind(kernel):
    assert kernel.is_port == (kernel.image is None) == (repr(kernel) == "port")
    assert kernel.version in {(4, 19), (6, 1), (6, 12)}
