# SPDX-License-Identifier: GPL-2.0-only
"""Bad input: one line on standard error that names the cure, exit status 2, nothing on stdout."""

import os
import random
import subprocess
import sys

import nursery
import pytest
from command import ENVIRONMENT, kvm_vmx

BAD = {
    "no exits": ("--exits 0", "give a whole number from 1"),
    "negative exits": ("--exits -5", "give a whole number from 1"),
    "exits in words": ("--exits many", "give a whole number from 1"),
    "a fraction": ("--exits 1.5", "give a whole number from 1"),
    "too many exits": ("--exits 99999999999999999999999", "give a whole number from 1"),
    "no cpus": ("--cpus 0", "give a whole number from 1 to 4096"),
    "too many cpus": ("--cpus 4097", "give a whole number from 1 to 4096"),
    "unknown profile": ("--profile vax", "kvm-6.12"),
    "unknown policy": ("--cache-policy sometimes", "never"),
    "bad seed": ("--cache-policy random(x)", "random"),
    "no such guest": ("--guest nowhere.bin", "nowhere.bin"),
    "a directory": ("--guest .", "give a flat binary"),
    "a device": ("--guest /dev/zero", "give a flat binary"),
    "an empty guest": ("--guest empty.bin", "empty"),
    "a large guest": ("--guest large.bin", "larger than"),
    "a guest that just does not fit": ("--guest tight.bin", "tight.bin"),
    "no guest's name": ("--guest", "expected one argument"),
    "unknown option": ("--speed 3", "unrecognized arguments: --speed 3"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("guests")
    (path / "empty.bin").touch()
    (path / "large.bin").write_bytes(b"\x90" * ((2 << 20) + 1))
    (path / "tight.bin").write_bytes(b"\x90" * (2 << 20))
    return path


def check_trouble(done, cure):
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1 and lines[0].startswith("kvm-vmx") and cure in lines[0]


@pytest.mark.soak
@pytest.mark.sweep(4)
@pytest.mark.parametrize("options, cure", BAD.values(), ids=BAD)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["page", "json"])
def test_run(folder, options, cure, form):
    check_trouble(kvm_vmx("run", *options.split(), *form, cwd=folder), cure)


def test_a_fifo_does_not_hang(folder):
    os.mkfifo(folder / "fifo")
    check_trouble(kvm_vmx("run", "--guest", folder / "fifo"), "give a flat binary")


def test_unknown_command():
    check_trouble(kvm_vmx("walk"), "run")


@pytest.mark.parametrize("command", ["fields", "keys"])
def test_unexpected_argument(command):
    check_trouble(kvm_vmx(command, "more"), "unrecognized arguments: more")


@pytest.mark.parametrize("seed", range(8))
def test_random_guests_never_crash(tmp_path, seed):
    guest = tmp_path / "noise.bin"
    guest.write_bytes(random.Random(seed).randbytes(4096))
    done = kvm_vmx("run", "--guest", guest, "--exits", 1_000)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "The guest saw no difference" in done.stdout


def test_a_full_disk_is_said_in_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kvm_vmx", "fields"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 2
    assert done.stderr == "kvm-vmx: cannot write the output: No space left on device\n"


def test_a_reader_that_leaves_early_is_no_error():
    shell = f"set -o pipefail; {sys.executable} -m kvm_vmx keys --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert (done.stdout, done.stderr) == ("{", "")


LOCKED = """
from kvm_vmx import Machine
boot = Machine.__init__
def locked(self, *args, **options):
    boot(self, *args, **options)
    self.fail("mprotect")
Machine.__init__ = locked
"""


@pytest.mark.parametrize("command", [["run"], ["run", "--json"], ["keys"], ["keys", "--json"]],
                         ids=" ".join)
def test_text_that_cannot_be_written(command):
    done = nursery.run(command, first=LOCKED, env=ENVIRONMENT)
    check_trouble(done, "no-jump-label")


def test_a_build_without_jump_labels_runs_where_text_cannot_be_written():
    done = nursery.run(["run", "--exits", "2000", "--config", "no-jump-label"], first=LOCKED,
                       env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The guest saw no difference" in done.stdout


def test_an_unknown_config_names_the_known_ones():
    check_trouble(kvm_vmx("run", "--config", "bare-metal"), "no-jump-label")
