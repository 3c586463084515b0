# SPDX-License-Identifier: GPL-2.0-only
"""vCPUs that migrate, CPUs that come and go, all at once: no exit is lost, no vCPU sees another."""

import contextlib
import random
import re
import threading
import time

import pytest

from kvm_vmx import KernelBug, MachineError

CPUID = 10      # the exit reason


def counting_guest(number):
    """again: inc %rdi; mov $number, %esi; mov $0, %eax; cpuid; jmp again"""
    return (bytes.fromhex("48ffc7") + b"\xbe" + number.to_bytes(4, "little")
            + bytes.fromhex("b800000000" "0fa2" "ebef"))


def turns(summary):
    """How often a run went round the loop: its CPUID exits, without those that an IPI made."""
    return summary.reasons.get(CPUID, 0)


class Driver(threading.Thread):
    """One thread: its own vCPUs, on a CPU drawn anew for each run."""

    def __init__(self, machine, vcpus, cpus, seed, stop):
        super().__init__()
        self.machine, self.vcpus, self.cpus, self.stop = machine, vcpus, cpus, stop
        self.random = random.Random(seed)
        self.done = dict.fromkeys(range(len(vcpus)), 0)
        self.moves = self.refused = 0
        self.on_its_way = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
        except Exception as error:      # the main thread raises it
            self.error = error

    def step(self):
        which = self.random.randrange(len(self.vcpus))
        vcpu = self.vcpus[which]
        vcpu.cpu = self.random.choice(self.cpus)
        try:
            self.done[which] += turns(vcpu.run(exits=self.random.randint(1, 2000)))
            self.moves += 1
            self.on_its_way.set()
        except MachineError as error:   # the CPU has gone, or the other thread is on it
            assert "not online" in str(error) or "in use" in str(error)
            self.refused += 1


def storm(l1, seconds, cpus, vcpus):
    """Two threads of vCPUs while CPUs go and come; what each vCPU has counted and should have."""
    with l1(cpus=cpus, lints=not l1.is_port) as machine:
        rounds = 0
        memory = []
        end = time.monotonic() + seconds
        while time.monotonic() < end or rounds < 2:
            kvm = machine.insmod(enlightened_vmcs=rounds % 2 == 0)
            vm = kvm.create_vm(code=counting_guest(0))
            guests = []
            for number in range(vcpus):
                guest = kvm.create_vm(code=counting_guest(number), memory=16 * 4096)
                guests.append(guest.create_vcpu(cpu=number % cpus))
            stop = threading.Event()
            # CPU 0 stays, so that the hotplug thread always finds one. The others are both's: each
            # thread clears VMCSs where the other one runs.
            drivers = [Driver(machine, guests[n::2], range(1, cpus), n + rounds, stop)
                       for n in range(2)]
            for driver in drivers:
                driver.start()
            for _ in range(10):
                cpu = random.Random(rounds).randrange(1, cpus)
                machine.offline(cpu)
                time.sleep(0.003)
                machine.online(cpu)
            for driver in drivers:
                driver.on_its_way.wait(60)
            stop.set()
            for driver in drivers:
                driver.join()
                if driver.error:
                    raise driver.error
            for n, driver in enumerate(drivers):
                assert driver.moves > 0
                for i, vcpu in enumerate(driver.vcpus):
                    regs = dict(vcpu.regs)
                    assert regs["rdi"] == driver.done[i]
                    assert not driver.done[i] or regs["rsi"] == n + 2 * i
            vm.destroy()
            kvm.rmmod()
            memory.append(tuple(sorted(machine.allocations.items())))
            rounds += 1
        return rounds, memory


def test_a_storm(kernel, soak):
    cpus, seconds = (64 if kernel.is_port else 16, 60) if soak else (8, 0)
    rounds, memory = storm(kernel, seconds=seconds, cpus=cpus, vcpus=cpus)
    assert rounds >= 2 and len(set(memory)) == 1


