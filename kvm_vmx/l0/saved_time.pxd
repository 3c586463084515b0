# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.saved cimport l0_saved
from kvm_vmx.l0.state cimport l0_vp

cdef void save_timers(l0_vp *vp, l0_saved *saved) noexcept nogil
cdef void restore_timers(l0_vp *vp, const l0_saved *saved) noexcept nogil
cdef void save_loop(const l0_vp *vp, l0_saved *saved) noexcept nogil
cdef void restore_loop(l0_vp *vp, const l0_saved *saved) noexcept nogil
