# SPDX-License-Identifier: GPL-2.0-only
"""What threads in a kernel share with each other, with the process, and with the next kernel."""

import os
import threading
import time
from pathlib import Path

import nursery

from kvm_vmx import ExitReason
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

WATCH_SIGNAL = 61       # SIGRTMAX - 3
FORKS = """
import os, sys, threading, time
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

kernel = Kernel(sys.argv[1], 1)
vcpu = kernel.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
threading.Thread(target=vcpu.run, daemon=True).start()
while kernel.cpu(0).counters()["exits"] < 100:
    time.sleep(0.001)
for _ in range(3):
    child = os.fork()
    if not child:
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""

CLOSES = """
import sys, threading
from kvm_vmx import MachineError
from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

sys.setswitchinterval(1e-6)


def read(memory, begun):
    try:
        while True:
            memory.read(0, memory.size)
            begun.set()
    except MachineError:
        pass


for _ in range(6):
    kernel = Kernel(sys.argv[1], 1)
    memory = kernel.insmod().create_vm(code=CPUID_LOOP, memory=1 << 20).memory
    begun = [threading.Event() for _ in range(4)]
    threads = [threading.Thread(target=read, args=(memory, one)) for one in begun]
    for thread, one in zip(threads, begun):
        thread.start()
        one.wait()
    kernel.close()
    for thread in threads:
        thread.join()
"""


def exits(kernel, cpu):
    return kernel.cpu(cpu).counters()["exits"]


def started(kernel, vcpu, count):
    """A thread in which the vCPU runs already."""
    before = exits(kernel, vcpu.cpu)
    thread = threading.Thread(target=vcpu.run, args=(count,))
    thread.start()
    while thread.is_alive() and exits(kernel, vcpu.cpu) == before:
        time.sleep(0.0005)
    return thread


def is_caught(signal):
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["SigCgt"], 16) >> signal - 1 & 1


def test_a_thread_that_goes_leaves_the_other_one_s_watch(image):
    """The signal that ends a kernel which loops would end the process."""
    with Kernel(image, 2) as kernel:
        vm = kernel.insmod(enlightened_vmcs=False).create_vm(CPUID_LOOP)
        first, second = vm.create_vcpu(0), vm.create_vcpu(1)
        before, beside, count = is_caught(WATCH_SIGNAL), False, 200
        while not beside:
            one = started(kernel, first, count)
            other = started(kernel, second, 3 * count)
            beside = one.is_alive() and other.is_alive()
            one.join()
            caught = is_caught(WATCH_SIGNAL)
            beside = beside and other.is_alive()
            other.join()
            count *= 4
        assert caught and is_caught(WATCH_SIGNAL) == before


def test_a_child_of_fork_ends_whatever_a_thread_was_doing(image):
    found = nursery.python(FORKS, image, timeout=60)
    assert found.stdout.split() == ["7"] * 3, found.stderr


def test_memory_that_is_read_while_its_kernel_closes(image):
    found = nursery.python(CLOSES, image)
    assert found.returncode == 0, found.stderr


def test_the_next_kernel_is_another_partition_s(image):
    """With lints L0 has another table of instructions."""
    for lints in (False, True, False):
        with Kernel(image, 2, lints=lints) as kernel:
            vcpu = kernel.insmod().create_vm(CPUID_LOOP).create_vcpu()
            for step in (lambda: None, kernel.start_trace, kernel.stop_trace):
                step()
                assert vcpu.run(exits=10).reasons[ExitReason.CPUID] == 10, lints


def test_vcpus_that_are_made_at_once_have_each_an_id(kernel):
    vm, found, at_once = kernel.insmod().create_vm(CPUID_LOOP), [], threading.Barrier(6)

    def create():
        at_once.wait()
        try:
            found.append(vm.create_vcpu().cpu)
        except OSError as error:
            found.append(os.strerror(error.errno))

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 6
