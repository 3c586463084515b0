# SPDX-License-Identifier: GPL-2.0-only
"""The lines of the port that a lesson ends with: its run has executed them, or they say so."""

import json
import os

import pytest
from marked import Marked

from kvm_vmx.lessons import NAMES, load

pytestmark = pytest.mark.long

# Lesson exit follows single steps, which end where a mark writes; its own film is what it executes.
MARKED = [name for name in NAMES if name != "exit"]
CASES = [(name, case) for name in MARKED for case in load(name).CASES or (None,)]


def asked(name, case, seed):
    """The command line of one run, with its answer: a secret case has its lines only there."""
    return ["lesson", name, "--seed", str(seed), "-c", *(["--case", case] if case else [])]


def listed(lesson):
    """{(file, line): what it is, and whether the lesson says that it is executed}."""
    return {(line["port_file"], line["port_line"]):
            (f"{line['function']}() {line['port_text']}", line["executed"])
            for line in lesson["lines"]}


@pytest.mark.skipif(os.environ.get("KVM_VMX_INSN") == "trap",
                    reason="the marked build runs by call, whatever the suite does")
@pytest.mark.host("Cython", "setuptools")
@pytest.mark.soak
def test_a_lesson_says_which_of_its_lines_its_run_executes(soak, said_json, tmp_path):
    """Every case and some seeds. That pages show what a lesson says is another test's."""
    if not soak:
        pytest.skip("a build of the port with marks: --soak")
    asked_for = [asked(name, case, seed) for name, case in CASES for seed in (1, 2, 3)]
    told = [listed(said_json(*run)) for run in asked_for]
    assert all(any(executed for _, executed in lines.values()) for lines in told)
    marked = Marked(tmp_path, set().union(*told))
    wrong = {}
    found = marked.runs([[*run, "--json"] for run in asked_for])
    for run, (text, reached) in zip(asked_for, found):
        lines = listed(json.loads(text))
        here = [(*place, *lines[place]) for place in lines
                if (place in reached) != lines[place][1]]
        if here:
            wrong[" ".join(run)] = here
    assert wrong == {}
