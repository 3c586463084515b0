# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu_ops
from kvm_vmx.l0.state cimport l0_vp
from kvm_vmx.machine.process cimport process_t


cdef class Processor:
    cdef l0_vp *vp
    # the Partition that the state belongs to
    cdef readonly object partition
    cdef process_t owner
    # refusals before the instruction that is under way
    cdef u64 denials

    # how often each basic exit reason has come, as it counts on
    cdef const u64 *reasons(self) noexcept
    cdef const virt_cpu_ops *ops(self) except NULL
    cdef outcome(self, unsigned int status, value=*, why=*)
    cdef enter(self, bint launch, stop_after)
    cdef insn_t to_the_end(self, insn_t status) except? 0x80000000
    cdef bint serve(self) except -1
    cdef forget_stop(self)
    cdef schedule(self, unsigned int what, after)
