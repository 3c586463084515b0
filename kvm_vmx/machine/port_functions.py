# SPDX-License-Identifier: GPL-2.0-only
"""The port's functions by their kernel names, for a thread that runs as a CPU."""

import ctypes
import functools
import importlib
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from kvm_vmx import l1
from kvm_vmx.abi.constants import X86_CR4_VMXE
from kvm_vmx.errors import Unique
from kvm_vmx.machine.gate import Together
from kvm_vmx.machine.kernel import MachineError, call_function
from kvm_vmx.words import NEAREST, meant

# kvm.ko and the kernel proper beside the module, as far as they take part in what it does.
SHARED = ("x86", "cpuid", "mtrr", "emulate", "mmu", "hv_init", "bugs")
# Not for callers: what makes, boots or ends a kernel, a VM or a vCPU, runs one without an end, or
# takes an argument for an index without a look at it; and the measured loops, which take any state
# of a CPU for the one that whoever measures has made.
NOT_FOR_CALLERS = re.compile(
    r"bench_\w+|declare_module|\w+_boot_data|kvm_arch_\w+|kvm_vcpu_reset|build_\w+|hyperv_(?:init|shutdown)"
    r"|check_bugs|kvm_(?:define|set)_shared_msr|kvm_fast_pio|kvm_enable_\w+|guest_cpuid_\w+")
# Ours, and not the kernel's: it can be called, but nobody looks for it here.
OURS = re.compile(r"probe_\w+|config_word|enable_evmcs_is_on|handle_vmx_instruction")
ROOM = pathlib.Path(l1.__file__).parent
DECLARED = re.compile(r"^cdef (?:inline )?([\w ]+?\**)(\w+)\(([^()]*)\) noexcept nogil", re.M)
IN_C = {"ulong": "unsigned long", "bint": "bool", "kvm_vcpu_t": "struct kvm_vcpu", "in_": "in",
        "as_": "as"}

# What works on the VMCS that is current.
ON_CURRENT_VMCS = ("vmcs_", "probe_", "dump_vmcs")

# Bits of the integer types that may be passed and returned.
BITS = {"void": 0, "int": 32, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
        "unsigned long": 64, "ulong": 64, "unsigned int": 32, "gpa_t": 64, "gva_t": 64}
SIGNED = {"int"}
# A struct kvm_vcpu, as Cython names it: the caller gives a Vcpu.
VCPU = "kvm_vcpu_t *"
SIGNATURE = re.compile(r"(.+?) ?\((.*)\)")

_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class PortFunction(NamedTuple):
    """A function of the port: where it is, what it takes, what it gives, and all that in C."""

    address: int
    arguments: tuple[str, ...]
    result: str
    in_c: str

    def convert(self, raw: int) -> int | None:
        """The result as its C type holds it."""
        bits = BITS[self.result]
        if not bits:
            return None
        value = raw & (1 << bits) - 1
        return value - (1 << bits) if self.result in SIGNED and value >> bits - 1 else value


@functools.cache
def signatures() -> dict[str, str]:
    """The C signature of each function that the port declares, by its kernel name."""
    found = {}
    for path in sorted(ROOM.glob("*.pxd")):
        for result, name, arguments in DECLARED.findall(path.read_text()):
            name = name.removeprefix("call_")
            found[name] = re.sub(r"\w+", lambda word: IN_C.get(word[0], word[0]),
                                 f"{result.strip()} {name}({arguments or 'void'})")
    return found


@functools.cache
def functions(module: Any) -> dict[str, PortFunction]:
    """{kernel name: PortFunction} of what kvm-intel, and what it stands on, exports with
    integers and vCPUs alone."""
    found = {}
    shared = [importlib.import_module(f"{l1.__name__}.{name}") for name in SHARED]
    for name, capsule in [pair for one in (*shared, module) for pair in one.__pyx_capi__.items()]:
        signature = _name(capsule)
        match = SIGNATURE.fullmatch(signature.decode())
        if not match or NOT_FOR_CALLERS.fullmatch(name):
            continue
        name = name.removeprefix("call_")
        arguments = tuple(text.strip() for text in match[2].split(",") if text.strip() != "void")
        if match[1] in BITS and all(argument in BITS or argument.endswith(VCPU)
                                    for argument in arguments):
            found[name] = PortFunction(_pointer(capsule, signature), arguments, match[1],
                                       signatures().get(name) or signature.decode())
    return found


