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
# shiftTooManyBitsSigned: to the right gcc shifts the sign in, as PSRAD does.
# unknownMacro: files that are made to be included, once with each macro.
if command -v cppcheck >/dev/null; then
  cppcheck -q --enable=warning,portability --std=c11 --language=c -Iinclude -I. \
    --suppress=missingIncludeSystem --suppress=nullPointer --suppress=comparePointers \
    --suppress=unknownMacro --suppress=shiftTooManyBitsSigned --suppress=toomanyconfigs \
    --max-configs=4 \
    kvm_vmx/trap/*.h include/linux/*.h include/asm/*.h kvm_vmx/l0/*.h kvm_vmx/l0/*/*.h \
    kvm_vmx/kernel/*.h kvm_vmx/l1/bench/*.h tests/fuzz/*.h tests/machine/*.h
fi

# Of the C that Cython makes only what stands in our own files counts: its own helpers, and the
# reference counts that it keeps, are its own.
# evmcs_load() uses what hv_get_vp_assist_page() gives as the kernel does: vmx_init() has looked at
# every CPU's, and where one is not there the kernel's oops is the right end.
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
flags=(-fanalyzer -fanalyzer-verbosity=0 -O1 -std=gnu11 -fwrapv -Iinclude -I. -I"$include"
  -DCONFIG_HYPERV=1 -DCONFIG_JUMP_LABEL=1 -DCONFIG_INSN_TRAP=1 '-DBUILD_CONFIG=""'
  -DCYTHON_INLINE=inline -c -o /dev/null)
found() { grep -E "^(include|kvm_vmx)/.*-Wanalyzer" | grep -v "l1/vmx.pyx:.*NULL ‘__pyx_r’"; }

# that it sees what it is asked for
echo '#include <stdlib.h>
int f(void) { int *p = malloc(4); free(p); return *p; }' |
  gcc "${flags[@]}" -x c - 2>&1 | grep -q Wanalyzer-use-after-free
for source in build/cython/kvm_vmx/{trap/engine,machine/kernel,machine/partition,kernel/image,l0/hyperv}.c \
  build/cython/kvm_vmx/l1/{linux/cpu,linux/jump_label,linux/mm,linux/fault,mmu,vmx,x86}.c; do
  gcc "${flags[@]}" "$source" 2>&1 | found || true
done
