# SPDX-License-Identifier: GPL-2.0-only
"""docs/diagnosis.md: its commands print what it says, its programs run, its links lead on."""

import contextlib
import io
import pathlib
import re

import pytest

from kvm_vmx.cli import main
from kvm_vmx.machine.checks import checks

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/diagnosis.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)
FILES = {name: text for kind, name, text in BLOCKS if name}
CONSOLES = [text for kind, _, text in BLOCKS if kind == "console"]
PROGRAMS = [text for kind, _, text in BLOCKS if kind == "python"]


@pytest.mark.parametrize("text", CONSOLES, ids=lambda text: text.split("\n")[0])
def test_a_command_prints_what_the_page_says(text, tmp_path, monkeypatch, capsys):
    command, *lines = text.rstrip("\n").split("\n")
    for name, inside in FILES.items():
        (tmp_path / name).write_text(inside)
    monkeypatch.chdir(tmp_path)
    main(command.removeprefix("$ kvm-vmx ").split())
    out = capsys.readouterr().out.split("\n")
    assert lines[-1] == "..." and out[:len(lines) - 1] == lines[:-1]


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("text", PROGRAMS, ids=["no VMCS", "unwritten error", "to the line"])
def test_a_program_runs(text):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, "diagnosis.md", "exec"), {})
    shown = re.search(re.escape(text) + r"```\n\n```text\n(.*?)```", PAGE, re.S)
    assert out.getvalue() == shown[1]


def test_every_number_and_name_is_one():
    ids = {row["id"] for row in checks()}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE)) - {"hardware_entry_failure_reason"}
    assert named - {"dump_vmcs"} <= ids and len(named) > 4
    heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
             for head in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        if link.startswith("#"):
            assert link[1:] in heads, link
        else:
            assert (ROOT / "docs" / link).exists(), link


def test_the_table_of_checks_has_every_check():
    text = (ROOT / "docs/checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert rows == [row["id"] for row in sorted(
        checks(), key=lambda row: rows.index(row["id"]))] and len(set(rows)) == len(checks())
    # nothing is left of a sentence's places
    assert "{" not in text and "}" not in text
