# SPDX-License-Identifier: GPL-2.0-only
"""docs/course.md: its tables say what the lessons say, and its grader grades."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest
from command import ENVIRONMENT

from kvm_vmx.lessons import NAMES, load

DOC = pathlib.Path(importlib.util.find_spec("kvm_vmx").origin).parents[1] / "docs/course.md"
SEED = 4711


@pytest.fixture(scope="module")
def text():
    if not DOC.exists():
        pytest.skip("the package is installed without its documents")
    return DOC.read_text()


def rows(text, title):
    """{lesson: its other cells} of the table whose head begins so."""
    table = text[text.index(f"| lesson | {title}"):].partition("\n\n")[0].splitlines()[2:]
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    return {name: rest for name, *rest in found}


def test_the_lessons_their_order_and_their_minutes(text):
    table = rows(text, "minutes")
    assert [name for name in table if name in NAMES] == list(NAMES)
    assert {name: int(table[name][0]) for name in NAMES} == {
        name: load(name).MINUTES for name in NAMES}
    assert all(len(says) > 60 for _, says in table.values())


@pytest.fixture(scope="module")
def answers():
    return {name: load(name).run(SEED).values for name in NAMES}


def test_what_there_is_to_ask(text, answers):
    table = rows(text, "answer")
    assert {name: table[name][0].split(", ") for name in NAMES} == {
        name: list(answer) for name, answer in answers.items()}


def test_the_grader(text, answers, tmp_path):
    (script,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "grade.py").write_text(script)
    (example,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    handed_in = json.loads(example)
    assert handed_in["seed"] == SEED
    for name in set(handed_in) - {"seed"}:
        assert set(handed_in[name]) <= set(answers[name])
        handed_in[name] = {key: answers[name][key] for key in handed_in[name]}

    def graded():
        (tmp_path / "handed-in.json").write_text(json.dumps(handed_in))
        done = subprocess.run([sys.executable, "grade.py", "handed-in.json"], cwd=tmp_path,
                              capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert graded() == ["detect: 2 of 2", "table: 3 of 3", "5 of 5"]
    handed_in["detect"]["insmod"] = -14
    handed_in["table"]["slot"] += 1
    assert graded() == ["detect: 1 of 2 insmod", "table: 2 of 3 slot", "3 of 5"]


# What students hand in: each with what the grader says of it, and that the rest is graded.
ODD = [
    ({"detect": {"enable_evmcs": "right", "moon": 1}},
     ["detect: 1 of 2 (moon: nobody asks for that)", "1 of 2"]),
    ({"moon": {"insmod": 0}, "detect": {"insmod": "right"}},
     ["moon: 0 of 1 (insmod: nobody asks for that)",
      "moon: kvm-vmx: no lesson 'moon': there are levels", "detect: 1 of 1", "1 of 2"]),
    ({"detect": [1, 2], "table": {"slot": "right"}},
     ["detect: 0 of 1 (no answers: nobody asks for that)", "table: 1 of 1", "1 of 2"]),
    ({"detect": None}, ["detect: 0 of 1 (no answers: nobody asks for that)", "0 of 1"]),
    ({"detect": {}}, ["detect: 0 of 0", "0 of 0"]),
    # of another kind: true is no 1, "0" is no 0, 1.0 is no 1
    ({"detect": {"insmod": False, "parameter": 0, "enable_evmcs": "false"}},
     ["detect: 0 of 3 insmod parameter enable_evmcs", "0 of 3"]),
    ({"table": {"slot": "0x10", "offset": [], "clean": {}}},
     ["table: 0 of 3 slot offset clean", "0 of 3"]),
    ({"seed": "moon", "detect": {"insmod": 0}},
     ["detect: 0 of 1 (insmod: nobody asks for that)", "detect: kvm-vmx: --seed 'moon'",
      "0 of 1"]),
    ({"--help": {"a": 1}, "": {"b": 2}}, ["--help: 0 of 1 (a: nobody", ": 0 of 1 (b: ",
                                                      "0 of 2"]),
    ({"all": {"insmod": 0}},
     ["all: 0 of 1 (insmod: nobody asks for that)", "all: kvm-vmx: lesson all", "0 of 1"]),
]


@pytest.mark.parametrize("handed_in, lines", ODD)
def test_the_grader_survives_what_is_handed_in(text, answers, tmp_path, handed_in, lines):
    """Key by key and lesson by lesson: what there is not is told and counts nothing."""
    (script,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "grade.py").write_text(script)
    filled = {"seed": SEED} | {
        name: {key: answers[name][key] if value == "right" else value
               for key, value in given.items()} if isinstance(given, dict) else given
        for name, given in handed_in.items()}
    (tmp_path / "handed-in.json").write_text(json.dumps(filled))
    done = subprocess.run([sys.executable, "grade.py", "handed-in.json"], cwd=tmp_path,
                          capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    found = iter(done.stdout.splitlines())
    for line in lines:          # in order; there may be more between
        assert any(said.startswith(line) for said in found), (line, done.stdout)


def test_every_command_of_it_is_one(text):
    """Each line that begins with kvm-vmx has a command and options that there are."""
    from kvm_vmx.cli import parser

    lines = re.findall(r"^kvm-vmx (.*?)(?:  .*)?$", text, re.M)
    assert len(lines) >= 6
    for line in lines:
        args = parser().parse_args(line.split())
        assert args.name in (*NAMES, "all") or args.name in rows(text, "minutes")
