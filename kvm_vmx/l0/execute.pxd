# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vp, l2_insn

# Execute one instruction; vp.next_rip is behind it, and is where L2 goes on.
cdef int execute(l0_vp *vp, const l2_insn *insn) noexcept nogil
