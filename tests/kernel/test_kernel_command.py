# SPDX-License-Identifier: GPL-2.0-only
"""The commands that need a tree's own KVM, and what they say where there is none."""

import json
import pathlib
import re

import pytest
import schemed

from kvm_vmx import cli, host
from kvm_vmx.kernel import build, page, places, toolchain

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def tree(image):
    return host.find("tree-4.19")


def said(capsys, *words):
    status = cli.main([str(word) for word in words])
    out, error = capsys.readouterr()
    return status, out, error


def test_build_names_the_image_and_what_it_lacks(tree, image, capsys):
    status, out, _ = said(capsys, "kernel", "build", tree)
    lines = out.splitlines()
    assert (status, lines[0]) == (0, str(image))
    assert lines[1].endswith("called, each ends the kernel by its name")
    assert "sidt" not in lines[2] and "popf in fastop" in lines[2]
    schemed.strict(json.loads(said(capsys, "kernel", "build", tree, "--json")[1]))


def test_run_counts_an_exit(tree, capsys):
    status, out, _ = said(capsys, "kernel", "run", tree)
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert (rows["VMREAD"], rows["VMWRITE"], rows["VMRESUME"]) == (["7", "0"], ["1", "0"],
                                                                   ["1", "1"])
    schemed.strict(json.loads(said(capsys, "kernel", "run", tree, "--json")[1]))


def test_a_record_tells_programs_what_it_kept(tree, capsys, tmp_path):
    status, out, _ = said(capsys, "kernel", "record", tree, "--scenario", "nmi", "--output",
                          tmp_path / "kept", "--json")
    assert status == 0 and (tmp_path / "kept").exists()
    assert list(schemed.strict(json.loads(out))["steps"]) == ["nmi, vmcs", "nmi, evmcs"]


def test_the_run_of_the_port_has_a_column_of_the_kernel(tree, capsys):
    status, out, _ = said(capsys, "run", "--exits", 500, "--kernel", tree, "--json")
    assert status == 0
    found = schemed.kept_text(out)
    for mode, figures in found["modes"].items():
        for name, count in found["kernel"][mode].items():
            assert figures["per_exit"].get(name, 0) == count


@pytest.mark.parametrize("words", [
    ["compare", "--run", "migration", "hotplug"], ["kernel", "compare", "--scenario", "migration"]])
def test_nothing_is_unexplained(tree, capsys, words):
    words += ["--tree", tree] if words[0] == "compare" else [tree]
    status, out, _ = said(capsys, *words)
    assert status == 0 and out.splitlines()[-1] == "0 unexplained"
    status, out, _ = said(capsys, *words, "--json")
    assert schemed.strict(json.loads(out))["unexplained"] == 0


def test_a_scenario_that_is_none_is_named_with_those_there_are(capsys):
    status, _, error = said(capsys, "kernel", "compare", "nothing", "--scenario", "xyzzy")
    assert status == 2
    assert "no scenario has 'xyzzy' in its name: there are load and unload, " in error


def test_no_tree_is_one_line(capsys, tmp_path):
    status, _, error = said(capsys, "kernel", "build", tmp_path / "none")
    assert status == 2 and error.count("\n") == 1 and "no kernel tree" in error
    status, _, error = said(capsys, "compare", "--run")
    assert status == 2 and "give --tree TREE" in error


def test_what_a_build_needs_is_named_by_package(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv(build.CACHE, str(tmp_path / "cache"))
    (tmp_path / "arch/x86/kvm").mkdir(parents=True)
    (tmp_path / "arch/x86/kvm/Makefile").touch()
    monkeypatch.setattr(toolchain, "missing", lambda: {"flex": "flex", "gelf.h": "libelf-dev"})
    status, _, error = said(capsys, "kernel", "build", tmp_path)
    assert status == 2
    assert "building a kernel needs flex, gelf.h: apt-get install flex libelf-dev" in error


def test_a_tree_is_known_by_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setenv(build.CACHE, str(tmp_path / "cache"))
    keys = []
    for name, text in (("one", "a"), ("two", "a"), ("three", "b")):
        room = tmp_path / name / "arch/x86/kvm"
        room.mkdir(parents=True)
        (room / "Makefile").write_text(text)
        keys.append(build.place(str(tmp_path / name))[0])
    assert keys[0] == keys[1] != keys[2]


def test_compare_writes_a_page_with_both_sides_lines(tree, tmp_path, capsys):
    """Function and line of each side, as the kernel's own debug information and the port's have
    them; what both executed; a reason for the rest."""
    file = tmp_path / "run.html"
    status, out, _ = said(capsys, "compare", "--run", "rdtsc", "--tree", tree, "--html", file)
    assert status == 0 and "0 unexplained" in out
    text = file.read_text()
    assert "<b>0 are not</b>" in text and "exit: rdtsc, evmcs" in text
    # VMWRITE of the first steps of a vCPU: where v4.19's source has it
    hit = re.search(r"VMWRITE CR3_TARGET_COUNT, 0x0</code><small>vmx_vcpu_setup\(\) "
                    r"<i>vmx\.c:(\d+), vmx\.pyx:(\d+)</i>", text)
    assert hit
    for path, line in ((f"{tree}/arch/x86/kvm/vmx.c", hit[1]), ("kvm_vmx/l1/vmx.pyx", hit[2])):
        lines = (ROOT / path).read_text(errors="replace").split("\n")
        assert "CR3_TARGET_COUNT" in lines[int(line) - 1]
    assert re.search(r'class="kernel ".*?INVEPT.*?<i>arch/x86/', text)
    assert re.search(r'class="port ".*?<i>kvm_vmx/l1/', text)


def test_an_instruction_without_a_reason_stands_out():
    step = (0, "vmwrite", (0x681E, 1), (), "VMsucceed", 0)
    one = places.Placed(step, places.SourceLine("vmx_vcpu_run", "arch/x86/kvm/vmx.c:1"))
    text = page.page("a <tree>", [page.ExecutedRun("<x>, vmcs", [one], [])])
    assert "&lt;tree&gt;" in text and "<tree>" not in text and "<b>1 are not</b>" in text
    assert 'class="kernel loose"' in text and "<details open>" in text
    assert "vmx_vcpu_run() <i>arch/x86/kvm/vmx.c:1</i>" in text


@pytest.mark.parametrize("line, told", [
    ("/cache/ab/tree/./include/kvm/iodev.h:72 (discriminator 2)", "include/kvm/iodev.h:72"),
    ("/cache/ab/tree/arch/x86/kvm/../../../virt/kvm/kvm_main.c:743", "virt/kvm/kvm_main.c:743"),
    ("./kvm_vmx/l1/vmx.pyx:7", "kvm_vmx/l1/vmx.pyx:7")])
def test_a_line_is_named_as_in_its_tree(line, told):
    assert places.short(line) == told
