# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.l0.state cimport l0_vp

cdef bint stimer_has(u32 msr) noexcept nogil
cdef insn_t stimer_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil
cdef insn_t stimer_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil
# Let the timers that are due fire; before L1 looks at what is pending, and at an end of message.
cdef void stimers_run(l0_vp *vp) noexcept nogil
# While a timer runs there is an alarm for it.
cdef void stimers_arm(l0_vp *vp) noexcept nogil
# A message slot may be free again: those that wait for one try once more.
cdef void stimers_retry(l0_vp *vp) noexcept nogil
# The timers' alarm, of that number: look at the clock, or where the processor only waits let
# time pass until one is due. Has an interrupt come, or the alarm gone?
cdef bint stimers_ring(l0_vp *vp, u32 number, bint waits) noexcept nogil
