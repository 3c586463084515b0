# SPDX-License-Identifier: GPL-2.0-only
"""Junk in the machine's memory: the kernel dies of a BUG that names its function, the process
lives; and a page that moves beside a guest loses none of its stores."""

import random
import threading
import time

import nursery
import pytest

from kvm_vmx import Machine, MachineError

pytestmark = pytest.mark.long
SPOILED = {"far": (1 << 46) | 7, "behind the memory": (1 << 40) | 7, "frame 0": 7}
# What reaches the tables, and the function of the kernel that meets the entry.
WALKS = {
    "read": ("vm.memory.read(0x1000, 16)", "entry_of"),
    "write": ("vm.memory.write(0x1000, b'x')", "entry_of"),
    "destroy": ("vm.destroy()", "free_table"),
    "move": ("vm.move_page(0x1000)", "entry_of"),
    "move unflushed": ("vm.move_page(0x1000, flush=False)", "entry_of"),
    "rmmod": ("kvm.rmmod()", "free_table"),
}


def lives(code):
    """What a process prints that runs this code, and does not die of it."""
    done = nursery.python(code, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr[-600:])
    return done.stdout


def spoiled(what, value, level=0):
    """A process with an entry of the EPT spoiled, and then what."""
    return lives(f"""
from kvm_vmx import KernelBug, Machine
machine = Machine(cpus=1)
kvm = machine.insmod()
vm = kvm.create_vm(code=b"\\xf4")
vcpu = vm.create_vcpu()
vcpu.run()
at = vcpu.vmcs["EPT_POINTER"] & ~0xfff
for _ in range({level}):
    at = machine.memory.read_u64(at) & ~0xfff
at += 8 if {level} == 3 else 0
machine.memory.write_u64(at, {value})
try:
    print({what!r}, {what})
except KernelBug as bug:
    print("BUG", bug)
try:
    machine.close()
except KernelBug as bug:
    print("BUG", bug)
again = Machine(cpus=1)
assert again.insmod().create_vm(code=b"\\xf4").create_vcpu().run().reason == "HLT"
again.close()
""")


@pytest.mark.sweep(3)
@pytest.mark.parametrize("value", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("what", WALKS)
def test_a_table_that_leads_nowhere_is_a_bug_of_its_reader(what, value):
    call, function = WALKS[what]
    said = spoiled(call, value)
    assert "BUG" in said and function in said.splitlines()[0], said


@pytest.mark.sweep(2)
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("what", ["vm.memory.read(0x1000, 16)", "vm.destroy()"])
def test_at_every_level(what, level):
    assert spoiled(what, 1 << 46 | 7, level).startswith("BUG")


def test_a_guest_on_spoiled_tables_comes_back():
    assert "INTERNAL_ERROR" in spoiled("vcpu.run(exits=3)", 1 << 46 | 7)


@pytest.mark.parametrize("level", range(4))
def test_tables_that_lead_back_to_themselves_end(level):
    assert "BUG" in spoiled("vm.destroy()", "vcpu.vmcs['EPT_POINTER'] & ~0xfff | 7", level)


@pytest.mark.parametrize("seed", range(4))
def test_memory_full_of_junk(seed):
    said = lives(f"""
import random
from kvm_vmx import Machine, guests
machine = Machine(cpus=2)
kvm = machine.insmod(enlightened_vmcs={seed % 2 == 0})
vm = kvm.create_vm(code=guests.CPUID_LOOP)
vcpu = vm.create_vcpu()
vcpu.run(exits=5)
other = kvm.create_vm(code=b"\\xf4", memory=1 << 20)
dice = random.Random({seed})
for gpa in range(0, 1 << 23, 4096):
    machine.memory.write(gpa, dice.randbytes(4096))
for call in (lambda: vcpu.run(exits=2), lambda: vcpu.regs["rax"], lambda: vcpu.interrupt(3),
             lambda: vcpu.exits, lambda: vm.memory.read(0, 8), lambda: vm.memory.write(0, b"x"),
             lambda: machine.cpu(0).rdmsr(0x10), lambda: other.create_vcpu(), lambda: vm.destroy(),
             lambda: other.destroy(), lambda: kvm.rmmod(), machine.close, machine.close):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, str(error)[:200])
again = Machine(cpus=1)
assert again.insmod().create_vm(code=b"\\xf4").create_vcpu().run().reason == "HLT"
print("lives")
""")
    assert said.endswith("lives\n"), said


# again: inc qword [0x3000]; inc r12; (cpuid;) jmp again
COUNTERS = {"without exits": bytes.fromhex("48ff042500300000" "49ffc4" "ebf3"),
            "with exits": bytes.fromhex("48ff042500300000" "49ffc4" "31c0" "0fa2" "ebef")}


def runs_until(stop, vcpu, ends):
    """Run a vCPU on and on, where its CPU is not just somebody else's."""
    while not stop:
        try:
            ends.append(vcpu.run(exits=50).reason)
        except MachineError as error:
            assert "in use" in str(error)


def stored(vm):
    """What the guest has counted in its memory."""
    return int.from_bytes(vm.memory.read(0x3000, 8), "little")


@pytest.mark.sweep(2)
@pytest.mark.parametrize("enlightened", [False, True], ids=["vmcs", "evmcs"])
@pytest.mark.parametrize("what", COUNTERS)
def test_no_store_is_lost_while_its_page_moves(kernel, what, enlightened):
    with kernel(cpus=2) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=COUNTERS[what], memory=1 << 20)
        vcpu = vm.create_vcpu(cpu=0)
        vcpu.regs.update(r12=0)
        stop, ends, enough = [], [], 1000 if kernel.is_port else 300
        thread = threading.Thread(target=runs_until, args=(stop, vcpu, ends))
        thread.start()
        moves, turns, limit = 0, 0, time.monotonic() + 120
        while thread.is_alive():
            # a move kicks the vCPU: without a pause between two the guest hardly gets on
            time.sleep(0.0005)
            turns += 1
            try:
                vm.move_page(0x3000)
                moves += 1
            except MachineError as error:
                assert "in use" in str(error)
            if not stop and turns % 50 == 0:
                if stored(vm) > enough or time.monotonic() > limit:
                    stop.append(True)
        thread.join()
        assert moves > 10 and set(ends) == {"INTR"}, (moves, set(ends))
        assert stored(vm) > enough and stored(vm) - vcpu.regs["r12"] in (0, 1)


