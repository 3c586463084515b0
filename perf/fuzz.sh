#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Coverage-guided fuzzing of every surface, from the kept inputs on:
#
#   perf/fuzz.sh [SECONDS] [PYTHON]     default: 10 seconds a surface, python3
#
# L0's surfaces under libFuzzer and the sanitizers, where there is a clang; those of Python led by
# their lines. The longer it runs, the more is worth keeping: the inputs that reach something new
# are in build/fuzz/corpus, and `python tests/fuzz/l0.py keep build/fuzz/few` keeps those that
# libFuzzer's -merge=1 -use_counters=0 leaves in there.
set -e
cd "$(dirname "$0")/.."
seconds=${1:-10} python=${2:-python3}
export PYTHONPATH=$PWD:$PWD/tests/l0:$PWD/tests/fuzz

if command -v clang >/dev/null && "$python" tests/fuzz/l0.py build build/fuzz; then
  "$python" tests/fuzz/l0.py unpack build/fuzz/corpus
  for surface in entry hypercall msr guest tables saved; do
    SURFACE=$surface ASAN_OPTIONS=detect_leaks=0 build/fuzz/l0 -max_total_time="$seconds" \
      -max_len=1024 -timeout=20 -print_final_stats=1 -artifact_prefix="build/fuzz/$surface-" \
      "build/fuzz/corpus/$surface" 2>&1 | grep -E "DONE|ERROR|error:|stat::number_of_exec"
    test "${PIPESTATUS[0]}" = 0
  done
else
  echo "no clang, or no libFuzzer: L0's surfaces are left out"
fi
for surface in profile dump source patch api; do
  "$python" tests/fuzz/guided.py "$surface" "$seconds"
done
