#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What looks at C without running it: gcc's analyzer and cppcheck, on our own headers and the C made
# of our own files. Prints what they find; nothing is the right answer.
#
#   perf/lint.sh [PYTHON]     default: python3
set -e
cd "$(dirname "$0")/.."
python=${1:-python3}

# nullPointer: the kernel's __typeof__(((struct percpu_area *)0)->var) is never evaluated.
# comparePointers: __start_ and __stop_ of a section are two names for the linker's one array.
# unknownMacro: files that are made to be included, once with each macro.
if command -v cppcheck >/dev/null; then
  cppcheck -q --enable=warning,portability --std=c11 --language=c -Iinclude -I. \
    --suppress=missingIncludeSystem --suppress=nullPointer --suppress=comparePointers \
    --suppress=unknownMacro --suppress=toomanyconfigs --max-configs=4 \
    kvm_vmx/trap/*.h include/linux/*.h include/asm/*.h kvm_vmx/l0/*.h kvm_vmx/l0/*/*.h \
    kvm_vmx/l1/bench/*.h tests/fuzz/*.h tests/machine/*.h
fi

# Of the C that Cython makes only what stands in our own files counts: its own helpers, and the
# reference counts that it keeps, are its own.
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
for source in build/cython/kvm_vmx/{trap/engine,machine/kick,machine/memory,l1/linux/cpu,l1/mmu}.c; do
  gcc -fanalyzer -fanalyzer-verbosity=0 -O1 -std=gnu11 -fwrapv -w -Iinclude -I. -I"$include" \
    -DCONFIG_HYPERV=1 -DCONFIG_JUMP_LABEL=1 -DCONFIG_INSN_TRAP=1 '-DBUILD_CONFIG=""' \
    "-DCYTHON_INLINE=inline" -Wanalyzer-use-after-free -Wanalyzer-double-free \
    -Wanalyzer-null-dereference -Wanalyzer-malloc-leak -Wanalyzer-use-of-uninitialized-value \
    -Wanalyzer-unsafe-call-within-signal-handler -c "$source" -o /dev/null 2>&1 |
    grep -E "^(include|kvm_vmx)/.*-Wanalyzer" || true
done
