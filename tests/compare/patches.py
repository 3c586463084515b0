# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of patches share: a patch from one text to another, and the command."""

import difflib
import re

import nursery
from command import ENVIRONMENT

from kvm_vmx.compare import mail
from kvm_vmx.compare.patch import Comparison
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.trees import Tree

VMX = "arch/x86/kvm/vmx.c"


def patch_of(old, new, path=VMX, context=3):
    """A patch from one text to another, with the heading that git gives each hunk."""
    rows, found = old.split("\n"), [f"--- a/{path}", f"+++ b/{path}"]
    for line in list(difflib.unified_diff(rows, new.split("\n"), lineterm="", n=context))[2:]:
        hit = re.match(r"@@ -(\d+)", line)
        if hit:
            above = (row for row in reversed(rows[:int(hit[1]) - 1]) if re.match(r"[A-Za-z_]", row)
                     and not re.match(r"\w+:", row))
            line += " " + next(above, "")
        found.append(line)
    return "\n".join(found) + "\n"


def compared(tmp_path, text, tree, port=None):
    path = tmp_path / "patch"
    path.write_text(text)
    return Comparison(mail.read(str(path)), port or Port(), tree)


def tree_with(tree, text):
    """The tree with another vmx.c."""
    return Tree("another", {**tree.files, VMX: text}, tree.config)


def without(text, *statements):
    for statement in statements:
        assert text.count(statement) >= 1, statement
        text = text.replace(statement, "", 1)
    return text


def command(*args):
    return nursery.run(["compare", *args], env=ENVIRONMENT)
