# SPDX-License-Identifier: GPL-2.0-only
"""perf/fuzz.sh where there is no clang, or none that fuzzes, and where something is found."""

import os
import shutil
import stat
import subprocess
import sys

import l0
import pytest

# What a clang may be that is asked for libFuzzer's program: it makes one that finds something.
FINDS = """\
#!/bin/sh
for word; do last=$made made=$word; test "$last" = -o && break; done
printf '#!/bin/sh\\necho SUMMARY: found in $SURFACE; exit 77\\n' > "$made"
chmod +x "$made"
"""


@pytest.fixture
def tree(tmp_path):
    """A tree of which build/ is another, and a folder for what is to be found as clang."""
    for name in ("tests", "kvm_vmx", "include"):
        (tmp_path / name).symlink_to(l0.ROOT / name)
    (tmp_path / "perf").mkdir()
    shutil.copy(l0.ROOT / "perf/fuzz.sh", tmp_path / "perf")
    # every tool but a clang
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "mkdir", "nproc", "sed", "tail", "chmod", "sh"):
        place = subprocess.check_output(["sh", "-c", f"command -v {name}"], text=True).strip()
        (tools / name).symlink_to(place)
    return tmp_path


def fuzz(tree, *surfaces, clang=None):
    if clang is not None:
        place = tree / "tools/clang"
        place.write_text(clang)
        place.chmod(place.stat().st_mode | stat.S_IXUSR)
    return subprocess.run([tree / "perf/fuzz.sh", "0", sys.executable, *surfaces], text=True,
                          capture_output=True, env={"PATH": str(tree / "tools")})


@pytest.mark.parametrize("clang, why", [
    (None, "no clang here"), ("#!/bin/sh\nexit 1\n", "this clang has no libFuzzer")])
def test_without_libfuzzer_the_surfaces_of_l0_are_left_out(tree, clang, why):
    """Those of Python are fuzzed all the same."""
    done = fuzz(tree, "entry", "dump", "saved", clang=clang)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == f"{why}: L0's surfaces are left out"
    assert sorted(line.partition(": ")[0] for line in rest) == ["dump", "entry", "saved"]
    assert "entry: left out" in rest and "saved: left out" in rest
    (said,) = [line for line in rest if line.startswith("dump")]
    assert "executions" in said and " lines, " in said


def test_what_is_found_is_told_and_the_status(tree):
    done = fuzz(tree, "entry", "msr", clang=FINDS)
    assert done.returncode == 1
    assert "SUMMARY: found in entry" in done.stdout and "SUMMARY: found in msr" in done.stdout


@pytest.mark.parametrize("body, name", [
    ("while True: pass", "SIGPROF"), ("time.sleep(600)", "SIGALRM"),
    # what it refuses by itself is no end of it
    ("while True:\n  try: time.sleep(.01), sum(range(10**6))\n  except Exception: pass",
     "SIGPROF")])
def test_an_input_that_takes_too_long_is_told(body, name):
    done = subprocess.run(
        [sys.executable, "-c", "import time, guided, surfaces\n"
         f"def slow(data, folder):\n {body}\n"
         "surfaces.SURFACES['slow'], surfaces.SEEDS['slow'] = slow, [b'an input']\n"
         f"guided.PATIENCE = {.05 if name == 'SIGPROF' else .01}\nguided.main('slow', '1')"],
        text=True, capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 1 and done.stderr.startswith("slow: b'an input'\n")
    assert f"Impatient: signal {name}" in done.stderr.splitlines()[-1]
