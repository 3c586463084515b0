# SPDX-License-Identifier: GPL-2.0-only
# The types of the module beside it, printed by dev/stubs.py.
from typing import Any, Self
from typing_extensions import disjoint_base
from kvm_vmx.errors import MachineError as MachineError

@disjoint_base
class Gate:
    def __new__(cls) -> Self: ...
    def use(self) -> "Use": ...
    def change(self) -> "Change": ...
    @property
    def building(self) -> "Building": ...
    @property
    def idle(self) -> bool: ...


@cython.no_gc
@disjoint_base
class Way:
    def __new__(cls, gate: Gate, *_: object) -> Self: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...


@cython.no_gc
@disjoint_base
class Use(Way): ...


@cython.no_gc
@disjoint_base
class Change(Way): ...


@cython.no_gc
@disjoint_base
class Building(Way): ...


@disjoint_base
class Busy:
    def __new__(cls, what: str) -> Self: ...


@cython.no_gc
@disjoint_base
class Using(Way):
    def __new__(cls, gate: Gate, owner: Any, busy: Busy = ...) -> Self: ...
    def __enter__(self) -> Any: ...
