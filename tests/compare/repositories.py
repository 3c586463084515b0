# SPDX-License-Identifier: GPL-2.0-only
"""A small repository of git, with a tag and a few commits of one file of the path."""

import subprocess

import pytest

VMX = "arch/x86/kvm/vmx.c"
LOAD = "static void evmcs_load(u64 phys_addr)\n{\n%s\tvp_ap->current_nested_vmcs = phys_addr;\n" \
       "\tvp_ap->enlighten_vmentry = 1;\n}\n"
OTHER = "static void nested_cup(void)\n{\n\tpour(%d);\n}\n"


def git(root, *args):
    done = subprocess.run(["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b",
                           *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """v4.19, a fix of the path, a change beside it, a comment, and a merge's worth of nothing."""
    root = tmp_path / "linux"
    path = root / VMX
    path.parent.mkdir(parents=True)
    git(tmp_path, "init", "-q", str(root))
    check = "\tif (!vp_ap)\n\t\treturn;\n"
    for subject, load, other in (("base", "", 1), ("fix the load", check, 1),
                                 ("pour more", check, 2),
                                 ("say more", "\tif (!vp_ap) /* none */\n\t\treturn;\n", 2)):
        path.write_text(LOAD % load + "\n" + OTHER % other)
        git(root, "add", "-A")
        git(root, "commit", "-qm", subject)
        if subject == "base":
            git(root, "tag", "v4.19")
    return root
