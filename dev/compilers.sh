#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds with each compiler and each set of flags that is here, in a copy, and runs a few tests
# of each build: a row a build. Takes minutes a row.
# usage: dev/compilers.sh [NAME...]    (names as the first column prints them; all by default)
cd "$(dirname "$0")/.." || exit 2
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
tests="tests/l1/test_exits.py tests/l1/test_free_keys.py tests/machine/test_configs.py tests/machine/test_traps.py"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debian="-g -O2 -fstack-protector-strong -Wformat -Werror=format-security -Wdate-time"
fedora="-O2 -flto=auto -ffat-lto-objects -fexceptions -g -grecord-gcc-switches -pipe -Wall \
-Werror=format-security -Wp,-U_FORTIFY_SOURCE,-D_FORTIFY_SOURCE=3 -fstack-protector-strong -m64 \
-fasynchronous-unwind-tables -fstack-clash-protection -fcf-protection=full -fno-omit-frame-pointer"
hardened="-Wl,-z,relro -Wl,-z,now"
failed=0

# row NAME COMPILER CFLAGS LDFLAGS
row() {
  [ -z "$wanted" ] || [[ " $wanted " == *" $1 "* ]] || return 0
  if ! command -v "$2" >/dev/null; then
    printf '%-18s not here\n' "$1"
    return 0
  fi
  copy="$work/$1"
  mkdir "$copy"
  git ls-files -z | xargs -0 cp --parents -t "$copy"
  (
    cd "$copy" || exit 2
    export CC="$CCACHE $2" XDG_CACHE_HOME="$copy/cache"
    [ -z "$3" ] || export CFLAGS="$3" LDFLAGS="$4"
    "$python" setup.py -q build_ext --inplace >log 2>&1 || {
      printf '%-18s does not build: %s\n' "$1" "$(grep -m1 'error' log)"
      exit 1
    }
    # shellcheck disable=SC2086
    "$python" -m pytest -q -p no:cacheprovider $(ls $tests 2>/dev/null) >tested 2>&1
    status=$?
    printf '%-18s %s\n' "$1" "$(tail -1 tested)"
    [ $status = 0 ] || { grep -E '^(FAILED|ERROR)' tested; exit 1; }
  ) || failed=1
  rm -rf "$copy"
}

CCACHE=$(command -v ccache)
wanted="$*"
for compiler in gcc-{12..15} clang-{14..19}; do row "$compiler" "$compiler"; done
row O0 gcc "-O0 -g" "$hardened"
row lto gcc "-O2 -flto=auto" "-flto=auto"
row fortify gcc "-O2 -D_FORTIFY_SOURCE=3" ""
row cf-protection gcc "-O2 -fcf-protection=full" ""
row stack-protector gcc "-O2 -fstack-protector-strong" ""
row debian gcc "$debian -D_FORTIFY_SOURCE=2" "-Wl,-z,relro"
row fedora gcc "$fedora" "-Wl,--as-needed $hardened -flto=auto"
exit $failed
