# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.l0.state cimport l0_vp

cdef enum:
    # what becomes of a VMCALL of L2
    CALL_EXITS = 0          # it is L1's
    CALL_DONE = 1           # L0 has answered it: L2 goes on
    CALL_UNDEFINED = 3      # it raises #UD in L2
    CALL_DONE_THEN_EXIT = 2 # likewise, and L1 waits for it: the VMCS says why

cdef int direct_call(l0_vp *vp, u32 length) noexcept nogil
# Memory of L2 at a guest-physical address, to the end of its page; NULL where there is none.
cdef const u8 *l2_memory(l0_vp *vp, u64 gpa) noexcept nogil