def convert_argument(name: str, argument: Any, kind: str, held: Together) -> int:
    """What a function of the port gets for an argument of Python's: a number, or where a vCPU is;
    the vCPU is this call's alone until held ends."""
    if kind.endswith(VCPU):
        if not hasattr(argument, "vmcs_gpa"):
            raise TypeError(f"{name}(): give a Vcpu, not {argument!r}")
        address: int = held.enter(argument.used()).address
        return address
    if not isinstance(argument, int):
        raise TypeError(f"{name}(): {argument!r} is no number")
    if not -(1 << BITS[kind] - 1) <= argument < 1 << BITS[kind]:
        raise OverflowError(f"{name}(): {argument:#x} does not fit {kind}")
    return argument


class PortFunctions(Unique):
    """Attributes are the port's functions by their kernel names, each with its C signature in its
    text: those that numbers and a Vcpu can call. Each call runs on the CPU of `with m.cpu(n)`.

    guard() is a context that a call needs, check() raises where the module is gone.
    """

    def __init__(self, machine: Any, module: Any, guard: Callable[[], Any],
                 check: Callable[[], None]) -> None:
        self._machine, self._guard, self._check = machine, guard, check
        self._module, self._functions = module, functions(module)

    def _what(self) -> str:
        return f"PortFunctions of {self._module.__name__}"

    def _state(self) -> str:
        self._check()
        return f"{len(dir(self))} functions"

    def __dir__(self) -> list[str]:
        return sorted(name for name in self._functions if not OURS.fullmatch(name))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "_functions":
            raise AttributeError(name)      # half made
        try:
            function = self._functions[name]
        except KeyError:
            raise AttributeError(
                f"the port has no callable {name!r}: "
                f"{meant(name, dir(self), NEAREST) or 'dir() of it lists what it has'}"
            ) from None

        def call(*arguments: Any) -> int | None:
            cpu = self._machine._bound_cpu()
            if cpu is None:
                raise MachineError(f"{name}() needs a CPU: call it inside `with machine.cpu(n):`")
            if len(arguments) != len(function.arguments):
                raise TypeError(f"{name}() takes {len(function.arguments)} arguments")
            with Together() as held:
                held.enter(self._guard())
                self._check()
                values = tuple(convert_argument(name, argument, kind, held)
                               for argument, kind in zip(arguments, function.arguments))
                self._current(cpu, arguments)
                self._check_state(name, cpu)
                return function.convert(
                    call_function(self._machine._kernel, cpu, function.address, values))

        call.__name__ = call.__qualname__ = name
        call.__doc__ = f"""{function.in_c}

        Runs on the CPU of `with machine.cpu(n)`, with a vCPU's VMCS current there; MachineError
        outside, KernelBug where the function hits a BUG."""
        return call

    def _current(self, cpu: int, arguments: tuple[Any, ...]) -> None:
        """Load a vCPU among the arguments, as the kernel has it around every call."""
        for argument in arguments:
            if hasattr(argument, "vmcs_gpa") and (
                    self._machine._kernel.current_vmcs(cpu) != argument.vmcs_gpa):
                argument._raw.load(cpu)

    def _check_state(self, name: str, cpu: int) -> None:
        """MachineError where the function would follow a pointer that nobody has set."""
        if name == "hardware_disable" and not self._machine.cpu(cpu).cr4 & X86_CR4_VMXE:
            raise MachineError(f"VMX is off on CPU {cpu}: create a VM or hardware_enable() first")
        if name.startswith(ON_CURRENT_VMCS) and self._machine._kernel.current_vmcs(cpu) is None:
            raise MachineError(f"no VMCS is current on CPU {cpu}: create a vCPU there first")
