# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_partition
from kvm_vmx.machine.memory cimport PhysicalMemory
from kvm_vmx.machine.process cimport process_t
from kvm_vmx.machine.processor cimport Processor


cdef class Partition:
    cdef l0_partition *partition
    cdef process_t owner
    cdef readonly PhysicalMemory memory
    cdef readonly object profile
    cdef readonly str cache_policy
    # instructions of its processors execute as opcodes
    cdef readonly bint by_trap
    # the devices that see to what no memory answers, or None
    cdef public object bus
    cdef object __weakref__
