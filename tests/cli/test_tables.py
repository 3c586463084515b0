# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx fields and keys, the tour, the help, the version."""

import json
import pathlib

import pytest
from command import kvm_vmx, kvm_vmx_json

from kvm_vmx import host

DATA = pathlib.Path(__file__).parents[1] / "data"


def test_fields_are_those_of_v4_19():
    table = json.loads((DATA / "evmcs_fields_4.19.json").read_text())
    assert kvm_vmx_json("fields") == {"schema": "kvm_vmx.fields/1", "fields": table}


def test_fields_as_a_page():
    lines = kvm_vmx("fields").stdout.splitlines()
    assert len(lines) == 127
    (rsp,) = [line.split() for line in lines if " GUEST_RSP " in line]
    assert rsp == ["0x0000681c", "GUEST_RSP", "guest_rsp", "768", "8", "GUEST_BASIC", "0x0400"]


def test_every_site_of_enable_evmcs_flips():
    keys = kvm_vmx_json("keys")
    assert keys["schema"] == "kvm_vmx.keys/1"
    sites = [site for site in keys["after"] if site["key"] == "enable_evmcs"]
    assert len(sites) > 50
    assert {site["state"] for site in sites} == {"jmp"}
    assert {site["bytes"][:2] for site in sites} == {"e9"}
    assert {"vmx_vcpu_run", "vmx_vcpu_load"} <= {site["function"] for site in sites}
    before = [site for site in keys["before"] if site["key"] == "enable_evmcs"]
    assert {site["state"] for site in before} <= {"nop"}


def test_keys_as_a_page():
    done = kvm_vmx("keys")
    assert done.returncode == 0
    assert "enable_evmcs" in done.stdout and "vmx_vcpu_run" in done.stdout


def test_alone_it_gives_the_tour():
    done = kvm_vmx()
    assert done.returncode == 0 and "Begin with: kvm-vmx run" in done.stdout
    assert len(done.stdout.splitlines()) <= 12


@pytest.mark.parametrize("command", ["run", "fields", "keys"])
def test_help_has_an_example(command):
    done = kvm_vmx(command, "--help")
    assert done.returncode == 0 and f"\n  kvm-vmx {command}" in done.stdout
    assert "--json" in done.stdout


def test_version_says_what_the_build_is_made_of():
    out = kvm_vmx("--version").stdout
    for part in ("kvm-vmx 0.", "v4.19", "Cython 3.3", "CONFIG_HYPERV=1", "CONFIG_JUMP_LABEL=1"):
        assert part in out


def test_the_version_tells_what_of_the_host_a_machine_can_use(monkeypatch):
    monkeypatch.setenv(host.WITHOUT, ",".join(sorted({*host.withheld(), "fsgsbase", "valgrind"})))
    lines = kvm_vmx("--version").stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert list(rows) == list(host.PLATFORM)
    for name, (word, *why) in rows.items():
        assert word == ("yes" if host.has(name) else "no") and bool(why) != host.has(name)
    assert rows["fsgsbase"][0] == "no" and lines[-1].startswith("not here: ")
    assert "valgrind" in lines[-1].split(": ")[1].split(", ")
    told = kvm_vmx_json("--version")
    features = {one["name"]: one for one in told["host"]["features"]}
    assert list(features) == list(host.CAPABILITIES)
    assert features["valgrind"] == {"name": "valgrind", "has": False,
                                    "why": f"{host.WITHOUT} says so"}
    assert f"kvm-vmx {told['version']}, baseline Linux {told['baseline']}" == lines[0]
