# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32
from kvm_vmx.l0.state cimport l2_insn, l0_vp

cdef enum:
    DECODED = 0
    # more bytes than there are: the next page does not translate
    TRUNCATED = 1
    UNKNOWN = 2
    TOO_LONG = 3
    LONGEST_INSTRUCTION = 15

# Decode what stands at code, of which `have` bytes can be read.
cdef int decode(l0_vp *vp, const u8 *code, u32 have, l2_insn *insn) noexcept nogil
