# SPDX-License-Identifier: GPL-2.0-only
"""`kvm-vmx run --kernel TREE`: what an exit costs by a tree's own KVM, beside the port."""

from collections.abc import Mapping
from typing import TypeAlias

from kvm_vmx.console import Trouble, print_columns
from kvm_vmx.errors import BuildError, KernelBug, MachineError
from kvm_vmx.progress import working
from kvm_vmx.run.steady_state import MODES, Figures

# {mode: {instruction: how many an exit}}
PerExit: TypeAlias = dict[str, dict[str, float]]


def of_kernel(tree: str, code: bytes, memory: int) -> PerExit:
    """{mode: {instruction: how many an exit}} of the kernel's own code under the same guest."""
    from kvm_vmx.kernel.build import build
    from kvm_vmx.kernel.exit_counts import exit_counts

    try:
        with working("building", log=True) as say:
            image = build(tree, report=say)
            return {mode: exit_counts(image, mode == "evmcs", code=code, memory=memory)
                    for mode in MODES}
    except (BuildError, KernelBug, MachineError) as error:
        raise Trouble(str(error)) from None


def print_beside(kernel: PerExit, figures: Mapping[str, Figures]) -> None:
    """The table: each mode by the port and by the kernel's own code."""
    print("\nan exit, by the port and by the kernel's own code")
    rows = [("", *(f"{mode}, {who}" for mode in MODES.values() for who in ("port", "kernel")))]
    for name in next(iter(kernel.values())):
        cells = [f"{value:g}" for mode in MODES
                 for value in (figures[mode]["per_exit"].get(name, 0), kernel[mode][name])]
        rows.append((name.upper(), *cells))
    print_columns(rows, right=(1, 2, 3, 4))
