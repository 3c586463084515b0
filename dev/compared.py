# SPDX-License-Identifier: GPL-2.0-only
"""What is printed of a comparison with v4.19: the marks' pins, the record of each function, and
README's table of the path, and its picture. And docs/errata.md, which the same sources make.

Where no v4.19 tree is at hand, the record tells which functions changed since they were compared.
"""

import hashlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import picture_path  # noqa: E402

from kvm_vmx.compare import held, marks, pairing, path  # noqa: E402
from kvm_vmx.compare.align import weave  # noqa: E402
from kvm_vmx.compare.marks import Mark, spelled  # noqa: E402
from kvm_vmx.compare.opening import TreeError, open_tree  # noqa: E402
from kvm_vmx.compare.pinning import all_pins, pinned_anew  # noqa: E402
from kvm_vmx.compare.port import Port  # noqa: E402
from kvm_vmx.compare.portfacts import PortFacts  # noqa: E402
from kvm_vmx.compare.rows import count_inside  # noqa: E402
from kvm_vmx.lessons import errata  # noqa: E402

RECORD = ROOT / path.RECORD


def digest(subject) -> str:
    """Twelve digits over what a function stands for, its statements, and its marks' pins."""
    function = subject.function
    count_inside(function.units)
    parts = [subject.kernel_name, subject.kernel_file]
    for item in weave(function.units, function.marks):
        if isinstance(item, Mark):
            pin = item.pin or marks.Pin(item.kind, 0, 0, item.what)
            parts.append(f"{pin.kind} {pin.kernel}/{pin.port} {pin.digest}")
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


def pins_text(pins) -> str:
    """The file of pins: a line for each function."""
    lines = (f"{json.dumps(name)}: {json.dumps(of)}" for name, of in pins.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def units_to_read(then, now) -> list[str]:
    """A line for each unit of a kernel's file that is held to something else than before."""
    return [f"{path}: {key}" for path, digests in now["kernel"].items() if then["kernel"]
            for key in digests if then["kernel"].get(path, {}).get(key) != digests[key]]


def files(spec: str) -> tuple[dict[str, str], list[str]]:
    """path: text of every file that a comparison makes, and a line for each mark that is new or
    of other statements than before; the process ends where something is unexplained."""
    try:
        tree = open_tree(spec)
    except TreeError as error:
        sys.exit(str(error))
    port = Port()
    report, told = pinned_anew(port, tree)
    facts = PortFacts(port)
    record_of_units = pairing.recorded(report, facts)
    told += units_to_read(held.held(), record_of_units)
    units = pairing.Units(report, facts, record_of_units)
    if units.loose:
        sys.exit("\n".join(["unexplained:", *map(str, units.loose)]))
    if loose := [pair.name for pair in report.pairs if pair.totals["unexplained"]]:
        sys.exit(f"unexplained: {', '.join(loose)}: see `kvm-vmx compare {loose[0]} --tree TREE`")
    here = statements(report)
    record = {"kernel": "v4.19", "functions": digests(port), "statements": here}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return {
        str(held.HELD.relative_to(ROOT)): held.text_of(record_of_units),
        str(marks.FILE.relative_to(ROOT)): pins_text(all_pins(port)),
        path.RECORD: json.dumps(record, indent=0) + "\n",
        "README.md": path.renewed(readme, port, here),
        "docs/errata.md": errata.page(),
        "docs/pictures/compare.svg": picture_path.svg(here),
    }, told
