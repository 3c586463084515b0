# SPDX-License-Identifier: GPL-2.0-only
"""Prints what stands in the tree a second time, from the place where it stands first.

usage: python dev/regenerate.py [--check] [--tree TREE]
With --check nothing is written: the files that would change are named, and the status is 1. With
--tree, a tree of v4.19, what a comparison makes is printed too, if nothing is unexplained: the
marks' pins, the record of the functions, README's table of the path, docs/errata.md. The figures
of README.md and perf/README.md are those of perf/baselines. A mark that
is pinned to other statements than before is told, for someone to read it beside them.
"""

import argparse
import difflib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checks  # noqa: E402
import enums  # noqa: E402
import faces  # noqa: E402
import figures  # noqa: E402
import instruction_checks  # noqa: E402
import instructions  # noqa: E402
import pxd  # noqa: E402
from cheaders import ROOT  # noqa: E402


def printed(tree: str | None):
    """path: text of every file that is printed, and what a reader should look at."""
    made = pxd.files() | enums.files() | instructions.files() | checks.files() | \
        instruction_checks.files()
    shown, told = faces.files()
    made |= shown
    if tree:
        import compared  # needs the package built

        more, told_of_tree = compared.files(tree)
        made |= more
        told = [*told, *told_of_tree]
    return made | figures.files(made), told


def main(arguments):
    """The exit status."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--tree")
    args = parser.parse_args(arguments)
    changed = 0
    files, told = printed(args.tree)
    for path, text in files.items():
        file = ROOT / path
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        if text == old:
            continue
        changed += 1
        if args.check:
            sys.stdout.writelines(difflib.unified_diff(
                old.splitlines(True), text.splitlines(True), path, "printed", n=1))
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(path)
    for line in told:
        print(f"to read: {line}")
    return int(bool(changed) and args.check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
