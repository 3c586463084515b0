# SPDX-License-Identifier: GPL-2.0-only
"""Bad input: one clear line, nothing half-done, and the next correct use works."""

import gc
import threading
import time

import pytest

from kvm_vmx import KernelBug, MachineError
from kvm_vmx.kernel.kernel import OPTIONS
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.testing.kernels import L1Kind

HLT = b"\xf4"
# What is asked of the kernel, and not of Python before it, is asked of the port: two threads at
# once, the accessors, which no tree has out of line.
OF_THE_PORT = pytest.mark.parametrize("face", [L1Kind("port")], ids=["port"])


@pytest.fixture
def machine(face):
    with face(cpus=2) as machine:
        yield machine


@pytest.fixture
def vcpu(machine):
    return machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)


def works(machine):
    """The next correct use."""
    if machine.module is None:
        machine.insmod()
    vm = machine.module.create_vm(code=HLT)
    assert vm.create_vcpu().run().reason == "HLT"
    vm.destroy()


def refused(kind, words, call, *args, **kwargs):
    """call raises kind with one line that has these words in it."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert words in text and "\n" not in text and len(text) < 250, text


# What a machine, a module, a VM and a vCPU answer once they are gone.

def gone(machine, vcpu):
    """Every way to reach for something that was unloaded."""
    vm, kvm = vcpu.vm, vcpu.vm.module
    return {
        "run": lambda: vcpu.run(exits=1), "regs": lambda: vcpu.regs["rax"],
        "set regs": lambda: vcpu.regs.update(rax=1), "sregs": lambda: vcpu.sregs,
        "evmcs": lambda: vcpu.evmcs["GUEST_RIP"], "clean": lambda: vcpu.evmcs.clean_fields,
        "vmcs": lambda: vcpu.vmcs["GUEST_RIP"], "gpa": lambda: vcpu.vmcs_gpa,
        "trace": vcpu.trace_exits, "log": lambda: vcpu.exit_log,
        "read": lambda: vm.memory.read(0, 1), "write": lambda: vm.memory.write(0, b"x"),
        "vcpu": vm.create_vcpu, "destroy": vm.destroy, "nmi": vcpu.nmi,
        "ready": lambda: vcpu.ready_for_interrupt, "interrupt": lambda: vcpu.interrupt(0x30),
        "window": lambda: vcpu.request_interrupt_window, "refusal": lambda: vcpu.why_not,
        "ask for it": lambda: setattr(vcpu, "request_interrupt_window", True),
        "move": lambda: vm.move_page(0), "flushes": lambda: vm.remote_tlb_flushes,
    }, {
        "vm": kvm.create_vm, "rmmod": kvm.rmmod, "key": lambda: kvm.enable_evmcs,
        "parameters": lambda: kvm.parameters, "port": lambda: kvm.port,
    }


def test_after_rmmod(machine, vcpu):
    of_vm, of_module = gone(machine, vcpu)
    port = vcpu.vm.module.port
    vcpu.vm.module.rmmod()
    for call in (*of_vm.values(), *of_module.values()):
        refused(MachineError, "insmod() it again", call)
    with machine.cpu(0):
        refused(MachineError, "insmod() it again", port.vmx_get_rflags, vcpu)
    works(machine)
    # an old vCPU does not come back with a new load
    for call in (*of_vm.values(), *of_module.values()):
        refused(MachineError, "insmod() it again", call)
    works(machine)


def test_after_destroy(machine, vcpu):
    of_vm, _ = gone(machine, vcpu)
    vcpu.vm.destroy()
    for call in of_vm.values():
        refused(MachineError, "create another", call)
    works(machine)


def test_after_close(face, machine, vcpu):
    of_vm, of_module = gone(machine, vcpu)
    cpu = machine.cpu(0)
    port = vcpu.vm.module.port
    machine.close()
    calls = [
        machine.insmod, machine.keys, lambda: machine.dmesg, lambda: machine.allocations,
        lambda: machine.cpus, lambda: machine.cpu(0), lambda: machine.online(1),
        lambda: machine.offline(1), lambda: machine.fail("page"), lambda: machine.assist_page(0),
        lambda: machine.assist_page_gpa(0), lambda: cpu.vmxon(0), lambda: cpu.cr0,
        lambda: setattr(cpu, "cr0", 1), *of_vm.values(), *of_module.values(),
    ]
    for call in calls:
        refused(MachineError, "the machine is closed", call)
    with cpu:
        refused(MachineError, "the machine is closed", port.vmx_get_rflags, vcpu)
    machine.close()
    with face() as another:
        works(another)


def test_a_second_machine_a_second_load(face, machine):
    refused(MachineError, "close it first", face)
    kvm = machine.insmod()
    refused(MachineError, "rmmod() it first", machine.insmod)
    if face.is_port:
        refused(MachineError, "rmmod() it first", machine.insmod, config="no-jump-label")
    assert kvm.enable_evmcs
    works(machine)
    kvm.rmmod()
    works(machine)
    machine.close()
    with face() as another:
        works(another)


def test_a_machine_that_is_forgotten_closes_itself(face):
    machine = face()
    machine.insmod()
    del machine
    gc.collect()
    with face() as another:
        works(another)


# Bad values.

@pytest.mark.parametrize("options, words", [
    *((dict(cpus=cpus), "1 to 4096") for cpus in (0, -1, 4097, 1 << 70, "2", 2.0, None)),
    (dict(cpus=2, possible_cpus=1), "raise possible_cpus"),
    (dict(possible_cpus=4097), "1 to 4096"), (dict(possible_cpus="x"), "1 to 4096"),
    (dict(profile="kvm"), "the profiles are"), (dict(profile=None), "the profiles are"),
    (dict(cache_policy="sometimes"), "the policies are"), (dict(cache_policy=3), "give one of"),
    (dict(cache_policy="random(x)"), "as in random(7)"),
    (dict(cache_policy="random(-1)"), "random(7)"),
    (dict(insn="trap?"), "call"), (dict(maxphyaddr=31), "32 to 52"),
    (dict(maxphyaddr="x"), "32 to 52"),
    (dict(cpuid={1: (1, 2, 3)}), "(eax, ebx, ecx, edx)"),
    (dict(cpuid={1: (1, 2, 3, -4)}), "integer"),
    (dict(cpuid={-1: (1, 2, 3, 4)}), "integer"), (dict(msrs={0x480: 1 << 64}), "integer"),
    (dict(msrs={"x": 1}), "integer"),
    (dict(memory=4095), "multiple of 4096"), (dict(memory=-4096), "4096"),
    (dict(memory="1G"), "4096"), (dict(memory=1 << 70), "4096"),
    (dict(no_assist_page=(2,)), "from 0"), (dict(no_assist_page=(-1,)), "from 0"),
    (dict(fail={"fire": 1}), "there are"), (dict(fail={"page": -1}), "1"),
    (dict(seed="x"), "seed"),
], ids=str)
def test_a_machine_of_bad_values(face, options, words):
    if not face.is_port and (other := set(options) - OPTIONS - {"cpus"}):
        words = f"has no option {min(other)!r}"
    refused(ValueError, words, face, **options)
    with face() as machine:
        works(machine)


@pytest.mark.parametrize("exits", [0, -1, 1.5, "10", 1 << 64, b"1", [1]])
def test_a_bad_number_of_exits(machine, vcpu, exits):
    before = dict(vcpu.regs), machine.counters
    refused(ValueError, "1 or more, or None", vcpu.run, exits=exits)
    assert (dict(vcpu.regs), machine.counters["exits"]) == (before[0], before[1]["exits"])
    assert vcpu.run(exits=3).exits == 3


@pytest.mark.parametrize("cpu", [2, -1, 1 << 40, "0", None, 0.0])
def test_a_cpu_that_is_none(machine, vcpu, cpu):
    refused(ValueError, "there are 2, from 0", machine.cpu, cpu)
    refused(ValueError, "there are 2, from 0", vcpu.vm.create_vcpu, cpu=cpu)
    refused(ValueError, "there are 2, from 0", machine.online, cpu)
    refused(ValueError, "there are 2, from 0", machine.offline, cpu)
    refused(ValueError, "there are 2, from 0", setattr, vcpu, "cpu", cpu)
    assert vcpu.cpu == 0 and vcpu.run(exits=3).exits == 3


@pytest.mark.parametrize("name, words", [
    ("processor", "m.cpu(n) is processor n"), ("vps", "m.cpu(n)"),
    ("dmesgs", "did you mean dmesg?"), ("_vp", "no _vp")])
def test_a_name_that_a_machine_does_not_have(face, machine, name, words):
    if name == "processor" and not face.is_port:
        pytest.skip("a tree's machine has its L0's processors by this name")
    refused(AttributeError, words, getattr, machine, name)
    assert not hasattr(type(machine), name) and getattr(machine, name, 1) == 1


def test_a_cpu_that_is_offline(machine, vcpu):
    port = vcpu.vm.module.port
    machine.offline(1)
    vcpu.cpu = 1
    for call in (lambda: vcpu.run(exits=1), lambda: vcpu.regs["rax"],
                 lambda: vcpu.regs.update(rax=1), lambda: vcpu.sregs,
                 lambda: vcpu.vm.create_vcpu(cpu=1)):
        refused(MachineError, "CPU 1 is not online", call)
    with machine.cpu(1):
        refused(MachineError, "CPU 1 is not online", port.vmx_get_rflags, vcpu)
    machine.online(1)
    assert vcpu.run(exits=3).exits == 3


@pytest.mark.parametrize("options, kind, words", [
    (dict(code=bytes(2 << 20)), ValueError, "larger than"),
    (dict(code=bytes(1 << 26)), ValueError, "give more memory"),
    (dict(code="f4"), TypeError, "give bytes"), (dict(code=None), TypeError, "give bytes"),
    (dict(code=[0xF4]), TypeError, "give bytes"),
    (dict(memory=0), ValueError, "multiple of 4096"), (dict(memory=-4096), ValueError, "multiple"),
    (dict(memory=4097), ValueError, "multiple"), (dict(memory=1 << 50), ValueError, "multiple"),
    (dict(memory="2M"), ValueError, "multiple"), (dict(memory=2.0), ValueError, "multiple"),
    (dict(memory=64 << 30), OSError, "Cannot allocate memory"),
], ids=lambda value: repr(value)[:40] if not isinstance(value, dict) else " ".join(value))
def test_a_vm_of_bad_values(machine, options, kind, words):
    kvm = machine.insmod()
    before = machine.allocations
    refused(kind, words, kvm.create_vm, **options)
    assert machine.allocations == before and "no VM" in repr(kvm).replace("0 VMs", "no VM")
    works(machine)


@pytest.mark.parametrize("options, words", [
    (dict(enlightened_vmcs="yes"), "bool or a number"), (dict(enlightened_vmcs=None), "bool"),
    (dict(ple_window=1 << 31), "32 bits"), (dict(ple_window=1 << 80), "32 bits"),
    (dict(ple_window=1.5), "number"), (dict(vpidd=1), "there are"), (dict(config="x"), "there are"),
])
def test_a_load_with_bad_parameters(machine, options, words):
    before = machine.allocations
    refused(ValueError, words, machine.insmod, **options)
    assert machine.module is None and machine.allocations == before and machine.keys() == []
    works(machine)


def test_bad_registers_and_fields(machine, vcpu):
    before = dict(vcpu.regs)
    refused(KeyError, "no register", vcpu.regs.update, rax=1, rxx=2)
    refused(TypeError, "", vcpu.regs.update, rax="1")
    refused(KeyError, "", lambda: vcpu.regs["eax"])
    refused(KeyError, "", lambda: vcpu.evmcs["GUEST_EIP"])
    refused(KeyError, "", lambda: vcpu.vmcs["GUEST_EIP"])
    assert dict(vcpu.regs) == before
    assert vcpu.run(exits=3).exits == 3


def test_memory_outside_the_guest(vcpu):
    memory = vcpu.vm.memory
    for gpa, length in ((-1, 1), (memory.size, 1), (memory.size - 1, 2), (0, memory.size + 1),
                        (1 << 70, 1), (0, -1)):
        refused(IndexError, "outside", memory.read, gpa, length)
    for gpa, data in ((-1, b"x"), (memory.size, b"x"), (memory.size - 1, b"xy")):
        refused(IndexError, "outside", memory.write, gpa, data)
    refused(TypeError, "", memory.write, 0, "text")
    assert memory.read(memory.size, 0) == b""


@OF_THE_PORT
def test_the_port_needs_a_cpu_numbers_and_a_vmcs(machine):
    kvm = machine.insmod()
    refused(MachineError, "with machine.cpu(n)", kvm.port.vmcs_read64, 0x681E)
    refused(AttributeError, "did you mean", getattr, kvm.port, "vmcs_raed64")
    with machine.cpu(1):
        refused(MachineError, "no VMCS is current on CPU 1", kvm.port.vmcs_read64, 0x681E)
        refused(MachineError, "no VMCS is current on CPU 1", kvm.port.vmcs_write64, 0x681E, 1)
        refused(MachineError, "no VMCS is current", kvm.port.dump_vmcs)
        refused(MachineError, "VMX is off", kvm.port.hardware_disable)
        vcpu = kvm.create_vm(code=HLT).create_vcpu(cpu=1)
        refused(TypeError, "takes 1 argument", kvm.port.vmcs_read64)
        refused(TypeError, "takes 2 argument", kvm.port.vmcs_write64, 1)
        refused(TypeError, "no number", kvm.port.vmcs_read64, "x")
        refused(OverflowError, "does not fit", kvm.port.vmcs_write16, 0, 1 << 16)
        refused(OverflowError, "does not fit", kvm.port.vmcs_read64, 1 << 64)
        kvm.port.vmcs_writel(0x681E, 0x1234)
        assert kvm.port.vmcs_readl(0x681E) == 0x1234
        vcpu.vm.destroy()
        refused(MachineError, "no VMCS is current", kvm.port.vmcs_read64, 0x681E)
    works(machine)


@pytest.mark.parametrize("nth", [-1, "x", None, 1.5, 1 << 70])
def test_a_failure_that_is_none(machine, nth):
    refused(ValueError, "1", machine.fail, "page", nth)
    refused(ValueError, "there are", machine.fail, "fire")
    works(machine)


def test_too_many_vcpus(face, machine):
    vm = machine.insmod().create_vm(code=HLT)
    made = 0
    with pytest.raises(OSError) as caught:
        while made < 2000:
            vm.create_vcpu(cpu=made % 2)
            made += 1
    # KVM_MAX_VCPUS
    most = 288 if face.is_port or face.version == (4, 19) else 1024
    assert (made, caught.value.errno) == (most, 22)
    vm.destroy()
    works(machine)


def test_a_bug_ends_the_machine_and_not_the_process(face, machine, vcpu):
    """A vCPU on a CPU whose VMX operation was ended behind KVM's back: #UD, and a BUG."""
    kvm = machine.module
    with machine.cpu(0):
        if "hardware_disable" in dir(kvm.port):
            kvm.port.hardware_disable()
        else:
            kvm.port.vmx_hardware_disable()
    with pytest.raises(KernelBug, match="vector 6|invalid opcode in "):
        vcpu.run(exits=1)
    refused(KernelBug, "boot another", vcpu.run)
    refused(KernelBug, "boot another", kvm.create_vm)
    assert any("BUG" in line for line in machine.dmesg) or not face.is_port
    machine.close()
    for enlightened in (False, True):
        with face() as another:
            kvm = another.insmod(enlightened_vmcs=enlightened)
            assert kvm.enable_evmcs == enlightened
            works(another)


