# SPDX-License-Identifier: GPL-2.0-only
"""One renderer: colour, width and encoding are what the user's options and environment say."""

import io
import os
import pathlib
import pty
import re
import subprocess
import sys

import pytest
from command import ENVIRONMENT, started
from hypothesis import given
from hypothesis import strategies as st

from kvm_vmx import cli, rendering

ROOT = pathlib.Path(__file__).parents[2]
ESCAPE = re.compile(r"\x1b\[[\d;]*m")
LINES = {"columns": ["fields"], "a lesson": ["lesson", "detect"], "a list": ["lesson"]}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing says anything."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "PYTHONIOENCODING", "PYTHONUTF8",
                 "LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    yield
    rendering.choose("auto")


COLOURS = {
    "a pipe": ([], {}, False), "always": (["--color", "always"], {}, True),
    "never": (["--color", "never"], {"FORCE_COLOR": "1"}, False),
    "NO_COLOR": ([], {"NO_COLOR": "1"}, False), "an empty NO_COLOR": ([], {"NO_COLOR": ""}, False),
    "FORCE_COLOR": ([], {"FORCE_COLOR": "1"}, True),
    "an empty FORCE_COLOR": ([], {"FORCE_COLOR": ""}, False),
    "both": ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    "always, whatever NO_COLOR": (["--color=always"], {"NO_COLOR": "1"}, True),
    "always on a dumb terminal": (["--color=always"], {"TERM": "dumb"}, True),
}


@pytest.mark.parametrize("options, variables, coloured", COLOURS.values(), ids=COLOURS)
def test_colour_is_what_was_asked_for(capsys, monkeypatch, options, variables, coloured):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for line in (["fields"], ["lesson", "detect"]):
        assert cli.main([*line, *options]) == 0
        assert bool(ESCAPE.search(capsys.readouterr().out)) == coloured, line


def test_an_option_of_all_may_stand_before_the_command(capsys):
    assert cli.main(["--color", "always", "fields"]) == 0
    assert ESCAPE.search(capsys.readouterr().out)
    assert cli.main(["--json", "fields"]) == 0
    assert capsys.readouterr().out.startswith("{")
    assert cli.main(["fields", "--color", "blue"]) == 2
    assert "choose from 'auto', 'always', 'never'" in capsys.readouterr().err


@pytest.mark.parametrize("term, coloured", [("xterm", True), ("dumb", False)])
def test_a_terminal_has_colour(term, coloured):
    main, other = pty.openpty()
    with open(main, "rb", 0) as reader:
        with started([sys.executable, "-m", "kvm_vmx", "lesson"], stdout=other,
                     stdin=subprocess.DEVNULL, env={**ENVIRONMENT, "TERM": term}) as child:
            said = b""
            while b"Begin with" not in said:
                said += reader.read(65536)
            assert child.wait(60) == 0
    os.close(other)
    assert bool(ESCAPE.search(said.decode())) == coloured


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("width", [62, 80, 300])
def test_no_line_is_longer_than_COLUMNS_and_nothing_is_lost(capsys, monkeypatch, name, width):
    assert cli.main(LINES[name]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.main(LINES[name]) == 0
    out = capsys.readouterr().out
    if name != "a lesson":
        assert max(map(len, out.splitlines())) <= width
        assert sorted("".join(out.split())) == sorted("".join(whole.split()))
    else:
        table = out.partition("The picture")[2].partition("The question")[0]
        assert max(map(len, table.splitlines())) <= width


def test_a_pipe_is_as_wide_as_its_text(capsys):
    assert cli.main(["fields"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 127


NAMED_C = {"LC_ALL": {"LC_ALL": "C"}, "LANG": {"LANG": "C"}, "POSIX": {"LANG": "POSIX"},
           "LC_CTYPE": {"LC_CTYPE": "C", "LANG": "en_US.UTF-8"}}
OTHERS = {"none": {}, "UTF-8": {"LANG": "C.UTF-8"},
          "UTF-8 over C": {"LANG": "C", "LC_ALL": "C.UTF-8"},
          "LC_CTYPE over LANG": {"LANG": "C", "LC_CTYPE": "C.UTF-8"},
          "by Python": {"LANG": "C", "PYTHONUTF8": "1"}}


def printed(variables):
    """What some columns with other signs than ASCII's are in an environment."""
    done = subprocess.run(
        [sys.executable, "-c", "from kvm_vmx import rendering, streams\n"
         "streams.prepare()\n"
         "rendering.print_columns([('a…', 'b'), ('→→→', 'c'), ('xxxxxxxxxx', 'd')])"],
        capture_output=True, env={**{name: value for name, value in ENVIRONMENT.items()
                                     if not name.startswith(("LC_", "LANG", "PYTHONIO"))},
                                  **variables})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("variables", NAMED_C.values(), ids=NAMED_C)
def test_the_locale_C_is_ascii_and_columns_stay_aligned(variables):
    out = printed(variables).decode("ascii")
    assert out.splitlines() == ["a...        b", "->->->      c", "xxxxxxxxxx  d"]


@pytest.mark.parametrize("variables", OTHERS.values(), ids=OTHERS)
def test_another_locale_is_utf_8(variables):
    out = printed(variables).decode()
    assert out.splitlines() == ["a…          b", "→→→         c", "xxxxxxxxxx  d"]


def columns(rows, **options):
    """print_columns into text."""
    out, before = io.StringIO(), sys.stdout
    sys.stdout = out
    try:
        rendering.print_columns(rows, **options)
    finally:
        sys.stdout = before
    return out.getvalue().splitlines()


CELL = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=40) | \
    st.sampled_from(["", "two words", "日本語の本", "e\u0301a", "a" * 90])


@given(st.integers(1, 5).flatmap(lambda n: st.lists(
    st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=6)), st.integers(10, 120))
def test_columns_lose_nothing_and_fit_where_they_can(rows, width):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        lines = columns(rows)
    assert sorted("".join(lines).replace(" ", "")) == \
        sorted("".join(sum(rows, [])).replace(" ", ""))
    many = len(rows[0])
    if many * rendering.LEAST + 2 * (many - 1) <= width:
        assert all(rendering.cells(line) <= width for line in lines)


def test_numbers_are_never_wrapped():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "24")
        assert columns([("what it is about in words", "1234567890")], right=(1,)) == [
            "what it is    1234567890", "about in", "words"]


def test_no_command_renders_by_itself():
    """rich's consoles, terminals' sizes and escapes are asked for in two places alone."""
    asks = re.compile(r"rich\.console|isatty\(|get_terminal_size|\\x1b\[|\\033|NO_COLOR")
    found = {path.name for path in (ROOT / "kvm_vmx").rglob("*.py")
             if asks.search(path.read_text(encoding="utf-8"))}
    assert found == {"rendering.py", "progress.py", "roff.py"}
