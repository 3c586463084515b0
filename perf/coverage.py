# SPDX-License-Identifier: GPL-2.0-only
"""Which branches of L0 the tests take, each way:

    perf/coverage.py [PYTEST ARGUMENT ...]    default: the folders of tests that enter L0
    perf/coverage.py --report                 of what was run before, once more

L0 alone is built anew, for gcov, into build/coverage, and every Python that the tests start loads
that one. A branch is one way out of a conditional jump that the compiler makes, unoptimized, of a
line in kvm_vmx/l0: each operand of `and` and `or` counts, each way, and each case of a switch.
What Cython writes beside our lines, to be imported and to export, is its own and does not count.

A branch that no test takes stands in perf/untaken.toml, with its reason. Status 1: one does not, or
one that stands there is taken; but for those that a test of several threads takes by chance.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build/coverage"
SOURCE = ROOT / "build/cython/kvm_vmx/l0/hyperv.c"
UNTAKEN = ROOT / "perf/untaken.toml"
TESTS = [f"tests/{room}" for room in ("l0", "machine", "model", "l1", "kernel", "fuzz", "decode",
                                      "outside")]
# Unoptimized and counted, L0 takes ten times as long as the one that the package promises it of.
TIMED = "tests/machine/test_kick.py::test_what_nobody_tells_of_signals_looks_often"
# what Cython makes to import and export, behind the last line of ours
CYTHONS = re.compile(r"__Pyx|__pyx_pymod|__pyx_capi|PyInit")
# the module's own statements: imports alone
NO_CODE = "kvm_vmx/l0/hyperv.pyx"

ONCE = """\
#include <Python.h>
#include <string.h>
#include <x86intrin.h>
#undef __always_inline
#define __always_inline inline
"""
INSTEAD = """\
import importlib.util
import sys


class Instead:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "kvm_vmx.l0.hyperv":
            return importlib.util.spec_from_file_location(name, {module!r})


sys.meta_path.insert(0, Instead)
"""


def build():
    """The instrumented module, and what puts it in the place of the installed one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made, module = FOLDER / "hyperv.o", FOLDER / "hyperv.so"
    # functions are not inlined, so that each has its branches once; the C library's own are
    (FOLDER / "once.h").write_text(ONCE)
    subprocess.run(
        ["gcc", "-c", "-fPIC", "-O0", "-w", "--coverage", "-std=gnu11", "-fno-strict-aliasing",
         "-fwrapv", "-fno-delete-null-pointer-checks", "-DCYTHON_INLINE=inline",
         "-include", str(FOLDER / "once.h"),
         *(f"-DCONFIG_{name}=1" for name in ("HYPERV", "JUMP_LABEL", "INSN_TRAP")),
         '-DBUILD_CONFIG=""', "-Iinclude", "-I.", f"-I{sysconfig.get_path('include')}",
         str(SOURCE), "-o", str(made)], check=True, cwd=ROOT)
    subprocess.run(["gcc", "-shared", "--coverage", str(made), "-o", str(module)], check=True)
    (FOLDER / "sitecustomize.py").write_text(INSTEAD.format(module=str(module)))
    for counts in FOLDER.glob("*.gcda"):
        counts.unlink()


def run(arguments):
    """The tests, with the instrumented L0; pytest's status."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(
        [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", f"--deselect={TIMED}",
                           *arguments], cwd=ROOT, env=environ).returncode


def counted():
    """{file below kvm_vmx/l0: {line: [how often each branch was taken]}}"""
    told = subprocess.run(["gcov", "-b", "-c", "-t", "--json-format", "hyperv.o"], cwd=FOLDER,
                          check=True, capture_output=True).stdout
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for one in json.loads(told)["files"]:
        name = one["file"]
        if name.startswith("kvm_vmx/l0/") and name != NO_CODE:
            last = (ROOT / name).read_text().count("\n")
            for line in one["lines"]:
                if line["branches"] and line["line_number"] <= last and \
                        not CYTHONS.match(line.get("function_name", "")):
                    found[name.removeprefix("kvm_vmx/l0/")][line["line_number"]] += [
                        branch["count"] for branch in line["branches"]]
    return found


def untaken(found):
    """{(file, text of the line): branches of it that are not taken}"""
    missing = collections.Counter()
    for name, lines in found.items():
        text = (ROOT / "kvm_vmx/l0" / name).read_text().splitlines()
        for line, branches in lines.items():
            missing[name, text[line - 1].strip()] += branches.count(0)
    return +missing


def explained():
    """{(file, text of a line): (branches, whether a test may take them by chance)}"""
    if not UNTAKEN.exists():
        return {}
    return {(name, entry["line"]): (entry.get("branches", 1), entry.get("chance", False))
            for name, entries in tomllib.loads(UNTAKEN.read_text()).items() for entry in entries}


def report():
    """Prints the figures of each file, and what perf/untaken.toml does not say; the status."""
    found = counted()
    everything = taken = 0
    for name, lines in sorted(found.items()):
        branches = [count for line in lines.values() for count in line]
        everything += len(branches)
        taken += sum(map(bool, branches))
        print(f"{name:32}{sum(map(bool, branches)):6} of {len(branches):5}"
              f"{100 * sum(map(bool, branches)) / len(branches):8.1f} %")
    print(f"{'all':32}{taken:6} of {everything:5}{100 * taken / everything:8.1f} %")
    missing, reasons = untaken(found), explained()
    new = {key: count for key, count in missing.items() if count > reasons.get(key, (0, False))[0]}
    old = [key for key, (count, chance) in reasons.items() if missing[key] < count and not chance]
    for (name, line), count in sorted(new.items()):
        print(f"{name}: {count} not taken, and no reason: {line}")
    for name, line in sorted(old):
        print(f"{name}: taken, but perf/untaken.toml lists it: {line}")
    print(f"{everything - taken} not taken, "
          f"{sum(min(missing[key], count) for key, (count, _) in reasons.items())} of them with a "
          f"reason")
    return 1 if new or old else 0


def main(arguments):
    """See above."""
    if arguments == ["--report"]:
        return report()
    build()
    return run(arguments or ["-n", "auto", *TESTS]) or report()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
