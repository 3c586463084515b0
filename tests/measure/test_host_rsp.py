# SPDX-License-Identifier: GPL-2.0-only
"""The three ways to note RSP at an entry: their instructions, and entries by each of them."""

import pytest

from kvm_vmx import Machine
from kvm_vmx.measure import host_rsp
from kvm_vmx.measure.loops import address, loaded
from kvm_vmx.measure.rounds import Loops

pytestmark = pytest.mark.host("capstone")

# What the review weighed, behind the comparison with the RSP of the entry before.
TEST_OFF = ["test rsi, rsi", "je", "vmwrite rdx, rsp"]
TEST_ON = ["test rsi, rsi", "je", "mov qword ptr [rsi], rsp", "jmp"]
NOTES = {
    ("test", False): TEST_OFF, ("test", True): TEST_ON,
    ("key", False): ["nop dword ptr [rax + rax]", "vmwrite rdx, rsp", "jmp"],
    ("key", True): ["jmp", "mov qword ptr [rsi], rsp"],
    ("poke", False): ["vmwrite rdx, rsp"], ("poke", True): ["mov qword ptr [rsi], rsp"],
}


@pytest.mark.parametrize("insn", ["call", "trap"])
@pytest.mark.parametrize("on", [False, True])
def test_each_way_is_what_it_says(insn, on):
    with Machine(cpus=1, insn=insn) as machine, loaded(machine, "hyperv", on):
        host_rsp.poke(machine)
        for way in host_rsp.WAYS:
            assert host_rsp.words(host_rsp.note(f"bench_enter_{way}", on)) == NOTES[way, on]
        assert host_rsp.words(host_rsp.note("vmx_vcpu_run", on)) == (TEST_ON if on else TEST_OFF)


def test_the_poke_goes_with_the_key():
    with Machine(cpus=1, insn="call") as machine:
        for on in (True, False, True, False):
            with loaded(machine, "hyperv", on):
                host_rsp.poke(machine)
                assert host_rsp.words(host_rsp.note("bench_enter_poke", on)) == NOTES["poke", on]


def entries(machine, way, moved, n):
    """What n entries count, in traps."""
    before = machine.traps
    Loops(machine._kernel, 0, [(address("hyperv", f"entry_{way}"), moved)]).timed(1, n)
    return {name: count - before[name] for name, count in machine.traps.items()}


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("moved", [0, 1])
@pytest.mark.parametrize("way", [*host_rsp.WAYS, "test_again"])
def test_an_entry_by_each_way(on, moved, way):
    """Exits come back behind the entry's own VMRESUME, or L0 would have reported them; the vCPU
    runs on as if nothing had been."""
    with Machine(cpus=1, insn="trap") as machine, loaded(machine, "hyperv", on) as world:
        short, long = (entries(machine, way, moved, n) for n in (10, 30))
        each = {name: (long[name] - short[name]) / 20 for name in long if long[name] != short[name]}
        assert each == {"vmresume": 1} | ({"vmwrite": 1} if moved and not on else {})
        assert world.vcpu.run(exits=20).exits == 20
        assert machine.counters["failed_entries"] == 0


def test_by_call_no_opcode_is_executed():
    with Machine(cpus=1, insn="call") as machine, loaded(machine, "hyperv", True) as world:
        exits = machine.counters["exits"]
        for way in host_rsp.WAYS:
            assert sum(entries(machine, way, 1, 10).values()) == 0
        assert machine.counters["exits"] == exits
        assert world.vcpu.run(exits=20).exits == 20
