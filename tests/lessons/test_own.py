# SPDX-License-Identifier: GPL-2.0-only
"""A lesson in a teacher's own file: the example of docs/own-lesson.md, and files that are none."""

import json
import pathlib
import re

import pytest

import kvm_vmx
from kvm_vmx import cli
from kvm_vmx.lessons.kinds import KINDS

DOC = pathlib.Path(kvm_vmx.__file__).parents[1] / "docs/own-lesson.md"


@pytest.fixture
def example(tmp_path):
    """The example, as a file."""
    if not DOC.exists():
        pytest.skip("the package is installed without its documents")
    (code,) = re.findall(r"^```python\n(.*?)^```", DOC.read_text(), re.M | re.S)
    (tmp_path / "mine.py").write_text(code)
    return tmp_path / "mine.py"


def told(capsys, *line):
    """(status, what was printed, what was complained)."""
    status = cli.main(["lesson", *map(str, line)])
    return status, *capsys.readouterr()


def test_the_example_runs_as_a_lesson_does(example, tmp_path, capsys):
    status, out, err = told(capsys, example)
    assert status == 0 and err == "" and "Work it out first" in out
    page = tmp_path / "page.html"
    status, out, _ = told(capsys, example, "--seed", 5, "-c", "--json", "--html", page)
    found = json.loads(out)
    given = found["given"]
    each = given["three"] - given["two"]
    assert found["answer"] == {"vmreads": given["two"] + each * (given["exits"] - 2)}
    assert each == 7 and "5 minutes" in page.read_text() and "<details" in page.read_text()
    assert told(capsys, example, "--seed", 5)[1] != told(capsys, example, "--seed", 6)[1]


def test_the_example_makes_a_sheet(example, tmp_path, capsys):
    key = tmp_path / "course.key"
    assert cli.main(["grade", "--new", "--key", str(key)]) == 0
    sheet = tmp_path / "sheet.json"
    assert told(capsys, example, "--sheet", sheet, "--assign", 7, "--key", key)[0] == 0
    content = json.loads(sheet.read_text())
    content["answers"]["vmreads"] = next(iter(
        json.loads(key.read_text())["sheets"].values()))["answers"]["vmreads"]
    sheet.write_text(json.dumps(content))
    assert cli.main(["grade", str(sheet), "--key", str(key)]) == 0
    assert "1 of 1" in capsys.readouterr().out


def test_the_kinds_are_those_that_the_page_lists():
    if not DOC.exists():
        pytest.skip("the package is installed without its documents")
    table = DOC.read_text().partition("| kind |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == set(KINDS)


LESSON = "TITLE, MINUTES = 'mine', 5\n"


@pytest.mark.parametrize("text, words", [
    (None, "no such file"), ("def f(:", "no Python: "), ("1 / 0", "ZeroDivisionError"),
    ("import nothing_at_all", "ModuleNotFoundError"), ("", "a lesson has TITLE, a str"),
    ("TITLE = 'mine'", "a lesson has MINUTES, a int"), (LESSON, "a lesson has run(seed, case)"),
    (LESSON + "def run(seed, case): return 7", "run() gives int, no Record"),
    (LESSON + "def run(seed, case): return [][0]", "run(1): IndexError"),
    (LESSON + "def run(seed): return 7", "run(1): TypeError"),
    (LESSON + "from kvm_vmx.lessons.record import *\ndef run(seed, case):\n"
     "    return Record('m', seed, '', TITLE, 'no list', [], Picture([]), '', {}, [], {}, [], [])",
     "its record's about is no list"),
    (LESSON + "from kvm_vmx.lessons.record import *\ndef run(seed, case):\n"
     "    return Record('m', seed, '', TITLE, [], [], Picture([]), '', {}, [], {}, [], [])",
     "its picture has no step")])
def test_a_file_that_is_no_lesson_gets_one_line(tmp_path, capsys, text, words):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    status, out, err = told(capsys, path)
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and words in err
