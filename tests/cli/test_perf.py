# SPDX-License-Identifier: GPL-2.0-only
"""perf/bench_run.py runs and stores both numbers."""

import pathlib
import subprocess
import sys

import pyperf
from command import ENVIRONMENT

SCRIPT = pathlib.Path(__file__).parents[2] / "perf" / "bench_run.py"


def test_bench_run_stores_both_modes(tmp_path):
    out = tmp_path / "now.json"
    subprocess.run(
        [sys.executable, SCRIPT, "--processes=1", "--values=1", "--warmups=0", "--loops=2000",
         "--quiet", "--inherit-environ=PYTHONPATH", "-o", out],
        check=True, timeout=120, env=ENVIRONMENT)
    suite = pyperf.BenchmarkSuite.load(str(out))
    assert suite.get_benchmark_names() == ["exit_vmcs", "exit_evmcs"]
    for bench in suite.get_benchmarks():
        assert 0 < bench.mean() < 1e-3
        assert bench.get_metadata()["kind"] == "measured here"
