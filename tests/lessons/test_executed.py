# SPDX-License-Identifier: GPL-2.0-only
"""The lines of the port that a lesson ends with: its run has executed each of them."""

import json
import os

import pytest
from command import kvm_vmx_json
from marked import Marked

from kvm_vmx.lessons import NAMES, load

CASES = [(name, case) for name in NAMES for case in load(name).CASES or (None,)]


def asked(name, case, seed):
    """The command line of one run, with its answer: a secret case has its lines only there."""
    return ["lesson", name, "--seed", str(seed), "-c", *(["--case", case] if case else [])]


def listed(lesson):
    """The (file, line) that a lesson lists."""
    return {(line["port_file"], line["port_line"]) for line in lesson["lines"]}


@pytest.fixture(scope="module")
def runs(request):
    """The runs to look at: seed 1 of each lesson; of a soak, every case and some seeds."""
    if request.config.getoption("--soak"):
        return [asked(name, case, seed) for name, case in CASES for seed in (1, 2, 3)]
    return [asked(name, None, 1) for name in NAMES]


@pytest.mark.skipif(os.environ.get("KVM_VMX_INSN") == "trap",
                    reason="the marked build runs by call, whatever the suite does")
@pytest.mark.soak
def test_every_line_that_a_lesson_lists_is_executed_by_its_run(runs, tmp_path):
    told = [kvm_vmx_json(*run) for run in runs]
    assert all(map(listed, told))
    marked = Marked(tmp_path, set().union(*map(listed, told)))
    missed = {}
    for run in runs:
        text, reached = marked.run(*run, "--json")
        lesson = json.loads(text)
        here = [f"{line['function']}() {line['port_file']}:{line['port_line']} {line['port_text']}"
                for line in lesson["lines"]
                if (line["port_file"], line["port_line"]) not in reached]
        if here:
            missed[" ".join(run)] = here
    assert missed == {}
    # and a mark is silent where nothing comes by: without the parameter nobody enables the key
    (enable,) = {(line["port_file"], line["port_line"]) for lesson in told
                 for line in lesson["lines"] if line["function"] == "vmx_init"
                 and "static_branch_enable" in line["port_text"]}
    assert enable not in marked.run(*asked("detect", "parameter", 1))[1]
