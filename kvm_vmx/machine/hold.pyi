# SPDX-License-Identifier: GPL-2.0-only
# The types of the module beside it, printed by dev/stubs.py.
from typing import Any, Self
from typing_extensions import disjoint_base
from kvm_vmx.machine.kernel import Kernel
from kvm_vmx.errors import MachineError as MachineError

@disjoint_base
class Hold:
    def __new__(cls, kernel: Kernel, cpu: int) -> Self: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...


@disjoint_base
class Bound:
    machine: Any
    index: int
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...
