# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp


cdef class Processor:
    cdef l0_vp *vp
    # the Partition that the state belongs to
    cdef readonly object partition

    cdef outcome(self, unsigned int status, value=*)
    cdef enter(self, bint launch)
    cdef schedule(self, unsigned int what, after)
