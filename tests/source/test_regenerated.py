# SPDX-License-Identifier: GPL-2.0-only
"""What dev/regenerate.py prints is what stands in the tree."""

import shutil
import subprocess
import sys

import tree

def regenerate(root, *arguments):
    """dev/regenerate.py of a tree: its status and what it says."""
    done = subprocess.run([sys.executable, "dev/regenerate.py", *arguments], cwd=root,
                          capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_nothing_is_stale():
    assert regenerate(tree.ROOT, "--check") == (0, "")


def test_a_changed_header_is_noticed(tmp_path):
    for name in ("include", "dev", "docs", "kvm_vmx", "share"):
        shutil.copytree(tree.ROOT / name, tmp_path / name,
                        ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    header = tmp_path / "include/asm/virt_cpu.h"
    header.write_text(header.read_text().replace("u32 cpl;", "u64 cpl;\n\tu32 more[4];"))
    status, said = regenerate(tmp_path, "--check")
    assert status == 1 and "+        u64 cpl" in said and "+        u32 more[4]" in said
    assert regenerate(tmp_path)[1] == "kvm_vmx/abi/virt_cpu.pxd\n"
    assert regenerate(tmp_path, "--check") == (0, "")