# Two threads.

class Running:
    """A vCPU that runs on a thread of its own until the `with` ends, in one run, which its CPU's
    going offline ends; a signal of the process's may end it before, and it runs on."""

    def __init__(self, vcpu):
        self.vcpu, self.machine, self.result = vcpu, vcpu.vm.module.machine, None
        self.ends = False
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while self.result is None or not self.ends:
            self.result = self.vcpu.run(exits=10**12)

    def __enter__(self):
        before = self.machine.counters["exits"]
        self._thread.start()
        while self.machine.counters["exits"] < before + 1000:
            time.sleep(0.001)
        return self

    def __exit__(self, *_):
        self.ends = True
        self.machine.offline(self.vcpu.cpu)
        self._thread.join()
        self.machine.online(self.vcpu.cpu)


@OF_THE_PORT
def test_a_cpu_and_a_vcpu_in_use_by_another_thread(machine, vcpu):
    other = vcpu.vm.create_vcpu(cpu=0)
    beside = vcpu.vm.create_vcpu(cpu=1)
    with Running(vcpu) as running:
        refused(MachineError, "CPU 0 is in use by another thread", lambda: other.run(exits=1))
        refused(MachineError, "CPU 0 is in use by another thread",
                lambda: vcpu.vm.create_vcpu(cpu=0))
        refused(MachineError, "the vCPU is in use", lambda: vcpu.run(exits=1))
        refused(MachineError, "the vCPU is in use", lambda: vcpu.regs["rax"])
        refused(MachineError, "the vCPU is in use", lambda: vcpu.sregs)
        # the other CPU is free
        assert beside.run(exits=100).exits == 100
        assert vcpu.vm.create_vcpu(cpu=1).run(exits=5).exits == 5
        assert vcpu.vm.memory.read(0x1000, len(CPUID_LOOP)) == CPUID_LOOP
    assert running.result.reason == "INTR" and running.result.exits >= 1000
    assert vcpu.run(exits=3).exits == other.run(exits=3).exits == 3


