# SPDX-License-Identifier: GPL-2.0-only
"""Drift in small repositories of git, and what becomes of functions that split, merge or paste."""

import nursery
import pytest
import schemed
from command import ENVIRONMENT
from repositories import VMX, git

from kvm_vmx.compare.drift import Drift
from kvm_vmx.compare.pasting import pasted
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.trees import Tree

RUN = "arch/x86/kvm/vmx/run.c"


def drift(*args):
    return nursery.run(["drift", *args], env={**ENVIRONMENT, "COLUMNS": "160"})


@pytest.mark.host("git")
def test_a_range_lists_the_fixes_that_concern_the_path(repository):
    done = drift(repository, "v4.19..HEAD", "--json")
    assert done.returncode == 1, done.stderr
    (fix,) = schemed.kept_text(done.stdout)["fixes"]
    assert fix["subject"] == "fix the load" and fix["functions"] == ["evmcs_load"]
    assert fix["commit"] == git(repository, "rev-parse", "HEAD~2")
    port = Port().subjects["evmcs_load"].function
    assert [row["text"] for row in fix["rows"]] == ["if (!vp_ap)", "return;"]
    for row in fix["rows"]:
        name, _, line = row["place"].rpartition(":")
        assert name == port.path and port.line <= int(line) <= port.end
    nothing = drift(repository, "HEAD~1..HEAD")
    assert nothing.returncode == 0 and nothing.stdout.startswith("0 commits")


@pytest.mark.host("git")
def test_a_changed_row_carries_the_commit_that_last_touched_it(repository):
    args = f"{repository}@v4.19", f"{repository}@HEAD", "evmcs_load"
    rows = schemed.kept_text(drift(*args, "--json").stdout)["rows"]["evmcs_load"]
    assert [(row["kind"], row["new"]["text"]) for row in rows if row["kind"] != "same"] == [
        ("came", "if (!vp_ap)"), ("came", "return;")]
    for row in rows:
        if row["kind"] == "came":
            line = row["new"]["line"]
            told = git(repository, "blame", "-s", "-L", f"{line},{line}", "HEAD", "--", VMX)
            assert row["commit"].startswith(told[:8].lstrip("^"))
    back = f"{repository}@HEAD~3", f"{repository}@HEAD", "evmcs_load"
    assert schemed.kept_text(drift(*back, "--json").stdout)["rows"]["evmcs_load"] == rows
    shown = drift(*args)
    assert "the port" in shown.stdout and "vp_ap.enlighten_vmentry = 1" in shown.stdout
    assert "fix the load" in " ".join(shown.stdout.split())


@pytest.mark.host("git")
def test_a_row_that_is_gone_carries_the_commit_that_took_it(repository):
    path = repository / VMX
    path.write_text(path.read_text().replace("\tvp_ap->enlighten_vmentry = 1;\n", ""))
    git(repository, "commit", "-qam", "take one out")
    rows = schemed.kept_text(drift(f"{repository}@v4.19", f"{repository}@HEAD", "evmcs_load",
                            "--json").stdout)["rows"]["evmcs_load"]
    (gone,) = (row for row in rows if row["kind"] == "gone")
    assert gone["old"]["text"] == "vp_ap->enlighten_vmentry = 1;" and gone["new"] is None
    assert gone["commit"] == git(repository, "log", "-1", "--abbrev=12", "--format=%h %s")
    assert gone["port"]["statements"][0]["text"] == "vp_ap.enlighten_vmentry = 1"


@pytest.mark.host("git")
@pytest.mark.parametrize("bad", ["v4.19..no", "--output=x..HEAD", "a...b"])
def test_a_range_that_is_none_is_one_line(repository, bad):
    done = drift(repository, bad) if not bad.startswith("-") else drift(repository, "--", bad)
    (line,) = done.stderr.splitlines()[-1:]
    assert done.returncode == 2 and line.startswith("kvm-vmx"), done.stderr
    assert not (repository / "x").exists()


BODY = "\tone_thing(cup, spoon);\n\ttwo_thing(cup, spoon);\n\tthree_thing(cup, spoon);\n"
MORE = "\tfour_thing(cup, spoon);\n\tfive_thing(cup, spoon);\n\tsix_thing(cup, spoon);\n"


def drifted(tmp_path, old, new):
    root = tmp_path / "kvm_vmx/l1"
    root.mkdir(parents=True)
    (root / "cup.pyx").write_text(
        "# SPDX-License-Identifier: GPL-2.0-only\n# C: arch/x86/kvm/vmx.c\n"
        "cdef void stir() noexcept nogil:\n    one_thing(cup, spoon)\n")
    found = Drift(Port(root), Tree("old", {VMX: old}), Tree("new", new))
    return found.changes[0]


def test_a_split_function_names_where_its_statements_are(tmp_path):
    change = drifted(
        tmp_path, f"void stir(void)\n{{\n{BODY}{MORE}}}\n",
        {RUN: f"void half(void)\n{{\n{MORE}}}\n\nvoid stir(void)\n{{\n{BODY}\thalf();\n}}\n"})
    assert change.new.path == RUN and "split: half() (3)" in change.how


def test_a_merged_function_names_what_took_it_in(tmp_path):
    change = drifted(
        tmp_path, f"void stir(void)\n{{\n{BODY}}}\n\nvoid whole(void)\n{{\n\tbefore(cup);\n}}\n",
        {VMX: f"void whole(void)\n{{\n\tbefore(cup);\n{BODY}}}\n"})
    assert change.new is None and change.how == "merged into whole() (3)"


def test_a_function_that_a_macro_pastes_is_not_gone(tmp_path):
    change = drifted(
        tmp_path, "void stir(void)\n{\n\tone_thing(cup, spoon);\n}\n",
        {VMX: "#define MAKE(name, what)\t\\\nvoid name##ir(void)\t\\\n{\t\\\n"
              "\twhat##_thing(cup, spoon);\t\\\n}\n\nMAKE(st, one)\n"})
    assert change.how == "by a macro that pastes its name" and not change.gone
    assert change.new.line == 7


def test_pasting_has_an_end():
    many = "#define M(a) void a##_(void) { }\n" + "M(x)\n" * 5000
    assert len(pasted(Tree("t", {VMX: many}))) == 1
    assert pasted(Tree("t", {VMX: "#define M(a) void a##_(void) {" + "\\\n" * 50_000})) == {}
