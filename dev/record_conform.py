# SPDX-License-Identifier: GPL-2.0-only
"""Runs the tests that show a rule, and records how they ended for `kvm-vmx conform` of a wheel."""

import json
import subprocess

from kvm_vmx.conform import command


def main() -> None:
    """Run all, and write the record."""
    root = command.checkout()
    if root is None:
        raise SystemExit("run this in a source checkout of kvm_vmx")
    commit = subprocess.run(["git", "describe", "--always"], cwd=root, check=True,
                            capture_output=True, text=True).stdout.strip()
    write(command.run_tests(root, None), commit)


def write(results: dict, commit: str) -> None:
    """The record, a test a line."""
    lines = (f"{json.dumps(name)}: {json.dumps(results[name], sort_keys=True)}"
             for name in sorted(results))
    command.RECORD.write_text(
        f'{{"recorded": {json.dumps(commit)}, "results": {{\n' + ",\n".join(lines) + "\n}}\n",
        encoding="utf-8")


if __name__ == "__main__":
    main()
