# SPDX-License-Identifier: GPL-2.0-only
"""An exit of two built trees, in pairs: `python perf/pair.py BEFORE [AFTER]`, interleaved."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parents[1]
COPIED = HERE / "kvm_vmx/measure/copied.py"
ROUNDS = 10
# the loops of kvm_vmx.measure.child that one process times, and what they are called here
EXITS = {"key on": "eVMCS", "key off": "VMCS", "flag": "VMCS, a flag", "before": "VMCS, no test"}


def estimate(values):
    """The median and its 95 % interval; by this tree's own way."""
    sys.path.insert(0, str(HERE))
    from kvm_vmx.measure.statistics import estimate as found

    return found(values)


def exits(tree: pathlib.Path) -> dict[str, float]:
    """Nanoseconds of an exit by loop, as one fresh process of a tree times them, by copies."""
    python = tree / ".venv/bin/python"
    done = subprocess.run(
        [python if python.exists() else sys.executable, "-P", COPIED, tree,
         "kvm_vmx.measure.child", "exits", str(ROUNDS)],
        cwd=tree, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    ns = 1e9 / found["ops"] / found["calibration"]["tsc_hz"]
    return {name: statistics.median(found["exits"][name]) * ns for name in EXITS}


def pairs(before: pathlib.Path, after: pathlib.Path, rounds: int):
    """Of each round: the tree before, after and before again, in an order that changes."""
    for n in range(rounds):
        order = [("before", before), ("after", after), ("again", before)]
        order = order[n % 3:] + order[:n % 3]
        yield {name: exits(tree) for name, tree in order}


def show(label: str, values, unit: str) -> None:
    found = estimate(values)
    print(f"  {label:34} {found.value:8.2f} {unit:6} [{found.low:.2f}, {found.high:.2f}]")


def main() -> None:
    """Print each loop's time in both trees, its ratio by pairs, and that of a tree to itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=pathlib.Path, help="a built tree")
    parser.add_argument("after", type=pathlib.Path, nargs="?", default=HERE, help="this one")
    parser.add_argument("--rounds", type=int, default=24, help="pairs of processes")
    chosen = parser.parse_args()
    found = list(pairs(chosen.before.resolve(), chosen.after.resolve(), chosen.rounds))
    print(f"{chosen.rounds} rounds, fresh processes, median [95 %], measured here")
    for loop, label in EXITS.items():
        print(f"{label}")
        for name in ("before", "after"):
            show(name, [one[name][loop] for one in found], "ns")
        show("after / before", [one["after"][loop] / one["before"][loop] for one in found], "times")
        show("before / before again (A/A)",
             [one["before"][loop] / one["again"][loop] for one in found], "times")
    for name in ("before", "after"):
        for loop in ("key off", "flag"):
            show(f"{name}: {loop} over no test",
                 [one[name][loop] - one[name]["before"] for one in found], "ns")


if __name__ == "__main__":
    main()
