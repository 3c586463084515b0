# SPDX-License-Identifier: GPL-2.0-only
"""A register of one L1 processor, as an attribute that says its type and what it is."""

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from kvm_vmx.machine.cpu import Cpu

T = TypeVar("T")


class Reading(Generic[T]):
    """What a processor shows by this name; AttributeError where one sets it, MachineError after
    the machine was closed."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name

    @overload
    def __get__(self, cpu: None, owner: type) -> Self: ...

    @overload
    def __get__(self, cpu: "Cpu", owner: type) -> T: ...

    def __get__(self, cpu: "Cpu | None", owner: type) -> Self | T:
        if cpu is None:
            return self
        cpu.machine.check_open()
        found: T = getattr(cpu._processor, self.__name__)
        return found

    def __set__(self, cpu: "Cpu", value: Any) -> None:
        raise AttributeError(f"{self.__name__} of a processor is only read")


class Register(Reading[T]):
    """What may be set, too: MachineError where another thread is using the CPU."""

    def __set__(self, cpu: "Cpu", value: T) -> None:
        cpu.machine.check_open()
        cpu._alone(setattr, cpu._processor, self.__name__, value)


class Event(Reading[T]):
    """What another thread may set while the CPU runs."""

    def __set__(self, cpu: "Cpu", value: T) -> None:
        cpu.machine.check_open()
        setattr(cpu._processor, self.__name__, value)