def test_no_store_of_python_is_lost_while_its_page_moves(kernel):
    with kernel(cpus=2) as machine:
        vm = machine.insmod().create_vm(code=b"\xf4", memory=1 << 20)
        done = []

        def move():
            while not done:
                vm.move_page(0x3000)

        thread = threading.Thread(target=move)
        thread.start()
        for i in range(5_000 if kernel.is_port else 500):
            vm.memory.write(0x3000, i.to_bytes(8, "little"))
            assert int.from_bytes(vm.memory.read(0x3000, 8), "little") == i
        done.append(True)
        thread.join()


def test_without_a_flush_the_guest_has_the_old_page_and_nobody_else_does():
    # again: mov $0x7ffffffff007, %rax; mov %rax, 0x3000; mov 0x3000, %rbx; cpuid; jmp again
    code = bytes.fromhex("48b807f0ffffff7f0000" "4889042500300000" "b800000000" "0fa2" "ebe5")
    with Machine(cpus=1) as machine:
        kvm = machine.insmod()
        before = machine._kernel.allocations()["pages"]
        vm = kvm.create_vm(code=code, memory=65536)
        vcpu = vm.create_vcpu()
        vcpu.run(exits=4)
        vm.memory.write(0x3000, bytes(8))
        vm.move_page(0x3000, flush=False)
        others = [kvm.create_vm(code=b"\xf4", memory=65536) for _ in range(3)]
        vcpu.run(exits=4)
        # the stale translation: the store is not in the page that the tables name
        assert vm.memory.read(0x3000, 8) == bytes(8)
        for other in others:
            assert other.create_vcpu().run().reason == "HLT"
            other.destroy()
        vm.destroy()
        assert machine._kernel.allocations()["pages"] == before


def test_a_frame_in_quarantine_is_given_back_with_its_vm():
    with Machine(cpus=1) as machine:
        kvm = machine.insmod()
        held = machine._kernel.allocations()
        for _ in range(3):
            vm = kvm.create_vm(code=b"\xf4", memory=65536)
            vm.create_vcpu()
            for _ in range(20):
                vm.move_page(random.randrange(16) << 12, flush=False)
            vm.destroy()
        assert machine._kernel.allocations() == held
