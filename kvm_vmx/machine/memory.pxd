# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.virt_cpu cimport phys_mem
from kvm_vmx.machine.process cimport process_t


cdef class PhysicalMemory:
    cdef phys_mem mem
    cdef process_t owner
    # the second mapping of the same pages
    cdef unsigned char *vmalloc_base
    cdef object __weakref__
    # the kernel that hands out its pages, and the order of each block by its GPA
    cdef object kernel
    cdef dict blocks

    cdef check(self, gpa, length)
    cdef map_without_file(self, size_t size)
