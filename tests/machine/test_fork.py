# SPDX-License-Identifier: GPL-2.0-only
"""fork(): in the child every machine of the parent's is dead, and the parent goes on unharmed."""

import functools
import multiprocessing
import os
import signal
import sys
import textwrap
import threading
import time

import nursery
import pytest
from images import image_of

from kvm_vmx import Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.memory import PhysicalMemory
from kvm_vmx.machine.partition import Partition
from kvm_vmx.testing.kernels import TREES, L1Kind

pytestmark = pytest.mark.long
# again: incq 0x3000; xor %eax, %eax; cpuid; jmp again
COUNTER = bytes.fromhex("48ff042500300000" "31c0" "0fa2" "ebf2")
PATIENCE = 60


def in_child(body):
    """Fork; the child runs body() and leaves with what it returns, or 99 with an exception; its
    wait status. A child that hangs is ended by a signal."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            status = body() or 0
        except BaseException as error:
            sys.stderr.write(f"child: {error!r}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def script(text):
    """Run a program of its own to its end; what it printed."""
    done = nursery.python("import faulthandler; faulthandler.enable()\n" + textwrap.dedent(text),
                          timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def machine(insn):
    with Machine(cpus=2, insn=insn) as machine:
        yield machine


@pytest.fixture(params=["call", "trap"])
def insn(request):
    return request.param


@pytest.fixture(params=["call", "trap", *TREES])
def boot(request):
    """Boots the port in each form, and a kernel's own KVM."""
    if request.param in TREES:
        return L1Kind(request.param, image_of(TREES[request.param], request))
    return functools.partial(Machine, insn=request.param)


def uses(machine, vcpu):
    """Every way to reach for something of a machine."""
    kvm, vm, cpu = machine.module, vcpu.vm, machine.cpu(1)
    return [
        lambda: machine.cpus, lambda: machine.cpu(0), lambda: machine.dmesg, machine.insmod,
        lambda: machine.counters, lambda: machine.traps, lambda: machine.lints, machine.keys,
        machine.start_trace, machine.stop_trace, lambda: machine.trace, lambda: machine.module,
        lambda: machine.allocations, lambda: machine.assist_page(0), lambda: machine.oopsed,
        lambda: machine.fail("page"), lambda: machine.failures_left, lambda: machine.warnings,
        lambda: machine.perf_guest_events(0, 0), lambda: machine.online(1),
        lambda: machine.offline(1), lambda: machine.memory.read(0, 1),
        lambda: machine.memory.write(0, b"x"), lambda: machine.memory.unback(0),
        lambda: machine.memory.read_u64(0), lambda: cpu.rdmsr(0x10), lambda: cpu.cr0, cpu.save,
        cpu.vmxoff, lambda: setattr(cpu, "rip", 1), lambda: cpu.counters(),
        lambda: setattr(cpu, "pending_nmi", True), lambda: kvm.parameters,
        lambda: kvm.enable_evmcs, lambda: kvm.port, kvm.create_vm, kvm.rmmod, vm.create_vcpu,
        vm.destroy, lambda: vm.memory.read(0, 1), lambda: vm.memory.write(0, b"x"),
        lambda: vm.move_page(0x3000), lambda: vm.remote_tlb_flushes, vcpu.run,
        lambda: vcpu.regs["rax"], lambda: vcpu.regs.update(rax=1), lambda: vcpu.sregs,
        lambda: vcpu.evmcs["GUEST_RIP"], lambda: vcpu.vmcs["GUEST_RIP"], vcpu.trace_exits,
        lambda: vcpu.exit_log, lambda: vcpu.interrupt(0x30), vcpu.nmi, lambda: vcpu.vmcs_gpa,
        lambda: vcpu.ready_for_interrupt, lambda: vcpu.request_interrupt_window,
    ]


def all_refused(calls, owner):
    """Each is a MachineError of one line that names the process; then closing does nothing."""
    for n, call in enumerate(calls):
        try:
            call()
        except MachineError as error:
            assert f"belongs to process {owner}" in str(error) and "\n" not in str(error), n
        else:
            raise AssertionError(f"use {n} was let in")


def test_in_a_child_each_use_names_the_process_and_closing_does_nothing(machine):
    vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
    vcpu.run(exits=10)
    calls, owner, before = uses(machine, vcpu), os.getpid(), dict(vcpu.regs)

    def child():
        all_refused(calls, owner)
        machine.close()
        machine.__exit__(None, None, None)
        machine.__del__()

    assert in_child(child) == 0
    assert dict(vcpu.regs) == before and vcpu.run(exits=10).exits == 10
    machine.module.rmmod()


def test_in_a_child_a_tree_s_kernel_is_the_parent_s_too(kernel):
    if kernel.is_port:
        pytest.skip("the port's is above, in both forms")
    with kernel(cpus=2) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=10)
        calls, owner, before = uses(machine, vcpu), os.getpid(), dict(vcpu.regs)
        del calls[11]       # module, which is an attribute here

        def child():
            all_refused(calls, owner)
            machine.close()
            machine.__exit__(None, None, None)
            machine.__del__()
            with kernel(cpus=1) as own:
                other = own.insmod().create_vm(code=COUNTER).create_vcpu()
                assert other.run(exits=7).exits == 7

        assert in_child(child) == 0
        assert dict(vcpu.regs) == before and vcpu.run(exits=10).exits == 10


