# SPDX-License-Identifier: GPL-2.0-only
"""What the pages show is what happens: their commands print it, their programs run.

A line "..." stands for any lines; numbers of lines, widths and times are no part of what is shown.
"""

import contextlib
import fnmatch
import io
import pathlib
import re
import shlex
import textwrap

import needed
import pytest

from kvm_vmx.cli import main, parser
from kvm_vmx.host import find
from kvm_vmx.lessons import NAMES, WRITTEN, load

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGES = ("index", "tutorial-read", "tutorial-teach", "tutorial-measure", "tutorial-test", "doctor")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.M | re.S)
BLOCKS = [(page, *found) for page in PAGES
          for found in BLOCK.findall((DOCS / f"{page}.md").read_text())]
CONSOLES = [(page, text) for page, kind, text, _ in BLOCKS
            if kind == "console" and text.count("\n$ ") == 0]
PROGRAMS = [(page, text, out) for page, kind, text, out in BLOCKS if kind == "python"]
# Pages whose commands are shown without what they print, and the programs on them.
ALL = sorted([*DOCS.glob("*.md"), DOCS.parent / "perf/README.md"])
COMMAND = re.compile(r"^(?:\$ )?(?:sudo .*\| )?kvm-vmx (.*?)(?:  +.*)?$", re.M)
WRITES = re.compile(r"(?: (?:--(?:html|key|output|sheet|trace|write)|-o)| >) ([a-z][\w.-]*)(?!\S)")
# A line that a change elsewhere in the port moves, or that says a time.
MOVES = re.compile(r"\.(?:c|pyx|pxd):\d+|^ *\d+(?=  )|(?<== ) +\d+(?=  )")


def plain(line):
    """A line without what is no part of what is shown."""
    return " ".join(MOVES.sub("", line).split())


def shows(shown, out):
    """Are these the lines of the output, in order, with others only where it says so?"""
    lines, place, free = [plain(line) for line in out], 0, False
    for line in map(plain, shown):
        if line == "...":
            free = True
            continue
        if free:
            while place < len(lines) and lines[place] != line:
                place += 1
        if place >= len(lines) or lines[place] != line:
            return f"not there: {line!r}"
        place, free = place + 1, False
    return "" if free or place == len(lines) else f"there is more: {lines[place]!r}"


def test_the_pages_have_examples():
    assert len(CONSOLES) >= 6 and len(PROGRAMS) >= 8
    # a program's output that nobody shows is nothing
    assert all(out or "print(" not in text for _, text, out in PROGRAMS)


@pytest.mark.parametrize("shown, out, wrong", [
    ("a", "a", ""), ("a\n...", "a\nb", ""), ("...\nb", "a\nb", ""), ("a", "a\nb", "more"),
    ("b", "a\nb", "not there"), ("...\nc", "a\nb", "not there"), ("a\n...\nc", "a\nb\nc", ""),
    ("x.c:12 1", "x.c:13 1", ""), ("x 12", "x 13", "not there")])
def test_what_differs_is_seen(shown, out, wrong):
    assert wrong in shows(shown.split("\n"), out.split("\n"))
    assert bool(wrong) == bool(shows(shown.split("\n"), out.split("\n")))


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("page, text", CONSOLES, ids=lambda text: text.split("\n")[0])
def test_a_command_prints_what_the_page_says(page, text, tmp_path, monkeypatch, capsys):
    command, *shown = text.rstrip("\n").split("\n")
    if "~/linux@v4.19" in command:
        needed.capability("tree-4.19")
        command = command.replace("~/linux@v4.19", shlex.quote(str(find("tree-4.19"))))
    for name in ("KVM_VMX_INSN", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command.removeprefix("$ kvm-vmx "))) == 0
    said = capsys.readouterr()
    out = said.out.rstrip("\n").split("\n")
    assert shows(shown, out) == "", said.out


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("page, text, shown", PROGRAMS,
                         ids=lambda text: " ".join(text.split("\n")[0:3])[:60])
def test_a_program_prints_what_the_page_says(page, text, shown):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, page, "exec"), {})
    assert out.getvalue() == shown


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_command_of_a_page_is_one(path):
    """With options that there are: those whose output is not shown, too."""
    for block in re.findall(r"^```(?:console)?\n(.*?)^```$", path.read_text(), re.M | re.S):
        for line in COMMAND.findall(block):
            words = shlex.split(re.split(r" [>|] ", line)[0], comments=True)
            try:
                parser().parse_args(words)
            except SystemExit as end:
                assert end.code == 0, line


def test_what_the_commands_write_is_no_part_of_the_tree():
    """Copied in a clone, they leave it clean."""
    ignored = [line.strip("/") for line in (DOCS.parent / ".gitignore").read_text().splitlines()]
    written = {name for path in [*ALL, DOCS.parent / "README.md"]
               for name in WRITES.findall(path.read_text())}
    assert {"course", "course.key", "run.json", "ann-table.json", "mine.py"} <= written
    assert [name for name in written
            if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)] == []


def test_the_pages_count_the_lessons_right():
    counted = re.compile(r"\b(\w+teen) (?:lessons|experiments)", re.I)
    said = {path.name: set(map(str.lower, counted.findall(path.read_text())))
            for path in [*ALL, DOCS.parent / "README.md"]}
    assert len(NAMES) == 15 and said["README.md"] == said["tutorial-teach.md"] == {"fifteen"}
    assert {number for numbers in said.values() for number in numbers} == {"fifteen"}
    # and those that take a function of the reader's
    assert WRITTEN == tuple(name for name in NAMES if hasattr(load(name), "grade"))
    course = (DOCS / "course.md").read_text()
    assert re.findall(r"^kvm-vmx lesson (\w+) --write", course, re.M) == list(WRITTEN)
    assert len(WRITTEN) == 8 and "## Eight lessons take code" in course


def test_the_kernel_in_python():
    """docs/kernel.md's program, and the calls on its machine, where the tree's objects are in the
    cache already."""
    needed.capability("tree-4.19", "kernel-build")
    from kvm_vmx.kernel import build

    tree = str(find("tree-4.19"))
    if not build.is_compiled(tree):
        pytest.skip(f"{tree} is not compiled yet: kvm-vmx kernel build {tree}")
    text, calls = re.findall(r"^```python\n(.*?)^```$", (DOCS / "kernel.md").read_text(),
                             re.M | re.S)
    text += textwrap.indent(calls, "    ")
    assert '"linux-4.19"' in text
    exec(compile(text.replace('"linux-4.19"', repr(tree)), "kernel.md", "exec"), {})
