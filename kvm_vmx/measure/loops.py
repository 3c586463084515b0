# SPDX-License-Identifier: GPL-2.0-only
"""The loops that are counted and timed: what each does, its control, and the world it needs."""

import contextlib
import ctypes
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple, TypeAlias

from kvm_vmx import Machine, building, fields
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.kernel import call_function
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.vcpu import Vcpu
from kvm_vmx.measure.rounds import ENTRIES, EXITS

# where a loop is, and what it is given
Loop: TypeAlias = tuple[int, int]
WARM_UP = 1_000


class Accessor(NamedTuple):
    """An accessor with a constant field, as bench_NAME and, written in C, as bench_c_NAME."""

    name: str
    field: str
    reads: bool
    writes: bool


ACCESSORS = (
    Accessor("read16", "GUEST_CS_SELECTOR", True, False),
    Accessor("read32", "VM_EXIT_REASON", True, False),
    Accessor("read64", "TSC_OFFSET", True, False),
    Accessor("readl", "GUEST_RIP", True, False),
    Accessor("write16", "GUEST_CS_SELECTOR", False, True),
    Accessor("write32", "VM_ENTRY_INTR_INFO_FIELD", False, True),
    Accessor("write64", "TSC_OFFSET", False, True),
    Accessor("writel", "GUEST_RSP", False, True),
    Accessor("write_rip", "GUEST_RIP", False, True),
    Accessor("clear_bits", "CPU_BASED_VM_EXEC_CONTROL", True, True),
    Accessor("set_bits", "CPU_BASED_VM_EXEC_CONTROL", True, True),
)

# A store to the page, its copy for A/A, its copy elsewhere in a cache line, and behind a test.
STORES = ("store", "store_again", "store_moved", "store_key", "store_flag")

# RSP noted for the exit in each of three ways, and the first of them again for A/A.
RSP_WAYS = ("rsp_test", "rsp_test_again", "rsp_key", "rsp_poke")

FIELDS = {row["vmcs_field"]: row for row in fields()}
ENCODING = {name: int(row["encoding"], 16) for name, row in FIELDS.items()}

# The clean groups by mask, in the order of their bits; no VMCS field stands for the last one's.
GROUPS = {
    mask: name for mask, name in sorted(
        {(int(row["clean_mask"], 16), row["clean_field"]) for row in FIELDS.values()}
        | {(0x8000, "ENLIGHTENMENTSCONTROL")})
    if mask.bit_count() == 1
}


def module(config: str) -> ModuleType:
    """The extension module that a config is."""
    return building.port(config)


def file_of(config: str) -> str:
    """The file of that module."""
    file = module(config).__file__
    assert file is not None
    return file


_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def address(config: str, name: str) -> int:
    """Where bench_NAME of a config is."""
    capsule = module(config).__pyx_capi__[f"bench_{name}"]
    found: int = _pointer(capsule, _name(capsule))
    return found


class World(NamedTuple):
    """A booted machine with the module loaded and a vCPU whose VMCS is current on CPU 0."""

    machine: Machine
    kvm: Module
    vcpu: Vcpu

    @property
    def exits(self) -> Loop:
        """The loop of VM exits."""
        return EXITS, self.vcpu._raw.address

    def move_stack(self) -> None:
        """By trap the loops enter from deeper in the stack than the warm-up did, and v4.19 leaves
        HOST_POINTER clean where it stores the new RSP (erratum: host_rsp): clear it here."""
        with self.machine.cpu(0):
            port = self.kvm.port
            port.vmcs_writel(ENCODING["HOST_RSP"], port.vmcs_readl(ENCODING["HOST_RSP"]))

    @staticmethod
    def entries(dirty: int) -> Loop:
        """The loop of VM entries with these clean bits cleared before each."""
        return ENTRIES, dirty


@contextlib.contextmanager
def loaded(machine: Machine, config: str = "hyperv", enlightened: bool = False) -> Iterator[World]:
    """kvm-intel loaded in a config, its guest past its first exits."""
    kvm = machine.insmod(enlightened_vmcs=enlightened, config=config)
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    vcpu.run(exits=WARM_UP)
    vcpu._raw.load(0)
    yield World(machine, kvm, vcpu)
    kvm.rmmod()


def flip_key(machine: Machine, flips: int, cpu: int = 0) -> None:
    """Flip enable_evmcs of the loaded module away from its state and back, so many times."""
    ret = call_function(machine._kernel, cpu, address("hyperv", "flip_key"), (flips,))
    if ret & 0xFFFFFFFF:
        raise OSError("the text of the module cannot be patched: load config='no-jump-label'")
