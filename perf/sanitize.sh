#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Hostile input to L0 on a build with the address and undefined-behaviour sanitizers:
#
#   perf/sanitize.sh [SECONDS] [PYTHON]     default: 600 seconds, two processes, python3
#
# The build goes to build/sanitized and leaves the one in place alone. Any report ends the run.
set -e
cd "$(dirname "$0")/.."
seconds=${1:-600} python=${2:-python3}
root=$PWD/build/sanitized

export CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1"
export LDFLAGS="-fsanitize=address,undefined"
"$python" setup.py -q build --build-base "$root" --build-lib "$root/lib"
unset CFLAGS LDFLAGS

export PYTHONPATH=$root/lib HOSTILE_SECONDS=$seconds
# Python itself frees little at its end, and that is not looked for.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
for n in 1 2; do
  "$python" -P -m pytest -q -p no:cacheprovider --soak tests/l0/test_hostile.py &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
