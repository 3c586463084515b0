#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The sanitizers, each on a build of the whole package that leaves the one in place alone:
#
#   perf/sanitize.sh [SECONDS] [PYTHON]          hostile input to L0: addresses, undefined behaviour
#   perf/sanitize.sh threads [PYTHON]            the storms of threads: races
#
# By default 600 seconds, two processes, python3. Any report ends the run; a race that is meant
# stands in perf/races.txt, with its reason.
set -e
cd "$(dirname "$0")/.."
what=addresses seconds=600
case ${1:-} in
threads) what=threads; shift ;;
"") ;;
*) seconds=$1; shift ;;
esac
python=${1:-python3}
root=$PWD/build/$what

flags="-fsanitize=address,undefined -fno-sanitize-recover=all" mark=__asan_
test $what = addresses || flags="-fsanitize=thread -fno-inline -Wno-tsan" mark=__tsan_
CFLAGS="$flags -fno-omit-frame-pointer -O1" LDFLAGS="${flags% -*}" \
  "$python" setup.py -q build --force --build-base "$root" --build-lib "$root/lib"
# what was taken from elsewhere is not looked at
for module in $(find "$root/lib" -name '*.so'); do
  nm -D "$module" | grep -q $mark || { echo "$module: no sanitizer in it"; exit 1; }
done

export PYTHONPATH=$root/lib HOSTILE_SECONDS=$seconds
if test $what = threads; then
  export TSAN_OPTIONS="suppressions=$PWD/perf/races.txt log_path=$root/report"
  TSAN_OPTIONS+=" exitcode=66 history_size=4"
  rm -f "$root"/report*
  # A thread that leaves a tree's kernel as the process ends jumps off the kernel's stack, and the
  # sanitizer knows jumps on one stack alone.
  LD_PRELOAD=$(gcc -print-file-name=libtsan.so) "$python" -P -m pytest -q -p no:cacheprovider \
    tests/machine/test_{hotplug_under_load,daemon_threads,misuse,pending,trace_beside}.py \
    tests/l0/test_flags_race.py tests/l1/test_cpus.py -k "not beside_a_tree" || status=$?
  cat "$root"/report* 2>/dev/null && exit 1
  exit "${status:-0}"
fi
# Python itself frees little at its end, and that is not looked for.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
for n in 1 2; do
  "$python" -P -m pytest -q -p no:cacheprovider --soak tests/l0/test_hostile.py &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
