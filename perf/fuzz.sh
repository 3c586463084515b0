#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Coverage-guided fuzzing of every surface, from the kept inputs on, one a core:
#
#   perf/fuzz.sh [SECONDS] [PYTHON] [SURFACE ...]     default: 10 seconds a surface, python3, all
#
# L0's surfaces under libFuzzer and the sanitizers, where there is a clang that has it; those of
# Python led by their lines. Each tells its executions, and the edges or lines that they reached; a
# finding ends the run with its input. The longer it runs, the more is worth keeping: the inputs
# that reach something new are in build/fuzz/corpus, and `python tests/fuzz/l0.py keep
# build/fuzz/few` keeps those that libFuzzer's -merge=1 -use_counters=0 leaves in there.
set -e
cd "$(dirname "$0")/.."
seconds=${1:-10} python=${2:-python3}
surfaces=("${@:3}")
all="entry hypercall msr guest tables saved" l0=$all
export PYTHONPATH=$PWD:$PWD/tests/l0:$PWD/tests/fuzz

mkdir -p build/fuzz
if ! command -v clang >/dev/null; then
  echo "no clang here: L0's surfaces are left out"
  l0=
elif ! echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return 0; }' |
  clang -fsanitize=fuzzer,address -x c - -o build/fuzz/has 2>/dev/null; then
  echo "this clang has no libFuzzer: L0's surfaces are left out"
  l0=
else
  "$python" tests/fuzz/l0.py build build/fuzz
  "$python" tests/fuzz/l0.py unpack build/fuzz/corpus
fi
test ${#surfaces[@]} != 0 || surfaces=($l0 profile dump source patch api)

fuzz() {
  local log=build/fuzz/$1.log
  if [[ " $all " == *" $1 "* && -z $l0 ]]; then
    echo "$1: left out"
    return
  elif [[ " $l0 " != *" $1 "* ]]; then
    "$python" tests/fuzz/guided.py "$1" "$seconds"
    return
  fi
  # what an input may take of the processor's time is l0.h's to say, a hundredth of this
  if ! SURFACE=$1 ASAN_OPTIONS=detect_leaks=0 build/fuzz/l0 -max_total_time="$seconds" \
    -max_len=1024 -timeout=2000 -print_final_stats=1 -artifact_prefix="build/fuzz/$1-" \
    "build/fuzz/corpus/$1" >"$log" 2>&1; then
    tail -40 "$log"
    return 1
  fi
  echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
    "$(sed -n 's/.*DONE.*cov: \([0-9]*\).*/\1/p' "$log") edges"
}

running=0 failed=0
for surface in "${surfaces[@]}"; do
  if [ $running = "$(nproc)" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$surface" &
  running=$((running + 1))
done
while [ $running != 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit $failed