@OF_THE_PORT
def test_a_run_on_a_thread_keeps_its_cpu(machine, vcpu):
    """Nobody slips in, however long it takes and however often one tries."""
    other = vcpu.vm.create_vcpu(cpu=0)
    with Running(vcpu) as running:
        for _ in range(5_000):
            refused(MachineError, "CPU 0 is in use by another thread", lambda: other.run(exits=1))
    assert running.result.reason == "INTR" and running.result.exits >= 1000


@OF_THE_PORT
def test_instructions_on_a_cpu_that_is_in_use(machine, vcpu):
    """As if another CPU had executed them: not here, not now; watching and events are free."""
    cpu, beside = machine.cpu(0), machine.cpu(1)
    calls = {
        "cpuid": lambda: cpu.cpuid(1), "rdmsr": lambda: cpu.rdmsr(0x480),
        "vmxoff": cpu.vmxoff, "vmclear": lambda: cpu.vmclear(vcpu.vmcs_gpa),
        "vmlaunch": cpu.vmlaunch, "log": lambda: cpu.log_exits(16),
        "cr0": lambda: setattr(cpu, "cr0", 0), "registers": lambda: setattr(cpu, "rip", 1),
    }
    cpu.log_exits(1 << 20)
    with Running(vcpu) as running:
        for call in calls.values():
            refused(MachineError, "CPU 0 is in use by another thread", call)
        assert cpu.counters()["exits"] > 0 and cpu.exit_reasons[10] > 0
        cpu.pending_interrupt = 0x40
        assert len(beside.cpuid(1)) == 4 and beside.rdmsr(0x480).ok
    assert running.result.reason == "INTR" and running.result.exits >= 1000
    assert cpu.rdmsr(0x480).ok
    assert vcpu.run(exits=3).exits == 3


