# SPDX-License-Identifier: GPL-2.0-only
"""The port's functions by their kernel names, for a thread that runs as a CPU."""

import contextlib
import ctypes
import difflib
import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from kvm_vmx.abi.numbers import X86_CR4_VMXE
from kvm_vmx.errors import Unique
from kvm_vmx.machine.kernel import MachineError, call_function

# The module loader calls it once, and nobody else.
NOT_FOR_CALLERS = {"declare_module"}

# What works on the VMCS that is current.
ON_CURRENT_VMCS = ("vmcs_", "probe_", "dump_vmcs")

# Bits of the integer types that may be passed and returned.
BITS = {"void": 0, "int": 32, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
        "unsigned long": 64, "ulong": 64, "unsigned int": 32}
SIGNED = {"int"}
# A struct kvm_vcpu, as Cython names it: the caller gives a Vcpu.
VCPU = "kvm_vcpu_t *"
SIGNATURE = re.compile(r"(.+?) ?\((.*)\)")

_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class Function(NamedTuple):
    """A function of the port: where it is, what it takes, what it gives."""

    address: int
    arguments: tuple[str, ...]
    result: str

    def convert(self, raw: int) -> int | None:
        """The result as its C type holds it."""
        bits = BITS[self.result]
        if not bits:
            return None
        value = raw & (1 << bits) - 1
        return value - (1 << bits) if self.result in SIGNED and value >> bits - 1 else value


@functools.cache
def functions(module: Any) -> dict[str, Function]:
    """{kernel name: Function} of what an extension module exports with integers and vCPUs alone."""
    found = {}
    for name, capsule in module.__pyx_capi__.items():
        signature = _name(capsule)
        match = SIGNATURE.fullmatch(signature.decode())
        if not match or name in NOT_FOR_CALLERS:
            continue
        arguments = tuple(text.strip() for text in match[2].split(",") if text.strip() != "void")
        if match[1] in BITS and all(argument in BITS or argument.endswith(VCPU)
                                    for argument in arguments):
            found[name.removeprefix("call_")] = Function(
                _pointer(capsule, signature), arguments, match[1])
    return found


def convert_argument(name: str, argument: Any, kind: str, held: contextlib.ExitStack) -> int:
    """What a function of the port gets for an argument of Python's: a number, or where a vCPU is;
    the vCPU is this call's alone until held ends."""
    if kind.endswith(VCPU):
        if not hasattr(argument, "vmcs_gpa"):
            raise TypeError(f"{name}(): give a Vcpu, not {argument!r}")
        return held.enter_context(argument.used()).address
    if not isinstance(argument, int):
        raise TypeError(f"{name}(): {argument!r} is no number")
    if not -(1 << BITS[kind] - 1) <= argument < 1 << BITS[kind]:
        raise OverflowError(f"{name}(): {argument:#x} does not fit {kind}")
    return argument


class Port(Unique):
    """Attributes are the port's functions; each call runs on the CPU of `with m.cpu(n)`.

    guard() is a context that a call needs, check() raises where the module is gone.
    """

    def __init__(self, machine: Any, module: Any, guard: Callable[[], Any],
                 check: Callable[[], None]) -> None:
        self._machine, self._guard, self._check = machine, guard, check
        self._module, self._functions = module, functions(module)

    def _what(self) -> str:
        return f"Port of {self._module.__name__}"

    def _state(self) -> str:
        self._check()
        return f"{len(self._functions)} functions"

    def __dir__(self) -> list[str]:
        return sorted(self._functions)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "_functions":
            raise AttributeError(name)      # half made
        try:
            function = self._functions[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._functions) or sorted(self._functions)
            raise AttributeError(
                f"the port has no callable {name!r}: there are {', '.join(near)}") from None

        def call(*arguments: Any) -> int | None:
            cpu = self._machine._bound_cpu()
            if cpu is None:
                raise MachineError(f"{name}() needs a CPU: call it inside `with machine.cpu(n):`")
            if len(arguments) != len(function.arguments):
                raise TypeError(f"{name}() takes {len(function.arguments)} arguments")
            with contextlib.ExitStack() as held:
                held.enter_context(self._guard())
                self._check()
                values = tuple(convert_argument(name, argument, kind, held)
                               for argument, kind in zip(arguments, function.arguments))
                self._check_state(name, cpu)
                return function.convert(
                    call_function(self._machine._kernel, cpu, function.address, values))

        return call

    def _check_state(self, name: str, cpu: int) -> None:
        """MachineError where the function would follow a pointer that nobody has set."""
        if name == "hardware_disable" and not self._machine.cpu(cpu).cr4 & X86_CR4_VMXE:
            raise MachineError(f"VMX is off on CPU {cpu}: create a VM or hardware_enable() first")
        if name.startswith(ON_CURRENT_VMCS) and self._machine._kernel.current_vmcs(cpu) is None:
            raise MachineError(f"no VMCS is current on CPU {cpu}: create a vCPU there first")
