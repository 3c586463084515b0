# SPDX-License-Identifier: GPL-2.0-only
"""The functions of a tree's own KVM by their names, for a thread that runs as a CPU."""

import bisect
import ctypes
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvm_vmx.errors import MachineError, Unique
from kvm_vmx.kernel.guest import KernelVcpu, KernelVm
from kvm_vmx.kernel.image import Lent
from kvm_vmx.kernel.image_file import Elf
from kvm_vmx.kernel.signatures import CType, Signature, Signatures
from kvm_vmx.machine.gate import Together
from kvm_vmx.machine.line_table import NoLines
from kvm_vmx.machine.port_functions import ON_CURRENT_VMCS
from kvm_vmx.words import NEAREST, meant

if TYPE_CHECKING:
    from kvm_vmx.kernel.kernel import Kernel, KernelModule

# Files of kvm.ko and kvm-intel.ko; the rest of an image is vmlinux's, or stands in for it.
OF_KVM = re.compile(r"(?:^|/)(?:arch/x86|virt)/kvm/")
ARGUMENTS = 12
VCPU, VM = "struct kvm_vcpu", "struct kvm"
# No process has anything there: what follows such a pointer faults.
FIRST_PAGE, USER_END = 4096, 1 << 47


class StandinCall(ctypes.Structure):
    """struct standin_call."""

    _fields_ = [("function", ctypes.c_uint64), ("vcpu", ctypes.c_uint64),
                ("argument", ctypes.c_uint64 * ARGUMENTS), ("result", ctypes.c_uint64)]


class ImageFunctions:
    """What an image has of KVM's functions: addresses, signatures, and what was inlined."""

    def __init__(self, path: Path) -> None:
        self.info, self.elf = Signatures(path), Elf(path)
        units = {unit.start: bool(OF_KVM.search(unit.name)) for unit in self.info.units()}
        pieces = [(start, start + size) for start, size, unit in self.info.ranges
                  if units[self.info.unit(unit).start]]
        self.addresses: dict[str, int] = {}
        self.changed: dict[str, str] = {}
        self._at: dict[int, list[str]] = {}
        for name, address in self.elf.functions():
            at = bisect.bisect_right(pieces, (address, 1 << 64)) - 1
            if at < 0 or address >= pieces[at][1]:
                continue
            plain, _, copy = name.partition(".")
            self._at.setdefault(address, []).append(plain)
            if not copy:
                self.addresses.setdefault(name, address)
            elif not copy.startswith("cold"):
                self.changed[plain] = name

    def signature(self, name: str) -> Signature | None:
        """A function's, or None where it is assembly."""
        address = self.addresses[name]
        return self.info.signature(name, address, self._at[address])

    @functools.cached_property
    def inlined(self) -> frozenset[str]:
        """The names of all that the compiler has put into its callers."""
        return frozenset(
            name for unit in self.info.units() if OF_KVM.search(unit.name)
            for name, entries in self.info.functions(unit).items() if entries.inlined)

    def missing(self, name: str) -> str:
        """Why there is no function of a name to call, in one line."""
        if name in self.changed:
            why = f"the compiler has changed what {name}() takes, and calls it {self.changed[name]}"
        elif name in self.inlined:
            why = f"{name}() is inlined wherever this kernel calls it"
        else:
            why = f"this kernel's KVM has no function {name!r}"
        near = meant(name, self.addresses, NEAREST)
        return f"{why}: {near or 'dir() of it lists what it has'}"


@functools.lru_cache(maxsize=4)
def _read(path: Path, stamp: tuple[int, int]) -> ImageFunctions:
    return ImageFunctions(path)


def of_image(path: Path) -> ImageFunctions:
    """The functions of an image, read once; MachineError where its file says nothing of them."""
    found = path.stat()
    try:
        return _read(path, (found.st_mtime_ns, found.st_size))
    except NoLines as error:
        raise MachineError(f"no functions to call by name: {error}") from None


def uncallable(signature: Signature) -> str | None:
    """What of a function no register holds, or None."""
    if signature.variadic:
        return "takes any number of arguments"
    if len(signature.arguments) > ARGUMENTS:
        return f"takes more than {ARGUMENTS} arguments"
    for name, kind in (*signature.arguments, ("its result", signature.result)):
        if kind.bits < 0:
            return f"has {name} as a {kind.text}, which is no number and no pointer"
    return None


def result_of(kind: CType, raw: int) -> int | None:
    """A result as its C type holds it."""
    if not kind.bits:
        return None
    value = raw & (1 << kind.bits) - 1
    return value - (1 << kind.bits) if kind.signed and value >> kind.bits - 1 else value


