# SPDX-License-Identifier: GPL-2.0-only
"""A name that nothing has is answered with the one that was meant, wherever it is given."""

import pytest
import test_schemas

import kvm_vmx
from kvm_vmx import Machine, cli, host, words
from kvm_vmx.l0 import profile

folder = test_schemas.folder

LINES = {
    "a command": ("rnu", "run"), "an option of all": ("--verison", "--version"),
    "an option": ("run --exts 3", "--exits"), "a choice": ("measure acessors", "accessors"),
    "a choice of an option": ("run --insn tarp", "trap"),
    "a profile": ("run --profile kvm-6.1", "kvm-6.12"),
    "a profile of decode": ("decode page.bin --profile icelake", "ice-lake"),
    "a profile of boot": ("boot image.bin --profile tlfs-strct", "tlfs-strict"),
    "a policy": ("run --cache-policy nevr", "never"), "a lesson": ("lesson detct", "detect"),
    "a case": ("lesson detect --case hypervisr", "hypervisor"),
    "a function": ("compare vmx_exti --tree tree", "vmx_exit"),
    "a function of a drift": ("drift tree other vmx_exti", "vmx_exit"),
    "a rule": ("conform 39", "R39"),
    "a selftest": ("boot --selftest tree hyperv_evmc", "hyperv_evmcs"),
    "a scenario": ("kernel compare tree --scenario hotplg", "hotplug"),
    "a schema": ("schema fieldz", "fields"), "a cache": ("cache clear tree", "trees"),
    "a page": ("man lesons", "lesson"), "a shell": ("completion bahs", "bash"),
}


@pytest.mark.parametrize("line, meant", LINES.values(), ids=LINES)
def test_a_command_line(folder, capfd, monkeypatch, line, meant):
    monkeypatch.chdir(folder)
    assert cli.main(line.split()) == 2
    out, error = capfd.readouterr()
    assert out == "" and error.count("\n") == 1
    assert f"did you mean {meant}" in error, error


@pytest.fixture(scope="module")
def machine():
    with Machine(cpus=1) as machine:
        yield machine


def in_file(text):
    """A profile's file with this in it."""
    return lambda _: profile._parse("mine.toml", 'base = "kvm-6.12"\n' + text)


NAMES = {
    "a field": (lambda machine: machine.cpu(0).vmread("GUEST_RPI"), "GUEST_RIP"),
    "a field in small letters": (lambda _: kvm_vmx.Field.of("guest_rip"), "GUEST_RIP"),
    "an exit reason": (lambda _: kvm_vmx.ExitReason.of("EXTERNAL_INTERUPT"), "EXTERNAL_INTERRUPT"),
    "a fail point": (lambda machine: machine.fail("kmaloc"), "kmalloc"),
    "a build": (lambda machine: machine.insmod(config="hyper-v"), "hyperv"),
    "a parameter": (lambda machine: machine.insmod(vpdi=0), "vpid"),
    "a fault": (lambda _: profile.build(faults=["launch_trust_clean"]), "launch_trusts_clean"),
    "a key of a profile": (in_file("titel = 'x'"), "title"),
    "a policy of a profile": (in_file("[policy]\nhonor_msr_lists = true"), "honour_msr_lists"),
    "a register of a leaf": (in_file("[cpuid.0x1]\neaxx = 1"), "eax"),
    "a profile": (lambda _: profile.build("kvm-6.11"), "kvm-6.12"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_python(machine, name):
    call, meant = NAMES[name]
    with pytest.raises(ValueError, match=f"did you mean .*{meant}"):
        call(machine)


def test_a_register_and_a_function_of_the_port(machine):
    kvm = machine.insmod()
    vcpu = kvm.create_vm(code=b"\xf4").create_vcpu()
    with pytest.raises(KeyError, match="did you mean rax"):
        vcpu.regs["raxx"] = 1
    with pytest.raises(AttributeError, match="did you mean .*vmcs_read64"):
        kvm.port.vmcs_raed64
    kvm.rmmod()


def test_a_capability(monkeypatch):
    monkeypatch.setenv(host.WITHOUT, "fsgsbas")
    with pytest.raises(ValueError, match="did you mean fsgsbase?"):
        host.has("memfd")


def test_what_is_like_nothing_is_answered_with_all():
    assert words.unknown("thing", "zzz", ["alpha", "beta"]) == \
        "no thing 'zzz': there are alpha, beta"
    many = [f"name{n}" for n in range(words.LISTED + 1)]
    assert words.unknown("thing", "nmae3", many) == "no thing 'nmae3': did you mean name3?"
    assert words.choices("x", many).startswith("there are name0, ")
    assert words.near("x" * 100_000, many) == []


def test_nobody_else_looks_for_what_is_alike():
    """Of names: statements and texts are compared elsewhere."""
    found = {path.name for path in (test_schemas.ROOT / "kvm_vmx").rglob("*.py*")
             if path.suffix in (".py", ".pyx") and "get_close_matches" in path.read_text()}
    assert found == {"words.py"}
