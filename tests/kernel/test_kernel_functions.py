# SPDX-License-Identifier: GPL-2.0-only
"""A tree's own functions by their names: what debug information says of them, calls, refusals."""

import functools
import pathlib
import re

import needed
import pytest
from images import image_of

from kvm_vmx import KernelBug, Machine, MachineError, host
from kvm_vmx.kernel.functions import of_image, uncallable
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.port_functions import signatures

TREES = {"v4.19": "tree-4.19", "6.1": "tree-6.1", "6.12": "tree-6.12"}
DEFINED = re.compile(r"^(?!return)[a-z_][^;=()]*?\b(\w+)\(([^()]*)\)\s*\{", re.M)
FOLDERS = ("arch/x86/kvm", "arch/x86/kvm/vmx", "virt/kvm")
# The port has no emulator to hand an instruction's bytes to, and calls a bool of 0 or 1 an int.
ADAPTED = {"kvm_mmu_page_fault", "kvm_rdpmc"}


@pytest.fixture(scope="module", params=TREES)
def image(request):
    return image_of(TREES[request.param], request)


@pytest.fixture(scope="module")
def open_machine(image):
    with Machine(cpus=2, kernel=image) as machine:
        machine.insmod()
        yield machine


@pytest.fixture
def vcpu(open_machine):
    vm = open_machine.module.create_vm(code=CPUID_LOOP, memory=64 << 10)
    vcpu = vm.create_vcpu()
    vcpu.run(exits=3)
    with open_machine.cpu(0):
        yield vcpu
    vm.destroy()


def test_numbers_pointers_and_errors_come_back_as_their_types(vcpu):
    vm, port = vcpu.vm, vcpu.vm.module.port
    port.vmx_set_rflags(vcpu, 0x246)
    assert port.vmx_get_rflags(vcpu) == vcpu.regs["rflags"] == 0x246
    port.kvm_set_cr8(vcpu, 5)
    assert port.kvm_get_cr8(vcpu) == 5
    found = bytearray(len(CPUID_LOOP))
    assert port.kvm_read_guest(vm, 0x1000, found, len(found)) == 0 and found == CPUID_LOOP
    assert port.kvm_write_guest(vm, 0x2000, bytearray(b"written"), 7) == 0
    assert vm.memory.read(0x2000, 7) == b"written"
    # an int: -EFAULT
    assert port.kvm_read_guest(vm, vm.memory.size, found, 8) == -14
    slot = port.gfn_to_memslot(vm, 2)
    assert port.gfn_to_hva_memslot(slot, 2) == port.gfn_to_hva(vm, 2) == \
        vm.kernel.image.user + vm.memory.base + 0x2000
    assert port.gfn_to_memslot(vm, vm.memory.size >> 12) == 0
    assert port.kvm_flush_remote_tlbs(vm) is None
    assert vcpu.run(exits=3).exits == 3


def test_a_call_goes_to_the_cpu_of_its_with(open_machine, vcpu):
    """The VMCS is loaded there, and was cleared where it was."""
    port, before = vcpu.vm.module.port, open_machine.cpu(0).counters()["vmclear"]
    with open_machine.cpu(1):
        assert port.vmx_get_rflags(vcpu) == 2
    assert open_machine.cpu(0).counters()["vmclear"] == before + 1
    assert open_machine.image.per_cpu("current_vmcs", 1)
    open_machine.offline(1)
    with open_machine.cpu(1), pytest.raises(MachineError, match="CPU 1 is not online"):
        port.vmx_get_rflags(vcpu)
    open_machine.online(1)


