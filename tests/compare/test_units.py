# SPDX-License-Identifier: GPL-2.0-only
"""No unit outside the functions passes unseen: tables, layouts, constants, initial values."""

import json
import lzma
import pathlib

import needed
import pytest
from seeds import KERNEL, PORTS, by_file, sown, with_text

from kvm_vmx import cli, host
from kvm_vmx.compare import kconfig
from kvm_vmx.compare.held import CURE, grouped, held
from kvm_vmx.compare.pairing import Units
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.portfacts import PortFacts
from kvm_vmx.compare.report import Report

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def facts():
    return PortFacts(Port())


def told(rows):
    """The kinds and names of the rows that nothing explains."""
    return {(row.fact.kind, row.fact.name) for row in rows if row.kind == "unexplained"}


def test_nothing_is_unexplained(units_v419):
    assert [str(row) for row in units_v419.loose] == []
    assert units_v419.totals["same"] > 1500


def test_each_change_of_the_kernels_is_told_by_its_row(report_v419, units_v419):
    kernel, tree = units_v419.kernel, report_v419.tree
    for path, seeds in by_file(KERNEL).items():
        tree = with_text(tree, path, sown(tree.files[path], seeds))
        kernel = kernel.with_file(tree, path)
    units = Units(report_v419, units_v419.port, units_v419.record, kernel)
    assert {(seed.kind, seed.name) for seed in KERNEL} <= told(units.rows)
    for row in units.loose:
        assert row.fact.name in str(row) and row.why


def test_each_change_of_the_ports_is_told_by_its_row(report_v419, units_v419):
    """With a tree, and where there is none by the record of what was compared."""
    port = units_v419.port
    for path, seeds in by_file(PORTS).items():
        port = port.with_file(path, sown((ROOT / path).read_text(), seeds))
    units = Units(report_v419, port, units_v419.record, units_v419.kernel)
    assert {(seed.kind, seed.name) for seed in PORTS} <= told(units.rows)


def test_each_change_of_the_ports_is_told_without_a_tree(facts):
    port = facts
    for path, seeds in by_file(PORTS).items():
        port = port.with_file(path, sown((ROOT / path).read_text(), seeds))
    assert {f"{seed.kind} {seed.name}" for seed in PORTS} <= differing(port)


def differing(port) -> set[str]:
    """The units of the port that are not those of the last comparison."""
    then, now = held()["port"], grouped(
        fact for fact in port.facts if fact.kind != "attributes")
    return {key for path in now.keys() | then.keys()
            for key in now.get(path, {}).keys() | then.get(path, {}).keys()
            if now.get(path, {}).get(key) != then.get(path, {}).get(key)}


def test_every_unit_of_the_port_is_as_it_was_compared(facts):
    assert sorted(differing(facts)) == [], CURE


@pytest.fixture
def debian(tmp_path):
    """Debian's own .config, where its package is."""
    needed.capability("config-6.1")
    path = tmp_path / "config"
    path.write_bytes(lzma.decompress(pathlib.Path(host.find("config-6.1")).read_bytes()))
    return str(path)


def test_nothing_is_unexplained_under_a_distributions_configuration(tree_v419, debian):
    """Functions and all other units; what its #if add is left out by that name, and still held."""
    # with what v4.19 has a symbol for and a later kernel has not
    config = {**kconfig.read(debian), "CONFIG_HYPERV_TSCPAGE": 1}
    assert config["CONFIG_KEXEC_CORE"] == config["CONFIG_X86_LOCAL_APIC"] == 1
    tree = type(tree_v419)(tree_v419.title, tree_v419.files, config)
    report = Report(Port(), tree)
    units = Units(report)
    assert [(pair.name, row.why) for pair in report.pairs for row in pair.rows
            if row.kind == "unexplained"] == []
    assert [str(row) for row in units.loose] == []
    added = [row for pair in report.pairs for row in pair.rows
             if row.why == "of a configuration that the port is not of"]
    assert len(added) > 5
    path, old = "arch/x86/hyperv/hv_init.c", "HV_MSR_REFERENCE_TSC_AVAILABLE"
    tree = with_text(tree, path, tree.files[path].replace(old, "HV_MSR_TIME_REF_COUNT_AVAILABLE"))
    assert Report(Port(), tree, {"hyperv_init"}).totals["unexplained"] > 0


# One of each kind that a review found to compare as equal.
FOUR = [seed for seed in KERNEL if seed.name in (
    "GUEST_RSP", "hv_enlightened_vmcs.hv_clean_fields", "KVM_EVMCS_VERSION", "enlightened_vmcs")
    and seed.kind in ("field", "member", "constant", "variable")]


def test_the_command_takes_a_distributions_config_file(capsys, tree_v419, monkeypatch, debian):
    """It tells of its thousands of symbols those that the tree asks for."""
    monkeypatch.setattr("kvm_vmx.compare.opening.open_tree",
                        lambda _, config: type(tree_v419)("tree", tree_v419.files, config))
    assert cli.main(["compare", "evmcs_load", "--tree", "tree", "--config", debian,
                     "--json"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert config["CONFIG_HIBERNATION"] == config["CONFIG_KEXEC_CORE"] == 1
    assert config["CONFIG_KVM_COMPAT"] == 1 and "CONFIG_TEA" not in config


def test_the_command_ends_with_1_and_names_the_rows(capsys, tree_v419, tmp_path):
    seeds = by_file(FOUR)
    for name, text in tree_v419.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sown(text, seeds.get(name, ())))
    assert cli.main(["compare", "--tree", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert len(FOUR) == 4
    for seed in FOUR:
        assert f"?  {seed.kind} {seed.name}  {seed.file}:" in out, seed
