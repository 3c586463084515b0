# SPDX-License-Identifier: GPL-2.0-only
"""A real host's `cpuid -r`, read and taken as it is; leaves with subleaves."""

import itertools
import quopri
import re

import pytest
from command import kvm_vmx
from world import ROOT, World

from kvm_vmx import Machine, parse_cpuid, read_cpuid
from kvm_vmx.l0.cpuid_dump import INDEXED
from kvm_vmx.l0.profile import build
from kvm_vmx.machine.guests import CPUID_LOOP

AZURE = ROOT / "tests/data/azure_f72s_v2_cpuid_r.txt"
TEXT = AZURE.read_text()
# read here in another way: hexadecimal numbers, six a line
LINES = [[int(number, 16) for number in re.findall(r"0x([0-9a-f]+)", line)]
         for line in TEXT.splitlines()[1:]]


def test_the_file_is_read_as_it_is():
    found = read_cpuid(AZURE)
    assert len(found) == len(LINES) == 47 and len({leaf for leaf, *_ in LINES}) == 42
    for leaf, index, *registers in LINES:
        assert found[(leaf, index) if index else leaf] == tuple(registers)


@pytest.mark.parametrize("form", [
    lambda text: quopri.encodestring(text.encode()).decode(),
    lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "From: somebody\n\nit says:\n" + text + "\n-- \nme\n",
    lambda text: text.replace("CPU:", "CPU 0:") + text.replace("CPU:", "CPU 1:").replace("1", "2"),
], ids=["quoted-printable", "quoted", "CRLF", "mail", "two processors"])
def test_forms_of_the_file(form):
    assert parse_cpuid(form(TEXT)) == read_cpuid(AZURE)


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "large.txt").write_bytes(b"#" * (1 << 21))
    (tmp_path / "bytes.txt").write_bytes(bytes(range(256)))
    for name, words in (("empty", "no line of a CPUID leaf"), ("large", "larger than"),
                        ("bytes", "no line"), ("nowhere", "No such file")):
        for reader in (read_cpuid, build, lambda path: build(cpuid=str(path))):
            with pytest.raises(ValueError, match=words) as error:
                reader(tmp_path / f"{name}.txt")
            assert f"{name}.txt" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("enforce", [False, True])
def test_l1_sees_the_host(enforce):
    cpu = World(vmx=False, cpuid=read_cpuid(AZURE), enforce_cpuid=enforce).cpu
    for leaf, index, eax, ebx, ecx, edx in LINES:
        found = cpu.cpuid(leaf, index)
        if leaf == 1:
            # the processor's own APIC ID, and OSXSAVE as CR4 has it
            assert found == (eax, ebx & 0xFFFFFF, ecx & ~(1 << 27), edx)
        else:
            assert found == (eax, ebx, ecx, edx), (hex(leaf), index)
    assert cpu.partition.profile.maxphyaddr == 46
    assert cpu.cpuid(0x40000009) == cpu.cpuid(0x23) == (0, 0, 0, 0)


def test_what_the_host_offers_and_l0_does_not_do_is_told():
    with Machine(cpuid=AZURE, lints=True) as machine:
        undone = machine.undone
        (lint,) = [lint for lint in machine.lints if lint == "offered_undone"]
        assert all(name in lint.explain() for name in undone)
    assert any("EBX[16] (VSM)" in name for name in undone)
    assert any("EBX[17] (VP registers)" in name for name in undone)
    assert not any("SEND_IPI" in name or "synthetic timers" in name for name in undone)
    assert build().undone == ()
    # a change to a profile is no host: what is not done is not offered
    leaves = {leaf: registers for leaf, registers in read_cpuid(AZURE).items()
              if leaf == 0x40000003}
    changed = build(cpuid=leaves)
    assert any("EBX[16] (VSM)" in name for name in changed.undone)
    assert leaves[0x40000003][1] >> 16 & 1 and not changed.cpuid[0x40000003][1] >> 16 & 1


@pytest.mark.parametrize("how", ["path", "leaves", "as a profile", "without empty leaves"])
def test_the_host_boots_with_evmcs(how):
    leaves = read_cpuid(AZURE)
    options = {"path": dict(cpuid=str(AZURE)), "leaves": dict(cpuid=leaves),
               "as a profile": dict(profile=str(AZURE)), "without empty leaves": dict(
                   cpuid={key: value for key, value in leaves.items() if any(value)})}[how]
    with Machine(**options) as machine:
        kvm = machine.insmod()
        assert kvm.enable_evmcs
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        assert vcpu.run(exits=50).exits == 50
        assert machine.counters["vmwrite"] == 0
        assert any("hints 0x64e24" in line for line in machine.dmesg)
        assert any("using Hyper-V Enlightened VMCS" in line for line in machine.dmesg)


