# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l0.state cimport l0_vp

# The exception in vp.fault, which an instruction of L2 has raised, or INT n: a chain begins.
cdef void chain_raised(l0_vp *vp, u32 info) noexcept nogil
# An event is delivered: it begins a chain unless it is the one that this chain has last.
cdef void chain_delivered(l0_vp *vp, u32 info, u32 error) noexcept nogil
# What that delivery met, or what became of both.
cdef void chain_met(l0_vp *vp, u32 info) noexcept nogil
