# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport task_struct
from kvm_vmx.abi.types cimport u8, u64, ulong
from kvm_vmx.l0.state cimport l0_chain, l0_refusal
from kvm_vmx.l1.kvm_host cimport kvm_t, kvm_vcpu_t
from kvm_vmx.l1.linux.cpu cimport cpu_binding
from kvm_vmx.machine.partition cimport Partition, process_t
from kvm_vmx.trap.engine cimport trap_binding

# How a thread becomes a CPU: one that is online; as well, and signals kick it; whichever.
cdef enum:
    RUNS
    KICKED
    HELD

# A thread as a CPU: the task, and what the thread was before.
cdef struct cpu_role:
    task_struct task
    cpu_binding binding
    trap_binding traps
    bint by_trap
    ulong kernel_end
    void *signal_stack
    size_t signal_size
    void (*fn)(void *) noexcept nogil
    void *arg
    int cpu
    ulong thread
    cpu_role *before
    cpu_role *behind

# How far a run goes before the handlers of its signals get a turn, where nothing kicks it.
cdef enum:
    SLICE_EXITS = 2_000

cdef bint kick_begin() except -1
cdef int kick_end() except -1
cdef int kick_check() except -1
cdef bint kick_handles() except -1
cdef void kick_from(void (*how)(void *whom) noexcept nogil, void *whom) noexcept nogil
cdef void kick_till(const void *whom) noexcept nogil

cdef void task_init(task_struct *task, int number, u64 depth) noexcept nogil


cdef class KernelCalls:
    cdef readonly Partition partition
    cdef process_t owner
    cdef bint up
    cdef readonly bint oopsed
    # another kernel has begun on its partition
    cdef bint replaced
    cdef readonly bint by_trap

    cdef int check(self) except -1
    cdef int call(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg, u64 depth=*) except -1
    cdef int call_anywhere(self, int but, void (*fn)(void *) noexcept nogil, void *arg) except -1
    cdef u64 enter(self, int cpu, void *function, u64 a=*, u64 b=*, u64 c=*,
                   u64 d=*) except? 0x5a5a5a5a5a5a5a5a
    cdef u64 enter_loaded(self, int cpu, void *function, u64 vcpu, u64 b=*,
                          u64 c=*) except? 0x5a5a5a5a5a5a5a5a
    cdef int hotplug(self, int cpu, void *function) except? -1
    cdef int refuse(self, int cpu) except -1
    cdef int attempt(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg, u64 depth,
                     int how=*) except 1
    cdef int become(self, cpu_role *role, int cpu, int how, u64 depth) except 1
    cdef int resign(self, cpu_role *role, void (*fn)(void *) noexcept nogil, void *arg) except 1


cdef class KernelFailPoints(KernelCalls):
    cdef str one_msr            # the point of FAIL_ONE_MSR, as it was named


cdef class KernelModules(KernelFailPoints):
    cdef set form_keys
    # who has loaded what is loaded, in the order of their coming
    cdef readonly list modules


cdef class Kernel(KernelModules):
    cdef void **cpu_pointers
    # the VirtualMachines, in the order of their coming
    cdef readonly list vms

    cdef int come_up(self, int online, no_assist_page, fail) except -1
    cdef void switch_off(self) noexcept


cdef class VirtualMachine:
    cdef readonly Kernel kernel
    cdef void *kvm
    cdef readonly int nr_vcpus

    cdef kvm_t *there(self) except NULL
    cdef int copy(self, u64 gpa, u8 *data, size_t length, bint store) except -1


cdef class VirtualCpu:
    cdef readonly VirtualMachine vm
    cdef void *vcpu
    cdef l0_chain chain
    cdef l0_refusal refused

    cdef kvm_vcpu_t *there(self) except NULL