def test_the_command_line_takes_the_file():
    done = kvm_vmx("run", "--exits", 3, "--profile", AZURE)
    assert done.returncode == 0 and "hints 0x64e24" in done.stdout


# Subleaves ------------------------------------------------------------------------------------

def test_ecx_chooses_where_there_are_subleaves():
    four = {(4, 1): (1, 2, 3, 4), (4, 3): (5, 6, 7, 8)}
    cpu = World(vmx=False, cpuid=four).cpu
    assert [cpu.cpuid(4, n)[0] for n in range(5)] == [0, 1, 0, 5, 0]
    assert cpu.cpuid(4, 1 << 32 | 1) == (1, 2, 3, 4), "ECX is 32 bits"
    for leaf, index in itertools.product(INDEXED, (1, 2, 0xFFFFFFFF)):
        cpu = World(vmx=False, cpuid={leaf: (1, 1, 1, 1), (leaf, index): (7, 7, 7, 7)}).cpu
        edx = 0 if leaf in (0xB, 0x1F) else 1
        assert cpu.cpuid(leaf)[:3] == (1, 1, 1) and cpu.cpuid(leaf)[3] == edx
        assert cpu.cpuid(leaf, index)[:3] == (7, 7, 7)
        assert cpu.cpuid(leaf, 3)[:2] == (0, 0)


@pytest.mark.parametrize("leaf", [0, 2, 6, 0xA, 0x15, 0x40000003, 0x80000001, 0x12345])
def test_ecx_does_not_count_elsewhere(leaf):
    cpu = World(vmx=False, cpuid={leaf: (1, 2, 3, 4) if leaf != 0x40000003 else (1, 0, 0, 0)}).cpu
    assert {cpu.cpuid(leaf, index) for index in (0, 1, 7, 0xFFFFFFFF)} == {cpu.cpuid(leaf)}
    # a profile may have subleaves of any
    cpu = World(vmx=False, cpuid={0x16: (1, 2, 3, 4), (0x16, 1): (5, 6, 7, 8)}).cpu
    assert [cpu.cpuid(0x16, n)[0] for n in range(3)] == [1, 5, 0]


@pytest.mark.parametrize("leaf", [0xB, 0x1F])
def test_topology_is_each_processors_own(leaf):
    """SDM 2A: EDX is the x2APIC ID; past the last level ECX[7:0] is what was asked for."""
    partition = World(vmx=False, cpus=3, cpuid={
        leaf: (1, 2, 0x100, 0), (leaf, 1): (6, 64, 0x201, 0)}).partition
    for n in range(3):
        cpu = partition.processor(n)
        assert cpu.cpuid(leaf) == (1, 2, 0x100, n) and cpu.cpuid(leaf, 1) == (6, 64, 0x201, n)
        assert cpu.cpuid(leaf, 0x305) == (0, 0, 5, n)
        assert cpu.cpuid(leaf ^ 0xB ^ 0x1F) == (0, 0, 0, 0)


def test_any_number_of_leaves():
    many = {(leaf, index): (leaf, index, 0, 0)
            for leaf in range(0x100, 0x164) for index in range(20)}
    cpu = World(vmx=False, cpuid=many).cpu
    assert all(cpu.cpuid(leaf, index) == registers for (leaf, index), registers in many.items())
    msrs = {0x600 + n: n for n in range(500)}
    cpu = World(vmx=False, msrs=msrs).cpu
    assert all(cpu.rdmsr(index).value == value for index, value in msrs.items())


def test_subleaves_in_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("""
        base = "kvm-6.12"
        [cpuid.0x4]
        eax = 1
        [cpuid.0x4.1]
        eax = 0x7c004122
        edx = 5
        source = "the box in the corner"
        [cpuid.0xd.2]
        ebx = 3
    """)
    profile = build(path)
    assert profile.cpuid[4] == (1, 0, 0, 0) and profile.cpuid[4, 1] == (0x7C004122, 0, 0, 5)
    assert profile.cpuid[0xD, 2] == (0, 3, 0, 0) and 0xD not in profile.cpuid
    assert profile.sources["cpuid.0x4.1"] == "the box in the corner"
    cpu = World(vmx=False, profile=path).cpu
    assert [cpu.cpuid(4, n)[0] for n in range(3)] == [1, 0x7C004122, 0]
