# SPDX-License-Identifier: GPL-2.0-only
"""One machine a process, whole or not at all: second boots, boots that fail, copies."""

import copy
import gc
import pickle
import threading

import pytest

from kvm_vmx import KernelBug, Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.hold import Hold
from kvm_vmx.machine.kernel import Kernel, VirtualCpu, VirtualMachine
from kvm_vmx.machine.memory import PhysicalMemory
from kvm_vmx.machine.partition import Partition

HLT = b"\xf4"


def works(machine):
    """The next correct use."""
    kvm = machine.module or machine.insmod()
    vm = kvm.create_vm(code=HLT)
    assert vm.create_vcpu().run().reason == "HLT"
    vm.destroy()


def kernel_of_its_own():
    return Kernel(Partition(PhysicalMemory(64 << 20), 2))


def test_a_second_boot_is_refused_whoever_asks():
    with Machine() as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
        other = kernel_of_its_own()
        for boot in (Machine, lambda: machine._kernel.boot(2), lambda: other.boot(2),
                     lambda: other.boot(1, (), {"page": 3})):
            with pytest.raises(MachineError, match="close it first"):
                boot()
            assert vcpu.run(exits=3).exits == 3
        # what never came up switches nothing off
        other.shutdown()
        other = None
        gc.collect()
        assert vcpu.run(exits=3).exits == 3
        works(machine)
    with Machine() as another:
        works(another)