@OF_THE_PORT
def test_a_log_of_exits_that_is_renewed_under_a_vcpu(machine, vcpu):
    """The log is memory that exits write to: who renews it has the CPU to itself."""
    renewed, stop, odd = 0, threading.Event(), []

    def run():
        while not stop.is_set():
            try:
                vcpu.run(exits=500)
            except MachineError as error:
                odd.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + 60
    while renewed < 15 and time.monotonic() < end:
        for size in (64, 0, 1 << 12):
            try:
                machine.cpu(0).log_exits(size)
                renewed += 1
            except MachineError as error:
                assert "in use" in str(error)
    stop.set()
    thread.join()
    assert renewed >= 15 and all("in use" in str(error) for error in odd)
    machine.cpu(0).log_exits(4)
    vcpu.run(exits=9)
    assert [record[0] for record in machine.cpu(0).exit_log] == [10] * 4


def test_an_instruction_on_a_cpu_that_is_offline(machine):
    """Hardware it is all the same; the kernel does not run there."""
    machine.offline(1)
    assert machine.cpu(1).rdmsr(0x480).ok
    machine.online(1)
    works(machine)


@OF_THE_PORT
@pytest.mark.parametrize("what", ["rmmod", "destroy", "close", "insmod", "trace"])
def test_nothing_is_taken_from_a_vcpu_that_runs(machine, vcpu, what):
    """What is refused can be done as soon as the run is over."""
    vcpu.cpu = 1
    calls = {
        "rmmod": vcpu.vm.module.rmmod, "destroy": vcpu.vm.destroy,
        "close": machine.close, "insmod": machine.insmod, "trace": vcpu.trace_exits,
    }
    with Running(vcpu) as running:
        refused(MachineError, "in use", calls[what])
    assert running.result.reason == "INTR" and running.result.exits >= 1000
    if what == "insmod":
        vcpu.vm.module.rmmod()
    calls[what]()