@pytest.mark.parametrize("name, arguments, error, words", [
    ("kvm_get_cr8", (0x3000,), ValueError, "0x3000 is nothing of this kernel's: give a Vcpu"),
    ("kvm_get_cr8", ("x",), TypeError, "vcpu is struct kvm_vcpu \\*: give a Vcpu, not 'x'"),
    ("kvm_get_cr8", (1 << 64,), OverflowError, "no address of 64 bits"),
    ("kvm_get_cr8", (), TypeError, "takes 1 arguments: unsigned long kvm_get_cr8\\("),
    ("kvm_set_cr8", ("vcpu", 1 << 64), OverflowError, "cr8 is unsigned long, which 0x1"),
    ("kvm_set_cr8", ("vcpu", None), TypeError, "cr8 is unsigned long, and None is no number"),
    ("kvm_get_cr8", ("vm",), TypeError, "is struct kvm_vcpu \\*, and no struct kvm"),
    ("kvm_read_guest", ("vm", 0, b"fixed", 5), ValueError, "give a bytearray"),
    ("kvm_read_guest", ("vm", 0, 5.0, 5), TypeError, "give an address or a bytearray"),
])
def test_what_an_argument_is_not_is_one_line(vcpu, name, arguments, error, words):
    given = [{"vcpu": vcpu, "vm": vcpu.vm}.get(one, one) for one in arguments]
    with pytest.raises(error, match=words) as caught:
        getattr(vcpu.vm.module.port, name)(*given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, words", [
    ("vmcs_write64", r"vmcs_write64\(\) is inlined wherever this kernel calls it: "),
    ("vmx_get_rflag", "has no function 'vmx_get_rflag': did you mean vmx_get_rflags, "),
    ("__x86_indirect_thunk_rax", "has no function"),
    ("standin_boot", "has no function"),
])
def test_what_there_is_not_is_one_line(vcpu, name, words):
    with pytest.raises(AttributeError, match=words) as caught:
        getattr(vcpu.vm.module.port, name)
    assert "\n" not in str(caught.value)


def test_what_the_compiler_has_changed_says_so(image):
    functions = of_image(image)
    changed = [name for name in functions.changed if name not in functions.addresses]
    assert changed
    for name in changed[:3]:
        assert functions.changed[name] in functions.missing(name)


@pytest.mark.parametrize("where", [None, 0x18, 0xDEAD << 48])
def test_a_function_that_crashes_is_named(open_machine, where):
    kvm, what = open_machine.module, "general protection" if where and where > 99 else "page"
    with open_machine.cpu(0), pytest.raises(
            KernelBug, match=rf"^a {what} fault in vmx_get_rflags(\+0x\w+)?$"):
        kvm.port.vmx_get_rflags(where)
    open_machine.reboot()
    kvm = open_machine.insmod()
    assert kvm.create_vm(code=b"\xf4").create_vcpu().run().reason == "HLT"
    assert "kvm_get_cr8" in dir(kvm.port)


@functools.cache
def definitions(tree):
    """{function: the parameters of each of its definitions} of KVM's sources."""
    found = {}
    for folder in FOLDERS:
        for path in pathlib.Path(tree, folder).glob("*.[ch]"):
            text = re.sub(r"/\*.*?\*/", "", path.read_text(errors="replace"), flags=re.S)
            for name, inside in DEFINED.findall(text):
                found.setdefault(name, set()).add(" ".join(inside.split()))
    return found


def test_the_signatures_are_the_sources(request):
    """Each function's parameters by their names, as the kernel's own text has them."""
    needed.capability("tree-4.19")
    functions, texts = of_image(image_of("tree-4.19", request)), definitions(host.find("tree-4.19"))
    compared = 0
    for name in functions.addresses:
        known, signature = texts.get(name), functions.signature(name)
        if signature is None or known is None or len(known) > 1:
            continue
        inside, = known
        if inside == "" or "(" in inside:
            continue
        names = [] if inside == "void" else [re.split(r"[\s*]", one.strip("[] "))[-1]
                                             for one in inside.split(",")]
        assert [one for one, _ in signature.arguments] == names, signature
        compared += 1
    assert compared > 900


def test_the_port_s_signatures_are_the_kernel_s(request):
    """Of each function that both have: the port's text, and what the compiler says of v4.19's."""
    functions, compared = of_image(image_of("tree-4.19", request)), 0
    with Machine(cpus=1) as machine:
        ours = set(dir(machine.insmod().port))
    for name, text in signatures().items():
        if name in ours & functions.addresses.keys() - ADAPTED:
            signature = functions.signature(name)
            # which names a structure as Cython does, and the same type by another name
            told = str(signature).replace("ulong", "unsigned long")
            assert re.sub(r"struct |\W", "", told) == re.sub(r"struct |\W", "", text)
            compared += 1
    assert compared > 100


def test_every_function_of_c_has_a_signature(image):
    """What has none is the emulator's: labels in its assembly."""
    functions = of_image(image)
    found = {name: functions.signature(name) for name in functions.addresses}
    emulator = functions.info.unit_at(functions.addresses["x86_emulate_insn"])
    for name, one in found.items():
        unit = functions.info.unit_at(functions.addresses[name])
        assert one is not None or unit == emulator or unit.name.endswith(".S"), name
    known = [one for one in found.values() if one is not None]
    assert len(known) > 1000
    assert sum(uncallable(one) is not None for one in known) < 5
