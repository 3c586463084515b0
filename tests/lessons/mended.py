# SPDX-License-Identifier: GPL-2.0-only
"""The package once more with one erratum of the port mended: only the module is built anew."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import kvm_vmx

ROOT = pathlib.Path(kvm_vmx.__file__).parents[1]
MENDS = tomllib.loads(pathlib.Path(__file__).with_name("mended.toml").read_text())
# As setup.py builds them, but quicker, and none but these.
BUILD = """
import sys
from Cython.Build import cythonize
from setuptools import Distribution
import setup
names = sys.argv[1:]
wanted = [setup.extension(f"kvm_vmx.{name}", f"kvm_vmx/{name.replace('.', '/')}.pyx")
          for name in names]
built = cythonize(wanted, compiler_directives=setup.DIRECTIVES, force=True, build_dir="built",
                  emit_linenums=True)
for module in built:
    module.extra_compile_args += ["-O1", "-g1", "-w"]
command = Distribution({"ext_modules": built}).get_command_obj("build_ext")
command.build_lib, command.build_temp, command.force = ".", "objects", True
command.parallel = len(names)
command.ensure_finalized()
command.run()
"""


class Tree:
    """A copy of the package and its built modules, in which one erratum after another is mended."""

    def __init__(self, folder: pathlib.Path):
        self.root = folder
        for part in ("kvm_vmx", "include"):
            shutil.copytree(ROOT / part, folder / part,
                            ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(ROOT / "setup.py", folder)

    def python(self, *arguments, timeout=600):
        """Python in the copy, whose package comes before any other."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.root, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(self.root), "KVM_VMX_INSN": "call"})

    def command(self, *arguments):
        """kvm-vmx of the copy."""
        return self.python("-m", "kvm_vmx", *map(str, arguments))

    def runs(self, script: str, *arguments):
        """What a script prints as JSON."""
        done = self.python("-c", script, *map(str, arguments))
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return json.loads(done.stdout)

    def mend(self, erratum: str):
        """Mend one; returns what takes that back."""
        change = MENDS[erratum]
        texts = {}
        for edit in change["edit"]:
            path = self.root / edit["file"]
            texts.setdefault(path, path.read_text())
            now = path.read_text()
            assert now.count(edit["find"]) == edit.get("times", 1), (erratum, edit["find"])
            path.write_text(now.replace(edit["find"], edit["replace"]))
        kept = [(file, file.read_bytes()) for name in change["modules"] for file in
                (self.root / "kvm_vmx").glob(f"{name.replace('.', '/')}.*.so")]

        def undo():
            for path, text in texts.items():
                path.write_text(text)
            for file, content in kept:
                file.unlink()
                file.write_bytes(content)

        done = self.python("-c", BUILD, *change["modules"])
        if done.returncode:
            undo()
            raise AssertionError(f"{erratum}: {done.stdout[-1000:]}{done.stderr[-3000:]}")
        return undo
