# SPDX-License-Identifier: GPL-2.0-only
"""The memory that a VMCS's addresses mean: an image of it, of which a few pages are looked at."""

import os
import stat
from collections.abc import Mapping

from kvm_vmx.decode.layouts import PAGE
from kvm_vmx.machine.partition import PhysicalMemory

# Fields whose page a check of VM entry reads, and from where on.
POINTERS = {"VIRTUAL_APIC_PAGE_ADDR": ~0xFFF, "VMCS_LINK_POINTER": ~0xFFF, "GUEST_CR3": 0xFFFFF000,
            "VM_ENTRY_MSR_LOAD_ADDR": ~0xFFF}
LARGEST = 1 << 40


class MemoryImage:
    """L1's memory from guest-physical address 0 on, in a file; ValueError where it is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            mode = os.stat(self.path)
        except OSError as error:
            raise ValueError(f"memory {self.path}: {error.strerror}") from None
        self.size = mode.st_size & -PAGE
        if not stat.S_ISREG(mode.st_mode) or not 0 < self.size < LARGEST:
            raise ValueError(f"memory {self.path}: give a file of L1's memory from address 0 on, "
                             f"of one page or more")

    def page(self, gpa: int) -> bytes | None:
        """The page at an address, None where there is none."""
        if not 0 <= gpa < self.size:
            return None
        with open(self.path, "rb") as file:
            file.seek(gpa & -PAGE)
            return file.read(PAGE)

    def show(self, memory: PhysicalMemory, values: Mapping[str, int]) -> None:
        """Put the pages that these fields name where they are."""
        for name, mask in POINTERS.items():
            gpa = values.get(name, 0) & mask
            found = self.page(gpa) if name in values else None
            if found is not None:
                memory.write(gpa, found)
