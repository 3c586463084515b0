# SPDX-License-Identifier: GPL-2.0-only
"""What ruff and cython-lint find in the tree: nothing."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
# Locals that the kernel's own functions have for what is not in the port, or do not use either.
KERNELS = re.compile(r"kvm_vmx/l1/\w+\.pyx:\d+:\d+: '\w+' defined but unused")


def lines(*command):
    found = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True,
                           cwd=ROOT)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout.splitlines()


@pytest.mark.host("ruff")
def test_ruff_finds_nothing():
    assert lines("ruff", "check", "--quiet", "--output-format", "concise", ".") == []


@pytest.mark.host("cython_lint")
def test_cython_lint_finds_nothing(held):
    options = "--no-pycodestyle", "--max-line-length", "100"
    clean = held(sys.version, *map(metadata.version, ("cython_lint", "Cython")), options,
                 (ROOT / "pyproject.toml").read_text())
    files = [str(path.relative_to(ROOT)) for end in ("pyx", "pxd", "pxi")
             for path in sorted(ROOT.glob(f"kvm_vmx/**/*.{end}"))]
    assert len(files) > 50
    # it looks at each file by itself
    if files := [file for file in files if clean.digest(file) not in clean]:
        found = lines("cython_lint.cython_lint", *options, *files)
        assert [line for line in found if not KERNELS.search(line)] == []
    clean.keep()


@pytest.mark.host("cython_lint")
def test_cython_lint_would_find_something(tmp_path, held):
    bad = "from libc.stdint cimport int8_t\n\ndef f(x={}): pass\n"
    found = held(sys.version, *map(metadata.version, ("cython_lint", "Cython")), bad)
    (tmp_path / "bad.pyx").write_text(bad)
    if found.digest() not in found:
        assert len(lines("cython_lint.cython_lint", "--no-pycodestyle",
                         str(tmp_path / "bad.pyx"))) >= 2
    found.keep()
