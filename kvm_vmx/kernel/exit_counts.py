# SPDX-License-Identifier: GPL-2.0-only
"""What one exit of a guest costs in its steady state, as the kernel's own code executes it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvm_vmx.kernel.kernel import Kernel
from kvm_vmx.machine.guests import CPUID_LOOP

INSTRUCTIONS = ("vmread", "vmwrite", "vmlaunch", "vmresume", "vmptrld", "vmclear", "rdmsr", "wrmsr")
WARM_UP, EXITS = 100, 1000


def exit_counts(image: Path, enlightened: bool, names: Iterable[str] = INSTRUCTIONS, *,
                code: bytes = CPUID_LOOP, memory: int = 2 << 20, warm_up: int = WARM_UP,
                exits: int = EXITS, **options: Any) -> dict[str, float]:
    """{counter: how much of it an exit is} of an image under a guest; options are of Kernel."""
    with Kernel(image, 1, **options) as kernel:
        vcpu = kernel.insmod(enlightened).create_vm(code, memory).create_vcpu()
        return of_vcpu(kernel, vcpu, names, warm_up, exits)


def of_vcpu(kernel: Any, vcpu: Any, names: Iterable[str] = INSTRUCTIONS, warm_up: int = WARM_UP,
            exits: int = EXITS) -> dict[str, float]:
    """The same of a vCPU, a Kernel's or a Machine's: of two runs, one of one exit, the difference,
    so that what begins and ends a run is not counted."""
    vcpu.run(exits=warm_up)
    runs = []
    for length in (1, exits + 1):
        before = kernel.counters
        vcpu.run(exits=length)
        after = kernel.counters
        runs.append({name: after[name] - before[name] for name in names})
    return {name: (runs[1][name] - runs[0][name]) / exits for name in names}
