# SPDX-License-Identifier: GPL-2.0-only
"""kvm.port: the kernel's functions by their names, with their signatures, and none that harms.
What the port lists and how it says it is the port's; what a call does is asked of each L1."""

import collections
import functools
import os
import pathlib
import re

import pytest

from kvm_vmx import Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP

FOLDERS = ("arch/x86/kvm", "arch/x86/hyperv", "arch/x86/kernel/cpu", "arch/x86/include/asm")
# The port has no emulator to hand the instruction's bytes to, and no struct pt_regs.
ADAPTED = {"kvm_mmu_page_fault": 5, "hyperv_reenlightenment_intr": 1}


@pytest.fixture
def vcpu():
    with Machine(cpus=1) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()
        vcpu.run(exits=3)
        yield vcpu


@functools.cache
def parameters(tree):
    """{function: how many parameters it has, wherever v4.19 has one of that name}."""
    found = collections.defaultdict(set)
    for folder in FOLDERS:
        for kind in ("*.c", "*.h"):
            for path in (pathlib.Path(tree) / folder).glob(kind):
                for name, inside in re.findall(
                        r"^(?!return)[a-z_][^;=()]*?\b(\w+)\(([^)]*)\)\s*\{",
                        path.read_text(errors="replace"), re.M):
                    found[name].add(0 if inside.strip() == "void" else inside.count(",") + 1)
    return found


def arguments_of(function, vcpu, number):
    """Arguments for a function by its signature: the vCPU, and a number as far as it fits."""
    inside = re.search(r"\((.*)\)", function.__doc__)[1]
    found = []
    for text in inside.split(", "):
        if text == "struct kvm_vcpu *vcpu":
            found.append(vcpu)
        elif text != "void":
            bits = {"u8": 8, "u16": 16, "u32": 32, "int": 32, "unsigned int": 32, "bool": 32}.get(
                text.rpartition(" ")[0], 64)
            found.append(number & (1 << bits) - 1)
    return found


def names():
    with Machine(cpus=1) as machine:
        return dir(machine.insmod().port)


NAMES = names()


def test_what_is_listed_is_the_kernel_s(vcpu):
    port = vcpu.vm.module.port
    assert len(NAMES) >= 100 and not [name for name in NAMES if re.match(
        r"bench_|probe_|call_|config_word|enable_evmcs_is_on|declare_|handle_vmx", name)]
    assert {"vmcs_read64", "vmcs_writel", "vmx_vcpu_run", "vmx_handle_exit", "vmx_get_cpl",
            "handle_cpuid", "hardware_enable", "kvm_set_cr4", "kvm_emulate_cpuid",
            "hyperv_flush_guest_mapping"} <= set(NAMES)
    assert repr(port) == f"<PortFunctions of kvm_vmx.l1.vmx, {len(NAMES)} functions>"
    with pytest.raises(AttributeError, match="vmx_get_cpl") as caught:
        _ = port.vmx_get_clp
    assert "probe_" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_its_name_and_the_kernel_s_signature(vcpu, name):
    function = getattr(vcpu.vm.module.port, name)
    first = function.__doc__.partition("\n")[0]
    assert function.__name__ == name and "__pyx" not in first and "_t *" not in first
    found = re.fullmatch(r"(?:unsigned |struct )?\w+ \**(\w+)\((.*)\)", first)
    assert found[1] == name and all(
        re.fullmatch(r"void|(?:unsigned |struct )?\w+ \**\w+", one) for one in found[2].split(", "))
    tree = os.environ.get("KVM_VMX_TREE_4_19")
    if not tree:
        pytest.skip("no Linux v4.19: give it in KVM_VMX_TREE_4_19")
    count = 0 if found[2] == "void" else found[2].count(",") + 1
    assert parameters(tree)[name] == {ADAPTED.get(name, count)}


@pytest.mark.parametrize("enlightened", [False, True])
def test_a_vcpu_s_vmcs_is_current_while_a_function_runs(kernel, enlightened):
    """Two vCPUs on one CPU: each call finds the VMCS of its own."""
    with kernel(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=CPUID_LOOP, memory=64 << 10)
        first, second = vm.create_vcpu(), vm.create_vcpu()
        first.run(exits=3)
        port = vm.module.port
        with machine.cpu(0):
            for one, other in ((first, second), (second, first)):
                port.vmx_set_rflags(one, 0x46)
                port.vmx_set_rflags(other, 0x2)
                assert port.vmx_get_rflags(one) == 0x46 and port.vmx_get_rflags(other) == 2
        assert (first.regs["rflags"], second.regs["rflags"]) == (2, 0x46)


def test_an_exit_handled_by_hand(kernel):
    """What the guest exited with, CPUID, is emulated once more: RIP goes on by its length."""
    with kernel(cpus=1) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()
        vcpu.run(exits=3)
        port, before = vcpu.vm.module.port, vcpu.regs["rip"]
        with machine.cpu(0):
            assert port.kvm_emulate_cpuid(vcpu) == 1
            assert port.vmx_get_cpl(vcpu) == 0
            if kernel.version == (4, 19):
                assert port.get_ept_level(vcpu) == 4
        assert vcpu.regs["rip"] == before + 2
        with pytest.raises(MachineError, match="inside `with machine.cpu"):
            port.kvm_emulate_cpuid(vcpu)
        with machine.cpu(0), pytest.raises((TypeError, ValueError), match="give a Vcpu"):
            port.kvm_emulate_cpuid(0x3000)
        with machine.cpu(0), pytest.raises(TypeError, match="takes 1 arguments"):
            port.kvm_emulate_cpuid()
        with pytest.raises(AttributeError, match="did you mean [^:]*vmx_get_cpl"):
            _ = port.vmx_get_clp


@pytest.mark.parametrize("name", NAMES)
def test_no_call_ends_the_process(name):
    """With any number: a value, or what the kernel says to it."""
    for number in (0, 1, 0x2F, (1 << 64) - 1):
        with Machine(cpus=1) as machine:
            vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()
            vcpu.run(exits=3)
            function = getattr(vcpu.vm.module.port, name)
            try:
                with machine.cpu(0):
                    found = function(*arguments_of(function, vcpu, number))
                assert found is None or isinstance(found, int)
                vcpu.run(exits=2)
            except (MachineError, OSError):
                pass        # the guest, or the kernel, has met its end: the process has not
