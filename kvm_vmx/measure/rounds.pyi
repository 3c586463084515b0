# SPDX-License-Identifier: GPL-2.0-only
# The types of the module beside it, printed by dev/stubs.py.
from typing import Any, Self
from typing_extensions import disjoint_base
from kvm_vmx.machine.kernel import Kernel

EXITS: int
ENTRIES: int
def order(r: int, n: int) -> list[int]: ...
def read_tsc() -> int: ...


@disjoint_base
class Loops:
    def __new__(cls, kernel: Kernel, cpu: int, loops: list[Any]) -> Self: ...
    def timed(self, rounds: int, ops: int) -> list[list[int]]: ...
    def marked(self, ops: int) -> None: ...
