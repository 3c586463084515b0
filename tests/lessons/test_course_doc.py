# SPDX-License-Identifier: GPL-2.0-only
"""docs/course.md: its tables say what the lessons say, and its exam can be held."""

import importlib.util
import json
import pathlib
import re

import pytest

from kvm_vmx import cli, host
from kvm_vmx.lessons import NAMES, load, sheets

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


def test_the_exam_and_the_grading_run_as_they_are_told(text, tmp_path, monkeypatch, capsys):
    """Each command of the two sections, in their order, with sheets filled in by the key."""
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^kvm-vmx ((?:grade|lesson \w+ --sheet) .*)$", text, re.M)
    assert len(lines) == 7
    for line in lines:
        if not host.has("single-step") and "lesson exit" in line:
            continue
        if line.startswith("grade ann"):
            sheet = pathlib.Path("ann-table.json")
            pathlib.Path("ben-table.json").write_text(sheet.read_text())
            content, key = json.loads(sheet.read_text()), json.loads(
                pathlib.Path("course.key").read_text())
            content["answers"] = key["sheets"][content["sheet"]]["answers"]
            sheet.write_text(json.dumps(content))
        assert cli.main(line.split()) == 0, line
    out = capsys.readouterr().out
    assert "5 of 10" in out and "not answered" in out


def test_the_example_of_a_sheet_is_of_the_schema(text, answers):
    (example,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    sheet = json.loads(example)
    assert sheet["schema"] == sheets.SHEET
    assert set(sheet["answers"]) <= set(answers[sheet["lesson"]])


def test_the_lectures_have_every_lesson_once(text):
    table = text.partition("| lecture | show")[2].partition("\n\n")[0]
    titles = re.findall(r"^\| \d: ([\w, ]+) \|", table, re.M)
    assert [name for title in titles for name in title.split(", ")] == list(NAMES)


def test_every_command_of_it_is_one(text):
    """Each line that begins with kvm-vmx has a command and options that there are."""
    from kvm_vmx.cli import parser

    lines = re.findall(r"^kvm-vmx (.*?)(?:  .*)?$", text, re.M)
    assert len(lines) >= 6
    for line in lines:
        args = parser().parse_args(line.split())
        assert getattr(args, "name", "all") in (*NAMES, "all")
