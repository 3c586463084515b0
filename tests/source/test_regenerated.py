# SPDX-License-Identifier: GPL-2.0-only
"""What dev/regenerate.py prints is what stands in the tree."""

import json
import shutil
import subprocess
import sys

import pytest
import tree

pytestmark = pytest.mark.long
# What there is beside README.md.
FOLDERS = ("include", "dev", "docs", "kvm_vmx", "share", "perf")
# The compiler reads a header once, however often it is asked of: none is changed on the way.
REPEATED = """
import contextlib, functools, io, json, sys
sys.path[0] = "dev"
import cheaders
numbers = functools.cache(lambda header, names, read=cheaders.numbers: read(header, list(names)))
cheaders.numbers = lambda header, names: numbers(header, tuple(names))
cheaders.read = functools.cache(cheaders.read)
import regenerate
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = regenerate.main(arguments)
    print(json.dumps([status, said.getvalue()]))
"""


def regenerated(root, *lines):
    """dev/regenerate.py of a tree, with each line of arguments: its status and what it says."""
    done = subprocess.run([sys.executable, "-c", REPEATED, json.dumps(lines)], cwd=root,
                          capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def files():
    """All that is read or printed, and what reads it."""
    return ["README.md", *sorted(
        path.relative_to(tree.ROOT) for folder in FOLDERS
        for path in (tree.ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".so", ".pyc"))]


def test_nothing_is_stale(held, compiler, files):
    whole = held(sys.version, compiler)
    content = whole.digest(*files)
    if content not in whole:
        assert regenerated(tree.ROOT, ["--check"]) == [[0, ""]]
    whole.keep()


def test_a_changed_header_is_noticed(held, compiler, files, tmp_path):
    whole = held(sys.version, compiler)
    if whole.digest(*files) not in whole:
        notices_a_changed_header(tmp_path)
    whole.keep()


def notices_a_changed_header(tmp_path):
    for name in ("include", "dev", "docs", "kvm_vmx", "share"):
        shutil.copytree(tree.ROOT / name, tmp_path / name,
                        ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    header = tmp_path / "include/asm/virt_cpu.h"
    header.write_text(header.read_text().replace("u32 cpl;", "u64 cpl;\n\tu32 more[4];"))
    check, printed, again = regenerated(tmp_path, ["--check"], [], ["--check"])
    assert check[0] == 1 and "+        u64 cpl" in check[1] and "+        u32 more[4]" in check[1]
    assert printed[1] == "kvm_vmx/abi/virt_cpu.pxd\n"
    assert again == [0, ""]
