# SPDX-License-Identifier: GPL-2.0-only
"""A process of its own for one measurement: python -m kvm_vmx.measure.child WHAT, JSON out."""

import contextlib
import json
import sys

from kvm_vmx import Machine
from kvm_vmx.measure.loops import ACCESSORS, GROUPS, STORES, address, loaded
from kvm_vmx.measure.rounds import Loops

COUNTED_OPS = 1_000
EXIT_CONFIGS = (("hyperv", False), ("hyperv", True), ("before", False),
                ("no-hyperv", False), ("no-jump-label", False), ("no-jump-label", True))


def entry_masks() -> dict[str, int]:
    """Dirty masks by name: none, each group, and one group more from step to step."""
    masks = {"none": 0}
    masks |= {name: mask for mask, name in GROUPS.items()}
    masks |= {f"first {n}": (1 << n) - 1 for n in range(1, len(GROUPS) + 1)}
    return masks


def accessor_loops(config: str, controls: bool) -> dict[str, tuple[int, int]]:
    """Name: loop, of the accessors of a config, and of what they are compared with."""
    names = [accessor.name for accessor in ACCESSORS]
    if controls:
        names += [f"c_{name}" for name in names] + [*STORES]
    return {name: (address(config, name), 0) for name in names}


def counted() -> list[str]:
    """Run every loop that is counted, between marks; the names, in order."""
    order = []

    def run(machine, world, loops):
        Loops(machine.kernel, 0, list(loops.values())).marked(COUNTED_OPS)
        order.extend(f"{world}: {name}" for name in loops)

    with Machine(cpus=1) as machine:
        for config, on in EXIT_CONFIGS:
            with loaded(machine, config, on) as world:
                name = f"{config} {'on' if on else 'off'}"
                run(machine, name, {"exit": world.exits})
                run(machine, name, accessor_loops(config, config == "hyperv"))
                if on and config == "hyperv":
                    run(machine, name, {f"entry {dirty}": world.entries(mask)
                                        for dirty, mask in entry_masks().items()})
    return order


TASKS = {"counted": counted}


def main() -> None:
    """Run one task; what it prints besides goes to standard error."""
    task, *arguments = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        result = TASKS[task](*map(int, arguments))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