@OF_THE_PORT
def test_loading_on_two_threads_at_once(machine):
    """Each load is whole or refused; the key's text is never half one thing."""
    errors, loads = [], []

    def load(n):
        with machine.cpu(n):
            for _ in range(300):
                try:
                    kvm = machine.insmod(enlightened_vmcs=n == 0)
                    loads.append(kvm.enable_evmcs == (n == 0))
                    kvm.rmmod()
                except MachineError as error:
                    errors.append(str(error))

    before = machine.allocations
    threads = [threading.Thread(target=load, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if machine.module is not None:
        machine.module.rmmod()
    assert loads and all(loads)
    assert all("loaded" in error or "in use" in error or "changing" in error for error in errors)
    assert machine.allocations == before
    works(machine)


@OF_THE_PORT
def test_the_key_may_be_read_while_it_is_switched(machine):
    stop, odd = threading.Event(), []

    def read():
        while not stop.is_set():
            kvm = machine.module
            try:
                if kvm is not None:
                    kvm.enable_evmcs, kvm.parameters, machine.keys()
            except MachineError:
                pass
            except Exception as error:
                odd.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        while True:
            try:
                kvm = machine.insmod()
                break
            except MachineError:
                time.sleep(0)
        while True:
            try:
                kvm.rmmod()
                break
            except MachineError:
                time.sleep(0)
    stop.set()
    reader.join()
    assert odd == []
    works(machine)


@pytest.mark.parametrize("options", [{}, {"cpus": 4}, {"cpus": 0}, {"insn": "nothing"}])
def test_an_open_machine_that_is_made_once_more_stays_as_it_is(face, machine, options):
    """Else what it had is lost, and no other machine boots in this process any more."""
    if not face.is_port and "insn" in options:
        pytest.skip("a tree's own KVM has one form")
    image = () if face.is_port else (face.image,)
    vcpu = machine.insmod().create_vm(code=HLT).create_vcpu()
    refused(MachineError, "this Machine is open", machine.__init__, *image, **options)
    assert machine.cpus == 2 and vcpu.run().reason == "HLT"
    machine.close()
    machine.__init__(*image, cpus=1)
    assert machine.cpus == 1
    works(machine)
