# SPDX-License-Identifier: GPL-2.0-only
"""Which tree `compare` takes, and what each of its outputs says of it."""

import subprocess

import pytest
import schemed

from kvm_vmx import cli
from kvm_vmx.compare.found import default_tree, trees
from kvm_vmx.compare.opening import TreeError
from kvm_vmx import host

SOURCE = ("static void decache_tsc_multiplier(struct vcpu_vmx *vmx)\n{\n"
          "\tvmx->current_tsc_ratio = vmx->vcpu.arch.tsc_scaling_ratio;\n"
          "\tvmcs_write64(TSC_MULTIPLIER, vmx->current_tsc_ratio);\n}\n")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine whose trees, if any, are those that a test makes."""
    for name in host.NAMED:
        monkeypatch.delenv(name, raising=False)
    places = (f"{tmp_path}/src/linux-source-*", f"{tmp_path}/src/linux")
    monkeypatch.setattr(host, "PLACES", places)
    return tmp_path / "src"


def make(root, version):
    """A small tree of a version; None: one without a Makefile."""
    path = root / "arch/x86/kvm/vmx.c"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    if version:
        words = zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), version.split("."))
        (root / "Makefile").write_text("".join(f"{name} = {number}\n" for name, number in words))
    return str(root)


def test_without_any_tree_it_says_what_to_give():
    with pytest.raises(TreeError, match="no kernel tree found.* baseline is v4.19: give .*--tree"):
        default_tree()
    with pytest.raises(TreeError, match="no kernel tree found"):
        default_tree(nearest=True)


def test_another_version_is_never_taken_silently(machine):
    newer, newest = (make(machine / f"linux-source-{v}", f"{v}.0") for v in ("6.1", "6.12"))
    (machine / "linux-source-5.10.tar.xz").write_text("")
    with pytest.raises(TreeError) as error:
        default_tree()
    says = str(error.value)
    assert f"{newer} (6.1)" in says and f"{newest} (6.12)" in says and "5.10.tar.xz (5.10)" in says
    assert "baseline is v4.19" in says and "--tree" in says and "\n" not in says
    assert default_tree(nearest=True) == str(machine / "linux-source-5.10.tar.xz")
    ours = make(machine / "linux", "4.19.112")
    assert default_tree() == default_tree(nearest=True) == ours


@pytest.mark.parametrize("name", host.NAMED)
def test_the_environment_names_a_tree(machine, tmp_path, monkeypatch, name):
    make(machine / "linux-source-6.1", "6.1.0")
    mine = make(tmp_path / "mine", "4.19.0")
    monkeypatch.setenv(name, mine)
    assert default_tree() == mine
    monkeypatch.setenv(name, make(tmp_path / "newer", "5.0.0"))
    with pytest.raises(TreeError, match="newer \\(5.0\\), .*linux-source-6.1 \\(6.1\\)"):
        default_tree()
    monkeypatch.setenv(name, "/nowhere")
    with pytest.raises(TreeError, match="/nowhere \\(not there\\)"):
        default_tree()


@pytest.mark.parametrize("name", ["linux-source-4.19", "linux-source-4.19.112"])
def test_the_tests_take_the_tree_that_the_command_takes(machine, monkeypatch, name):
    monkeypatch.setenv(host.WITHOUT, "")
    make(machine / "linux-source-4.1", "4.1.0")
    assert host.find("tree-4.19") is None
    ours = make(machine / name, "4.19.0")
    assert host.find("tree-4.19") == default_tree() == ours


def test_what_is_called_otherwise_is_known_by_its_makefile(machine):
    liar = make(machine / "linux-source-6.1", "4.19.0")
    assert [tree.version for tree in trees()] == ["4.19"] and default_tree() == liar


@pytest.mark.host("git")
def test_a_revision_in_the_environment(tmp_path, monkeypatch):
    root = make(tmp_path / "clone", "4.19.0")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", root]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "tree"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("KVM_VMX_TREE", f"{root}@HEAD")
    assert trees()[0].version == "4.19" and default_tree() == f"{root}@HEAD"


OUTPUTS = {"table": [], "a function": ["decache_tsc_multiplier"], "scope": ["--scope"],
           "page": ["--html", "page.html"]}


@pytest.mark.parametrize("version, more, options", [
    *(("6.12.3", 1, options) for options in OUTPUTS.values()),
    *((version, 0, OUTPUTS[name]) for version in ("4.19.0", None) for name in ("table", "scope"))])
def test_the_last_lines_name_tree_version_and_baseline(
        machine, tmp_path, monkeypatch, capsys, options, version, more):
    monkeypatch.chdir(tmp_path)
    root = make(machine / "linux", version)
    cli.main(["compare", "--tree", root, *options])
    *_, line, last = capsys.readouterr().out.splitlines()
    line, last = (line, last) if more else (last, "")
    number = {"4.19.0": " (4.19)", "6.12.3": " (6.12.3)", None: ""}[version]
    assert line.startswith(f"tree {root}{number}, baseline v4.19")
    assert bool(last) == ("not v4.19" in last) == bool(more)


def test_a_program_is_told_too(machine, capsys):
    root = make(machine / "linux", "6.12.3")
    for options in ([], ["--scope"]):
        cli.main(["compare", "--tree", root, "--json", *options])
        data = schemed.kept_text(capsys.readouterr().out)
        assert (data["version"], data["baseline"]) == ("6.12.3", "v4.19")


@pytest.mark.parametrize("options", OUTPUTS.values(), ids=OUTPUTS)
def test_by_default_no_output_is_of_another_version(
        machine, tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    make(machine / "linux-source-6.12", "6.12.0")
    assert cli.main(["compare", *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "baseline is v4.19" in err
    assert cli.main(["compare", "--nearest", *options]) in (0, 1)
    assert "not v4.19" in capsys.readouterr().out.splitlines()[-1]


def test_a_file_that_is_absent_is_said_once(machine, capsys):
    """v4.19's vmx.c alone would be this: every function of another file is left out, not red."""
    root = make(machine / "linux", "4.19.0")
    cli.main(["compare", "--tree", root, "--json"])
    data = schemed.kept_text(capsys.readouterr().out)
    assert {"arch/x86/kvm/x86.c", "arch/x86/hyperv/hv_init.c"} <= set(data["absent"])
    assert "arch/x86/kvm/vmx.c" not in data["absent"]
    gone = {function["port"]["file"] for function in data["functions"]
            for row in function["rows"] if "the tree has no" in row["why"]}
    assert gone == {"kvm_vmx/l1/vmx.pyx"}
    cli.main(["compare", "--tree", root])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[1] for line in lines if line.startswith("absent")] == \
        data["absent"]
    assert cli.main(["compare", "--tree", root, "kvm_arch_vcpu_create"]) == 2
    assert "has no arch/x86/kvm/x86.c" in capsys.readouterr().err
