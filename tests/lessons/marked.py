# SPDX-License-Identifier: GPL-2.0-only
"""The port built once more, with a mark at some of its lines that tells when one is reached."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import kvm_vmx

ROOT = pathlib.Path(kvm_vmx.__file__).parents[1]
TELL = """
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void __attribute__((noinline)) reached(int n)
{
	static char seen[4096];
	char text[16];
	int file, length;

	if (seen[n] || __atomic_exchange_n(&seen[n], 1, __ATOMIC_RELAXED) || !getenv("REACHED"))
		return;
	file = open(getenv("REACHED"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	length = snprintf(text, sizeof text, "%d\\n", n);
	if (write(file, text, length) != length)
		abort();
	close(file);
}
"""
# Of what Cython writes for a line, what a statement cannot stand in front of.
NO_STATEMENT = re.compile(r"\s*(?:\}|/\*|else\b|case\b|default\b|__pyx_L\w+:|#|$)")
BUILD = """
import setup
from setuptools import Distribution

import marked_lines
wanted = [module for module in setup.modules() if module.name in marked_lines.MODULES]
setup.translate(wanted)
for module in wanted:
    marked_lines.mark(module.sources[0])
    module.extra_compile_args = [*module.extra_compile_args, "-O1", "-g0", "-w"]
command = Distribution({"name": "marked", "ext_modules": wanted}).get_command_obj("build_ext")
command.build_lib, command.build_temp, command.force, command.parallel = ".", "built", True, 2
command.ensure_finalized()
command.run()
"""

RUN = """
import json, os, sys

from kvm_vmx import cli
from kvm_vmx.lessons import NAMES, load, sources

sources.port()
for name in NAMES:
    load(name)


def apart(read):
    # the lines that detect ends with are of its first L1; the second one is booted to be read
    def unseen(dice):
        told = os.environ.pop("REACHED")
        try:
            return read(dice)
        finally:
            os.environ["REACHED"] = told
    return unseen


detect = load("detect")
detect.second = apart(detect.second)
for n, line in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if not child:
        os.environ["REACHED"] = f"{sys.argv[2]}/{n}.reached"
        os.dup2(os.open(f"{sys.argv[2]}/{n}.out", os.O_CREAT | os.O_WRONLY, 0o600), 1)
        status = cli.main(line)
        sys.stdout.flush()
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, line
"""


def module_of(path: str) -> str:
    """The module that a line of the port is compiled into; the accessors are vmx's."""
    name = path.rpartition(".")[0]
    return (name if (ROOT / f"{name}.pyx").exists() else "kvm_vmx/l1/vmx").replace("/", ".")


def mark(source, lines: dict) -> int:
    """Put a mark at each place of generated C that says it is of one of these lines, which are
    {(file, line): number}; how many marks there are."""
    text = pathlib.Path(source).read_text().split("\n")
    out, marks, place = [TELL], 0, None
    for at, line in enumerate(text):
        if place is not None and line.startswith(("static ", "__pyx_")) and line.endswith("{"):
            line += f" reached({place});"       # the head of a function
            marks += 1
        elif place is not None and line[:1] == " " and not NO_STATEMENT.match(line):
            out.append(f"  reached({place});")
            marks += 1
        hit = re.match(r'#line (\d+) "([^"]+)"', line)
        place = lines.get((hit[2], int(hit[1]))) if hit else None
        out.append(line)
    pathlib.Path(source).write_text("\n".join(out))
    return marks


class Marked:
    """A package with marks at some lines [(file, line)] of the port, in a folder of its own."""

    def __init__(self, folder, lines):
        self.folder, self.lines = folder, {place: n for n, place in enumerate(sorted(lines))}
        for part in ("kvm_vmx", "include"):
            shutil.copytree(ROOT / part, folder / part)
        if (ROOT / "build/cython").exists():
            shutil.copytree(ROOT / "build/cython", folder / "build/cython")
        shutil.copy2(ROOT / "setup.py", folder)
        modules = {module_of(path) for path, _ in self.lines}
        (folder / "marked_lines.py").write_text(
            f"import sys\nsys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})\n"
            f"import marked\nMODULES = {modules!r}\nLINES = {self.lines!r}\n"
            "def mark(source):\n    assert marked.mark(source, LINES)\n")
        done = subprocess.run([sys.executable, "-c", BUILD], cwd=folder, capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    def runs(self, lines) -> list[tuple[str, set]]:
        """What each command line prints, and the (file, line) that it reaches: by a child of one
        process each, as a mark tells of itself once."""
        done = subprocess.run(
            [sys.executable, "-P", "-c", RUN, json.dumps(lines), str(self.folder)],
            capture_output=True, text=True, cwd=self.folder / "include",
            env={**os.environ, "PYTHONPATH": str(self.folder), "KVM_VMX_INSN": "call"})
        assert done.returncode == 0, done.stderr
        return [(self.folder.joinpath(f"{n}.out").read_text(),
                 self.reached(self.folder / f"{n}.reached")) for n in range(len(lines))]

    def reached(self, told) -> set:
        """The lines whose marks have told of themselves in a file."""
        numbers = set(map(int, told.read_text().split())) if told.exists() else set()
        return {place for place, n in self.lines.items() if n in numbers}
