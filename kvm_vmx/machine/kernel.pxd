# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport task_struct
from kvm_vmx.abi.types cimport u8, u64
from kvm_vmx.l0.state cimport l0_chain
from kvm_vmx.machine.partition cimport Partition

cdef int thread_number() except -1
cdef void task_init(task_struct *task, int number, u64 depth) noexcept nogil


cdef class Kernel:
    cdef readonly Partition partition
    cdef void **cpu_pointers
    cdef readonly bint booted
    cdef readonly bint oopsed
    cdef readonly bint by_trap
    cdef set form_keys

    cdef int call(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg, u64 depth=*) except -1
    cdef int call_anywhere(self, int but, void (*fn)(void *) noexcept nogil, void *arg) except -1
    cdef int attempt(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg, u64 depth) except 1


cdef class VirtualMachine:
    cdef readonly Kernel kernel
    cdef void *kvm

    cdef int copy(self, u64 gpa, u8 *data, size_t length, bint store) except -1
    cdef u8 *page(self, u64 gpa) except? NULL


cdef class VirtualCpu:
    cdef readonly VirtualMachine vm
    cdef void *vcpu
    cdef l0_chain chain
