# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.l0.state cimport l0_vp

cdef void synic_reset(l0_vp *vp) noexcept nogil
cdef bint synic_has(u32 msr) noexcept nogil
cdef insn_t synic_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil
cdef insn_t synic_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil
# A synthetic interrupt source fires; is its vector now pending?
cdef bint synic_signal(l0_vp *vp, u32 source) noexcept nogil
# Let a vector wait at the processor; False where another one does already.
cdef bint synic_pending(l0_vp *vp, u32 vector) noexcept nogil
# Put a message into a source's slot, and let its interrupt wait.
cdef int synic_message(l0_vp *vp, u32 source, u32 kind, const void *body, u32 length,
                       bint may_be_lost) noexcept nogil

cdef enum:
    # how a message fares
    FIRED = 0
    NO_SLOT = 1             # it waits for the end of another, or for an open source
    NOT_YET = 2             # another interrupt waits: once more, later
