# SPDX-License-Identifier: GPL-2.0-only
"""The CPUID loop in its steady state: what one exit executes and what one entry reads again."""

import json
import pathlib

import pytest
from each import write_field

from kvm_vmx.machine.guests import CPUID_LOOP

WARM_UP, N = 50, 100
CPUID_EXIT = 10
ALL_CLEAN = 0xFFFF
# what v4.19 executes at one CPUID exit and its entry; everything else is zero
VMCS = {"vmread": 7, "vmwrite": 1, "vmresume": 1}
EVMCS = {"vmread": 0, "vmwrite": 0, "vmresume": 1}
# 6.1 and 6.12 read a field less, and IA32_SPEC_CTRL behind each exit
LATER = {"vmread": -1, "rdmsr": 1}
LIVE_BYTES = 8 + 4      # guest_rip and tpr_threshold: the two members that no clean bit covers
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
# the first field of each clean group
GROUPS = {row["clean_field"]: row
          for row in reversed(json.loads((DATA / "evmcs_fields_4.19.json").read_text()))
          if row["clean_field"] != "NONE"}
POLICIES = ["always", "never", "random(3)", "commit_on_success"]


def of_version(kernel, expected):
    """What that kind of L1 executes at an exit, of what v4.19 does."""
    if kernel.version < (6,):
        return expected
    return expected | {"vmread": max(0, expected["vmread"] + LATER["vmread"]),
                       "rdmsr": LATER["rdmsr"]}


def per_exit(machine, vcpu, n=N):
    """What the counters move by in n exits more, over two runs: a call's own part falls out."""
    moved = []
    for exits in (n, 2 * n):
        before = dict(machine.counters)
        assert vcpu.run(exits=exits).exits == exits
        moved.append({name: value - before[name] for name, value in machine.counters.items()})
    return {name: (moved[1][name] - moved[0][name]) / n for name in moved[0]}


def start(machine, enlightened, cpu=0, code=CPUID_LOOP):
    kvm = machine.insmod(enlightened_vmcs=enlightened)
    vcpu = kvm.create_vm(code=code).create_vcpu(cpu=cpu)
    vcpu.run(exits=WARM_UP)
    return vcpu


@pytest.mark.sweep(4)
@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("enlightened, expected", [(False, VMCS), (True, EVMCS)])
def test_instructions_of_one_exit(kernel, profile, policy, enlightened, expected):
    with kernel(cpus=2, profile=profile, cache_policy=policy) as machine:
        steady = per_exit(machine, start(machine, enlightened))
        expected = of_version(kernel, expected)
        assert {name: steady[name] for name in expected} == expected
        assert steady["exits"] == 1 and steady["l2_instructions"] == 3
        others = ("vmptrld", "vmptrst", "vmclear", "vmlaunch", "vmxon", "vmxoff", "invept",
                  "invvpid", "vmcall", "rdmsr", "wrmsr", "mov_to_cr", "cpuid", "failed_entries",
                  "lints")
        others = [name for name in others if name not in expected]
        assert {name: steady[name] for name in others} == dict.fromkeys(others, 0)


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("policy", ["always", "commit_on_success"])
def test_only_guest_rip_and_tpr_threshold_are_read_again(kernel, policy):
    with kernel(cpus=2, cache_policy=policy) as machine:
        steady = per_exit(machine, start(machine, True))
        assert (steady["groups_reread"], steady["bytes_reread"]) == (0, LIVE_BYTES)


@pytest.mark.needs("hyperv")
def test_under_never_every_group_is_read_at_every_entry(kernel):
    with kernel(cpus=2, cache_policy="never") as machine:
        steady = per_exit(machine, start(machine, True))
        assert steady["groups_reread"] == 16
        assert steady["bytes_reread"] > LIVE_BYTES


@pytest.mark.needs("hyperv")
def test_under_random_some_are(kernel):
    with kernel(cpus=2, cache_policy="random(1)") as machine:
        assert 4 < per_exit(machine, start(machine, True))["groups_reread"] < 12


def test_plain_vmcs_has_no_clean_fields(kernel):
    with kernel(cpus=2) as machine:
        steady = per_exit(machine, start(machine, False))
        assert steady["groups_reread"] == steady["bytes_reread"] == 0
        assert steady["bytes_written_back"] == 0


@pytest.mark.needs("hyperv")
def test_every_steady_entry_finds_every_group_clean(kernel):
    with kernel(cpus=1) as machine:
        vcpu = start(machine, True)
        vcpu.trace_exits(size=N)
        vcpu.run(exits=N)
        log = machine.cpu(0).exit_log
        assert len(log) == N and {record[0] for record in log} == {CPUID_EXIT}
        # the first entry of a call comes after vcpu_load() has written what the CPU is
        assert {record[3] for record in log[1:]} == {ALL_CLEAN}
        assert vcpu.evmcs.clean_fields == ALL_CLEAN


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("group", sorted(GROUPS))
def test_one_write_costs_its_group_at_one_entry(kernel, group):
    """The entry after it finds one bit clear, the next one none; nothing else is read again."""
    row = GROUPS[group]
    encoding, mask = int(row["encoding"], 16), int(row["clean_mask"], 16)
    width = "l" if encoding >> 13 == 3 else row["size"] * 8
    with kernel(cpus=1) as machine:
        vcpu = start(machine, True)

        def first_of_five():
            vcpu.trace_exits(size=5)
            vcpu.run(exits=5)
            found = [record[3] for record in machine.cpu(0).exit_log]
            assert found[1:] == [ALL_CLEAN] * 4
            return found[0]

        alone = first_of_five()
        value = vcpu.vmcs[row["vmcs_field"]]
        if kernel.is_port:
            with machine.cpu(0):
                getattr(machine.module.port, f"vmcs_write{width}")(encoding, value)
        else:
            write_field(vcpu, encoding, value)
        assert first_of_five() == alone & ~mask
        assert first_of_five() == alone


@pytest.mark.needs("hyperv")
def test_the_entry_after_a_migration_reads_everything_once(kernel):
    with kernel(cpus=2) as machine:
        vcpu = start(machine, True)
        vcpu.cpu = 1
        vcpu.trace_exits(size=10)
        vcpu.run(exits=5)
        found = [record[3] for record in machine.cpu(1).exit_log]
        assert found[0] != ALL_CLEAN and found[1:] == [ALL_CLEAN] * 4
        steady = per_exit(machine, vcpu)
        assert {name: steady[name] for name in EVMCS} == EVMCS
        assert (steady["groups_reread"], steady["bytes_reread"]) == (0, LIVE_BYTES)


@pytest.mark.parametrize("enlightened, expected", [(False, VMCS), (True, EVMCS)])
def test_two_vcpus_on_two_cpus_cost_the_same(kernel, enlightened, expected):
    with kernel(cpus=2) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=CPUID_LOOP)
        vcpus = [vm.create_vcpu(cpu=n) for n in range(2)]
        for vcpu in vcpus:
            vcpu.run(exits=WARM_UP)
        for vcpu in vcpus:
            steady = per_exit(machine, vcpu)
            wanted = of_version(kernel, expected)
            assert {name: steady[name] for name in wanted} == wanted
