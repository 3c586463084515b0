# SPDX-License-Identifier: GPL-2.0-only
"""The three Kconfig builds of kvm-intel: one source, the same guest, what each leaves out."""

import pathlib
import subprocess
import sys

import pytest

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

pytestmark = pytest.mark.long

EXITS = 1_000
VMCS, EVMCS = (7, 1, 1), (0, 0, 1)


def run(machine, config, enlightened):
    """What one steady exit executes, what the guest sees, and the module as it stood."""
    kvm = machine.insmod(enlightened_vmcs=enlightened, config=config)
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    vcpu.run(exits=EXITS)
    counts = []
    for exits in (EXITS, 2 * EXITS):
        before = dict(machine.counters)
        vcpu.run(exits=exits)
        counts.append({name: value - before[name] for name, value in machine.counters.items()})
    steady = tuple(
        (counts[1][name] - counts[0][name]) / EXITS for name in ("vmread", "vmwrite", "vmresume"))
    seen = dict(vcpu.regs)
    module = kvm.enable_evmcs, kvm.parameters.get("enlightened_vmcs"), machine.keys()
    kvm.rmmod()
    return steady, seen, module


@pytest.fixture
def machine():
    with Machine(cpus=2) as machine:
        yield machine


@pytest.mark.parametrize("config, enlightened, steady, key, parameter", [
    ("hyperv", True, EVMCS, True, True),
    ("hyperv", False, VMCS, False, False),
    ("no-hyperv", True, VMCS, False, None),
    ("no-jump-label", True, EVMCS, True, True),
    ("no-jump-label", False, VMCS, False, False),
])
def test_each_build_takes_its_path(machine, config, enlightened, steady, key, parameter):
    counts, _, module = run(machine, config, enlightened)
    assert counts == steady
    assert module[:2] == (key, parameter)


def test_the_guest_sees_no_difference_between_builds(machine):
    seen = [run(machine, config, enlightened)[1]
            for config in ("hyperv", "no-hyperv", "no-jump-label") for enlightened in (0, 1)]
    assert seen[1:] == seen[:-1]


def test_sites_of_each_build(machine):
    assert len(run(machine, "hyperv", True)[2][2]) > 50
    # v4.19 defines enable_evmcs outside its #if, so the sites stay without CONFIG_HYPERV.
    without = run(machine, "no-hyperv", True)[2][2]
    assert {site["state"] for site in without if site["key"] == "enable_evmcs"} == {"nop"}
    assert run(machine, "no-jump-label", True)[2][2] == []


def test_without_hyperv_no_one_detects_it(machine):
    machine.insmod(config="no-hyperv").rmmod()
    assert not any("Enlightened" in line for line in machine.dmesg)


def test_builds_follow_one_another(machine):
    before = machine.allocations
    for config in ("no-jump-label", "hyperv", "no-hyperv") * 3:
        machine.insmod(config=config).rmmod()
    assert machine.allocations == before


def test_an_unknown_build_names_the_known(machine):
    with pytest.raises(ValueError, match="hyperv, no-hyperv, no-jump-label"):
        machine.insmod(config="kexec")
    machine.insmod().rmmod()


ROOT = pathlib.Path(__file__).parents[2]
# The tests of the port that name no build, so that each build is held to them.
QUICK = ("l1/test_exits.py", "l1/test_cpus.py", "l1/test_remote_flush.py", "l1/test_setup.py",
         "machine/test_failures.py", "machine/test_faithful.py")
LONG = ("l1/test_accessors.py", "l1/test_errata.py", "l1/test_unload.py",
        "machine/test_differences.py", "machine/test_equivalence.py",
        "machine/test_steady_state.py")


@pytest.mark.parametrize("build", ["no-hyperv", "no-jump-label"])
def test_each_build_passes_the_tests_that_apply_to_it(build, soak):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
         # none of them has an example of its, and it takes long to import
         "-p", "no:hypothesispytest", "--build", build,
         # a kernel's own KVM is of no build
         "-k", "not v4.19 and not 6.1",
         *(f"tests/{name}" for name in QUICK + LONG * soak)],
        cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 150
