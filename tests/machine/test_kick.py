# SPDX-License-Identifier: GPL-2.0-only
"""How a run is told of signals begins and ends whole, whatever is done beside it; and what nobody
tells of them looks often enough."""

import os
import signal
import threading
import time

import nursery
import pytest
from guest import CODE, DATA, Guest
from on_board import OnBoard
from random_insn import SIZE, State
from test_interrupt import OWN_WORK, Rang, form, once_within, raising, ringing  # noqa: F401

from kvm_vmx.testing.kernels import TREES

START = """
import faulthandler, gc, os, signal, threading
from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
faulthandler.dump_traceback_later(60, exit=True)
machine = Machine(2)
vm = machine.insmod().create_vm(code=CPUID_LOOP)
vcpu, other = vm.create_vcpu(cpu=0), vm.create_vcpu(cpu=1)
vcpu.run(exits=1)
"""

# A run whose first allocations collect: what there is of free objects has been taken before.
COLLECTING = START + """
run = next(value for value in gc.get_objects() if type(value).__name__ == "VirtualCpu").run
ran, kept, wanted = [], [], False
signal.signal(signal.SIGALRM, lambda *_: ran.append(other.run(exits=1).exits))
def look(phase, info):
    global wanted
    if phase == "start" and wanted:
        wanted = False
        gc.disable()
        signal.raise_signal(signal.SIGALRM)
gc.callbacks.append(look)
gc.disable()
for turn in range(60):
    kept.append([[{} for _ in range(120)], [(n,) for n in range(2100)]])
    gc.set_threshold(1, 1000, 1000)
    gc.collect(0)
    spare = [[]] * (turn % 2)
    wanted = True
    gc.enable()
    run(0, 1)
    gc.disable()
    wanted = False
print(len(ran) > 10, set(ran))
"""

# Each child has a file at once where the parent's pipe was, and a signal.
FORKING = START + """
told, tells = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(tells)
signal.signal(signal.SIGUSR1, lambda *_: None)
found, ends = [], False
def forks():
    global ends
    for _ in range(60):
        child = os.fork()
        if child == 0:
            files = [os.memfd_create("of the child's") for _ in range(8)]
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(sum(os.fstat(file).st_size for file in files))
        found.append(os.waitpid(child, 0)[1])
    ends = True
thread = threading.Thread(target=forks)
thread.start()
while not ends:
    vcpu.run(exits=1)
print(len(found), set(found))
"""

CLOSING = START + """
os.closerange(3, 64)
print(vcpu.run(exits=5).exits)
signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
signal.setitimer(signal.ITIMER_REAL, .01)
try:
    vcpu.run()
except ZeroDivisionError:
    print("rang")
"""


@pytest.mark.parametrize("program, says", [
    (COLLECTING, "True {1}\n"), (FORKING, "60 {0}\n"), (CLOSING, "5\nrang\n")], ids=[
        "a handler in a collection runs a vCPU", "another thread forks", "all files are closed"])
def test_a_run_is_told_of_signals_though(program, says):
    done = nursery.python(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


@pytest.mark.parametrize("form", TREES, indirect=True)
def test_a_vcpu_is_where_the_kernel_has_moved_it_though_a_handler_raises(form):  # noqa: F811
    with form(cpus=2) as machine:
        # again: incq COUNT; jmp again
        vm = machine.insmod().create_vm(code=bytes.fromhex("48ff042500300000" "ebf6"))
        vcpu = vm.create_vcpu(cpu=1)

        def takes_it_away():
            while not any(vm.memory.read(0x3000, 8)):
                time.sleep(0.001)
            machine.offline(1)
            os.kill(os.getpid(), signal.SIGALRM)

        thread = threading.Thread(target=takes_it_away)
        with ringing(0, raising), pytest.raises(Rang):
            thread.start()
            vcpu.run()
        thread.join()
        with ringing(0.02, raising), pytest.raises(Rang):
            vcpu.run()
        assert vcpu.cpu == 0


# again: fxsave DATA; fxrstor DATA; jmp again
SLOW = f"0fae0425{DATA.to_bytes(4, 'little').hex()}" \
       f"0fae0c25{DATA.to_bytes(4, 'little').hex()}ebee"


def by_hand():
    """VMLAUNCH, by Python."""
    g = Guest("plain", SLOW)
    return g.cpu.vmlaunch


def on_a_board():
    """L1 as code of its own."""
    made = OnBoard()
    made.memory.write(CODE, bytes.fromhex(SLOW))
    made.begin(State((0,) * 16, CODE, 2, bytes(SIZE)))
    return lambda: made.board.turns(60, None)


@pytest.mark.parametrize("begun", [by_hand, on_a_board])
def test_what_nobody_tells_of_signals_looks_often(begun):
    """Slow instructions, and no exit."""
    def own_work():
        enter = begun()
        start = time.process_time()
        with ringing(0.02, raising, signal.SIGPROF, 5, signal.ITIMER_PROF), pytest.raises(Rang):
            enter()
        return time.process_time() - start - 0.02

    assert once_within(OWN_WORK, own_work)
