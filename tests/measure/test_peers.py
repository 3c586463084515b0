# SPDX-License-Identifier: GPL-2.0-only
"""perf/peers: the guest of the other emulators is built, run where they are, and told where not."""

import json
import os
import pathlib
import subprocess
import sys

import nursery
import pytest

from kvm_vmx.machine.guests import CPUID_LOOP

PEERS = pathlib.Path(__file__).parents[2] / "perf/peers"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{nursery.PACKAGE}:{PEERS}"}


def peers(*arguments, **environment):
    return subprocess.run([sys.executable, PEERS / "peers.py", *arguments], capture_output=True,
                          text=True, timeout=120, env=ENVIRONMENT | environment)


@pytest.mark.parametrize("missing", ["bochs", "qemu-system-x86_64"])
def test_what_is_not_installed_is_one_line(missing, tmp_path):
    """The others, as far as they are here, have figures all the same."""
    done = peers("--exits", "500", "--rounds", "1", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if f"{missing} is not installed" in line]
    assert "apt-get install" in line
    assert done.stdout.count("measured here") == 2      # our own


@pytest.mark.host("objcopy")
@pytest.mark.parametrize("vmx", [False, True], ids=["SVM", "VMX"])
def test_the_guest_boots_from_its_first_sector(vmx, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import pathlib, sys, peers; sys.stdout.buffer.write("
         f"peers.image(pathlib.Path(sys.argv[1]), {vmx}))", tmp_path],
        capture_output=True, env=ENVIRONMENT)
    code = done.stdout
    assert code[510:512] == b"\x55\xaa" and len(code) == 8 * 512, done.stderr
    # the same guest, and one of the two ways to enter it
    assert CPUID_LOOP in code
    vmlaunch, vmrun = bytes.fromhex("0f01c2"), bytes.fromhex("0f01d8")
    assert (vmlaunch in code, vmrun in code) == (vmx, not vmx)


def test_each_has_a_figure_or_a_reason():
    done = peers("--exits", "500", "--rounds", "1", "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == "kvm_vmx.peers/1" and len(found["rows"]) == 4
    for row in found["rows"]:
        assert row.get("kind") == "measured here" or "not installed" in row["why"], row