def test_a_bare_partition_too():
    memory = PhysicalMemory(1 << 20)
    partition = Partition(memory)
    processor = partition.processor(0)
    blob = processor.save()
    calls = [lambda: processor.cpuid(0), lambda: processor.vmptrld(0x1000), processor.vmlaunch,
             lambda: processor.restore(blob), lambda: partition.processor(0), partition.counters,
             lambda: partition.trace, lambda: partition.migrate(), lambda: memory.read(0, 1),
             lambda: memory.back(0), lambda: Partition(memory), lambda: processor.msr_exits(0x10),
             lambda: processor.signal_sint(2), processor.save, lambda: processor.log_exits(4)]
    assert in_child(lambda: all_refused(calls, os.getppid())) == 0
    assert processor.cpuid(0)[0] > 0


def test_a_child_boots_a_machine_of_its_own(boot):
    def child():
        with boot(cpus=1) as own:
            kvm = own.insmod()
            other = kvm.create_vm(code=COUNTER).create_vcpu()
            assert other.run(exits=7).exits == 7 and kvm.enable_evmcs
            # and its own child, again
            assert in_child(lambda: all_refused([lambda: own.cpus], os.getppid())) == 0
            kvm.rmmod()
            own.insmod(enlightened_vmcs=False)

    with boot(cpus=2) as machine:
        vcpu = machine.insmod().create_vm(code=COUNTER).create_vcpu()
        vcpu.run(exits=10)
        assert in_child(child) == 0
        vcpu.run(exits=10)
        count = int.from_bytes(vcpu.vm.memory.read(0x3000, 8), "little")
        assert count == 20


STATES = {
    "idle": lambda machine, vcpu: machine.cpus,
    "run": lambda machine, vcpu: vcpu.run(exits=300),
    "hotplug": lambda machine, vcpu: (machine.offline(1), machine.online(1)),
    "instruction": lambda machine, vcpu: machine.cpu(1).rdmsr(0x10),
    "build": lambda machine, vcpu: machine.module.create_vm(memory=1 << 16),
}


@pytest.mark.sweep(2)
@pytest.mark.parametrize("state", STATES)
def test_a_fork_while_another_thread_is_inside(machine, state):
    """Whatever it is doing, and whatever the child then tries."""
    vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
    calls, owner, stop, failures = uses(machine, vcpu), os.getpid(), threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                STATES[state](machine, vcpu)
            except Exception as error:
                failures.append(error)

    def child():
        all_refused(calls, owner)
        machine.close()
        with Machine(cpus=2) as own:
            own.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=1).run(exits=5)
            own.offline(1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        statuses = []
        for n in range(3):
            time.sleep(0.003 * n)
            statuses.append(in_child(child))
    finally:
        stop.set()
        thread.join()
    assert statuses == [0] * 3 and failures == []
    assert vcpu.run(exits=3).exits == 3


def test_a_fork_while_another_thread_loads_and_unloads(machine):
    """Text and keys are never copied half written."""
    stop, failures = threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                machine.insmod(enlightened_vmcs=True).rmmod()
            except Exception as error:
                failures.append(error)

    def child():
        for enlightened in (True, False):
            with Machine(cpus=1) as own:
                assert own.insmod(enlightened_vmcs=enlightened).enable_evmcs == enlightened

    thread = threading.Thread(target=work)
    thread.start()
    try:
        statuses = [in_child(child) for _ in range(8)]
    finally:
        stop.set()
        thread.join()
    assert statuses == [0] * 8 and failures == []


def test_a_fork_by_a_signal_handler_while_a_vcpu_runs(boot):
    with boot(cpus=2) as machine:
        forks_in_a_run(machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu())


def forks_in_a_run(vcpu):
    """A signal handler forks while the vCPU runs."""
    statuses = []

    def handler(*_):
        statuses.append(in_child(lambda: all_refused([lambda: vcpu.regs["rax"]], os.getppid())))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        while not statuses:
            vcpu.run(exits=2_000)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert statuses == [0] and vcpu.run(exits=3).exits == 3


ENDS = {
    "exit": "sys.exit(0)", "raise SystemExit": "raise SystemExit",
    "close": "m.close(); os._exit(0)",
    "collect": "del m, v; gc.collect(); sys.exit(0)", "end of the with": "sys.exit(0)",
    "offline": "\n    try: m.offline(1)\n    except MachineError: sys.exit(0)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_child_that_ends_as_programs_do(end, insn):
    out = script(f"""
import gc, os, sys
from kvm_vmx import Machine, MachineError
m = Machine(insn={insn!r})
v = m.insmod().create_vm(code=bytes.fromhex({CPUID_LOOP.hex()!r})).create_vcpu()
v.run(exits=100)
pid = os.fork()
if pid == 0:
    {ENDS[end]}
assert os.waitpid(pid, 0)[1] == 0
print(v.run(exits=5).exits)
m.module.rmmod()
m.close()
Machine().close()
""")
    assert out == ["5"]


def guest_of_its_own(exits):
    """What a worker of a pool does."""
    with Machine(cpus=1) as machine:
        return machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu().run(exits=exits).exits


@pytest.mark.sweep(2)
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_of_processes_beside_an_open_machine(machine, method):
    vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(guest_of_its_own, [3, 4]) == [3, 4]
    assert vcpu.run(exits=3).exits == 3