class KernelFunctions(Unique):
    """Attributes are the functions of this kernel's kvm.ko and kvm-intel.ko by their names, static
    ones as well, each with its C signature in its text. Each call runs on the CPU of
    `with m.cpu(n)`, with a vCPU among its arguments loaded there.

    An argument is a number, a Vcpu or a Vm for what begins with a struct kvm_vcpu or kvm, None, an
    address of this kernel's, or for another pointer a writable buffer, such as a bytearray.
    """

    def __init__(self, kernel: "Kernel", module: "KernelModule") -> None:
        self._kernel, self._module = kernel, module
        self._image = of_image(kernel._file)

    def _what(self) -> str:
        return "KernelFunctions of kvm and kvm_intel"

    def _state(self) -> str:
        self._module.check_loaded()
        return f"{len(dir(self))} functions"

    def __dir__(self) -> list[str]:
        return sorted(self._image.addresses)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == "_image" or name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if name not in self._image.addresses:
            raise AttributeError(self._image.missing(name))
        address = self._image.addresses[name]
        signature = self._image.signature(name)
        if signature is None:
            raise AttributeError(f"{name} is assembly: no signature says what it takes")
        if why := uncallable(signature):
            raise AttributeError(f"{name}() cannot be called from here: it {why}")

        def call(*arguments: Any) -> int | None:
            return self._call(signature, address, arguments)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = f"""{signature}

        Runs on the CPU of `with machine.cpu(n)`, with a vCPU's VMCS current there; MachineError
        outside, KernelBug where the kernel dies in it."""
        return call

    def _call(self, signature: Signature, address: int, arguments: tuple[Any, ...]) -> int | None:
        name, kernel = signature.name, self._kernel
        cpu = kernel._bound_cpu()
        if cpu is None:
            raise MachineError(f"{name}() needs a CPU: call it inside `with machine.cpu(n):`")
        if len(arguments) != len(signature.arguments):
            raise TypeError(f"{name}() takes {len(signature.arguments)} arguments: {signature}")
        self._module.check_loaded()
        kernel._online(cpu)
        call = StandinCall(address)
        with Together() as held:
            for n, (argument, (what, kind)) in enumerate(zip(arguments, signature.arguments)):
                call.argument[n] = self._converted(f"{name}(): {what}", argument, kind, held) \
                    & (1 << 64) - 1
                if isinstance(argument, KernelVcpu) and not call.vcpu:
                    held.enter(argument._alone())
                    call.vcpu = argument.address
            if name.startswith(ON_CURRENT_VMCS) and not call.vcpu and not kernel.image.per_cpu(
                    "current_vmcs", cpu):
                raise MachineError(f"no VMCS is current on CPU {cpu}: create a vCPU there first")
            kernel.image.call("standin_apply", ctypes.addressof(call), cpu=cpu)
        kernel.partition.check()
        return result_of(signature.result, call.result)

    def _converted(self, what: str, argument: Any, kind: CType,
                   held: Together) -> int:
        """What the function gets for an argument; held gives back what was lent for it."""
        if not kind.pointer:
            if not isinstance(argument, int):
                raise TypeError(f"{what} is {kind.text}, and {argument!r} is no number")
            if not -(1 << kind.bits - 1) <= argument < 1 << kind.bits:
                raise OverflowError(f"{what} is {kind.text}, which {argument:#x} does not fit")
            return argument
        if isinstance(argument, (KernelVcpu, KernelVm)):
            wanted = VCPU if isinstance(argument, KernelVcpu) else VM
            if wanted not in kind.first:
                raise TypeError(f"{what} is {kind.text}, and no {wanted}")
            return argument.address
        if argument is None:
            return 0
        if isinstance(argument, int):
            return self._address(what, argument)
        return self._buffer(what, argument, kind, held)

    def _address(self, what: str, address: int) -> int:
        if not 0 <= address < 1 << 64:
            raise OverflowError(f"{what}: {address:#x} is no address of 64 bits")
        if FIRST_PAGE <= address < USER_END and not self._kernel.image.owns(address):
            raise ValueError(f"{what}: {address:#x} is nothing of this kernel's: give a Vcpu, a Vm,"
                             " a bytearray or an address that the kernel has told")
        return address

    def _buffer(self, what: str, argument: Any, kind: CType, held: Together) -> int:
        if VCPU in kind.first or VM in kind.first:
            wanted = "Vcpu" if VCPU in kind.first else "Vm"
            raise TypeError(f"{what} is {kind.text}: give a {wanted}, not {argument!r}")
        try:
            view = memoryview(argument).cast("B")
        except TypeError:
            raise TypeError(f"{what} is {kind.text}: give an address or a bytearray, "
                            f"not {argument!r}") from None
        if view.readonly or len(view) < max(kind.target_size, 1):
            raise ValueError(f"{what} points to {kind.target_size or 1} bytes or more, which the "
                             f"function may write: give a bytearray of them")
        lent: int = held.enter(Lent(self._kernel.image, view))
        return lent
