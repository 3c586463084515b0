# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.l0.state cimport l0_partition, l0_vp

cdef void clock_start(l0_partition *partition) noexcept nogil
# The TSC as L1 reads it, without TSC_ADJUST.
cdef u64 clock_tsc(const l0_partition *partition) noexcept nogil
cdef u64 clock_tsc_frequency(l0_partition *partition) noexcept nogil
# The partition's reference time, in units of 100 ns.
cdef u64 clock_reference_time(l0_partition *partition) noexcept nogil
# Let so many of these units pass at once.
cdef void clock_skip(l0_partition *partition, u64 units) noexcept nogil
# The reference TSC page: 0, or #GP for a frame that is not there.
cdef insn_t clock_write_reference_page(l0_vp *vp, u64 value) noexcept nogil
# The three MSRs of re-enlightenment.
cdef insn_t clock_write_reenlightenment(l0_vp *vp, u64 value) noexcept nogil
cdef insn_t clock_write_emulation_control(l0_vp *vp, u64 value) noexcept nogil
cdef insn_t clock_write_emulation_status(l0_vp *vp, u64 value) noexcept nogil
# The partition has moved to a host whose TSC ticks ratio / 2^32 times as fast as the first's.
cdef void clock_migrate(l0_partition *partition, u64 ratio) noexcept nogil
