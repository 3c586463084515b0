# SPDX-License-Identifier: GPL-2.0-only
"""The record of the comparison with v4.19: a digest of each function's statements and marks.

    python tests/compare/compared.py TREE      write it anew, if nothing is unexplained

Where no v4.19 tree is at hand, the record tells which functions changed since they were compared.
"""

import hashlib
import json
import pathlib
import sys

from kvm_vmx.compare.align import weave
from kvm_vmx.compare.marks import Mark, spelled
from kvm_vmx.compare.opening import TreeError, open_tree
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.report import Report
from kvm_vmx.compare.rows import count_inside

RECORD = pathlib.Path(__file__).parents[1] / "data" / "compared_4.19.json"


def digest(subject) -> str:
    """Twelve digits over what a function stands for, its statements, and its marks' pins."""
    function = subject.function
    count_inside(function.units)
    parts = [subject.kernel_name, subject.kernel_file]
    for item in weave(function.units, function.marks):
        if isinstance(item, Mark):
            pin = item.digest or item.what
            parts.append(f"{item.kind} {item.kernel}/{item.port} {pin}")
        else:
            parts.append(spelled(item))
    return hashlib.blake2s("\n".join(parts).encode(), digest_size=6).hexdigest()


def digests(port) -> dict[str, str]:
    """The digest of each function of the port."""
    return {name: digest(subject) for name, subject in sorted(port.subjects.items())}


def statements(report) -> dict[str, str]:
    """{kernel name: how many of its statements are alike, adapted and left out}."""
    return {pair.kernel.name: [pair.fidelity[0], pair.totals["adapted"], pair.totals["omitted"]]
            for pair in sorted(report.pairs, key=lambda pair: pair.kernel.name)}


def recorded() -> dict[str, str]:
    """The digests of the last comparison."""
    return json.loads(RECORD.read_text())["functions"]


def main(spec: str) -> None:
    """Compare, and write the record."""
    try:
        report = Report(Port(), open_tree(spec))
    except TreeError as error:
        sys.exit(str(error))
    if loose := [pair.name for pair in report.pairs if pair.totals["unexplained"]]:
        sys.exit(f"unexplained: {', '.join(loose)}: see `kvm-vmx compare {loose[0]}`")
    RECORD.write_text(json.dumps(
        {"kernel": "v4.19", "functions": digests(report.port),
         "statements": statements(report)}, indent=0) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/compare/compared.py TREE, a tree of v4.19")
    main(sys.argv[1])
