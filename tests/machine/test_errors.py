# SPDX-License-Identifier: GPL-2.0-only
"""What an error of the kernel's says: the lines that it logged in that very call, and no others."""

import threading
from collections.abc import Mapping

import pytest

from kvm_vmx.machine.guests import CPUID_LOOP


@pytest.fixture
def machine(kernel):
    with kernel(cpus=2) as machine:
        yield machine


def text_of(call):
    """The text of the OSError that call raises."""
    with pytest.raises(OSError) as caught:
        call()
    return str(caught.value)


def test_a_silent_refusal_quotes_nobody(kernel, machine):
    """The log has lines by then, of loading and of a VM; none is of these calls."""
    kvm = machine.insmod()
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
    assert len(machine.dmesg) > 1
    sregs = vcpu.sregs
    # PAE paging off in long mode: kvm_valid_sregs() says EINVAL and no more
    calls = [lambda: setattr(vcpu, "sregs", sregs | {"cr4": 0}), lambda: machine.online(1)]
    if kernel.is_port:      # a tree's VM gets its memory from user space, which takes it first
        calls.append(lambda: kvm.create_vm(memory=64 << 30))
        machine.fail("vmalloc", 1)
    for call in calls:
        text = text_of(call)
        assert "(kernel:" not in text and text.count("\n") == 0, text


def test_a_refusal_with_words_quotes_them(kernel):
    """insmod that finds no VMX says so; the boot's lines before it are not its own."""
    with kernel(cpus=1, cpuid={1: (0x000906EA, 0, 0, 0)}) as machine:
        before = machine.dmesg
        text = text_of(machine.insmod)
        own = machine.dmesg[len(before):]
        assert own and text.endswith(f"(kernel: {own[-1]})")


def test_lines_of_another_thread_are_not_quoted(kernel, machine):
    kvm = machine.insmod()
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    other = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=1)
    other.run(exits=1)
    sregs, stop, before = vcpu.sregs, threading.Event(), len(machine.dmesg)

    def talk():
        while not stop.is_set():
            with machine.cpu(1):
                if kernel.is_port:
                    kvm.port.dump_vmcs()
                else:
                    kvm.port.vmwrite_error(0x6820, 0)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        texts = {text_of(lambda: setattr(vcpu, "sregs", sregs | {"cr4": 0})) for _ in range(300)}
    finally:
        stop.set()
        thread.join()
    assert len(texts) == 1 and "(kernel:" not in texts.pop()
    assert len(machine.dmesg) > before


@pytest.mark.parametrize("enlightened", [False, True])
def test_the_view_of_a_vmcs_is_a_mapping(machine, enlightened):
    vcpu = machine.insmod(enlightened_vmcs=enlightened).create_vm(code=CPUID_LOOP).create_vcpu()
    vcpu.run(exits=2)
    view = vcpu.vmcs
    assert isinstance(view, Mapping) and len(view) == len(list(view)) > 100
    assert "GUEST_RIP" in view and "GUEST_EIP" not in view and 0xFFFF not in view
    values = dict(view)
    # of the last exit: the CPUID; KVM writes the next one at the entry
    assert values["GUEST_RIP"] == 0x1005 and values.keys() == set(view)
    assert view.get("GUEST_EIP", 7) == 7 and all(isinstance(v, int) for v in view.values())
    if enlightened:
        assert set(view) == set(vcpu.evmcs)
        assert values["GUEST_CR3"] == vcpu.evmcs["GUEST_CR3"]
    with pytest.raises(KeyError):
        view["GUEST_EIP"]
