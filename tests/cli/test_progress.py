# SPDX-License-Identifier: GPL-2.0-only
"""Progress: on a terminal, after 2 seconds, on standard error alone, gone when it is over."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from command import entered, started

pytestmark = pytest.mark.long
SPIN = b"\xeb\xfe"
# again: mov $900000, %ecx; 1: loop 1b; cpuid; jmp again
COMPUTES = bytes.fromhex("b9a0bb0d00" "e2fe" "0fa2" "ebf5")
# Who waits computes. One test has the 2 seconds, the others have a package with less patience.
SOON = .4
HASTY = f"""
import sys
from kvm_vmx import cli, progress
progress.PATIENCE, progress.MOMENT = {SOON}, .05
sys.exit(cli.main())
"""


class OnATerminal:
    """kvm-vmx with standard error on a terminal of its own; standard output is a pipe."""

    def __init__(self, *arguments, hasty=True):
        self.terminal, end = pty.openpty()
        self.start, self.said = time.monotonic(), ""
        self.child = subprocess.Popen(
            [sys.executable, *(["-c", HASTY] if hasty else ["-m", "kvm_vmx"]),
             *map(str, arguments)], stderr=end,
            stdout=subprocess.PIPE, text=True, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
        os.close(end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def listen(self, seconds):
        """What it says on the terminal from now on, for at most so long; "" at the end."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return ""
        try:
            text = os.read(self.terminal, 65536).decode()
        except OSError:
            return ""
        self.said += text
        return text

    def until(self, words, seconds=60):
        """Wait for words; how long it has taken them to come since the start."""
        deadline = time.monotonic() + seconds
        while words not in self.said and time.monotonic() < deadline:
            self.listen(1)
        assert words in self.said, self.said
        return time.monotonic() - self.start

    def end(self, number=None):
        """Its status, and what it has printed."""
        if number is not None:
            self.child.send_signal(number)
        deadline = time.monotonic() + 60
        while self.child.poll() is None and time.monotonic() < deadline:
            self.listen(0.1)
        out = self.child.stdout.read()
        self.child.stdout.close()
        os.close(self.terminal)
        return self.child.wait(1), out


LONG = {"never exits": (["--exits", 1_000_000], SPIN), "many exits": (["--exits", 10**12], None),
        "computes": (["--exits", 10_000], COMPUTES),
        "by trap": (["--exits", 10_000_000, "--insn", "trap"], None)}


@pytest.mark.soak
@pytest.mark.parametrize("name", LONG)
def test_a_long_run_shows_that_it_runs(tmp_path, soak, name):
    """Where no exit comes and where many do; in a soak what lies between, and by trap."""
    if not soak and name not in list(LONG)[:2]:
        pytest.skip("between the others: --soak")
    arguments, code = LONG[name]
    if code:
        (tmp_path / "guest.bin").write_bytes(code)
        arguments = [*arguments, "--guest", tmp_path / "guest.bin"]
    hasty = name != list(LONG)[0]
    with OnATerminal("run", *arguments, hasty=hasty) as run:
        assert run.until("VMCS") > (SOON if hasty else 2)
        # it moves, even where no exit comes
        before = len(run.said)
        run.listen(5)
        run.listen(5)
        assert len(run.said) > before
        status, out = run.end(signal.SIGINT)
        assert (status, out) == (130, "") and run.said.rstrip().endswith("kvm-vmx: interrupted")


def test_the_bar_moves_with_the_exits_within_a_stretch():
    """By trap a stretch of so many exits takes minutes."""
    with OnATerminal("run", "--exits", 100_000_000, "--insn", "trap") as run:
        run.until("VMCS")
        counts = set()
        deadline = time.monotonic() + 60
        while len(counts) < 4 and time.monotonic() < deadline:
            run.listen(1)
            counts = set(re.findall(r"(\d+)/100000000", run.said)) - {"0"}
        assert len(counts) >= 4
        run.end(signal.SIGINT)


def test_a_short_run_shows_nothing():
    for _ in range(10):
        with OnATerminal("run", "--exits", 100, hasty=False) as run:
            status, out = run.end()
        assert status == 0 and "enable_evmcs" in out
        # on a busy machine none is short
        if run.said == "" or time.monotonic() - run.start < 2:
            break
    assert run.said == ""


def test_conform_shows_how_far_it_is():
    with OnATerminal("conform") as run:
        assert run.until("per cent of the tests", 120) > SOON
        status, out = run.end(signal.SIGINT)
    assert (status, out) == (130, "")


def test_no_terminal_no_progress(tmp_path):
    (tmp_path / "guest.bin").write_bytes(SPIN)
    with started([sys.executable, "-c", HASTY, "run", "--guest", tmp_path / "guest.bin"],
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        entered(child)
        time.sleep(SOON)    # with the moment of entered(), longer than a terminal would wait
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60) == ("", "kvm-vmx: interrupted\n")
