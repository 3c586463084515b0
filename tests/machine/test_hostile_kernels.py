# SPDX-License-Identifier: GPL-2.0-only
"""Junk in L1's memory under a kernel's own KVM, before a call of it and beside one: the kernel dies
by its own function's name, or goes on, and the process loads the next one."""

import re

import nursery
import pytest
from images import image_of

from kvm_vmx.testing.kernels import TREES

pytestmark = pytest.mark.long

START = """
import random, sys, threading
from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
image, seed = sys.argv[1], int(sys.argv[2])
dice = random.Random(seed)

def called(call, *names):
    try:
        return f"{eval(call)}"[:60]
    except Exception as error:
        return f"{type(error).__name__} {error}"

def begin(enlightened):
    global machine, kvm, vm, vcpu
    machine = Machine(cpus=2, kernel=image, patience=2)
    kvm = machine.insmod(enlightened_vmcs=enlightened)
    vm = kvm.create_vm(code=CPUID_LOOP)
    vcpu = vm.create_vcpu()
    vcpu.run(exits=5)
"""
END = """
with Machine(cpus=1, kernel=image) as machine:
    assert machine.insmod().create_vm(code=b"\\xf4").create_vcpu().run().reason == "HLT"
print("lives")
"""

# An entry of the EPT is spoiled: one that leads far, behind the memory, to frame 0, and to the
# table itself. Bit 11 says in later kernels that KVM made it (SPTE_MMU_PRESENT_MASK).
SPOIL = """
for level, value, call in {cases!r}:
    begin(True)
    at = vcpu.vmcs["EPT_POINTER"] & 0xffffffffff000
    value = value or at
    for _ in range(level):
        at = machine.memory.read_u64(at) & 0xffffffffff000
    machine.memory.write_u64(at + (8 if level == 3 else 0), value | 1 << 11 | 7)
    print(level, hex(value), call, called(call), called("machine.close()"), sep="; ")
"""
FAR, BEHIND, FRAME_0, ITSELF = 1 << 46, 1 << 40, 1 << 3, 0
# and the functions of each MMU that walk there, whichever the compiler puts into which
MMU = r"(an? [a-z ]*fault|an invalid opcode) in \w*(mmu|spte|pte_list|tdp_iter|fast_page_fault)\w*"

JUNK = """
for turn, call in enumerate({calls!r}):
    begin((turn + seed) % 2 == 0)
    for gpa in range(1 << 20, 1 << 23, 4096):
        machine.memory.write(gpa, dice.randbytes(4096))
    print(call, called(call), called("machine.close()"), sep="; ")
"""
CALLS = ["vcpu.run(exits=2)", "vm.move_page(0x1000)", "kvm.create_vm()", "vm.create_vcpu()",
         "vcpu.regs['rax']", "vcpu.interrupt(3)", "vm.destroy()", "machine.offline(1)",
         "kvm.rmmod()"]

BESIDE = """
for turn in range({turns}):
    begin((turn + seed) % 2 == 0)
    ended = []
    def runs():
        while len(ended) < 300 and not machine.oopsed:
            ended.append(called("vcpu.run(exits=20)"))
    thread = threading.Thread(target=runs)
    thread.start()
    while thread.is_alive():
        at = dice.randrange(1 << 20, 1 << 23, 8)
        machine.memory.write(at, dice.randbytes(8))
    thread.join()
    print(ended[-1], called("machine.close()"), sep="; ")
"""

# The timer that looks whether a kernel loops is each thread's, its handler all threads'.
WATCHED = """
machine = Machine(cpus=2, kernel=image, patience=0.002)
vm = machine.insmod().create_vm(code=b"\\xeb\\xfe")
vcpu = vm.create_vcpu()
thread = threading.Thread(target=lambda: print(vcpu.run(exits=3).exits))
thread.start()
while thread.is_alive():
    vm.remote_tlb_flushes
machine.close()
"""


@pytest.fixture(scope="module", params=TREES)
def image(request):
    return image_of(TREES[request.param], request)


def lives(image, code, seed=0, **names):
    """The lines of a process that runs this code, and lives to load the kernel once more."""
    done = nursery.python(START + code.format(**names) + END, image, seed, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("lives\n"), \
        (done.returncode, done.stdout[-300:], done.stderr[-600:])
    return done.stdout.splitlines()[:-1]


def test_a_table_that_leads_nowhere_is_a_bug_of_its_reader(image, soak):
    levels = (0, 1, 2) if soak else (0,)
    cases = [(level, value, call) for level in levels for value, call in [
        (FAR, "vm.destroy()"), (FAR, "vcpu.run(exits=3)"), (FRAME_0, "kvm.rmmod()"),
        *([(BEHIND, "vm.destroy()"), (BEHIND, "vcpu.run(exits=3)"), (FRAME_0, "vm.destroy()"),
           (FAR, "vm.move_page(0x1000)")] if soak else [])]]
    for line in lives(image, SPOIL, cases=cases):
        assert "KernelBug" in line and re.search(MMU, line), line


def test_a_table_that_leads_back_to_itself_ends(image, soak):
    """A bug of whoever walks it, or no more than entries that it takes back one by one."""
    if not soak:
        pytest.skip("a soak has each level")
    cases = [(level, ITSELF, call) for level in (0, 1, 2)
             for call in ("vm.destroy()", "vm.move_page(0x1000)")]
    for line in lives(image, SPOIL, cases=cases):
        assert "KernelBug" not in line or re.search(MMU, line), line


def test_a_last_level_that_leads_nowhere_is_nobody_s_bug(image, soak):
    """KVM asks of a frame whether it has a struct page before it touches that."""
    cases = [(3, value, call) for value in (FAR, BEHIND)[:1 + soak] for call in (
        "vm.destroy()", "vm.move_page(0x1000)", "vcpu.run(exits=3)")[:1 + 2 * soak]]
    assert not any("KernelBug" in line for line in lives(image, SPOIL, cases=cases))


def test_memory_full_of_junk(image, soak):
    for seed in range(4 if soak else 1):
        for line in lives(image, JUNK, seed, calls=CALLS if soak else CALLS[:3]):
            assert re.search(r"KernelBug .* in \w+", line), line


def test_junk_beside_a_run(image, soak):
    """Words of the kernel's memory change while it runs: an end of any kind, and no other one."""
    for seed in range(6 if soak else 1):
        for line in lives(image, BESIDE, seed, turns=4 if soak else 1):
            assert re.match(r"(KernelBug .* in \w+|\w*Error |ExitSummary)", line), line


@pytest.mark.parametrize("image", ["6.12"], indirect=True)
def test_a_thread_is_watched_though_another_s_call_ends(image):
    """Else the signal of the first one's timer finds no handler, and ends the process."""
    assert lives(image, WATCHED) == ["3"]
