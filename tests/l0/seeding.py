# SPDX-License-Identifier: GPL-2.0-only
"""Seeds a fault into a copy of the tree, and asks the tests of a rule whether they notice."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import needed
from world import ROOT

FAULTS = tomllib.loads(pathlib.Path(__file__).with_name("faults.toml").read_text())["fault"]

# L0, as setup.py has it, into its place; quicker than a good build.
BUILD = """
from Cython.Build import cythonize
from setuptools import Distribution
import setup
wanted = [setup.extension("kvm_vmx.l0.hyperv", "kvm_vmx/l0/hyperv.pyx")]
built = cythonize(
    wanted, compiler_directives=setup.DIRECTIVES, force=True, build_dir="build/cython")
built[0].extra_compile_args += ["-O0", "-g0"]
command = Distribution({"ext_modules": built}).get_command_obj("build_ext")
command.inplace = command.force = True
command.ensure_finalized()
command.run()
"""


def tests_of(rule):
    """The test files whose tests name a rule, or make up the name as they go."""
    names = re.compile(rf'"{rule}"|def rule_of\(')
    return [str(path.relative_to(ROOT)) for room in ("l0", "model")
            for path in sorted((ROOT / "tests" / room).glob("test_*.py"))
            if names.search(path.read_text())]


# Rooms of tests that no test of a rule needs.
LEFT = ("compare", "docs", "lessons", "outside", "packaging", "source")


class Tree:
    """A copy of the checkout with its built modules, where faults come and go."""

    def __init__(self, folder):
        self.root = folder
        for name in ("kvm_vmx", "include", "tests"):
            # with what Python has compiled of it, which is as old there as here
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(
                "*.c", *(LEFT if name == "tests" else ())))
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy2(ROOT / name, folder / name)

    def run(self, *arguments):
        """Python in the copy; the copy's package comes before an installed one."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.root, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=1200)

    def failing(self, rule):
        """The tests of a rule that do not pass; at most one is looked for."""
        report = self.root / "report.json"
        done = self.run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                        "-p", "kvm_vmx.conform.plugin", "--conform-rule", rule,
                        "--conform-report", str(report), *tests_of(rule))
        # 0: all passed, 1: one failed; anything else is no verdict
        assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
        results = json.loads(report.read_text())
        assert results, f"no test shows {rule}"
        return [name for name, result in results.items() if "why" in result
                and result["why"] != "skipped"]

    def build(self):
        """Build L0 again."""
        needed.capability("Cython", "setuptools")
        done = self.run("-c", BUILD)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def seed(self, fault):
        """Put a fault in; returns what takes it out again."""
        path = self.root / fault["file"]
        text = path.read_text()
        assert text.count(fault["find"]) == 1, f"{fault['file']}: {fault['find']}"
        built = path.suffix == ".pxi" or "build" in fault
        old = [(file, file.read_bytes()) for file in (self.root / "kvm_vmx/l0").glob("hyperv.*.so")
               if built]

        def mend():
            path.write_text(text)
            for file, content in old:
                # a new file: the old one may be mapped by a test that still ends
                file.unlink()
                file.write_bytes(content)

        path.write_text(text.replace(fault["find"], fault["replace"]))
        try:
            if built:
                self.build()
        except AssertionError:
            mend()
            raise
        return mend
