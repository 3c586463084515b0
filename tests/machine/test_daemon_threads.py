# SPDX-License-Identifier: GPL-2.0-only
"""Daemon threads inside a machine as the interpreter ends: it ends as if they were not there."""

import subprocess
import sys

import nursery
import pytest

from kvm_vmx.machine.guests import CPUID_LOOP

ENABLED = "import faulthandler; faulthandler.enable()"
LEFT = """
import sys, threading, time
from kvm_vmx import Machine, MachineError
l1, guest, cpus, where = sys.argv[1:]
machine = Machine(cpus=int(cpus), **({"insn": l1} if l1 in ("call", "trap") else {"kernel": l1}))
vm = machine.insmod().create_vm(code=bytes.fromhex(guest))
vcpus = [vm.create_vcpu(cpu=n) for n in range(int(cpus))]

def again(call):
    while True:
        call()

for vcpu in vcpus:
    target = {"run": vcpu.run, "runs": lambda vcpu=vcpu: again(lambda: vcpu.run(exits=50)), "cpu":
              lambda vcpu=vcpu: again(lambda: machine.cpu(vcpu.cpu).rdmsr(0x10))}[where]
    threading.Thread(target=target, daemon=True).start()
while machine.counters["exits"] < 10 and where != "cpu" and guest != "ebfe":
    time.sleep(0.01)
time.sleep(0.03)
print("ends")
"""


@pytest.mark.sweep(2)
@pytest.mark.parametrize("faulthandler", [False, True], ids=["plain", "faulthandler"])
@pytest.mark.parametrize("insn", ["call", "trap"])
@pytest.mark.parametrize("guest, cpus, where", [
    (CPUID_LOOP.hex(), 1, "run"), (CPUID_LOOP.hex(), 3, "runs"), ("ebfe", 2, "run"),
    ("f4", 2, "cpu")], ids=["exits", "again", "spins", "instructions"])
def test_the_interpreter_ends(faulthandler, insn, guest, cpus, where):
    arguments = insn, guest, str(cpus), where
    if faulthandler and cpus == 1:
        # one that no other has begun for it
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", LEFT, *arguments],
                              capture_output=True, text=True, timeout=60)
    else:
        done = nursery.python(ENABLED * faulthandler + LEFT, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


@pytest.mark.parametrize("guest, where", [(CPUID_LOOP.hex(), "runs"), ("ebfe", "run")],
                         ids=["again", "spins"])
def test_the_interpreter_ends_beside_a_tree_s_kernel(kernel, guest, where):
    if kernel.is_port:
        pytest.skip("the port's are above")
    done = nursery.python(LEFT, kernel.image, guest, 2, where, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")
