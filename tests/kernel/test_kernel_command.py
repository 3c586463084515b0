# SPDX-License-Identifier: GPL-2.0-only
"""The commands that need a tree's own KVM, and what they say where there is none."""

import json

import pytest

from kvm_vmx import cli, host
from kvm_vmx.kernel import build, toolchain


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


def test_run_counts_an_exit(tree, capsys):
    status, out, _ = said(capsys, "kernel", "run", tree)
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert (rows["VMREAD"], rows["VMWRITE"], rows["VMRESUME"]) == (["7", "0"], ["1", "0"],
                                                                   ["1", "1"])


def test_the_run_of_the_port_has_a_column_of_the_kernel(tree, capsys):
    status, out, _ = said(capsys, "run", "--exits", 500, "--kernel", tree, "--json")
    assert status == 0
    found = json.loads(out)
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
    assert json.loads(out)["unexplained"] == 0


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
