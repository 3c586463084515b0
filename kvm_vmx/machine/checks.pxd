# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_refusal, l0_vp

cdef refusal_of(const l0_refusal *found)
cdef check_of(const l0_vp *vp, int check)
cdef last_denial(const l0_vp *vp)
cdef last_refusal(const l0_vp *vp)
cdef list all_refusals(l0_vp *vp)
