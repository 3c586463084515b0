# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport phys_mem
from kvm_vmx.l0.state cimport l0_partition, l0_vp


cdef class PhysicalMemory:
    cdef phys_mem mem
    # the second mapping of the same pages
    cdef unsigned char *vmalloc_base
    cdef object __weakref__

    cdef check(self, gpa, length)


cdef class Partition:
    cdef l0_partition *partition
    cdef readonly PhysicalMemory memory
    cdef readonly object profile
    cdef readonly str cache_policy
    cdef object __weakref__


cdef class Processor:
    cdef l0_vp *vp
    cdef readonly Partition partition
    # the general registers that Python code of L1 runs with
    cdef u64 regs[16]

    cdef outcome(self, unsigned int status, value=*)
    cdef enter(self, bint launch)