def test_of_many_threads_that_boot_at_once_one_does(face):
    kept, refused = [], []

    def boot():
        try:
            kept.append(face())
        except MachineError as error:
            refused.append(error)

    threads = [threading.Thread(target=boot) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 1 and len(refused) == 11
    works(kept[0])
    kept.pop().close()


class Interrupted(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


FAILURES = {
    "page": dict(fail={"page": 1}), "msr": dict(fail={"msr": 1}),
    "no such point": dict(fail={"page": 1, "fire": 1}),
    "no memory": dict(memory=4096, cpus=64), "no vmalloc": dict(fail={"vmalloc": 1}),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_boot_that_fails_of_any_kernel_leaves_nothing(kernel, how):
    kept = None
    try:
        kernel(**FAILURES[how]).close()
    except (KernelBug, MachineError, MemoryError, OSError, ValueError) as error:
        kept = error
    with kernel() as machine:
        works(machine)
    assert kept is not None or how in ("msr", "page", "no vmalloc")


@pytest.mark.parametrize("how", ["raises", "interrupted", *FAILURES])
def test_a_boot_that_fails_leaves_nothing_and_takes_nothing_along(how, monkeypatch):
    """Its exception may be kept, with all that its frames hold, for as long as anyone likes."""
    kept = None
    if how in ("raises", "interrupted"):
        from kvm_vmx.machine import sections

        error = OSError(13, "denied") if how == "raises" else Interrupted()

        def kernel_proper():
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(sections, "kernel_proper", kernel_proper)
            with pytest.raises(type(error)) as kept:
                Machine()
    else:
        try:
            machine = Machine(**FAILURES[how])
        except (KernelBug, MachineError, MemoryError, OSError, ValueError) as error:
            kept = error
        else:
            machine.close()
    machine = Machine()
    vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
    assert vcpu.run(exits=3).exits == 3
    del kept
    gc.collect()
    assert vcpu.run(exits=3).exits == 3
    machine.close()
    with Machine() as another:
        works(another)


def test_a_machine_that_failed_is_found_by_the_collector_while_another_boots(monkeypatch):
    from kvm_vmx.machine import sections

    class Box:
        pass

    box = Box()
    with monkeypatch.context() as patch:
        patch.setattr(sections, "kernel_proper", lambda: 1 // 0)
        try:
            Machine()
        except ZeroDivisionError as error:
            box.error, error.box = error, box
    threshold = gc.get_threshold()
    del box
    gc.set_threshold(1)
    try:
        machine = Machine()
    finally:
        gc.set_threshold(*threshold)
    works(machine)
    machine.close()


def test_a_closed_machine_that_goes_late_closes_no_other(face):
    first = face()
    first.close()
    with face() as second:
        first.close()
        del first
        gc.collect()
        works(second)


def test_nothing_of_a_machine_is_copied_or_pickled(face):
    with face() as machine:
        kvm = machine.insmod()
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
        for thing in (machine, kvm, vcpu.vm, vcpu, machine.cpu(0)):
            for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="neither copied nor pickled"):
                    duplicate(thing)
        gc.collect()
        assert vcpu.run(exits=3).exits == 3


def test_internals_that_are_kept_too_long_are_refused():
    """The objects below the public ones, after what they stand for is gone."""
    machine = Machine()
    kvm = machine.insmod()
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
    vm, raw, kernel = vcpu.vm._raw, vcpu._raw, machine._kernel
    calls = [lambda: raw.run(0, 1), lambda: raw.address, lambda: raw.get_regs(0),
             lambda: raw.exit_state(), lambda: raw.ready_for_interrupt_injection,
             lambda: raw.load(0), lambda: vm.read(0, 1), lambda: vm.destroy(),
             lambda: vm.create_vcpu(0), lambda: vm.remote_tlb_flushes,
             lambda: vm.move_page(0, True, 0)]

    def all_refused(words):
        for call in calls:
            with pytest.raises(MachineError, match=words):
                call()

    vcpu.vm.destroy()
    all_refused("destroyed")
    for kind in (VirtualCpu, VirtualMachine):
        with pytest.raises(TypeError, match="comes from"):
            kind.__new__(kind)
    vm2 = kvm.create_vm(code=CPUID_LOOP)
    machine.close()
    for call in (lambda: vm2._raw.destroy(), lambda: vm2._raw.read(0, 1),
                 lambda: kernel.online(0), lambda: kernel.assist_page(0),
                 lambda: kernel.create_vm(1 << 16), lambda: kernel.cpu_down(1),
                 lambda: Hold(kernel, 0).__enter__()):
        with pytest.raises(MachineError, match="the machine is closed|destroyed"):
            call()
    kernel.shutdown()
    with Machine() as another:
        kernel.shutdown()
        works(another)


def test_what_can_end_the_process_has_no_public_name():
    with Machine() as machine:
        vcpu = machine.insmod().create_vm(code=HLT).create_vcpu()
        assert {"kernel", "processor", "bound_cpu", "gate"} & set(dir(machine)) == set()
        assert "raw" not in dir(vcpu) and "raw" not in dir(vcpu.vm)


def test_a_hold_is_entered_once_and_left_once():
    with Machine() as machine:
        hold = Hold(machine._kernel, 1)
        hold.__exit__(None, None, None)
        with hold:
            with pytest.raises(MachineError, match="held already"):
                hold.__enter__()
        hold.__exit__(None, None, None)
        machine.offline(1)
        machine.online(1)


def test_a_hold_that_is_dropped_lets_go():
    with Machine() as machine:
        hold = Hold(machine._kernel, 1)
        hold.__enter__()
        failures = []

        def look():
            try:
                machine.cpu(1).rdmsr(0x10)
            except MachineError as error:
                failures.append(error)

        for expected in (1, 0):
            failures.clear()
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            assert len(failures) == expected
            hold = None


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_instructions_on_a_cpu_that_comes_and_goes(insn):
    """Hotplug's calls are run by whoever holds the CPU: with its traps, as a CPU."""
    with Machine(cpus=2, insn=insn) as machine:
        machine.insmod().create_vm(code=HLT).create_vcpu()
        stop, looked = threading.Event(), []

        def look():
            while not stop.is_set():
                try:
                    looked.append(machine.cpu(1).rdmsr(0x10).ok)
                except MachineError:
                    pass

        thread = threading.Thread(target=look)
        thread.start()
        done = 0
        while done < 400:
            for change in (machine.offline, machine.online):
                try:
                    change(1)
                    done += 1
                except (MachineError, OSError):
                    pass
        stop.set()
        thread.join()
        assert looked
        if not machine.is_online(1):
            machine.online(1)
        works(machine)
