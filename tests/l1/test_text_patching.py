# SPDX-License-Identifier: GPL-2.0-only
"""Static keys as text: each site is a NOP or a JMP to its target, and no page is ever W and X."""

import json
import pathlib
import re
import subprocess
import sys
import threading

import pytest
import text

from kvm_vmx import Machine
from kvm_vmx.machine import sites as elf

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How often each function of v4.19's vmx.c says static_branch_unlikely(), by key.
BRANCHES = json.loads((ROOT / "tests/data/static_branches_4.19.json").read_text())


@pytest.fixture
def machine():
    with Machine(cpus=2) as machine:
        yield machine


def of_key(machine, key="enable_evmcs"):
    return [site for site in machine.keys() if site["key"] == key]


@pytest.mark.case("KEY-09")
def test_every_site_is_a_nop_when_off_and_a_jump_when_on_twice(machine):
    seen = set()
    for enlightened in (False, True, False, True):
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        sites = of_key(machine)
        assert len(sites) > 50
        states = {text.state(site) for site in sites}
        assert states == {"jmp" if enlightened else "nop"}
        assert all(site["bytes"] == text.read(site["address"], 5) for site in sites)
        assert {site["state"] for site in sites} == states
        kvm.rmmod()
        # vmx_exit() has put each of them back
        assert {text.state(site) for site in sites} == {"nop"}
        seen.add(tuple((site["address"], site["target"]) for site in sites))
    assert len(seen) == 1


def test_the_other_key_of_the_module_stays_off(machine):
    machine.insmod(enlightened_vmcs=True)
    (site,) = of_key(machine, "vmx_l1d_should_flush")
    assert text.state(site) == "nop" and site["function"] == "vmx_vcpu_run"


def test_a_target_lies_in_the_function_of_its_site(machine):
    """Or in its cold half; either way it is the start of an instruction of that function."""
    path = machine.insmod(enlightened_vmcs=True).path
    for site in machine.keys():
        assert elf.name_of(path, site["target"]) == site["function"] != "?"


def test_sites_do_not_overlap_and_lie_in_executable_text(machine):
    kvm = machine.insmod(enlightened_vmcs=True)
    spans = [m for m in text.mappings() if m.path == kvm.path and m.protection == "r-xp"]
    addresses = sorted(site["address"] for site in machine.keys())
    assert all(second - first >= 5 for first, second in zip(addresses, addresses[1:]))
    for address in addresses:
        assert any(span.start <= address and address + 5 <= span.end for span in spans)


def executable(path):
    """(address, bytes) of all text of a file."""
    spans = [m for m in text.mappings() if m.path == path and m.protection == "r-xp"]
    start = min(span.start for span in spans)
    return start, text.read(start, max(span.end for span in spans) - start)


def test_nothing_but_the_sites_changes(machine):
    kvm = machine.insmod(enlightened_vmcs=False)
    _, off = executable(kvm.path)
    kvm.rmmod()
    machine.insmod(enlightened_vmcs=True)
    start, on = executable(kvm.path)
    on = bytearray(on)
    for site in of_key(machine):
        at = site["address"] - start
        on[at:at + 5] = text.NOP5
    assert bytes(on) == off


def test_no_page_is_writable_and_executable_before_during_or_after(machine):
    assert text.writable_and_executable() == []
    path = machine.insmod().path
    machine.module.rmmod()
    before = [m for m in text.mappings() if m.path == path]
    found, samples, done = [], 0, threading.Event()

    def sample():
        nonlocal samples
        while not done.is_set():
            found.extend(text.writable_and_executable())
            samples += 1

    sampler = threading.Thread(target=sample)
    sampler.start()
    rounds = 0
    while rounds < 300 or samples <= 10:
        machine.insmod(enlightened_vmcs=True).rmmod()
        rounds += 1
    done.set()
    sampler.join()
    assert found == [] and samples > 10
    after = [m for m in text.mappings() if m.path == path]
    assert after == before
    assert [m for m in after if m.protection[1] == "w" and m.protection[2] == "x"] == []


def test_text_that_cannot_be_written_is_no_load(machine):
    """vmx_init() goes on, as static_branch_enable() returns nothing; the loader does not."""
    before = machine.allocations
    machine.fail("mprotect")
    with pytest.raises(PermissionError) as caught:
        machine.insmod(enlightened_vmcs=True)
    assert "text cannot be made writable" in str(caught.value)
    assert 'config="no-jump-label"' in str(caught.value)
    (line,) = [line for line in machine.dmesg if line.startswith("jump_label:")]
    assert "cannot be made writable" in line and "CONFIG_JUMP_LABEL=n" in line
    assert text.writable_and_executable() == []
    # nothing of it is left, and the next load is whole
    assert machine.module is None and machine.keys() == [] and machine.allocations == before
    kvm = machine.insmod(enlightened_vmcs=False)
    assert {text.state(site) for site in of_key(machine)} == {"nop"}
    kvm.rmmod()
    assert machine.insmod(enlightened_vmcs=True).enable_evmcs


NO_NEW_TEXT = """
import ctypes
from kvm_vmx import Machine
from kvm_vmx import building
[building.port(config) for config in ("hyperv", "no-jump-label")]
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
assert ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0
with Machine(insn="call") as machine:
    for _ in range(2):
        try:
            machine.insmod()
        except PermissionError as error:
            print(error)
    kvm = machine.insmod(config="no-jump-label")
    vcpu = kvm.create_vm(code=bytes.fromhex("f4")).create_vcpu()
    print(kvm.enable_evmcs, vcpu.run().reason)
"""


@pytest.mark.host("mdwe")
def test_a_system_that_refuses_to_make_memory_executable():
    """It grants the writing, so that the text would be lost; a rehearsal finds it out before."""
    done = subprocess.run([sys.executable, "-c", NO_NEW_TEXT], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, second, last = done.stdout.splitlines()
    assert first == second and 'config="no-jump-label"' in first
    assert last == "True HLT"


def ported_functions():
    """{function: its body} of vmx.pyx and the accessors beside it."""
    bodies = {}
    for path in sorted((ROOT / "kvm_vmx/l1").glob("vmx*.p[yx]*")):
        parts = re.split(r"^cdef [^\n(=]*?(\w+)\(", path.read_text(), flags=re.M)
        for name, body in zip(parts[1::2], parts[2::2]):
            bodies[name] = bodies.get(name, "") + re.sub(r"#.*", "", body)
    return bodies


def test_each_function_branches_as_often_as_the_kernels():
    """Each function of v4.19's vmx.c that asks a static key; no flush of L1D is in scope."""
    expected = {name: keys for name, keys in BRANCHES.items() if name != "vmx_l1d_flush"}
    counts = {}
    for name, body in ported_functions().items():
        for key in re.findall(r"static_branch_(?:un)?likely\(&(\w+)\)", body):
            counts.setdefault(name, {}).setdefault(key, 0)
            counts[name][key] += 1
    assert counts == expected


@pytest.mark.parametrize("name", [
    *(f"call_vmcs_{way}{width}" for way in ("read", "write") for width in (16, 32, 64, "l")),
    "call_vmcs_set_bits", "call_vmcs_clear_bits", "probe_read_guest_rip", "probe_write_guest_rsp",
])
def test_an_accessor_out_of_line_asks_once(machine, name):
    """Also a read-modify-write: v4.19 asks before it reads, not again before it writes."""
    machine.insmod()
    assert [site["function"] for site in of_key(machine)].count(name) == 1
