# SPDX-License-Identifier: GPL-2.0-only
"""perf/: every benchmark runs from another folder, and pyperf can store and compare them."""

import datetime
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import needed
import nursery
import pytest

pytestmark = pytest.mark.long
pyperf = needed.module("pyperf")
PERF = pathlib.Path(__file__).parents[2] / "perf"
SCRIPTS = sorted(path.name for path in PERF.glob("bench_*.py"))
PACKAGE = pathlib.Path(importlib.util.find_spec("kvm_vmx").origin).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE)}

# Runs a script's main() with a runner that calls each benchmark once, as far as one process
# can: those that share the world of the first one.
IN_PROCESS = """\
import importlib, sys
sys.path.insert(0, sys.argv[1])
import bench
worlds = set()
class Once:
    def __init__(self, description): assert description
    def bench_time_func(self, name, function, *arguments):
        world = arguments[:2] if function.__name__ == "timed" else name
        worlds.add(world)
        if len(worlds) > 1 and world != self.first: return print(name)
        self.first = world
        assert 0 < function(20, *arguments) < 10
        print(name)
bench.Runner = Once
importlib.import_module(sys.argv[2]).main()
"""

# How many pages of text are a file's before they move and behind it, and exits from there.
MOVED = """\
import ctypes, mmap, sys
sys.path.insert(0, sys.argv[1])
import pages
from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
with Machine(cpus=1, insn="call") as machine:
    guest = machine.insmod(enlightened_vmcs=False).create_vm(code=CPUID_LOOP)
    vcpu, text = guest.create_vcpu(), pages.text()
    before = [ctypes.string_at(page, mmap.PAGESIZE) for page in text]
    pages.move(text, pages.memory(None, pages.POOL))
    assert before == [ctypes.string_at(page, mmap.PAGESIZE) for page in text]
    made = vcpu.run(exits=5).exits
    pages.text.cache_clear()
    print(len(before), len(pages.text()), made)
"""


def run(*arguments, **options):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, env=ENVIRONMENT, **options)


def test_the_benchmarks_are_those_that_are_described():
    assert SCRIPTS == ["bench_accessors.py", "bench_boot.py", "bench_entry.py", "bench_load.py",
                       "bench_run.py", "bench_scale.py", "bench_static_key.py"]
    readme = (PERF / "README.md").read_text()
    assert all(name in readme for name in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs(script, tmp_path):
    done = nursery.python(IN_PROCESS, PERF, script.removesuffix(".py"), cwd=tmp_path,
                          env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert len(names) >= 5 and len(set(names)) == len(names)


def test_pyperf_stores_and_compares(tmp_path):
    done = run(PERF / "bench_run.py", "--processes=1", "--values=2", "--warmups=0",
               "--loops=1000", "--quiet", "-o", tmp_path / "now.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.copy(tmp_path / "now.json", tmp_path / "before.json")
    suite = pyperf.BenchmarkSuite.load(str(tmp_path / "now.json"))
    assert suite.get_benchmark_names()[:2] == ["exit_vmcs", "exit_evmcs"]
    for bench in suite.get_benchmarks():
        assert bench.get_metadata()["kind"] == "measured here"
        assert bench.mean() > 0
    for before in ("before.json", PERF / "baselines/run.json"):     # as the pages tell it
        done = run("-m", "pyperf", "compare_to", before, "now.json", "--table", cwd=tmp_path)
        assert done.returncode == 0 and "exit_evmcs" in done.stdout, done.stderr


def test_baselines_can_be_loaded():
    for path in (PERF / "baselines").glob("*.json"):
        if path.name == "figures.json":     # every row, as measure --json prints them
            continue
        assert pyperf.BenchmarkSuite.load(str(path)).get_benchmarks()


def test_each_benchmark_has_its_baseline_and_all_are_of_one_day(monkeypatch):
    monkeypatch.syspath_prepend(PERF)
    baseline = importlib.import_module("baseline")
    names = {path.stem.removeprefix("bench_") for path in PERF.glob("bench_*.py")}
    assert names < set(baseline.NAMES) and len(set(baseline.NAMES)) == len(baseline.NAMES)
    days = {name: pyperf.BenchmarkSuite.load(str(PERF / f"baselines/{name}.json"))
            .get_dates()[0].date() for name in names}
    assert max(days.values()) - min(days.values()) <= datetime.timedelta(1), days


def test_an_exit_is_timed_wherever_its_text_lies(tmp_path):
    done = run(PERF / "pages.py", PACKAGE, "--processes", "1", "--draws", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    title, tree, shares, *modes = done.stdout.splitlines()
    assert title == "ns an exit, 2 draws in each of 1 processes, measured here"
    assert (tree, shares.split()[0]) == (str(PACKAGE), "least")
    for line, mode in zip(modes, ("eVMCS", "VMCS"), strict=True):
        name, *ns = line.split()
        assert name == mode and 0 < float(ns[0]) <= float(ns[-1])


def test_text_that_has_moved_is_the_same_and_no_file_s(tmp_path):
    done = run("-c", MOVED, PERF, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before, after, exits = map(int, done.stdout.split())
    assert before > 50 and (after, exits) == (0, 5)
