# SPDX-License-Identifier: GPL-2.0-only
"""A CPU in the hands of one thread, for instructions that Python executes on it."""

from kvm_vmx.abi.linux cimport task_struct
from kvm_vmx.l1.linux.cpu cimport cpu_binding, cpu_hold, cpu_unbind
from kvm_vmx.machine.kernel cimport Kernel, task_init, thread_number

from kvm_vmx.machine.kernel import MachineError


cdef class Hold:
    """`with Hold(kernel, cpu):` nobody else runs as that CPU, which may be offline; MachineError
    where another thread does. What other CPUs ask of it meanwhile is done at the end."""

    cdef Kernel kernel
    cdef int cpu
    cdef task_struct task
    cdef cpu_binding binding

    def __cinit__(self, Kernel kernel not None, int cpu):
        if not 0 <= cpu < len(kernel.partition):
            raise IndexError(f"no CPU {cpu}: there are {len(kernel.partition)}")
        self.kernel, self.cpu = kernel, cpu

    def __enter__(self):
        if not self.kernel.booted:
            raise MachineError("the machine is closed: boot another Machine")
        task_init(&self.task, thread_number(), 0)
        if cpu_hold(self.cpu, &self.task, &self.binding):
            raise MachineError(
                f"CPU {self.cpu} is in use by another thread: wait for it, or use another")

    def __exit__(self, *_):
        with nogil:
            cpu_unbind(&self.binding)
