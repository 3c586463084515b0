# SPDX-License-Identifier: GPL-2.0-only
"""A command that may take more than 2 seconds says on a terminal what goes on, unless --quiet."""

import io
import sys

import needed
import pytest
import test_schemas
from command import cache_of_its_own

from kvm_vmx import cli, progress

pytestmark = pytest.mark.long
folder = test_schemas.folder

# What each says it does, beside conform, of which test_progress.py tells. A kernel that is no tree
# is not built, and a bar is there by then.
LONG = {
    "run --exits 2000": "timing", "run --exits 50 --trace out.json": "tracing",
    "run --exits 50 --kernel nowhere": "building", "kernel build nowhere": "building",
    "kernel run nowhere": "building", "kernel record nowhere --output kept": "building",
    "kernel compare nowhere": "building", "compare --run --tree nowhere": "building",
    "try patch.mbox --tree nowhere": "reading the patch",
    "compare --tree tree": "comparing", "compare --tree tree vmx_exit": "comparing",
    "compare --tree tree --html page.html": "writing the page",
    "compare --patch patch.mbox --tree tree": "comparing", "drift tree other": "comparing",
    "drift git v1..HEAD": "reading the commits", "lesson detect": "running detect",
    "lesson clean --write mine.py": "trying your function",
    "lesson all --html course": "lessons",
    "boot image.bin": "running image.bin", "boot --selftest nowhere hyperv_evmcs": "building",
    "measure accessors": "tier 0: accessors", "decode memory.img": "searching",
}
AS_ANOTHER = {"compare --tree tree --html page.html", "compare --tree tree",
              "lesson all --html course",
              "kernel run nowhere", "compare --patch patch.mbox --tree tree"}
NEEDS = {"drift git v1..HEAD": ("git",),
         "measure accessors": ("capstone",)}


class Told(progress.Display):
    """A display that draws nothing, and keeps what it is told."""

    said: list = []

    def __init__(self, totals, live=lambda: 0):
        super().__init__(totals, live)
        self.said += totals

    def say(self, text):
        self.said.append(text)
        return super().say(text)

    def show(self):
        pass


@pytest.fixture
def told(monkeypatch):
    """What displays are told; standard error is a terminal, and standard output none."""
    monkeypatch.setattr(Told, "said", [])
    monkeypatch.setattr(progress, "Display", Told)
    monkeypatch.setattr(progress, "is_terminal", lambda stream: stream is sys.stderr)
    yield Told.said
    progress.hush(False)


@pytest.mark.soak
@pytest.mark.parametrize("line", LONG)
def test_a_long_command_tells_what_it_does_unless_it_is_to_be_quiet(
        folder, capfd, monkeypatch, told, soak, line):
    needed.capability(*NEEDS.get(line, ()))
    if line in AS_ANOTHER and not soak:
        pytest.skip("long, and much as another: --soak")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_of_its_own(folder)))
    if "memory" in line:
        (folder / "memory.img").write_bytes(bytes(3 << 20))
    cli.main(line.split())
    assert any(LONG[line] in text for text in told), told
    assert "Traceback" not in capfd.readouterr().err
    if line.startswith(("compare --tree tree", "kernel build", "lesson detect", "boot image")):
        told.clear()
        cli.main([*line.split(), "--quiet"])
        assert told == []


def test_a_build_says_its_steps_where_nobody_looks_and_nothing_when_quiet(capsys):
    for quiet in (False, True):
        progress.hush(quiet)
        with progress.working("building", log=True) as say:
            say("compiling")
        assert capsys.readouterr().err == ("" if quiet else "compiling ...\n")
    progress.hush(False)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_begins_within_a_display_speaks_through_it_and_nothing_stays(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setenv("TERM", "xterm")
    with progress.working("outer [/x]") as say:
        display = progress._outer
        say("first")
        with progress.working("inner"), progress.progress({"bar": 3}) as report:
            report("bar", 1)
            assert progress._outer is display
            assert display.shown.tasks[0].description == "inner"
        assert display.shown.tasks[0].description == "first"
        display.shown.refresh()
    assert progress._outer is None and not display.thread.is_alive()
    assert screen.getvalue() == "" or screen.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[?25h"))


def test_a_display_ends_with_what_goes_wrong_in_it(told, capsys):
    with pytest.raises(ValueError), progress.working("working"):
        raise ValueError
    assert progress._outer is None
