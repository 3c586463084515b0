# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `history`: its remarks are those of docs/review.md, its years those of the trees."""

import pathlib
import re

import needed
import pytest

from kvm_vmx import host
from kvm_vmx.lessons import errata, history

ROOT = pathlib.Path(__file__).parents[2]
REMARKS = history.remarks()
RIGHT = """
def get_evmcs_offset(field, table):
    slot = (field << 6 | field >> 10) & 0xffff
    return table.get(str(slot)) or -2
"""


def test_each_remark_stands_in_the_review():
    """By the words that both have: the review's page has a row for each, and no other."""
    document = ROOT / "docs/review.md"
    if not document.exists():
        pytest.skip("the package is installed without its documents")
    rows = [row.split("|")[1:6] for row in document.read_text().splitlines()
            if row.startswith("| ") and not row.startswith("| asked")]
    assert len(rows) == len(REMARKS)

    def words(text):
        return set(re.findall(r"\w{4,}", text.lower()))

    for (asked, by, *_), one in zip(rows, REMARKS.values()):
        assert one["by"] in by
        assert len(words(asked) & words(one["asked"])) >= 2, (asked, one["asked"])


def source(tree, *places):
    """The text of the first of these files that the tree has."""
    return next((pathlib.Path(tree, "arch/x86/kvm", place).read_text() for place in places
                 if pathlib.Path(tree, "arch/x86/kvm", place).exists()), "")


@pytest.mark.parametrize("version, column", [("tree-6.1", "v61"), ("tree-6.12", "v612")])
def test_the_years_are_the_trees(version, column):
    needed.capability(version)
    tree = host.find(version)
    if not pathlib.Path(tree).is_dir():
        pytest.skip("the tree is packed")
    table = source(tree, "vmx/hyperv_evmcs.c", "vmx/evmcs.c")
    header = source(tree, "vmx/hyperv_evmcs.h", "vmx/evmcs.h")
    vmx = source(tree, "vmx/vmx.c")
    dropped = REMARKS["cr3_target"][column] == "dropped"
    assert table and ("FIELD(CR3_TARGET_VALUE0" in table) != dropped
    assert re.search(r"!evmcs_field->offset\)\)\s+return -ENOENT", header)
    assert ("evmcs_sanitize_exec_ctrls(vmcs_conf)" in vmx) == (
        "not sanitised" not in REMARKS["sanitize"][column])
    assert "vmx_update_host_rsp" in vmx and "enlightened_vmcs = false" in vmx
    assert re.search(r"!hv_get_vp_assist_page\(cpu\)\)\s+return -EFAULT", vmx)
    capabilities = source(tree, "vmx/capabilities.h")
    assert "vmcs_config.vmentry_ctrl & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL" in capabilities


def test_what_a_run_can_tell_is_as_told():
    assert {name: REMARKS[name]["taken"] for name in history.seen()} == history.seen()
    assert {one["erratum"] for one in REMARKS.values() if "erratum" in one} <= set(errata.load())


@pytest.mark.soak
def test_the_answers_follow_from_the_remarks(soak):
    seen = set()
    for seed in range(1000 if soak else 40):
        record = history.run(seed)
        names = record.given["remarks"]
        assert len(set(names)) == len(names)
        taken = [n for n, name in enumerate(names, 1) if REMARKS[name]["taken"]]
        later = [n for n, name in enumerate(names, 1) if "later" in REMARKS[name]]
        left = REMARKS[names[record.values["left"] - 1]]["erratum"]
        assert errata.load()[left].symptom in record.question
        assert record.values == {"taken": taken, "later": later, "left": record.values["left"]}
        seen.add(str(record.values))
    assert len(seen) >= 20


def test_what_became_of_it_is_withheld():
    record = history.run(2)
    assert all(cell.text == "?" for row in record.picture.steps[-1].rows for cell in row[3:])
    assert not any(cell.text == "?" for row in record.solved.steps[-1].rows for cell in row)


@pytest.mark.parametrize("wrong, code", [(False, RIGHT), (True, RIGHT.replace("or -2", "or 0")),
                                         (True, RIGHT.replace("<< 6", "<< 5"))])
def test_a_students_function(told, tmp_path, wrong, code):
    (tmp_path / "mine.py").write_text(code)
    done = told("lesson", "history", "--write", tmp_path / "mine.py")
    assert done.returncode == (1 if wrong else 0), done.stderr
    assert ("inputs are right." in done.stdout and "gives" not in done.stdout) != wrong