# again: inc %rdi; cmpb $0, 0x3000; jne end; mov $0, %eax; cpuid; jmp again; end: hlt
UNTIL_TOLD = bytes.fromhex("48ffc7" "803c250030000000" "7509" "b800000000" "0fa2" "ebea" "f4")
TOLD = 0x3000


@contextlib.contextmanager
def running(machine, vcpu):
    """While another thread runs the guest, which ends when it is told; the list of its summary."""
    ended, cpu = [], machine.cpu(vcpu.cpu)
    began = cpu.counters()["exits"]
    thread = threading.Thread(target=lambda: ended.append(vcpu.run()))
    thread.start()
    while cpu.counters()["exits"] < began + 100:
        time.sleep(0.0005)
    try:
        yield ended
    finally:
        vcpu.vm.memory.write(TOLD, b"\1")
        thread.join()


def test_a_cpu_that_goes_offline_ends_the_run_there(kernel):
    """The port's run ends. The kernel's own task goes on as another CPU, as where the CPUs that it
    may run on are gone (select_fallback_rq()): KVM puts the vCPU, the CPU's going clears its VMCS,
    KVM loads it where it is then."""
    with kernel(cpus=2, lints=True) as machine:
        vcpu = machine.insmod().create_vm(code=UNTIL_TOLD).create_vcpu(cpu=1)
        with running(machine, vcpu) as ended:
            machine.offline(1)
            on_0 = machine.cpu(0).counters()["exits"]
            while not kernel.is_port and machine.cpu(0).counters()["exits"] < on_0 + 100:
                time.sleep(0.0005)
        summary, = ended
        if kernel.is_port:
            assert summary.reason == "INTR"
        else:
            assert (summary.reason, vcpu.cpu) == ("HLT", 0)
            vcpu.cpu = 1
        with pytest.raises(MachineError, match="not online"):
            vcpu.run(exits=1)
        vcpu.cpu = 0
        more = vcpu.run() if kernel.is_port else None
        # each turn but the last one has its CPUID
        assert vcpu.regs["rdi"] == turns(summary) + (turns(more) if more else 0) + 1
        assert machine.lints == [] and machine.warnings == 0


def test_what_takes_something_away_is_refused_beside_a_run(kernel):
    with kernel(cpus=2) as machine:
        kvm = machine.insmod()
        vcpu = kvm.create_vm(code=UNTIL_TOLD).create_vcpu(cpu=1)
        other = kvm.create_vm(code=counting_guest(2))
        with running(machine, vcpu) as ended:
            for call in (lambda: vcpu.regs["rax"], vcpu.vm.destroy, kvm.rmmod, machine.reboot,
                         machine.suspend, machine.close):
                with pytest.raises(MachineError, match="in use"):
                    call()
            # what takes nothing away is not
            assert other.create_vcpu(cpu=0).run(exits=3).exits == 3
            assert ended == []
        assert ended[0].reason == "HLT"


@pytest.mark.parametrize("enlightened", [False, True], ids=["vmcs", "evmcs"])
def test_a_vcpu_that_another_thread_runs_next(kernel, enlightened):
    """Another thread has another kernel stack. v4.19 clears no clean bit when it stores HOST_RSP in
    an eVMCS, so the exit would go on on the first one's (erratum: host_rsp); later kernels do."""
    if kernel.is_port:
        pytest.skip("the exits of the port go on behind the call, whatever HOST_RSP says")
    with kernel(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=counting_guest(1)).create_vcpu()
        vcpu.run(exits=5)
        found = []

        def run():
            try:
                found.append(vcpu.run(exits=5).exits)
            except KernelBug as bug:
                found.append(str(bug))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if kernel.version == (4, 19) and enlightened:
            assert re.match(r"a VM exit onto the stack of another task in vmx_vcpu_run", found[0])
            assert machine.oopsed
        else:
            assert found == [5] and vcpu.regs["rdi"] == 10 and machine.lints == []
