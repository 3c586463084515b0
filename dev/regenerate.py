# SPDX-License-Identifier: GPL-2.0-only
"""Prints what stands in the tree a second time, from the place where it stands first.

usage: python dev/regenerate.py [--check]
With --check nothing is written: the files that would change are named, and the status is 1.
"""

import difflib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import enums  # noqa: E402
import instructions  # noqa: E402
import pxd  # noqa: E402
from cheaders import ROOT  # noqa: E402


def printed():
    """path: text of every file that is printed."""
    return pxd.files() | enums.files() | instructions.files()


def main(arguments):
    """The exit status."""
    changed = 0
    for path, text in printed().items():
        file = ROOT / path
        old = file.read_text() if file.exists() else ""
        if text == old:
            continue
        changed += 1
        if "--check" in arguments:
            sys.stdout.writelines(difflib.unified_diff(
                old.splitlines(True), text.splitlines(True), path, "printed", n=1))
        else:
            file.write_text(text)
            print(path)
    return int(changed and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
