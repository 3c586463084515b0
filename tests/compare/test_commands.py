# SPDX-License-Identifier: GPL-2.0-only
"""kvm-vmx compare and kvm-vmx drift as a user runs them."""

import re

import pytest
import schemed

from kvm_vmx import cli
from kvm_vmx.compare.rows import CLASSES


@pytest.fixture
def tree(tmp_path):
    """A kernel tree with one function of the path, changed in one place."""
    path = tmp_path / "linux" / "arch/x86/kvm/vmx.c"
    path.parent.mkdir(parents=True)
    path.write_text(
        "static void decache_tsc_multiplier(struct vcpu_vmx *vmx)\n{\n"
        "\tvmx->current_tsc_ratio = vmx->vcpu.arch.tsc_scaling_ratio + 1;\n"
        "\tvmcs_write64(TSC_MULTIPLIER, vmx->current_tsc_ratio);\n}\n")
    return tmp_path / "linux"


def run(capsys, *args):
    """Status, output and errors of one command line."""
    status = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("args, message", [
    (["compare", "--tree", "/nowhere"], "no such tree: /nowhere"),
    (["compare", "--tree", "."], "no arch/x86/kvm in ."),
    (["compare", "--tree", "{tree}", "decache_tsc_multiplyer"],
     "did you mean decache_tsc_multiplier"),
    (["compare", "--tree", "{tree}", "zzzzzz"], "the port has no function zzzzzz"),
    (["compare", "--tree", "{tree}", "--config", "CONFIG_HYPERV"], "give NAME=NUMBER"),
    (["compare", "--tree", "{tree}", "--config", "CONFIG_HYPERV=y"], "give NAME=NUMBER"),
    (["compare", "--tree", "{tree}", "--html", "/nowhere/page.html"],
     "cannot write /nowhere/page.html"),
    (["drift", "/nowhere", "{tree}"], "no such tree: /nowhere"),
    (["drift", "{tree}", "{tree}", "zzzzzz"], "no function zzzzzz on the path"),
])
def test_bad_input_is_one_line_and_status_2(capsys, tree, args, message):
    status, out, err = run(capsys, *(arg.format(tree=tree) for arg in args))
    assert status == 2 and out == ""
    assert err.startswith("kvm-vmx: ") and err.count("\n") == 1 and message in err


def test_one_function_in_two_columns(capsys, tree, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    status, out, _ = run(capsys, "compare", "decache_tsc_multiplier", "--tree", tree)
    assert status == 1
    assert "arch/x86/kvm/vmx.c:1" in out and "kvm_vmx/l1/vmx.pyx:" in out
    assert "no mark: # C~ of 1 of the kernel and 1 of the port" in out
    assert "same 2  unexplained 1   alike 66.7 % of 3 statements" in out
    _, only, _ = run(capsys, "compare", "decache_tsc_multiplier", "--tree", tree,
                     "--only", "diff")
    assert "tsc_scaling_ratio" in only and "TSC_MULTIPLIER" not in only


def test_all_functions_with_totals(capsys, tree):
    status, out, _ = run(capsys, "compare", "--tree", tree)
    assert status == 1
    assert out.startswith(f"tree    {tree}\nconfig  CONFIG_HYPERV=1 ")
    assert "decache_tsc_multiplier" in out
    (total,) = [line for line in out.splitlines() if " statements of the kernel: " in line]
    functions, _, rest = total.partition(" functions with ")
    # the others are of vmx.c, too, and this tree's has none of them
    assert rest == ("3 statements of the kernel: 2 alike (66.7 %), 0 adapted, 0 left out, "
                    f"{functions} unexplained; 0 more are ours")
    (units,) = [line.split() for line in out.splitlines() if re.match(r"\d+ units ", line)]
    everything = int(functions) + int(units[-2])
    assert out.splitlines()[-1] == f"tree {tree}, baseline v4.19: {everything:,} unexplained"
    assert "kvm_vmx/l1/vmx.pyx" in out


def test_json(capsys, tree):
    status, out, _ = run(capsys, "compare", "decache_tsc_multiplier", "--tree", tree, "--json",
                         "--config", "CONFIG_TEA=4")
    data = schemed.kept_text(out)
    assert status == 1 and data["schema"] == "kvm_vmx.compare/2"
    assert data["config"]["CONFIG_TEA"] == 4 and set(data["totals"]) == set(CLASSES)
    (function,) = data["functions"]
    assert data["statements"] == function["statements"] == 3
    assert data["totals"] == function["totals"] and data["totals"]["same"] == 2
    assert function["name"] == "decache_tsc_multiplier"
    assert function["kernel"] == {"file": "arch/x86/kvm/vmx.c", "line": 1}
    assert function["port"]["file"] == "kvm_vmx/l1/vmx.pyx"
    assert [row["class"] for row in function["rows"]] == ["same", "unexplained", "same"]
    row = function["rows"][1]
    assert row["kernel"][0]["line"] == 3 and row["port"][0]["text"] and row["why"]


def test_scope(capsys, tree):
    status, out, _ = run(capsys, "compare", "--tree", tree, "--scope", "--json")
    data = schemed.kept_text(out)
    assert data["schema"] == "kvm_vmx.scope/1" and status == 1
    (function,) = data["functions"]
    assert function["name"] == "decache_tsc_multiplier" and function["reason"] == ""
    assert function["port"].startswith("kvm_vmx/l1/vmx.pyx:")
    _, out, _ = run(capsys, "compare", "--tree", tree, "--scope")
    assert out.endswith("1 functions, 1 ported, 0 out of scope\n\n"
                        f"tree {tree}, baseline v4.19\n")


def test_page(capsys, tree, tmp_path):
    path = tmp_path / "page.html"
    status, out, _ = run(capsys, "compare", "decache_tsc_multiplier", "--tree", tree,
                         "--html", path)
    assert status == 1
    assert out == (f"{path}: open it in a browser.\n\n"
                   f"tree {tree}, baseline v4.19: 1 unexplained\n")
    text = path.read_text()
    assert text.startswith("<!DOCTYPE html>") and 'id="decache_tsc_multiplier"' in text


def test_drift(capsys, tree, tmp_path):
    other = tmp_path / "newer" / "arch/x86/kvm/vmx/vmx.c"
    other.parent.mkdir(parents=True)
    source = (tree / "arch/x86/kvm/vmx.c").read_text()
    other.write_text(source.replace("ratio + 1", "ratio"))
    status, out, _ = run(capsys, "drift", tree, tmp_path / "newer")
    assert status == 1
    assert "moved    arch/x86/kvm/vmx.c -> arch/x86/kvm/vmx/vmx.c: 1 function\n" in out
    status, out, _ = run(capsys, "drift", tree, tmp_path / "newer", "--json")
    data = schemed.kept_text(out)
    assert data["schema"] == "kvm_vmx.drift/1" and status == 1
    (function,) = data["functions"]
    assert len(function["gone"]) == len(function["came"]) == 1 and function["same"] == 2
    assert run(capsys, "drift", tree, tree)[0] == 0
